/** A stage whose inputs are all stored: what it will read, and the key that follows from that. */
import type { Digest, StageInput } from '../../api.ts';
import { emptyRecord } from '../../base/record.ts';
import { actionKey } from '../../plan/keys.ts';
import type { ActionKey, KeyComponents, PlannedStage } from '../../plan/types.ts';
import type { Execution } from './execution.ts';
import { isFinished, outcomeOf } from './execution.ts';
import { keyComponents, missing } from './survey.ts';

export interface KeyedStage {
  readonly stage: PlannedStage;
  readonly key: ActionKey;
  readonly components: KeyComponents;
  readonly inputs: { readonly [name: string]: StageInput };
}

/** Returns null if one of the stage's sources is not on this machine. */
export function keyedStage(execution: Execution, stage: PlannedStage): KeyedStage | null {
  const read = Object.entries(stage.inputs);
  const inputs = emptyRecord<StageInput>(read.length),
    contents = emptyRecord<Digest>(read.length),
    assets: { [name: string]: Digest } = {};
  for (const [name, uri] of Object.entries(stage.assets)) {
    const asset = execution.options.assets.get(uri);
    if (!asset) return null;
    assets[name] = asset.digest;
  }
  for (const [name, id] of read) {
    const input = outcomeOf(execution, id);
    if (isFinished(input)) {
      inputs[name] = { dir: input.dir, digest: input.content };
      contents[name] = input.content;
    } else contents[name] = missing; // the stage is tolerant
  }
  const components = keyComponents(stage, execution.plan, contents, assets);
  return { stage, key: actionKey(components), components, inputs };
}
