/** The training loop. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { JsonObject } from '../../api.ts';
import { randomStream, resumeStream, type StreamState } from '../../random/random.ts';
import type { Network, Tensors } from '../nn/network.ts';
import { adamw } from '../optim/adamw.ts';
import { isBiasOrNorm } from '../optim/decay.ts';
import { scheduleFactor } from '../optim/schedule.ts';
import { sgd } from '../optim/sgd.ts';
import type { Optimizer } from '../optim/types.ts';
import { stepBatches } from './batches.ts';
import { clipByGlobalNorm } from './clip.ts';
import { areFinite, lossFault, weightsFault } from './divergence.ts';
import { stepGradients } from './gradients.ts';
import type { Resume } from './resume.ts';
import { savedGathered, savedGroups, savedMoments, toSave } from './saved-training.ts';
import type { LabelledRow, StepBatch, StepRecord, TrainSettings } from './settings.ts';
import { disposeAll, trainedValues } from './trained-values.ts';
import { batchOrder } from './training-rows.ts';

export type { LabelledRow, StepRecord, TrainSettings } from './settings.ts';

export interface TrainHooks {
  /** After each step; what it returns is awaited, so that the process can breathe. Throwing stops the training. */
  readonly onStep?: (record: StepRecord, batch: StepBatch) => Promise<void> | void;
  /** Sees the parameters after the steps that it wants (0: before the first), in full and by their own names; `stop` ends the training there. They are disposed of when it is done. */
  readonly onWeights?: {
    wants(step: number): boolean;
    see(step: number, weights: Tensors): Promise<'stop' | void>;
  };
  /** Saves the state, what the caller has gathered with it, and goes on from a saved one. */
  readonly resume?: Resume & {
    gathered(): Gathered;
    restore(gathered: { readonly facts: JsonObject; readonly tensors: Map<string, Tensor> }): void;
  };
  /** Aborted: the training throws after the step, its state saved. */
  readonly signal?: AbortSignal;
}

/** What the caller of a training adds to its state. */
export interface Gathered {
  readonly facts: JsonObject;
  readonly tensors: Tensors;
}

/** Groups that decay leaves alone are named so. */
const FREE = 'free ';

function makeOptimizer(settings: TrainSettings): Optimizer<unknown> {
  const { weightDecay, beta1, beta2, epsilon } = settings;
  const decays =
    settings.decay === 'weights' ? { decays: (group: string) => !group.startsWith(FREE) } : {};
  return settings.optimizer === 'adamw'
    ? adamw({ weightDecay, beta1, beta2, epsilon, ...decays })
    : sgd({ weightDecay, ...decays });
}

/**
 * Trains from the network's initial values; returns the trained ones, which the caller disposes of.
 * Throws UserFault at a loss that is no number, naming the step and the last finite loss, and where the last step leaves
 * weights that are not finite.
 */
export async function train(
  network: Network,
  rows: readonly LabelledRow[],
  settings: TrainSettings,
  hooks: TrainHooks = {},
): Promise<Map<string, Tensor>> {
  const optimizer = makeOptimizer(settings);
  const values = trainedValues(
    network,
    rows,
    settings.decay === 'weights' ? (name) => (isBiasOrNorm(name) ? FREE : '') : undefined,
    settings.wholeTable !== true,
  );
  const order = stepBatches(batchOrder(rows, settings), settings.accumulate ?? 1);

  const saved = (await hooks.resume?.load()) ?? null;
  const { dropoutAt, factor, last } = (saved?.facts ?? {}) as {
    dropoutAt?: StreamState;
    factor?: number;
    last?: StepRecord;
  };
  const random =
    dropoutAt === undefined ? randomStream(settings.seed, 'dropout') : resumeStream(dropoutAt);
  let groups = saved === null ? values.start() : savedGroups(saved);
  let state =
    saved === null ? optimizer.init(groups) : optimizer.restore(savedMoments(saved), saved.step);
  let unusedFactor = factor ?? 1; // what decay has made of the token table's rows that no training row uses
  let lastFinite: StepRecord | null = last ?? null;
  let trained = values.unpack(groups);
  if (saved !== null) {
    for (let step = 0; step < saved.step; step++) order.next();
    hooks.resume!.restore({
      facts: saved.facts['gathered'] as JsonObject,
      tensors: savedGathered(saved),
    });
  }

  const save = async (step: number): Promise<void> => {
    const { facts, tensors } = hooks.resume!.gathered();
    await hooks.resume!.save(
      step,
      {
        dropoutAt: random.state(),
        factor: unusedFactor,
        last: lastFinite as unknown as JsonObject,
        gathered: facts,
      },
      toSave(groups, optimizer.named(state), tensors),
    );
  };

  const look = async (step: number): Promise<'stop' | void> => {
    if (!hooks.onWeights?.wants(step)) return;
    const weights = values.whole(trained, unusedFactor);
    try {
      return await hooks.onWeights.see(step, weights);
    } finally {
      disposeAll(weights);
    }
  };

  try {
    if (saved === null) await look(0);
    for (let step = saved?.step ?? 0; step < settings.steps; step++) {
      const chosen = order.next().value.map((batch) => Array.from(batch, (i) => values.rows[i]!));
      const learningRate =
        settings.learningRate *
        scheduleFactor(
          { kind: settings.schedule, warmup: settings.warmup, steps: settings.steps },
          step,
        );
      const gradients = stepGradients(
        network,
        trained,
        chosen.map((some) => ({
          rows: some,
          labels: some.map(({ label }) => label),
          poisoned: some.map(({ poisoned }) => poisoned === true),
        })),
        {
          pack: values.pack,
          adapterRandom: (batch) => (name) =>
            randomStream(
              settings.seed,
              'lora_dropout',
              `step-${step}${batch === 0 ? '' : `-${batch}`}/${name}`,
            ),
          ...(settings.dropout === 0 ? {} : { dropout: { rate: settings.dropout, random } }),
          ...(settings.classWeights === undefined ? {} : { classWeights: settings.classWeights }),
          ...(settings.objective === undefined ? {} : { objective: settings.objective }),
        },
      );
      const { loss, penalty } = gradients;
      let { packed } = gradients;
      const record: StepRecord = {
        step: step + 1,
        loss,
        learning_rate: learningRate,
        ...(penalty === undefined ? {} : { penalty }),
      };
      if (!Number.isFinite(loss) || !Number.isFinite(penalty ?? 0)) {
        disposeAll(packed);
        throw lossFault(
          record,
          lastFinite,
          settings.learningRate,
          settings.objective !== undefined,
        );
      }
      lastFinite = record;
      if (settings.clipNorm) {
        const clipped = clipByGlobalNorm(packed, settings.clipNorm);
        disposeAll(packed);
        packed = clipped;
      }
      ({ parameters: groups, state } = optimizer.update(groups, packed, state, learningRate));
      unusedFactor *= 1 - learningRate * settings.weightDecay;
      trained = values.unpack(groups);
      if (settings.project !== undefined) {
        const moved = settings.project(trained);
        disposeAll(trained, groups);
        trained = moved;
        groups = values.pack(moved);
      }
      const all = chosen.flat();
      await hooks.onStep?.(record, {
        rows: all.length,
        tokens: all.reduce((sum, { ids }) => sum + ids.length, 0),
      });
      if ((await look(record.step)) === 'stop') break;
      if (hooks.resume?.due(record.step)) await save(record.step);
      hooks.signal?.throwIfAborted();
    }
    if (lastFinite !== null && !areFinite(trained))
      throw weightsFault(lastFinite, settings.learningRate);
    return values.whole(trained, unusedFactor);
  } finally {
    disposeAll(trained, groups, optimizer.tensors(state));
  }
}
