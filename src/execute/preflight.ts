/** Faults of the input that stages see before anything runs, each with its place in the spec. */
import { isAbsolute } from 'node:path';
import type { Asset } from '../api.ts';
import type { Diagnostic } from '../experiment/types.ts';
import type { PluginKind } from '../plan/graph.ts';
import { locateIn } from '../plan/locate.ts';
import type { Plan, PlannedStage, StageId } from '../plan/types.ts';
import type { Assets, StageStatus } from './survey.ts';
import type { RuntimeRegistry } from './types.ts';

/** The file that a person would look into: of what the stage runs, that which comes from outside; else its own. */
function blamed({ kind, uses }: PlannedStage, registry: RuntimeRegistry): string {
  const own = registry.get('stage', kind)?.file ?? `plugins/stages/${kind}.ts`;
  const outside = [
    own,
    ...uses.map((use) => registry.get(use.kind as PluginKind, use.name)?.file ?? ''),
  ].filter((file) => isAbsolute(file));
  return outside.length === 0 ? own : [...new Set(outside)].join(' or ');
}

/** A handler asked for what is not on this machine yet. */
class NotFetched extends Error {}

/** By name; one that is not fetched yet throws where it is asked for, so that no handler takes it for one that was never declared. */
function found({ assets: uris }: PlannedStage, assets: Assets): { readonly [name: string]: Asset } {
  const given: { [name: string]: Asset } = {};
  for (const [name, uri] of Object.entries(uris)) {
    Object.defineProperty(given, name, {
      enumerable: true,
      get: () => assets.get(uri) ?? unfetched(uri),
    });
  }
  return given;
}

function unfetched(uri: string): never {
  throw new NotFetched(`${uri} is not fetched yet`);
}

/**
 * A stage that asks for a source that is not fetched yet is passed over: what is wrong with that is told once it is there.
 * Cached stages passed their preflight when they ran. The same fault at the same place is told once.
 * @param statuses of the stages that are to run. @param all of every stage: what inputs will be made of
 */
export async function preflight(
  plan: Plan,
  statuses: readonly StageStatus[],
  assets: Assets,
  registry: RuntimeRegistry,
  all: readonly StageStatus[] = statuses,
): Promise<Diagnostic[]> {
  const diagnostics = new Map<string, Diagnostic>();
  const byId = new Map<StageId, StageStatus>(all.map((status) => [status.stage.id, status]));
  for (const { stage, state } of statuses) {
    if (state === 'cached' || !stage.descriptor.preflight) continue;
    const cell = plan.experiment.cells[stage.cells[0] ?? 0]!;
    const add = (diagnostic: Diagnostic): void => {
      const { range, message } = diagnostic;
      diagnostics.set(
        JSON.stringify([message, range && [range.file, range.line, range.column]]),
        diagnostic,
      );
    };
    try {
      const problems = await stage.descriptor.preflight({
        params: stage.params,
        assets: found(stage, assets),
        upstream: Object.fromEntries(
          Object.entries(stage.inputs).flatMap(([name, id]) => {
            const input = byId.get(id);
            return input
              ? [
                  [
                    name,
                    {
                      params: input.stage.params,
                      assets: found(input.stage, assets),
                      dir: input.entry?.dir ?? null,
                    },
                  ],
                ]
              : [];
          }),
        ),
        plugin: <D>(kind: 'attack' | 'dataset' | 'model' | 'adapter', name: string): D => {
          const entry = registry.get(kind, name);
          if (!entry) throw new Error(`no ${kind} "${name}"`);
          return entry.descriptor as unknown as D;
        },
      });
      for (const { path, message, hint, warning } of problems) {
        add({
          code: 'preflight',
          message,
          range: locateIn(cell, stage.section, path),
          ...(hint === undefined ? {} : { hint }),
          ...(warning ? { warning } : {}),
        });
      }
    } catch (error) {
      if (error instanceof NotFetched) continue;
      const { name, message, hint } = error as Error & { hint?: string };
      if (name !== 'UserFault')
        add({
          code: 'plugin-fault',
          message: `the stage plugin "${stage.kind}" threw before anything ran: ${message}`,
          range: null,
          hint: `this is a fault of ${blamed(stage, registry)}, not of the spec`,
        });
      else
        add({
          code: 'preflight',
          message,
          range: cell.locate([]),
          ...(hint === undefined ? {} : { hint }),
        });
    }
  }
  return [...diagnostics.values()];
}
