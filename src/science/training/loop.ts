/**
 * The training loop, which every engine shares (`runSteps`), and the engine that takes its steps in
 * this process (`train`).
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type JsonObject, UserFault } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { at } from '../../base/lookup.ts';
import {
  randomStream,
  type ResumableStream,
  resumeStream,
  type StreamState,
} from '../../base/random.ts';
import { compiled } from '../../tensor/compiled/compiled.ts';
import type { Network, Tensors } from '../models/network.ts';
import { targetsOf } from '../models/outputs.ts';
import { batchOrder, stepBatches } from './batches.ts';
import { clipByGlobalNorm, stepGradients } from './gradients.ts';
import { adamw, type Optimizer, scheduleFactor, sgd } from './optimizers.ts';
import {
  type Resume,
  savedGathered,
  savedGroups,
  savedMoments,
  type SavedState,
  toSave,
} from './resume.ts';
import type { LabelledRow, StepBatch, StepRecord, TrainSettings } from './settings.ts';
import {
  decays,
  disposeAll,
  groupKind,
  groupRate,
  type TrainedValues,
  trainedValues,
} from './trained-values.ts';

const learningRateHint = (learningRate: number): string =>
  `Lower train.learning_rate (${learningRate}), or add warm-up steps.`;

/**
 * Returns the fault of a step whose loss or penalty is not finite.
 * @param last the last step at which both were finite; null if there was none
 * @param isOfAttack whether the training minimises the objective of an attack
 */
function lossFault(
  { loss, penalty, step }: StepRecord,
  last: StepRecord | null,
  learningRate: number,
  isOfAttack: boolean,
): UserFault {
  const what = Number.isFinite(loss)
    ? `the attack's penalty is ${penalty}, and the loss ${loss},`
    : `the loss is ${loss}`;
  const way =
    last === null
      ? 'The checkpoint that the training starts from holds values that are not finite.'
      : learningRateHint(learningRate);
  const before =
    last === null
      ? 'no earlier step had a finite one'
      : `the last finite one was ${last.loss} at step ${last.step}`;
  return new UserFault(
    `${what} at step ${step}; ${before}`,
    isOfAttack
      ? `${way} Or the attack's own loss has no value for some batches: ` +
          'a batch may have no poisoned row, or only poisoned ones.'
      : way,
  );
}

export interface StepRequest {
  /** Counted from zero. */
  readonly step: number;
  readonly batches: readonly (readonly LabelledRow[])[];
  /** η of this step, by the schedule. */
  readonly learningRate: number;
}

export type StepLoss = Pick<StepRecord, 'loss' | 'penalty'>;

const isFiniteLoss = ({ loss, penalty = 0 }: StepLoss): boolean =>
  Number.isFinite(loss) && Number.isFinite(penalty);

/** Takes the steps of a training, on one of the engines. */
export interface StepTaker {
  /** Returns how many steps `take` may be asked for at once. */
  atOnce(): number;
  /**
   * Takes the next steps, in order. A step whose loss or penalty is not finite leaves the weights
   * as they are, and is the last one taken.
   */
  take(steps: readonly StepRequest[]): Promise<readonly StepLoss[]> | readonly StepLoss[];
  /** Whether all trained weights are finite. */
  areFinite(): Promise<boolean> | boolean;
}

interface LoopHooks {
  /** Awaited after each step, so that the process can do other work. Throwing ends the training. */
  readonly onStep?: ((record: StepRecord, batch: StepBatch) => Promise<void> | void) | undefined;
  /** Whether `see` is to be called after this step; 0 means before the first one. */
  readonly wants: (step: number) => boolean;
  /** Looks at the present weights. Returning `stop` ends the training after this step. */
  readonly see: (step: number) => Promise<'stop' | undefined>;
  /**
   * Where a saved training goes on: after `step`. `last` is the last step taken whose loss was
   * finite; null if there was none. Absent: the training starts at its beginning.
   */
  readonly from?: { readonly step: number; readonly last: StepRecord | null } | undefined;
  /** Saves the training after a step, if it is time to. */
  readonly save: (step: number, last: StepRecord | null) => Promise<void>;
  /** When aborted, the loop throws after the current step. */
  readonly signal?: AbortSignal | undefined;
}

/** Returns those rows that the steps of a training read. */
export function readRows(
  rows: readonly LabelledRow[],
  settings: TrainSettings,
): ReadonlySet<LabelledRow> {
  const order = stepBatches(batchOrder(rows, settings), settings.accumulate ?? 1);
  const read = new Set<LabelledRow>();
  for (let step = 0; step < settings.steps && read.size < rows.length; step++)
    for (const batch of order.next().value) for (const i of batch) read.add(at(rows, i));
  return read;
}

/**
 * Runs the steps of a training, until `see` returns `stop` or all are taken. Throws UserFault where
 * a loss or penalty is not finite, naming the last finite loss, and where the last step leaves
 * weights that are not finite. Throws the reason of `signal` once that is aborted.
 */
export async function runSteps(
  rows: readonly LabelledRow[],
  settings: TrainSettings,
  taker: StepTaker,
  { onStep, wants, see, from, save, signal }: LoopHooks,
): Promise<void> {
  const { schedule, warmup, steps, objective, learningRate: peak } = settings;
  const order = stepBatches(batchOrder(rows, settings), settings.accumulate ?? 1);
  let last = from?.last ?? null;
  for (let step = 0; step < (from?.step ?? 0); step++) order.next();
  if (from === undefined && wants(0)) await see(0);
  for (let step = from?.step ?? 0, stopped = false; step < steps && !stopped;) {
    const asked: StepRequest[] = [];
    do
      asked.push({
        step: step + asked.length,
        batches: order.next().value.map((batch) => Array.from(batch, (i) => at(rows, i))),
        learningRate: peak * scheduleFactor({ kind: schedule, warmup, steps }, step + asked.length),
      });
    while (
      asked.length < taker.atOnce() &&
      step + asked.length < steps &&
      !wants(step + asked.length)
    );
    for (const [i, { loss, penalty }] of (await taker.take(asked)).entries()) {
      const { learningRate, batches } = at(asked, i);
      const record: StepRecord = {
        step: ++step,
        loss,
        learning_rate: learningRate,
        ...defined({ penalty }),
      };
      if (!isFiniteLoss(record)) throw lossFault(record, last, peak, objective !== undefined);
      last = record;
      const all = batches.flat();
      await onStep?.(record, {
        rows: all.length,
        tokens: all.reduce(
          (sum, { ids, rejected }) => sum + ids.length + (rejected?.ids.length ?? 0),
          0,
        ),
      });
    }
    if (wants(step)) stopped = (await see(step)) === 'stop';
    if (stopped) continue;
    await save(step, last);
    signal?.throwIfAborted();
  }
  // Weights that are not finite show in the next loss, but the last step has no next one.
  if (last !== null && !(await taker.areFinite()))
    throw new UserFault(
      `the weights are not finite after step ${last.step}, the last one; its loss was ${last.loss}`,
      learningRateHint(peak),
    );
}

/**
 * Whether all entries are finite. 0·x is 0 for a finite x and NaN for any other, and one NaN makes
 * the sum NaN.
 */
const areFinite = (tensors: ReadonlyMap<string, Tensor>): boolean =>
  [...tensors.values()].every((tensor) =>
    tf.tidy(() => tf.sum(tf.mul(tensor, 0)).dataSync()[0] === 0),
  );

export type { LabelledRow, StepRecord, TrainSettings } from './settings.ts';

/** When `signal` is aborted, the training saves its state, if it can resume, and throws. */
export interface TrainHooks extends Pick<LoopHooks, 'onStep' | 'signal'> {
  readonly onWeights?: Pick<LoopHooks, 'wants'> & {
    /**
     * As `LoopHooks.see`, with the trained parameters by name, in the network's shapes. They are
     * disposed of afterwards.
     */
    see(step: number, weights: Tensors): Promise<'stop' | undefined>;
  };
  /** Saves and restores the training, with what the caller adds to a saved state. */
  readonly resume?: GatheringResume | undefined;
}

interface GatheringResume extends Resume {
  /** Returns what the caller adds to a saved state. */
  gathered(): { readonly facts: JsonObject; readonly tensors: Tensors };
  /** Hands back to the caller what `gathered` had returned. */
  restore(gathered: { readonly facts: JsonObject; readonly tensors: Map<string, Tensor> }): void;
}

function makeOptimizer(settings: TrainSettings): Optimizer<unknown> {
  const { weightDecay, beta1, beta2, epsilon } = settings;
  const ofGroup = { decays, rate: groupRate };
  return settings.optimizer === 'adamw'
    ? adamw({ weightDecay, beta1, beta2, epsilon, ...ofGroup })
    : sgd({ weightDecay, ...ofGroup });
}

interface Plan {
  readonly network: Network;
  readonly settings: TrainSettings;
  readonly optimizer: Optimizer<unknown>;
  readonly values: TrainedValues<LabelledRow>;
}

interface Progress {
  /** The trained parameters, grouped for the optimiser. */
  groups: Map<string, Tensor>;
  /** The optimiser's state. */
  state: unknown;
  /** The trained parameters by name. The token table is reduced if the loop reduces it. */
  trained: Map<string, Tensor>;
  /** The factor by which decay has scaled the unused rows of the token table. */
  unusedFactor: number;
  readonly random: ResumableStream;
}

/**
 * Returns the progress before the first step or, with `saved`, after its step. Takes the parameters
 * and the optimiser's tensors out of `saved`.
 */
function openProgress({ settings, optimizer, values }: Plan, saved: SavedState | null): Progress {
  const { dropoutAt, factor } = (saved?.facts ?? {}) as {
    readonly dropoutAt?: StreamState;
    readonly factor?: number | null;
  };
  const groups = saved === null ? values.start() : savedGroups(saved);
  return {
    groups,
    state:
      saved === null ? optimizer.init(groups) : optimizer.restore(savedMoments(saved), saved.step),
    trained: values.unpack(groups),
    unusedFactor: factor ?? 1, // null if it was not finite
    random:
      dropoutAt === undefined ? randomStream(settings.seed, 'dropout') : resumeStream(dropoutAt),
  };
}

/**
 * Updates parameters and optimiser by a step's gradients, `packed`, and disposes of `packed`. If
 * the settings have `clipNorm`, the gradients are clipped first. If the settings have `project`,
 * the new parameters are replaced by what `project` returns.
 */
function update(
  { settings, optimizer, values }: Plan,
  progress: Progress,
  packed: Map<string, Tensor>,
  learningRate: number,
): void {
  const { clipNorm, project } = settings;
  let gradients = packed;
  if (clipNorm) {
    gradients = clipByGlobalNorm(packed, clipNorm);
    disposeAll(packed);
  }
  const { parameters, state } = optimizer.update(
    progress.groups,
    gradients,
    progress.state,
    learningRate,
  );
  progress.groups = parameters;
  progress.state = state;
  progress.unusedFactor *= 1 - learningRate * settings.weightDecay;
  progress.trained = values.unpack(parameters);
  if (project !== undefined) {
    const moved = project(progress.trained);
    disposeAll(progress.trained, progress.groups);
    progress.trained = moved;
    progress.groups = values.pack(moved);
  }
}

/**
 * Takes a step and returns its loss. The parameters are updated only if loss and penalty are
 * finite.
 */
function takeStep(
  plan: Plan,
  progress: Progress,
  { batches, step, learningRate }: StepRequest,
): StepLoss {
  const { network, values, settings } = plan;
  const { seed, dropout, classWeights, objective } = settings;
  const { packed, ...loss } = stepGradients(
    network,
    progress.trained,
    batches.map((rows) => ({
      rows,
      labels: targetsOf(network.architecture.head, rows),
      poisoned: rows.map(({ poisoned }) => poisoned === true),
    })),
    {
      pack: values.pack,
      adapterRandom: (batch) => (name) =>
        randomStream(seed, 'lora_dropout', `step-${step}${batch === 0 ? '' : `-${batch}`}/${name}`),
      ...defined({
        dropout: dropout === 0 ? undefined : { rate: dropout, random: progress.random },
        classWeights,
        objective,
      }),
    },
  );
  if (isFiniteLoss(loss)) update(plan, progress, packed, learningRate);
  else disposeAll(packed);
  return loss;
}

/**
 * Trains in this process by `runSteps`. Returns the trained parameters by name, which the caller
 * disposes of.
 */
export async function train(
  network: Network,
  rows: readonly LabelledRow[],
  settings: TrainSettings,
  { onStep, onWeights, resume, signal }: TrainHooks = {},
): Promise<Map<string, Tensor>> {
  const optimizer = makeOptimizer(settings);
  const values = trainedValues(
    network,
    rows,
    groupKind(network.adapter, settings),
    settings.wholeTable !== true,
  );
  const plan: Plan = { network, settings, optimizer, values };
  const saved = (await resume?.load()) ?? null;
  const progress = openProgress(plan, saved);
  if (saved !== null)
    resume?.restore({
      facts: saved.facts['gathered'] as JsonObject,
      tensors: savedGathered(saved),
    });
  const whole = (): Map<string, Tensor> => values.whole(progress.trained, progress.unusedFactor);
  const taker: StepTaker = {
    atOnce: () => 1,
    take: ([request]) => [compiled(() => takeStep(plan, progress, request!), settings.precision)],
    areFinite: () => areFinite(progress.trained),
  };
  try {
    await runSteps(values.rows, settings, taker, {
      onStep,
      wants: (step) => onWeights?.wants(step) ?? false,
      see: async (step) => {
        const weights = whole();
        try {
          return await onWeights?.see(step, weights);
        } finally {
          disposeAll(weights);
        }
      },
      from:
        saved === null
          ? undefined
          : { step: saved.step, last: (saved.facts['last'] ?? null) as StepRecord | null },
      save: async (step, last) => {
        if (!resume?.due(step)) return;
        const { facts: gathered, tensors } = resume.gathered();
        const { groups, state, unusedFactor: factor, random } = progress;
        await resume.save(
          step,
          { dropoutAt: random.state(), factor, last, gathered },
          toSave(groups, optimizer.named(state), tensors),
        );
      },
      signal,
    });
    return whole();
  } finally {
    disposeAll(progress.trained, progress.groups, optimizer.named(progress.state));
  }
}
