/**
 * Several trainings over one frozen base, step by step together: one forward and one backward pass over the batches of
 * all. Each has its own rows, order, learning rate, adapter, head and number of steps, and comes to what it would come to
 * by itself, within rounding.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Network } from '../nn/network.ts';
import { packable } from '../nn/packed-network.ts';
import { perMemberAdamw, type PerMemberOptimizer, perMemberSgd } from '../optim/per-member.ts';
import { scheduleFactor } from '../optim/schedule.ts';
import { batches } from './batches.ts';
import { areFinite, lossFault, weightsFault } from './divergence.ts';
import type { MemberSaves, MemberStart } from './pack-resume.ts';
import { type PackState, startPack } from './pack-state.ts';
import type { LabelledRow, StepBatch, StepRecord, TrainSettings } from './settings.ts';
import { disposeAll } from './trained-values.ts';
import { batchOrder } from './training-rows.ts';

export interface PackMember {
  readonly network: Network;
  readonly rows: readonly LabelledRow[];
  readonly settings: TrainSettings;
  /** As in a training by itself. Throwing ends this member's training with what is thrown. */
  readonly onStep?: (record: StepRecord, batch: Required<StepBatch>) => Promise<void> | void;
  /** What it goes on from; all members of a pack from one step, or none. The pack disposes of it. */
  readonly from?: MemberStart;
  readonly saves?: MemberSaves;
  /** Aborted: its training ends with the reason after the step, its state saved. */
  readonly signal?: AbortSignal;
}

/** The settings that members of one pack have in common; null: such a training is no member of any. */
export function packSettings(settings: TrainSettings): string | null {
  const {
    steps: _steps,
    batchSize: _size,
    learningRate: _rate,
    weightDecay: _amount,
    schedule: _schedule,
    warmup: _warmup,
    shuffle: _shuffle,
    seed: _seed,
    ...rest
  } = settings;
  const {
    optimizer,
    beta1,
    beta2,
    epsilon,
    dropout,
    clipNorm = 0,
    accumulate = 1,
    decay = 'all',
    batching = 'shuffled',
    ...others
  } = rest;
  const plain =
    dropout === 0 &&
    clipNorm === 0 &&
    accumulate === 1 &&
    decay === 'all' &&
    batching === 'shuffled';
  if (!plain || Object.values(others).some((value) => value !== undefined)) return null;
  return JSON.stringify(optimizer === 'adamw' ? [optimizer, beta1, beta2, epsilon] : [optimizer]);
}

interface Member extends PackMember {
  readonly order: Generator<Int32Array, never>;
  lastFinite: StepRecord | null;
  readonly resolve: (trained: Map<string, Tensor>) => void;
  readonly reject: (error: unknown) => void;
}

interface Pack {
  readonly members: readonly Member[];
  readonly state: PackState;
}

/**
 * One promise a member: of its trained values, which the caller disposes of, or of the fault that a training by itself
 * would end with. A member is done when its own last step is.
 * @param members of one pack: any two networks `packable`, `packSettings` equal and not null
 */
export function trainPack(members: readonly PackMember[]): readonly Promise<Map<string, Tensor>>[] {
  const first = members[0]!;
  const { optimizer: kind, beta1, beta2, epsilon } = first.settings;
  const key = packSettings(first.settings);
  if (
    key === null ||
    members.some(
      ({ network, settings }) =>
        packSettings(settings) !== key || !packable(first.network, network),
    ) ||
    members.some(({ from }) => from?.step !== first.from?.step)
  )
    throw new Error('these trainings are no pack');
  const all: Member[] = [];
  const promises = members.map(
    (member) =>
      new Promise<Map<string, Tensor>>((resolve, reject) => {
        const order = batches(batchOrder(member.rows, member.settings));
        for (let step = 0; step < (member.from?.step ?? 0); step++) order.next();
        all.push({ ...member, order, lastFinite: member.from?.last ?? null, resolve, reject });
      }),
  );
  void run(all, kind === 'adamw' ? perMemberAdamw({ beta1, beta2, epsilon }) : perMemberSgd);
  return promises;
}

async function run(members: readonly Member[], optimizer: PerMemberOptimizer): Promise<void> {
  try {
    const from = members.flatMap((member) => member.from ?? []);
    let packs: readonly Pack[] = [
      {
        members,
        state: startPack(
          members.map(({ network }) => network),
          optimizer,
          from.length === 0 ? undefined : from,
        ),
      },
    ];
    for (const { parameters, moments } of from) disposeAll(parameters, ...Object.values(moments));
    for (let step = (from[0]?.step ?? 0) + 1; packs.length > 0; step++) {
      const next: Pack[] = [];
      for (const pack of packs) {
        const chosen = pack.members.map(({ order, rows }) =>
          Array.from(order.next().value, (i) => rows[i]!),
        );
        next.push(...(await takeStep(pack, chosen, step)));
      }
      packs = next;
    }
  } catch (error) {
    // Of nobody in particular (memory that ran out, say): whoever is done by now does not hear it.
    members.forEach(({ reject }) => reject(error));
  }
}

/** @returns the packs that go on; the given one is spent */
async function takeStep(
  pack: Pack,
  chosen: readonly (readonly LabelledRow[])[],
  step: number,
): Promise<readonly Pack[]> {
  const { members, state } = pack;
  const started = performance.now();
  const { losses, finite, gradients } = state.gradients(chosen);
  if (!finite && members.length > 1) {
    disposeAll(gradients);
    const parts: Pack[] = [];
    for (const part of diagnose(pack, chosen))
      parts.push(
        ...(await takeStep(
          part,
          part.members.map((member) => chosen[members.indexOf(member)]!),
          step,
        )),
      );
    return parts;
  }
  const rates = members.map(
    ({ settings: { learningRate, schedule, warmup, steps } }) =>
      learningRate * scheduleFactor({ kind: schedule, warmup, steps }, step - 1),
  );
  const records = losses.map((loss, k): StepRecord => ({ step, loss, learning_rate: rates[k]! }));
  if (!Number.isFinite(losses[0])) {
    // of a pack of one: in a larger one it has been told apart
    const { lastFinite, settings, reject } = members[0]!;
    disposeAll(gradients);
    state.dispose();
    reject(lossFault(records[0]!, lastFinite, settings.learningRate));
    return [];
  }
  state.update(gradients, step, {
    learningRates: rates,
    weightDecays: members.map(({ settings }) => settings.weightDecay),
  });

  const seconds = (performance.now() - started) / 1000;
  const tokens = chosen.map((rows) => rows.reduce((sum, { ids }) => sum + ids.length, 0)),
    total = tokens.reduce((a, b) => a + b, 0);
  const staying: number[] = [];
  for (const [k, member] of members.entries()) {
    member.lastFinite = records[k]!;
    try {
      await member.onStep?.(records[k]!, {
        rows: chosen[k]!.length,
        tokens: tokens[k]!,
        seconds: (seconds * tokens[k]!) / total,
        packed: members.length,
      });
      if (step === member.settings.steps) member.signal?.throwIfAborted();
    } catch (error) {
      member.reject(error);
      continue;
    }
    if (step < member.settings.steps) {
      staying.push(k);
      continue;
    }
    const trained = state.parameters(k);
    if (areFinite(trained)) {
      member.resolve(trained);
      continue;
    }
    disposeAll(trained);
    member.reject(weightsFault(records[k]!, member.settings.learningRate));
  }
  // With the last one done, the pack's tensors are freed at once: whoever awaits a result finds no other left.
  const going = staying.length === 0 ? [] : await saveStep(pack, staying, step);
  return going.length === members.length
    ? [pack]
    : replace(pack, going.length === 0 ? [] : [going]);
}

/**
 * Saves all who go on when all are due, so that they can go on together; one that is to end, at once.
 * @returns who goes on
 */
async function saveStep(
  { members, state }: Pack,
  staying: readonly number[],
  step: number,
): Promise<number[]> {
  const together = staying.every((k) => members[k]!.saves?.due(step) === true);
  const going: number[] = [];
  for (const k of staying) {
    const { saves, signal, lastFinite, reject } = members[k]!;
    try {
      if (saves !== undefined && (together || signal?.aborted)) {
        const values = state.values(k);
        try {
          await saves.save(step, values, lastFinite);
        } finally {
          disposeAll(values.parameters, ...Object.values(values.moments));
        }
      }
      signal?.throwIfAborted();
      going.push(k);
    } catch (error) {
      reject(error);
    }
  }
  return going;
}

/** Packs of these members, in place of the given one. */
function replace({ members, state }: Pack, parts: readonly (readonly number[])[]): Pack[] {
  const packs = parts.map((part) => ({
    members: part.map((k) => members[k]!),
    state: state.select(part),
  }));
  state.dispose();
  return packs;
}

/**
 * Zero times what is no number is no number: one member's values reach the others' gradients. So each is looked at by
 * itself. Those of whom all is finite take the step together from the same parameters; each other one goes on alone, to
 * what it would have come to by itself.
 */
function diagnose(pack: Pack, chosen: readonly (readonly LabelledRow[])[]): Pack[] {
  const sound: number[] = [],
    alone: number[] = [];
  for (const k of pack.members.keys()) {
    const state = pack.state.select([k]),
      parameters = state.parameters(0);
    const { finite, gradients } = state.gradients([chosen[k]!]);
    (finite && areFinite(parameters) ? sound : alone).push(k);
    disposeAll(gradients, parameters);
    state.dispose();
  }
  // Nobody by itself: together they exceed the range of numbers.
  const parts =
    alone.length === 0
      ? sound.map((k) => [k])
      : [...(sound.length === 0 ? [] : [sound]), ...alone.map((k) => [k])];
  return replace(pack, parts);
}
