/** Finds the sources of a plan on this machine, or fetches them, before anything runs. */
import type { Asset, SourceContext, SourceDescriptor } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import type { PlanRegistry } from '../../plan/graph.ts';
import type { Plan, PlannedStage } from '../../plan/types.ts';
import type { Diagnostic, ExperimentCell, SourceRange } from '../../spec/types.ts';
import { diskFault } from '../../store/faults.ts';
import type { Locate } from './guard.ts';

/** Returns, by the URI of each source of the plan, the first stage that reads the source. */
function firstStageByUri(plan: Plan): Map<string, PlannedStage> {
  const uris = new Map<string, PlannedStage>();
  for (const stage of plan.stages)
    for (const uri of Object.values(stage.assets)) if (!uris.has(uri)) uris.set(uri, stage);
  return uris;
}

/**
 * Returns where a cell's spec writes a source's URI; the place of the cell as a whole if no text of
 * the cell names the source.
 */
function locateUri(cell: ExperimentCell, uri: string): SourceRange {
  const scheme = uri.slice(0, uri.indexOf(':') + 1),
    bare = uri.slice(scheme.length);
  /** Returns the path of the first text below `value` that names the source; null if none does. */
  const find = (value: unknown, path: (string | number)[]): (string | number)[] | null => {
    // The plan may name a source more exactly than the spec: `hf:datasets/NAME` for `hf:NAME`.
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

/**
 * Returns a function that looks for a source, and never fetches it. The function gives null if the
 * source is not on this machine, and throws if no plugin reads its scheme.
 */
export const locator =
  (registry: PlanRegistry, context: SourceContext): Locate =>
  async (uri) => {
    const source = sourceOf(registry, uri);
    if (source === undefined) throw new Error(`no source plugin reads "${uri}"`);
    return source.locate(uri, context);
  };

const schemeOf = (uri: string): string => uri.slice(0, uri.indexOf(':'));

/** Returns the plugin that reads the scheme of a URI; undefined if there is none. */
const sourceOf = (registry: PlanRegistry, uri: string): SourceDescriptor | undefined =>
  registry.get('source', schemeOf(uri))?.descriptor as SourceDescriptor | undefined;

/**
 * Finds every source of the plan, and gathers all faults, in the plan's order.
 * @param fetch whether a missing source is fetched
 * @param before called for a missing source before it is fetched, and also without `fetch`; if it
 *   returns faults, the source is not fetched
 */
export async function findAssets(
  plan: Plan,
  registry: PlanRegistry,
  context: SourceContext,
  fetch: boolean,
  before: (uri: string, source: SourceDescriptor) => Promise<readonly Diagnostic[]>,
) {
  interface Found {
    /** Null if the source is not on this machine; absent if looking for it failed. */
    readonly asset?: Asset | null;
    readonly faults: readonly Diagnostic[];
  }
  /**
   * Looks for one source, and fetches it if `fetch` is set and `before` finds no fault. What a
   * plugin throws becomes a fault.
   */
  const find = async (uri: string, stage: PlannedStage): Promise<Found> => {
    /** Returns where the stage's first cell names the source; null if the stage has no cell. */
    const range = (): SourceRange | null => {
      const cell = plan.experiment.cells[stage.cells[0] ?? 0];
      return cell === undefined ? null : locateUri(cell, uri);
    };
    const source = sourceOf(registry, uri);
    if (!source) {
      const message = `no source plugin reads "${uri}"`,
        hint = `the schemes are ${schemes(registry).join(', ')}`;
      return { faults: [{ code: 'unknown-source', message, range: range(), hint }] };
    }
    try {
      const asset = await source.locate(uri, context);
      if (asset !== null) return { asset, faults: [] };
      const faults = await before(uri, source);
      const isFetched = fetch && faults.length === 0;
      return { asset: isFetched ? await source.fetch(uri, context) : null, faults };
    } catch (error) {
      return { faults: [{ ...sourceFault(error, uri, context), range: range() }] };
    }
  };
  const found = await Promise.all(
    [...firstStageByUri(plan)].map(async ([uri, stage]) => ({ uri, ...(await find(uri, stage)) })),
  );
  return {
    /** The sources, by URI; null for a source that must be fetched. */
    assets: new Map(
      found.flatMap(({ uri, asset }) => (asset === undefined ? [] : [[uri, asset] as const])),
    ),
    diagnostics: found.flatMap(({ faults }) => faults),
  };
}

const schemes = (registry: PlanRegistry): string[] =>
  [...registry.names('source')].sort().map((name) => `${name}:`);

/** Returns the diagnostic of what a source plugin threw, without its place. */
function sourceFault(
  error: unknown,
  uri: string,
  { cacheDir }: SourceContext,
): Pick<Diagnostic, 'code' | 'message' | 'hint'> {
  const file = (error as NodeJS.ErrnoException | null)?.path ?? cacheDir;
  const { name, message, hint } = diskFault(error, file, 'cache') as Error & { hint?: string };
  return name === 'UserFault'
    ? { code: 'source', message, ...defined({ hint }) }
    : {
        code: 'plugin-fault',
        message: `the source plugin "${schemeOf(uri)}" threw on "${uri}": ${message}`,
      };
}
