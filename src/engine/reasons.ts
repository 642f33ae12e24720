/** Finds out why a stage would run: what changed since the most similar stage in the store. */
import type { Digest } from '../api.ts';
import type { StageStatus } from '../execute/survey.ts';
import { keyComponents } from '../execute/survey.ts';
import type { StageId } from '../plan/types.ts';
import { recallCode } from '../store/code.ts';
import type { ClosureOf } from '../store/explain.ts';
import { differences, nearest } from '../store/explain.ts';
import type { Manifest } from '../store/types.ts';
import type { Prepared } from './prepare.ts';

/** Returns what changed, or what the stage waits for, in words. */
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
  return ({ stage, state, reason }) => {
    if (state !== 'ready' || reason.includes('damaged')) return [reason];
    const components = keyComponents(
      stage,
      plan,
      mapValues(stage.inputs, contentOf),
      mapValues(stage.assets, digestOf),
    );
    const similar = nearest(
      components,
      all().filter(({ kind }) => kind === stage.kind),
    );
    if (!similar) return [`no ${stage.kind} has run in this store`];
    return differences(similar.components, components, closures).map(({ text }) => text);
  };
}

const mapValues = <A, B>(
  values: { readonly [name: string]: A },
  change: (value: A) => B,
): { readonly [name: string]: B } =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, change(value)]));
