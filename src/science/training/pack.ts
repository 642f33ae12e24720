/**
 * Several trainings over one frozen base that take their steps together, with one forward and one
 * backward pass over the batches of all. The members may differ in rows, order, learning rate,
 * adapter, head and number of steps. The result of each is the same as if it had trained alone,
 * within rounding.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { at } from '../../base/lookup.ts';
import { compiled } from '../../tensor/compiled/compiled.ts';
import type { Network } from '../models/network.ts';
import { packable } from '../models/packed-network.ts';
import { batches } from './batches.ts';
import { areFinite, lossFault, weightsFault } from './divergence.ts';
import { perMemberAdamw, type PerMemberOptimizer, perMemberSgd } from './optim/per-member.ts';
import { scheduleFactor } from './optim/schedule.ts';
import type { MemberSaves, MemberStart } from './pack-resume.ts';
import { type PackState, startPack } from './pack-state.ts';
import type { LabelledRow, StepBatch, StepRecord, TrainSettings } from './settings.ts';
import { disposeAll } from './trained-values.ts';
import { batchOrder } from './training-rows.ts';

export interface PackMember {
  readonly network: Network;
  readonly rows: readonly LabelledRow[];
  readonly settings: TrainSettings;
  /** As in a single training. Throwing ends the training of this member with that error. */
  readonly onStep?: (record: StepRecord, batch: Required<StepBatch>) => Promise<void> | void;
  /**
   * The state from which the member continues. Either all members have one, at the same step, or
   * none has. The pack disposes of it.
   */
  readonly from?: MemberStart;
  readonly saves?: MemberSaves;
  /**
   * When aborted, the member saves its state after the current step and its training ends with the
   * reason.
   */
  readonly signal?: AbortSignal;
}

/**
 * The settings that the members of a pack must share, as a key; null where such a training cannot
 * be in a pack.
 */
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
    precision = 'float32',
    ...others
  } = rest;
  const plain =
    dropout === 0 &&
    clipNorm === 0 &&
    accumulate === 1 &&
    decay === 'all' &&
    batching === 'shuffled';
  if (!plain || Object.keys(others).length > 0) return null;
  return JSON.stringify([
    precision,
    optimizer,
    ...(optimizer === 'adamw' ? [beta1, beta2, epsilon] : []),
  ]);
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

/** The precision that all members share. */
const precisionOf = ({ members }: Pack): TrainSettings['precision'] =>
  at(members, 0).settings.precision;

/**
 * Trains the members. Returns one promise for each member. It resolves to the trained values, which
 * the caller disposes of, or rejects with the fault that the member would end with if it trained
 * alone. It settles after the member's last step.
 * @param members any two of their networks are `packable`, and their `packSettings` are equal and
 * not null
 */
export function trainPack(members: readonly PackMember[]): readonly Promise<Map<string, Tensor>>[] {
  const first = at(members, 0);
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
    throw new Error('these trainings cannot form a pack');
  const all: Member[] = [];
  const promises = members.map(
    (member) =>
      new Promise<Map<string, Tensor>>((resolve, reject) => {
        const order = batches(batchOrder(member.rows, member.settings));
        for (let step = 0; step < (member.from?.step ?? 0); step++) order.next();
        all.push({ ...member, order, lastFinite: member.from?.last ?? null, resolve, reject });
      }),
  );
  void trainTogether(
    all,
    kind === 'adamw' ? perMemberAdamw({ beta1, beta2, epsilon }) : perMemberSgd,
  );
  return promises;
}

async function trainTogether(
  members: readonly Member[],
  optimizer: PerMemberOptimizer,
): Promise<void> {
  try {
    const from = members.flatMap((member) => member.from ?? []);
    const networks = members.map(({ network }) => network);
    const state = startPack(networks, optimizer, from.length === 0 ? undefined : from);
    let packs: readonly Pack[] = [{ members, state }];
    for (const { parameters, moments } of from) disposeAll(parameters, ...Object.values(moments));
    for (let step = (from[0]?.step ?? 0) + 1; packs.length > 0; step++) {
      const next: Pack[] = [];
      for (const pack of packs) {
        const chosen = pack.members.map(({ order, rows }) =>
          Array.from(order.next().value, (i) => at(rows, i)),
        );
        next.push(...(await takeStep(pack, chosen, step)));
      }
      packs = next;
    }
  } catch (error) {
    // An error that belongs to no member, such as lack of memory. Members that have finished are
    // not affected.
    members.forEach(({ reject }) => reject(error));
  }
}

/** A step as one member sees it. */
interface MemberStep {
  readonly member: Member;
  readonly record: StepRecord;
  readonly batch: Required<StepBatch>;
}

/**
 * Takes a step with all members.
 * @param chosen the batch of each member
 * @returns the packs that continue; the given one must not be used any more
 */
async function takeStep(
  pack: Pack,
  chosen: readonly (readonly LabelledRow[])[],
  step: number,
): Promise<readonly Pack[]> {
  const { members, state } = pack;
  const started = performance.now();
  const { losses, finite, gradients } = compiled(() => state.gradients(chosen), precisionOf(pack));
  if (!finite && members.length > 1) {
    disposeAll(gradients);
    const parts: Pack[] = [];
    for (const part of diagnose(pack, chosen)) {
      const own = part.members.map((member) => at(chosen, members.indexOf(member)));
      parts.push(...(await takeStep(part, own, step)));
    }
    return parts;
  }
  const rates = members.map(
    ({ settings: { learningRate, schedule, warmup, steps } }) =>
      learningRate * scheduleFactor({ kind: schedule, warmup, steps }, step - 1),
  );
  const records = losses.map((loss, k): StepRecord => ({
    step,
    loss,
    learning_rate: at(rates, k),
  }));
  const [firstRecord] = records;
  if (firstRecord !== undefined && !Number.isFinite(firstRecord.loss)) {
    // This is a pack of one member: in a larger one, `diagnose` has separated it.
    const { lastFinite, settings, reject } = at(members, 0);
    disposeAll(gradients);
    state.dispose();
    reject(lossFault(firstRecord, lastFinite, settings.learningRate));
    return [];
  }
  compiled(() => {
    state.update(gradients, step, {
      learningRates: rates,
      weightDecays: members.map(({ settings }) => settings.weightDecay),
    });
  });
  const seconds = (performance.now() - started) / 1000;
  const steps = memberSteps(members, records, chosen, seconds);
  const staying: number[] = [];
  for (const [k, one] of steps.entries()) {
    const failure = await report(one);
    if (goesOn(one, failure, state, k)) staying.push(k);
  }
  // After a member's last step the tensors of the pack are freed before anyone who awaits the
  // result continues.
  const going = staying.length === 0 ? [] : await saveStep(pack, staying, step);
  return going.length === members.length
    ? [pack]
    : replace(pack, going.length === 0 ? [] : [going]);
}

/**
 * Returns the step as each member sees it. Its time is divided among them in proportion to their
 * tokens.
 */
function memberSteps(
  members: readonly Member[],
  records: readonly StepRecord[],
  chosen: readonly (readonly LabelledRow[])[],
  seconds: number,
): MemberStep[] {
  const tokens = chosen.map((rows) => rows.reduce((sum, { ids }) => sum + ids.length, 0)),
    total = tokens.reduce((a, b) => a + b, 0);
  return members.map((member, k) => ({
    member,
    record: at(records, k),
    batch: {
      rows: at(chosen, k).length,
      tokens: at(tokens, k),
      seconds: (seconds * at(tokens, k)) / total,
      packed: members.length,
    },
  }));
}

/** Reports a step to its member. Returns what the member threw, if it did. */
async function report({
  member,
  record,
  batch,
}: MemberStep): Promise<{ readonly error: unknown } | null> {
  member.lastFinite = record;
  try {
    await member.onStep?.(record, batch);
    if (record.step === member.settings.steps) member.signal?.throwIfAborted();
    return null;
  } catch (error) {
    return { error };
  }
}

/**
 * Whether a member continues after a step. If not, its promise is settled here, synchronously, so
 * that after the last member the pack is disposed of before anyone who awaits a result continues.
 */
function goesOn(
  { member: { settings, resolve, reject }, record }: MemberStep,
  failure: { readonly error: unknown } | null,
  state: PackState,
  k: number,
): boolean {
  if (failure !== null) {
    reject(failure.error);
    return false;
  }
  if (record.step < settings.steps) return true;
  const trained = state.parameters(k);
  if (areFinite(trained)) resolve(trained);
  else {
    disposeAll(trained);
    reject(weightsFault(record, settings.learningRate));
  }
  return false;
}

/**
 * Saves the members that continue. All are saved together, when all are due, so that they can later
 * continue together; a member that is aborted is saved at once.
 * @returns the members that continue
 */
async function saveStep(
  { members, state }: Pack,
  staying: readonly number[],
  step: number,
): Promise<number[]> {
  const together = staying.every((k) => at(members, k).saves?.due(step) === true);
  const going: number[] = [];
  for (const k of staying) {
    const { saves, signal, lastFinite, reject } = at(members, k);
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

/** Replaces a pack by packs of some of its members. */
function replace({ members, state }: Pack, parts: readonly (readonly number[])[]): Pack[] {
  const packs = parts.map((part) => ({
    members: part.map((k) => at(members, k)),
    state: state.select(part),
  }));
  state.dispose();
  return packs;
}

/**
 * Splits a pack in which something is not finite. The product of zero and NaN or infinity is NaN,
 * so the values of one member reach the gradients of all others. Therefore each member is examined
 * alone. Those with finite values repeat the step together from the same parameters; each of the
 * others continues alone and ends as it would have ended by itself.
 */
function diagnose(pack: Pack, chosen: readonly (readonly LabelledRow[])[]): Pack[] {
  const sound: number[] = [],
    alone: number[] = [];
  for (const k of pack.members.keys()) {
    const state = pack.state.select([k]),
      parameters = state.parameters(0);
    const { finite, gradients } = compiled(
      () => state.gradients([at(chosen, k)]),
      precisionOf(pack),
    );
    (finite && areFinite(parameters) ? sound : alone).push(k);
    disposeAll(gradients, parameters);
    state.dispose();
  }
  // Each member is finite by itself; only together do they exceed the range of numbers.
  const parts =
    alone.length === 0
      ? sound.map((k) => [k])
      : [...(sound.length === 0 ? [] : [sound]), ...alone.map((k) => [k])];
  return replace(pack, parts);
}
