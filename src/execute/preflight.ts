/** Faults of the input that stages see before anything runs, each with its place in the spec. */
import { isAbsolute } from 'node:path';
import type { Asset } from '../api.ts';
import type { PluginKind } from '../plan/graph.ts';
import { locateIn } from '../plan/places.ts';
import type { Diagnostic } from '../spec/types.ts';
import type { Plan, PlannedStage, StageId } from '../plan/types.ts';
import type { StageStatus, Assets } from './survey.ts';
import type { RuntimeRegistry } from './types.ts';

/** The file that a person would look into: of what the stage runs, that which comes from outside; else its own. */
function blamed({ kind, uses }: PlannedStage, registry: RuntimeRegistry): string {
  const own = registry.get('stage', kind)?.file ?? `plugins/stages/${kind}.ts`;
  const outside = [own, ...uses.map((use) => registry.get(use.kind as PluginKind, use.name)?.file ?? '')].filter((file) => isAbsolute(file));
  return outside.length === 0 ? own : [...new Set(outside)].join(' or ');
}

/**
 * Cached stages passed their preflight when they ran. The same fault at the same place is told once.
 * @param statuses of the stages that are to run. @param all of every stage: what inputs will be made of
 */
export async function preflight(plan: Plan, statuses: readonly StageStatus[], assets: Assets, registry: RuntimeRegistry, all: readonly StageStatus[] = statuses): Promise<Diagnostic[]> {
  const diagnostics = new Map<string, Diagnostic>();
  const byId = new Map<StageId, StageStatus>(all.map((status) => [status.stage.id, status]));
  const found = (stage: PlannedStage): { [name: string]: Asset } => Object.fromEntries(Object.entries(stage.assets).flatMap(([name, uri]) => {
    const asset = assets.get(uri);
    return asset ? [[name, asset]] : [];
  }));
  for (const { stage, state } of statuses) {
    if (state === 'cached' || !stage.descriptor.preflight) continue;
    const cell = plan.experiment.cells[stage.cells[0] ?? 0]!;
    const add = (diagnostic: Diagnostic): void => {
      const { range, message } = diagnostic;
      diagnostics.set(JSON.stringify([message, range && [range.file, range.line, range.column]]), diagnostic);
    };
    try {
      const problems = await stage.descriptor.preflight({
        params: stage.params, assets: found(stage),
        upstream: Object.fromEntries(Object.entries(stage.inputs).flatMap(([name, id]) => {
          const input = byId.get(id);
          return input ? [[name, { params: input.stage.params, assets: found(input.stage), dir: input.entry?.dir ?? null }]] : [];
        })),
        plugin: <D>(kind: 'attack' | 'dataset' | 'model' | 'adapter', name: string): D => {
          const entry = registry.get(kind, name);
          if (!entry) throw new Error(`no ${kind} "${name}"`);
          return entry.descriptor as unknown as D;
        },
      });
      for (const { path, message, hint, warning } of problems) {
        add({ code: 'preflight', message, range: locateIn(cell, stage.section, path), ...(hint === undefined ? {} : { hint }), ...(warning ? { warning } : {}) });
      }
    } catch (error) {
      const { name, message, hint } = error as Error & { hint?: string };
      if (name !== 'UserFault') add({ code: 'plugin-fault', message: `the stage plugin "${stage.kind}" threw before anything ran: ${message}`, range: null, hint: `this is a fault of ${blamed(stage, registry)}, not of the spec` });
      else add({ code: 'preflight', message, range: cell.locate([]), ...(hint === undefined ? {} : { hint }) });
    }
  }
  return [...diagnostics.values()];
}
