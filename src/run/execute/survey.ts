/** Compares a plan with the store: which stages are cached, could run now, or wait. Only reads. */
import type { Asset, Digest, Precision, PythonPackage } from '../../api.ts';
import { emptyRecord } from '../../base/record.ts';
import { actionKey, digestOf } from '../../plan/keys.ts';
import type { ActionKey, KeyComponents, Plan, PlannedStage, StageId } from '../../plan/types.ts';
import type { Entry } from '../../store/manifest.ts';
import type { Store } from '../../store/store.ts';
import { hasLetGo, mustBeWhole, needsWhole } from './keep.ts';

export interface StageStatus {
  readonly stage: PlannedStage;
  /** `ready`: it could run now. `pending`: it waits for an input or a source. */
  readonly state: 'cached' | 'ready' | 'pending';
  /** Null while the content of an input or a source is unknown. */
  readonly key: ActionKey | null;
  readonly reason: string;
  /**
   * The stage's entry, null if there is none. With an entry, a stage is `ready` only if files of
   * the entry were let go.
   */
  readonly entry: Entry | null;
}

/**
 * Stands for a failed input in a tolerant stage's key. So the stage is computed again once the
 * input is there.
 */
export const missing: Digest = digestOf('dosimeter.missing/1', null);

/** The sources, by URI; null for a source that is not on this machine. */
export type Assets = ReadonlyMap<string, Asset | null>;

/**
 * Returns what a stage's key is made from.
 * @param inputs the content of each input, or `missing`
 */
export function keyComponents(
  stage: PlannedStage,
  plan: Plan,
  inputs: { readonly [name: string]: Digest },
  assets: { readonly [name: string]: Digest },
): KeyComponents {
  const { kind, code, params } = stage;
  return { kind, code, params, inputs, assets, backend: computedBy(stage, plan) };
}

/** Returns the precisions besides float32 that a stage asks for; [] for none. */
export const precisionOf = ({
  descriptor,
  params,
}: Pick<PlannedStage, 'descriptor' | 'params'>): readonly Precision[] =>
  [descriptor.precision?.(params) ?? []].flat();

/** Returns the Python packages that the stage computes with besides its backend. */
export const pythonOf = (
  stage: Pick<PlannedStage, 'descriptor' | 'params'>,
  backend: Plan['backend'],
): readonly PythonPackage[] => {
  const quantizes = precisionOf(stage).some((one) => one === 'nf4' || one === 'int8');
  const asked = stage.descriptor.python?.(stage.params) ?? [];
  return [
    ...(quantizes ? (['bitsandbytes'] as const) : []),
    ...asked.filter((name) => name !== 'torch' || backend !== 'torch'),
  ];
};

/**
 * Returns what a stage's key says of backend and Python packages; null if the stage computes with
 * neither.
 */
function computedBy(stage: PlannedStage, plan: Plan): string | null {
  const parts = [
    ...(stage.descriptor.compute ? [plan.computedBy] : []),
    ...pythonOf(stage, plan.backend).map((name) => plan.python[name] ?? `no ${name}`),
  ];
  return parts.length === 0 ? null : parts.join(', ');
}

/** Returns the status of each stage, in the plan's order. */
export function survey(plan: Plan, assets: Assets, store: Pick<Store, 'lookUp'>): StageStatus[] {
  const statuses = new Map<StageId, StageStatus>();
  for (const stage of plan.stages) statuses.set(stage.id, findStatus(stage));
  // Backwards, since a stage that is computed again may need its inputs whole too.
  for (const stage of [...plan.stages].reverse()) {
    if (mustBeWhole(plan, stage)) markForRestore(stage.id, 'and `keep` asks for all of them');
    if (statuses.get(stage.id)?.state === 'cached' || !needsWhole(stage)) continue;
    for (const id of Object.values(stage.inputs)) markForRestore(id, `and ${stage.id} reads them`);
  }
  return [...statuses.values()];

  function markForRestore(id: StageId, why: string): void {
    const status = statuses.get(id);
    if (status?.state !== 'cached' || !hasLetGo(status.entry)) return;
    statuses.set(id, { ...status, state: 'ready', reason: `files of it were let go, ${why}` });
  }

  /** Called in the plan's order: the statuses of the stage's inputs are in `statuses` by then. */
  function findStatus(stage: PlannedStage): StageStatus {
    const pending = (reason: string): StageStatus => ({
      stage,
      state: 'pending',
      key: null,
      reason,
      entry: null,
    });
    const names = Object.keys(stage.inputs);
    const inputs = emptyRecord<Digest>(names.length),
      contents: { [name: string]: Digest } = {};
    for (const name of names) {
      const id = stage.inputs[name],
        entry = id === undefined ? null : statuses.get(id)?.entry;
      if (!entry) return pending(`waits for ${id}`);
      inputs[name] = entry.manifest.content;
    }
    for (const [name, uri] of Object.entries(stage.assets)) {
      const asset = assets.get(uri);
      if (!asset) return pending(`${uri} is not fetched yet`);
      contents[name] = asset.digest;
    }
    const key = actionKey(keyComponents(stage, plan, inputs, contents));
    const ready = (reason: string): StageStatus => ({ ...pending(reason), state: 'ready', key });
    const found = store.lookUp(key);
    switch (found.state) {
      case 'hit':
        return {
          stage,
          state: 'cached',
          key,
          reason: `in the store since ${timeText(found.entry.manifest.created)} UTC`,
          entry: found.entry,
        };
      case 'absent':
        return ready('nothing in the store under this key');
      case 'damaged':
        return ready(`its entry in the store is damaged: ${found.why}`);
    }
  }
}

/** `2026-01-31T12:00:00.000Z` becomes `2026-01-31 12:00:00`. */
const timeText = (time: string): string => time.slice(0, 19).replace('T', ' ');
