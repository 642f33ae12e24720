/** Finds out why a stage would run: what changed since the most similar stage in the store. */
import type { Digest } from '../api.ts';
import { memoized } from '../base/memoized.ts';
import type { KeyComponents, StageId } from '../plan/types.ts';
import type { ClosureOf } from '../store/explain.ts';
import { differences, distance, nearest } from '../store/explain.ts';
import type { Manifest } from '../store/manifest.ts';
import { recallCode } from '../store/provenance.ts';
import type { StageStatus } from './execute/survey.ts';
import { keyComponents } from './execute/survey.ts';
import type { Prepared } from './prepare.ts';

/**
 * Returns what changed, what the stage waits for, or that it is new, in words. It is new if each of
 * the closest results belongs to another stage of the plan.
 */
export type Reasons = (status: StageStatus) => readonly string[];

const KINDS = ['stage', 'attack', 'defence', 'adapter', 'model', 'dataset'] as const;

/**
 * Returns a function that gives reasons. It reads the store's manifests when it is first called for
 * a ready stage.
 */
export function reasonsIn({ plan, statuses, store, assets, registry }: Prepared): Reasons {
  const byId = new Map<StageId, StageStatus>(statuses.map((status) => [status.stage.id, status]));
  const now = new Map(
    KINDS.flatMap((kind) =>
      registry.all(kind).map(({ code, closure }): [string, typeof closure] => [code, closure]),
    ),
  );
  const before = recallCode(store.root);
  const closures: ClosureOf = (code) => now.get(code) ?? before(code);
  let manifests: Manifest[] | null = null;
  const all = (): Manifest[] =>
    (manifests ??= store.keys().flatMap((key) => store.manifest(key) ?? []));
  const contentOf = (id: StageId): Digest => {
    const content = byId.get(id)?.entry?.manifest.content;
    if (content === undefined) throw new Error(`${id} is not in the store`);
    return content;
  };
  const digestOf = (uri: string): Digest => {
    const digest = assets.get(uri)?.digest;
    if (digest === undefined) throw new Error(`${uri} is not fetched`);
    return digest;
  };
  const componentsOf = memoized(({ stage }: StageStatus): KeyComponents =>
    keyComponents(
      stage,
      plan,
      mapValues(stage.inputs, contentOf),
      mapValues(stage.assets, digestOf),
    ),
  );
  const cached = new Set(statuses.flatMap(({ entry }) => entry?.key ?? []));
  /** Returns the fewest differences between a result and any stage that is ready to run. */
  const fewest = memoized(({ kind, components }: Manifest): number =>
    Math.min(
      ...statuses
        .filter(({ stage, state }) => stage.kind === kind && state === 'ready')
        .map((status) => distance(components, componentsOf(status))),
    ),
  );
  /**
   * Whether a result is that of another stage of the plan, or of what another one was before a
   * change.
   */
  const isOthers = (result: Manifest, n: number): boolean =>
    cached.has(result.key) || (n > 1 && fewest(result) < n);
  return (status) => {
    const { stage, state, reason } = status;
    if (state !== 'ready' || reason.includes('damaged')) return [reason];
    const components = componentsOf(status);
    const similar = nearest(
      components,
      all().filter(({ kind }) => kind === stage.kind),
      isOthers,
    );
    if (!similar) return [`no ${stage.kind} has run in this store`];
    const texts = differences(similar.components, components, closures).map(({ text }) => text);
    return isOthers(similar, distance(similar.components, components))
      ? [`new; the closest result in the store differs in: ${few(texts)}`]
      : texts;
  };
}

const MOST_DIFFERENCES = 4;

/** Returns the first differences, and how many more there are. */
function few(texts: readonly string[]): string {
  const left = texts.length - MOST_DIFFERENCES;
  return texts.slice(0, MOST_DIFFERENCES).join('; ') + (left > 0 ? `; and ${left} more` : '');
}

const mapValues = <A, B>(
  values: { readonly [name: string]: A },
  change: (value: A) => B,
): { readonly [name: string]: B } =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, change(value)]));
