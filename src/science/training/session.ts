/** A training with all that a stage adds: journal, checkpoints, evaluations, resuming, saving. */
import { memoryUsage } from 'node:process';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { JsonObject, RunContext } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import type { Seat } from '../../base/meeting.ts';
import { evaluated } from '../measures/evaluate/predict.ts';
import type { SaveContext } from '../models/adapter.ts';
import {
  type Network,
  type NetworkOptions,
  openNetwork,
  readReversed,
  type Tensors,
} from '../models/network.ts';
import { tokenRowNetwork } from '../models/token-rows.ts';
import type { Head, HostTensor } from '../models/types.ts';
import type { TrainingChange } from './attack-training.ts';
import { checkpointFolder } from './checkpoints.ts';
import { train } from './loop.ts';
import { resumeBySchedule } from './resume.ts';
import type { LabelledRow, StepBatch, StepRecord, TrainSettings } from './settings.ts';
import { disposeAll } from './trained-values.ts';
import type { CurvePoint, ModelInTraining, Watch } from './watch.ts';

export type { ModelInTraining } from './watch.ts';

export interface Journal {
  readonly history: readonly StepRecord[];
  /** When each step ended, in seconds since 1970. */
  readonly times: readonly number[];
  add(record: StepRecord, batch: StepBatch): void;
  /**
   * Returns steps, examples, tokens, seconds, rates, final loss, peak memory and, if the loss has a
   * penalty, `penalised_share`: the share of steps whose penalty was above 0. Returns only `steps`
   * if no step was taken.
   */
  metrics(): Record<string, number>;
  /** Returns the journal as JSON, to be saved. */
  facts(): JsonObject;
  /** Continues from the journal that `facts` returned. */
  restore(facts: JsonObject): void;
  /** Runs what does not count as training time: a checkpoint, an evaluation. */
  apart<T>(run: () => Promise<T>): Promise<T>;
}

function trainingJournal(): Journal {
  /** `peak`: the most memory that the process held after a step, in bytes. */
  let state = {
      history: [] as StepRecord[],
      times: [] as number[],
      examples: 0,
      tokens: 0,
      peak: 0,
    },
    began = performance.now();
  const seconds = (): number => (performance.now() - began) / 1000;
  return {
    get history() {
      return state.history;
    },
    get times() {
      return state.times;
    },
    add: (record, { rows, tokens }) => {
      state.history.push(record);
      state.times.push(Date.now() / 1000);
      state.examples += rows;
      state.tokens += tokens;
      state.peak = Math.max(state.peak, memoryUsage.rss());
    },
    metrics: () => {
      const { history, examples, tokens, peak } = state;
      const steps = history.length,
        took = seconds(),
        last = history.at(-1);
      if (last === undefined) return { steps };
      const penalised = history.filter(({ penalty = 0 }) => penalty > 0).length;
      return {
        steps,
        examples,
        tokens,
        seconds: took,
        examples_per_second: examples / took,
        tokens_per_second: tokens / took,
        final_loss: last.loss,
        ...(history[0]?.penalty === undefined ? {} : { penalised_share: penalised / steps }),
        peak_memory_mb: peak / 2 ** 20,
      };
    },
    facts: () => ({ ...state, seconds: seconds() }),
    restore: (facts) => {
      const { seconds: before, ...rest } = structuredClone(facts) as unknown as typeof state & {
        readonly seconds: number;
      };
      state = rest;
      began = performance.now() - before * 1000;
    },
    apart: async (run) => {
      const since = performance.now();
      try {
        return await run();
      } finally {
        began += performance.now() - since;
      }
    },
  };
}

/**
 * Writes a model in the form of a train stage's output. Parameters that are not in `trained`, or
 * all if it is null, are written at their initial values.
 */
export async function saveTrained(
  network: Network,
  trained: ReadonlyMap<string, Tensor> | null,
  outDir: string,
  savedAs: SavedAs,
): Promise<void> {
  const read = async (name: string): Promise<HostTensor> => {
    const tensor = trained?.get(name) ?? network.frozen(name);
    return { shape: tensor.shape, data: (await tensor.data()) as Float32Array };
  };
  await network.adapter.save(outDir, {
    ...savedAs,
    architecture: network.architecture,
    read,
    parameters: network.parameters,
    changed: network.changed,
  });
}

export interface TrainerHooks {
  readonly onStep: (record: StepRecord, batch: StepBatch) => Promise<void>;
  /** Whether `see` is to be called after this step; 0 means before the first one. */
  readonly wants: (step: number) => boolean;
  readonly see: (step: number, model: ModelInTraining) => Promise<'stop' | undefined>;
  /** Saves and restores the training, with what the caller gathered. Absent: no state is saved. */
  readonly resume?:
    | {
        /** The folder of the saved states. */
        readonly dir: string;
        readonly log: (message: string) => void;
        /**
         * Whether the caller still has what it wrote during the steps up to this one, such as
         * checkpoints. If not, the saved state is not used and the training starts again.
         */
        readonly complete: (step: number) => boolean;
        gathered(): JsonObject;
        restore(gathered: JsonObject): void;
      }
    | undefined;
  /** This training's seat among the trainings of this process whose steps may be taken together. */
  readonly together?: Seat | undefined;
  readonly signal: AbortSignal;
}

/** A model as a training left it, to be disposed of. */
export interface TrainedModel extends ModelInTraining {
  /** The most memory that the model's process held, in MiB, where that is not this process. */
  readonly peakMemoryMB?: number;
  /**
   * `members`: the most trainings, this one included, that took their steps together. `alone`: why
   * this one was alone, if `members` is 1; otherwise null. Absent where trainings are not packed.
   */
  readonly packed?: { readonly members: number; readonly alone: string | null };
  /**
   * Returns the model at the weights that `keep` kept last. It replaces this object, which must not
   * be used any more.
   */
  useKept(): Promise<TrainedModel> | TrainedModel;
  dispose(): void;
}

/** A model that is ready to be trained, on one of the engines. */
export interface Trainer {
  readonly head: Head;
  readonly classes: number;
  /** The number of trained entries. */
  readonly trainable: number;
  /** The model's parameters that were drawn, since the checkpoint lacks them. */
  readonly drawn: readonly string[];
  /** Throws UserFault as `runSteps` does. */
  train(
    rows: readonly LabelledRow[],
    settings: TrainSettings,
    hooks: TrainerHooks,
  ): Promise<TrainedModel>;
  /** Writes the model before any training, in the form of a train stage's output. */
  save(dir: string): Promise<void>;
  dispose(): void;
}

/** What a saved model says of its base and classes. */
export type SavedAs = Pick<SaveContext, 'modelDir' | 'classes' | 'base'>;

export interface TrainerOptions extends NetworkOptions {
  readonly savedAs: SavedAs;
  /** Whether the rows of each batch are read back to front (`readReversed`). Default: no. */
  readonly reversed?: boolean;
}

/**
 * Opens a model that is trained in this process. Throws UserFault as `openNetwork` does.
 * @param change null where no attack changes the training
 */
export async function openTrainer(
  { savedAs, reversed = false, ...options }: TrainerOptions,
  change: TrainingChange | null,
): Promise<Trainer> {
  const { network, rules, save } = await openTrainee(options, change);
  /** Writes the model to `dir`, at its initial values if `weights` is null. */
  const saveTo = (weights: Tensors | null, dir: string): Promise<void> =>
    save(weights, dir, savedAs);
  return {
    head: network.architecture.head,
    classes: network.classes,
    trainable: [...network.initial.values()].reduce((sum, { size }) => sum + size, 0),
    drawn: network.drawn,
    train: (rows, settings, hooks) =>
      trainNetwork(
        reversed ? readReversed(network) : network,
        rows,
        { ...settings, ...rules },
        hooks,
        saveTo,
      ),
    save: (dir) => saveTo(null, dir),
    dispose: () => network.dispose(),
  };
}

/** Trains a network in this process. `save` writes the model at given weights to a folder. */
async function trainNetwork(
  network: Network,
  rows: readonly LabelledRow[],
  settings: TrainSettings,
  { onStep, wants, see, resume, signal }: TrainerHooks,
  save: (weights: Tensors, dir: string) => Promise<void>,
): Promise<TrainedModel> {
  /** The weights that `ModelInTraining.keep` kept last; empty before. */
  let kept = new Map<string, Tensor>();
  const keep = (weights: Tensors): void => {
    disposeAll(kept);
    kept = new Map([...weights].map(([name, tensor]) => [name, tensor.clone()]));
  };
  const modelWith = (weights: Tensors): ModelInTraining => ({
    ...evaluated(network, weights),
    save: (dir) => save(weights, dir),
    keep: () => keep(weights),
  });
  /**
   * Returns what the training returns: the network at these weights. Its `dispose` disposes of
   * them.
   */
  const trainedWith = (weights: Map<string, Tensor>): TrainedModel => ({
    ...modelWith(weights),
    useKept: () => {
      disposeAll(weights);
      const best = kept;
      kept = new Map();
      return trainedWith(best);
    },
    dispose: () => disposeAll(weights, kept),
  });
  const states =
    resume && resumeBySchedule(resume.dir, { log: resume.log, urgent: () => signal.aborted });
  try {
    const weights = await train(network, rows, settings, {
      onStep,
      onWeights: { wants, see: (step, present) => see(step, modelWith(present)) },
      signal,
      resume: resume &&
        states && {
          ...states,
          load: async () => {
            const saved = await states.load();
            return saved === null || !resume.complete(saved.step) ? null : saved;
          },
          gathered: () => ({ facts: resume.gathered(), tensors: kept }),
          restore: ({ facts, tensors }) => {
            resume.restore(facts);
            kept = tensors;
          },
        },
    });
    return trainedWith(weights);
  } catch (error) {
    disposeAll(kept);
    throw error;
  }
}

export interface Trainee {
  readonly network: Network;
  /** Settings of the loop that follow from the attack. */
  readonly rules: Pick<TrainSettings, 'project' | 'objective' | 'wholeTable'>;
  /** Writes the whole model as `saveTrained` does, also if only some token rows are trained. */
  readonly save: (trained: Tensors | null, outDir: string, savedAs: SavedAs) => Promise<void>;
}

/**
 * Opens the network that `openTrainer` trains. If token rows are trained, these rows are the only
 * parameter of the network.
 */
export async function openTrainee(
  options: NetworkOptions,
  change: TrainingChange | null,
): Promise<Trainee> {
  if (change === null || 'objective' in change) {
    const network = await openNetwork(options);
    const rules =
      change === null
        ? {}
        : defined({
            objective: change.objective,
            wholeTable: change.opaqueTokens === true ? undefined : true,
          });
    return { network, rules, save: (...what) => saveTrained(network, ...what) };
  }
  const { tokenRows, keepNorms } = change.trains;
  const opened = await openNetwork({ ...options, evaluation: true });
  const { network, whole, atFirstNorms } = tokenRowNetwork(opened, Object.values(tokenRows));
  return {
    network,
    rules: keepNorms ? { project: atFirstNorms } : {},
    save: async (trained, ...where) => {
      const all = trained === null ? null : whole(trained);
      try {
        await saveTrained(opened, all, ...where);
      } finally {
        disposeAll(all ?? []);
      }
    },
  };
}

interface SessionOptions {
  readonly trainer: Trainer;
  readonly rows: readonly LabelledRow[];
  readonly settings: TrainSettings;
  /** The steps whose checkpoints are kept. */
  readonly kept: readonly number[];
  readonly watch: Watch | null;
  readonly place: Pick<
    RunContext,
    'outDir' | 'resumeDir' | 'log' | 'progress' | 'signal' | 'together'
  >;
}

export interface Session {
  readonly model: TrainedModel;
  /** The step whose weights the model has. */
  readonly step: number;
  readonly journal: Journal;
}

const describePoint = (point: CurvePoint): string =>
  Object.entries(point)
    .map(
      ([name, value]) =>
        `${name.replace('_', ' ')} ${Number.isInteger(value) ? value : value.toFixed(4)}`,
    )
    .join(', ');

/** Trains, and returns the model at the last step, or at the best one under early stopping. */
export async function runSession({
  trainer,
  rows,
  settings,
  kept,
  watch,
  place,
}: SessionOptions): Promise<Session> {
  const { log, outDir, resumeDir, signal, together } = place;
  const journal = trainingJournal(),
    { steps } = settings;
  const folder = checkpointFolder(resumeDir ?? outDir);
  const every = Math.ceil(steps / 100);
  let model: TrainedModel;
  try {
    model = await trainer.train(rows, settings, {
      onStep: async (record, batch) => {
        journal.add(record, batch);
        if (record.step % every === 0)
          log(
            `step ${record.step} of ${steps}: loss ${record.loss.toPrecision(5)}, ` +
              `learning rate ${record.learning_rate.toPrecision(4)}`,
          );
        place.progress(record.step, steps, 'steps');
        // Lets the process handle an abort between steps.
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
      },
      wants: (step) => kept.includes(step) || watch?.wants(step) === true,
      see: (step, present) =>
        journal.apart(async () => {
          if (kept.includes(step)) await folder.write(step, (dir) => present.save(dir));
          if (!watch?.wants(step)) return undefined;
          const ended = await watch.see(step, present);
          const point = watch.curves.at(-1);
          if (point !== undefined) log(describePoint(point));
          return ended;
        }),
      signal,
      together,
      resume:
        resumeDir === undefined
          ? undefined
          : {
              dir: resumeDir,
              log,
              complete: (step) => {
                const has = kept.every((at) => at > step || folder.has(at));
                log(
                  has
                    ? `resumes after step ${step}`
                    : `the checkpoints before step ${step} are gone: the training starts again`,
                );
                return has;
              },
              gathered: () => ({ journal: journal.facts(), watch: watch?.facts() ?? null }),
              restore: (facts) => {
                journal.restore(facts['journal'] as JsonObject);
                watch?.restore(facts['watch'] as JsonObject);
              },
            },
    });
  } catch (error) {
    // The log then shows the last steps before the fault.
    if ((error as Error).name === 'UserFault')
      for (const record of journal.history.slice(-20)) log(JSON.stringify(record));
    throw error;
  }
  await folder.deliver(outDir);
  const last = journal.history.at(-1)?.step ?? 0,
    step = watch?.kept?.step ?? last;
  return { model: step === last ? model : await model.useKept(), step, journal };
}
