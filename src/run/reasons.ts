/** Finds out why a stage would run: what changed since the most similar stage in the store. */
import type { Digest, Json } from '../api.ts';
import { canonical } from '../base/canonical.ts';
import { memoized } from '../base/memoized.ts';
import { mapValues } from '../base/record.ts';
import type { KeyComponents, StageId } from '../plan/types.ts';
import type { Manifest } from '../store/manifest.ts';
import { type ClosureOf, recallCode } from '../store/provenance.ts';
import { keyComponents, type StageStatus } from './execute/survey.ts';
import type { Prepared } from './prepare.ts';
import type { LoadedPlugin, PluginKind } from './registry/types.ts';

/**
 * Returns why a stage would run: what changed since the closest result in the store, what the stage
 * waits for, or that the stage is new, because the closest result is another stage's.
 */
export type Reasons = (status: StageStatus) => readonly string[];

/** Returns the stage plugins of a plan and the plugins that its stages use, each once. */
export function usedPlugins({
  plan,
  registry,
}: Pick<Prepared, 'plan' | 'registry'>): ReadonlySet<LoadedPlugin> {
  // Stages with the same plugins share the object that lists their code: one of each is looked at.
  const byCode = new Map(plan.stages.map((stage) => [stage.code, stage]));
  const used = [...byCode.values()].flatMap((stage) => [
    registry.get('stage', stage.kind),
    ...stage.uses.map(({ kind, name }) => registry.get(kind as PluginKind, name)),
  ]);
  return new Set(used.filter((plugin) => plugin !== undefined));
}

/** Returns a function that reads the store's manifests at its first call for a ready stage. */
export function reasonsIn(prepared: Prepared): Reasons {
  const { plan, statuses, store, assets } = prepared;
  const byId = new Map<StageId, StageStatus>(statuses.map((status) => [status.stage.id, status]));
  const now = new Map<string, LoadedPlugin['closure']>(
    [...usedPlugins(prepared)].map(({ code, closure }) => [code, closure]),
  );
  const before = recallCode(store.root);
  const closures: ClosureOf = memoized((code: string) => now.get(code) ?? before(code));
  let manifests: Manifest[] | null = null;
  /** Returns the store's manifests, which the first call reads. */
  const allManifests = (): Manifest[] =>
    (manifests ??= store.keys().flatMap((key) => store.manifest(key) ?? []));
  /** Returns the digest of a stored stage's output. Throws if it is not in the store. */
  const storedContent = (id: StageId): Digest => {
    const content = byId.get(id)?.entry?.manifest.content;
    if (content === undefined) throw new Error(`${id} is not in the store`);
    return content;
  };
  /** Returns the digest of a fetched source. Throws if it is not fetched. */
  const fetchedDigest = (uri: string): Digest => {
    const digest = assets.get(uri)?.digest;
    if (digest === undefined) throw new Error(`${uri} is not fetched`);
    return digest;
  };
  const componentsOf = memoized(({ stage }: StageStatus): KeyComponents =>
    keyComponents(
      stage,
      plan,
      mapValues(stage.inputs, storedContent),
      mapValues(stage.assets, fetchedDigest),
    ),
  );
  const cached = new Set(statuses.flatMap(({ entry }) => entry?.key ?? []));
  /**
   * Returns the number of differences between a result and the ready stage of its kind that is most
   * like it; infinity if no stage of the kind is ready.
   */
  const fewestDifferences = memoized(({ kind, components }: Manifest): number =>
    Math.min(
      ...statuses
        .filter(({ stage, state }) => stage.kind === kind && state === 'ready')
        .map((status) => distance(components, componentsOf(status))),
    ),
  );
  /**
   * Whether a result that differs from a ready stage in `n` things is another stage's: a cached
   * one's or, if `n` is more than 1, that of a ready stage from which it differs in fewer things.
   */
  const belongsToAnother = (result: Manifest, n: number): boolean =>
    cached.has(result.key) || (n > 1 && fewestDifferences(result) < n);
  return (status) => {
    const { stage, state, reason } = status;
    if (state !== 'ready' || reason.includes('damaged')) return [reason];
    const components = componentsOf(status);
    const similar = nearest(
      components,
      allManifests().filter(({ kind }) => kind === stage.kind),
      belongsToAnother,
      closures,
    );
    if (!similar) return [`no ${stage.kind} has run in this store`];
    const texts = differences(similar.components, components, closures);
    return belongsToAnother(similar, distance(similar.components, components))
      ? [`new; the closest result in the store differs in: ${joinFirst(texts)}`]
      : texts;
  };
}

const MOST_DIFFERENCES = 4;

function joinFirst(texts: readonly string[]): string {
  const left = texts.length - MOST_DIFFERENCES;
  return texts.slice(0, MOST_DIFFERENCES).join('; ') + (left > 0 ? `; and ${left} more` : '');
}

/** Returns what differs, each as a text: `adapter.rank 8 → 16`. */
export function differences(
  before: KeyComponents,
  after: KeyComponents,
  closureOf: ClosureOf,
): string[] {
  const found: string[] = [];
  for (const [plugin, old, now] of changedValues(before.code, after.code)) {
    if (old === undefined || now === undefined)
      found.push(`${plugin} is ${old === undefined ? 'now' : 'no longer'} used`);
    else found.push(...codeChanges(closureOf(old), closureOf(now), plugin));
  }
  const flatBefore = flatten(before.params),
    flatAfter = flatten(after.params);
  for (const [path, old, now] of changedValues(flatBefore, flatAfter))
    found.push(`${path} ${old ?? '(absent)'} → ${now ?? '(absent)'}`);
  const changeText = (old: string | undefined, now: string | undefined): string =>
    old === undefined ? 'is new' : now === undefined ? 'is gone' : 'has other content';
  for (const [name, old, now] of changedValues(before.inputs, after.inputs))
    found.push(`input ${name} ${changeText(old, now)}`);
  for (const [name, old, now] of changedValues(before.assets, after.assets))
    found.push(`${name} ${changeText(old, now)}`);
  if (before.backend !== after.backend)
    found.push(`backend ${before.backend ?? 'none'} → ${after.backend ?? 'none'}`);
  return found;
}

/**
 * Returns what changed in a plugin's code, file by file; one text if either version is not known.
 */
function codeChanges(
  old: ReturnType<ClosureOf>,
  now: ReturnType<ClosureOf>,
  plugin: string,
): string[] {
  if (!old || !now) return [`the code of ${plugin} changed`];
  return changedValues(old, now).map(
    ([part, a, b]) =>
      `${part} ${a === undefined ? 'is new' : b === undefined ? 'is gone' : 'changed'}`,
  );
}

/**
 * Returns the name, the old and the new value of each field that differs; undefined for an absent
 * value.
 */
function changedValues(
  before: { readonly [name: string]: string },
  after: { readonly [name: string]: string },
): [string, string | undefined, string | undefined][] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((name) => before[name] !== after[name])
    .map((name) => [name, before[name], after[name]]);
}

/** `{ a: { b: 1 } }` gives `{ 'a.b': '1' }`. */
function flatten(
  value: Json,
  path = '',
  into: { [path: string]: string } = {},
): { [path: string]: string } {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    for (const [key, child] of Object.entries(value))
      flatten(child, path === '' ? key : `${path}.${key}`, into);
  else into[path] = typeof value === 'string' ? value : canonical(value);
  return into;
}

/** Returns the number of differences; all changed code of a plugin counts as one. */
const distance = (before: KeyComponents, after: KeyComponents): number =>
  differences(before, after, () => null).length;

/**
 * Returns the candidate with the fewest differences; null if there are no candidates. Of several
 * with equally few, returns the one whose plugins' code differs in the fewest files, so that a
 * namesake of a plugin loses; of these, one that belongs to no other stage; of these, the newest.
 * @param belongsToAnother gets a candidate and the number of its differences
 */
export function nearest<T extends { readonly components: KeyComponents; readonly created: string }>(
  after: KeyComponents,
  candidates: readonly T[],
  belongsToAnother: (candidate: T, differences: number) => boolean = () => false,
  closureOf: ClosureOf = () => null,
): T | null {
  let equals: T[] = [],
    fewest = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const n = distance(candidate.components, after);
    if (n < fewest) equals = [];
    if (n <= fewest) equals.push(candidate);
    fewest = Math.min(n, fewest);
  }
  const parts = memoized((one: T) => differences(one.components, after, closureOf).length);
  const rank = memoized((one: T) => 2 * parts(one) + (belongsToAnother(one, fewest) ? 1 : 0));
  return equals.reduce<T | null>(
    (best, one) =>
      best === null ||
      rank(one) < rank(best) ||
      (rank(one) === rank(best) && one.created > best.created)
        ? one
        : best,
    null,
  );
}
