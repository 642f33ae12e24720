/** Sources: found on this machine, or fetched, before anything runs. */
import type { Asset, SourceContext, SourceDescriptor } from '../api.ts';
import type { Diagnostic, ExperimentCell, SourceRange } from '../experiment/types.ts';
import type { PlanRegistry } from '../plan/graph.ts';
import type { Plan, PlannedStage } from '../plan/types.ts';
import { diskFault } from '../store/faults.ts';
import type { Locate } from './guard.ts';

/** Each URI that a stage of the plan reads, with the first stage that does. */
function wanted(plan: Plan): Map<string, PlannedStage> {
  const uris = new Map<string, PlannedStage>();
  for (const stage of plan.stages)
    for (const uri of Object.values(stage.assets)) if (!uris.has(uri)) uris.set(uri, stage);
  return uris;
}

/** Where a URI is written: the field of the cell that holds it. */
export function locateUri(cell: ExperimentCell, uri: string): SourceRange {
  const scheme = uri.slice(0, uri.indexOf(':') + 1),
    bare = uri.slice(scheme.length);
  const find = (value: unknown, path: (string | number)[]): (string | number)[] | null => {
    // A stage may have said more exactly what the spec's source means (`hf:datasets/NAME` for a split's `hf:NAME`).
    if (typeof value === 'string')
      return value === uri ||
        value === bare ||
        (value.startsWith(scheme) && uri.endsWith(`/${value.slice(scheme.length)}`))
        ? path
        : null;
    if (typeof value !== 'object' || value === null) return null;
    for (const [key, child] of Object.entries(value)) {
      const found = find(child, [...path, Array.isArray(value) ? Number(key) : key]);
      if (found) return found;
    }
    return null;
  };
  return cell.locate(find(cell.config, []) ?? []);
}

/** Looks at sources as `findAssets` did, without fetching. */
export const locator =
  (registry: PlanRegistry, context: SourceContext): Locate =>
  async (uri) =>
    (registry.get('source', uri.slice(0, uri.indexOf(':')))!.descriptor as SourceDescriptor).locate(
      uri,
      context,
    );

export interface Located {
  /** Null: it must be fetched. */
  readonly assets: Map<string, Asset | null>;
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * @param fetch whether what is missing is fetched; `plan` only looks
 * @param before asked of what is missing: faults for which it is not fetched
 */
export async function findAssets(
  plan: Plan,
  registry: PlanRegistry,
  context: SourceContext,
  fetch: boolean,
  before: (uri: string, source: SourceDescriptor) => Promise<readonly Diagnostic[]>,
): Promise<Located> {
  const assets = new Map<string, Asset | null>();
  const diagnostics: Diagnostic[] = [];
  await Promise.all(
    [...wanted(plan)].map(async ([uri, stage]) => {
      const cell = plan.experiment.cells[stage.cells[0] ?? 0]!;
      const scheme = uri.slice(0, uri.indexOf(':'));
      const source = registry.get('source', scheme)?.descriptor as SourceDescriptor | undefined;
      if (!source) {
        diagnostics.push({
          code: 'unknown-source',
          message: `no source plugin reads "${uri}"`,
          range: locateUri(cell, uri),
          hint: `the schemes are ${[...registry.names('source')]
            .sort()
            .map((name) => `${name}:`)
            .join(', ')}`,
        });
        return;
      }
      try {
        let asset = await source.locate(uri, context);
        if (asset === null) {
          const faults = await before(uri, source);
          diagnostics.push(...faults);
          if (fetch && faults.length === 0) asset = await source.fetch(uri, context);
        }
        assets.set(uri, asset);
      } catch (error) {
        const { name, message, hint } = diskFault(
          error,
          (error as NodeJS.ErrnoException | null)?.path ?? context.cacheDir,
          'cache',
        ) as Error & { hint?: string };
        if (name !== 'UserFault')
          diagnostics.push({
            code: 'plugin-fault',
            message: `the source plugin "${scheme}" threw on "${uri}": ${message}`,
            range: locateUri(cell, uri),
          });
        else
          diagnostics.push({
            code: 'source',
            message,
            range: locateUri(cell, uri),
            ...(hint === undefined ? {} : { hint }),
          });
      }
    }),
  );
  return { assets, diagnostics };
}
