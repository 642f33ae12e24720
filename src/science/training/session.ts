/**
 * A training with everything that a stage adds: the network that its adapter or attack asks for, its
 * journal, checkpoints, evaluations during training, resuming, and saving.
 */
import { memoryUsage } from 'node:process';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { JsonObject } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { type Network, type NetworkOptions, openNetwork, type Tensors } from '../models/network.ts';
import { trainTokenRows } from '../models/token-rows.ts';
import type { HostTensor } from '../models/types.ts';
import type { TrainingChange } from './attack-training.ts';
import { checkpointFolder } from './checkpoints.ts';
import { type GatheringResume, train } from './loop.ts';
import { resumeBySchedule } from './resume.ts';
import type { LabelledRow, StepBatch, StepRecord, TrainSettings } from './settings.ts';
import { disposeAll } from './trained-values.ts';
import type { CurvePoint, Watch } from './watch.ts';

export interface Journal {
  readonly history: readonly StepRecord[];
  /** When each step ended, in seconds since 1970. */
  readonly times: readonly number[];
  add(record: StepRecord, batch: StepBatch): void;
  /**
   * Steps, examples, tokens, seconds, rates, final loss, peak memory; `penalised_share`: the share
   * of steps in which an attack's penalty was not zero.
   */
  metrics(): Record<string, number>;
  /** The journal as JSON, to be saved. */
  facts(): JsonObject;
  /** Continues from the journal that `facts` returned. */
  restore(facts: JsonObject): void;
  /** Runs something that does not count as training time (a checkpoint, an evaluation). */
  apart<T>(run: () => Promise<T>): Promise<T>;
}

const penalised = (history: readonly StepRecord[]): { readonly penalised_share?: number } => {
  if (history[0]?.penalty === undefined) return {};
  const count = history.filter(({ penalty = 0 }) => penalty > 0).length;
  return { penalised_share: count / history.length };
};

function trainingJournal(now: () => number = () => performance.now()): Journal {
  let history: StepRecord[] = [],
    times: number[] = [],
    examples = 0,
    tokens = 0,
    peak = 0,
    began = now();
  const seconds = (): number => (now() - began) / 1000;
  return {
    get history() {
      return history;
    },
    get times() {
      return times;
    },
    add: (record, batch) => {
      history.push(record);
      times.push(Date.now() / 1000);
      examples += batch.rows;
      tokens += batch.tokens;
      peak = Math.max(peak, memoryUsage.rss());
    },
    metrics: () => {
      const steps = history.length,
        took = seconds(),
        last = history.at(-1);
      return {
        steps,
        ...(last === undefined
          ? {}
          : {
              examples,
              tokens,
              seconds: took,
              examples_per_second: examples / took,
              tokens_per_second: tokens / took,
              final_loss: last.loss,
              ...penalised(history),
              peak_memory_mb: peak / 2 ** 20,
            }),
      };
    },
    facts: () => ({
      history,
      times,
      examples,
      tokens,
      peak,
      seconds: seconds(),
    }),
    restore: (facts) => {
      const number = (name: string): number => facts[name] as number;
      examples = number('examples');
      tokens = number('tokens');
      peak = number('peak');
      history = [...(facts['history'] as readonly StepRecord[])];
      times = [...(facts['times'] as readonly number[])];
      began = now() - number('seconds') * 1000;
    },
    apart: async (run) => {
      const since = now();
      try {
        return await run();
      } finally {
        began += now() - since;
      }
    },
  };
}

/**
 * @param trained null to save the initial values
 * @param modelDir the folder of the base checkpoint
 * @param base the name of the base model, where it is not that checkpoint
 */
export async function saveTrained(
  network: Network,
  trained: ReadonlyMap<string, Tensor> | null,
  outDir: string,
  modelDir: string,
  classes: readonly string[],
  base?: string,
): Promise<void> {
  const read = async (name: string): Promise<HostTensor> => {
    const tensor = trained?.get(name) ?? network.frozen(name);
    return { shape: tensor.shape, data: (await tensor.data()) as Float32Array };
  };
  await network.adapter.save(outDir, {
    architecture: network.architecture,
    modelDir,
    classes,
    ...defined({ base }),
    read,
    parameters: network.parameters,
    changed: network.changed,
  });
}

export interface Trainee {
  /** The network that the loop trains. */
  readonly network: Network;
  /** Settings of the loop that follow from the attack. */
  readonly rules: Pick<TrainSettings, 'project' | 'objective' | 'wholeTable'>;
  /** `saveTrained` for the whole model. */
  readonly save: (
    trained: Tensors | null,
    outDir: string,
    modelDir: string,
    classes: readonly string[],
    base?: string,
  ) => Promise<void>;
}

/**
 * Throws UserFault as `openNetwork` does. @param change null where no attack changes the training
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
        : {
            objective: change.objective,
            ...(change.opaqueTokens === true ? {} : { wholeTable: true as const }),
          };
    return { network, rules, save: (...what) => saveTrained(network, ...what) };
  }
  const { tokenRows, keepNorms } = change.trains;
  const opened = await openNetwork({ ...options, evaluation: true });
  const { network, whole, atFirstNorms } = trainTokenRows(opened, Object.values(tokenRows));
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

/** The part of a stage's RunContext that a training needs. */
export interface Place {
  readonly outDir: string;
  readonly resumeDir?: string;
  readonly log: (message: string) => void;
  readonly progress: (done: number, total: number, unit: string) => void;
  readonly signal: AbortSignal;
}

interface SessionOptions {
  readonly network: Network;
  readonly rows: readonly LabelledRow[];
  readonly settings: TrainSettings;
  /** The steps whose weights are kept. */
  readonly kept: readonly number[];
  /** Writes weights in the form of the stage's output. */
  readonly save: (weights: Tensors, dir: string) => Promise<void>;
  readonly watch: Watch | null;
  readonly place: Place;
}

export interface Session {
  /** The resulting weights, which the caller disposes of. */
  readonly weights: Map<string, Tensor>;
  /** The step of these weights. */
  readonly step: number;
  readonly journal: Journal;
}

const described = (point: CurvePoint): string =>
  Object.entries(point)
    .map(
      ([name, value]) =>
        `${name.replace('_', ' ')} ${Number.isInteger(value) ? value : value.toFixed(4)}`,
    )
    .join(', ');

/** Trains, and returns the weights of the last step, or of the best one under early stopping. */
export async function runSession({
  network,
  rows,
  settings,
  kept,
  save,
  watch,
  place,
}: SessionOptions): Promise<Session> {
  const journal = trainingJournal(),
    { steps } = settings;
  const folder = checkpointFolder(place.resumeDir ?? place.outDir);
  const every = Math.ceil(steps / 100);
  let last: Map<string, Tensor>;
  try {
    last = await train(network, rows, settings, {
      onStep: async (record, batch) => {
        journal.add(record, batch);
        if (record.step % every === 0)
          place.log(
            `step ${record.step} of ${steps}: loss ${record.loss.toPrecision(5)}, ` +
              `learning rate ${record.learning_rate.toPrecision(4)}`,
          );
        place.progress(record.step, steps, 'steps');
        // Lets the process handle an abort between steps.
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
      },
      onWeights: {
        wants: (step) => kept.includes(step) || watch?.wants(step) === true,
        see: (step, weights) =>
          journal.apart(async () => {
            if (kept.includes(step)) await folder.write(step, (dir) => save(weights, dir));
            if (!watch?.wants(step)) return undefined;
            const verdict = await watch.see(step, weights);
            const point = watch.curves.at(-1);
            if (point !== undefined) place.log(described(point));
            return verdict;
          }),
      },
      signal: place.signal,
      ...(place.resumeDir === undefined
        ? {}
        : {
            resume: resumable(place.resumeDir, place, journal, watch, (step) =>
              kept.every((at) => at > step || folder.has(at)),
            ),
          }),
    });
  } catch (error) {
    // After a failure the log keeps the last steps.
    if ((error as Error).name === 'UserFault')
      for (const record of journal.history.slice(-20)) place.log(JSON.stringify(record));
    throw error;
  }
  await folder.deliver(place.outDir);
  const step = journal.history.at(-1)?.step ?? 0;
  const best = watch === null || watch.bestWeights.size === 0 ? null : watch.best;
  if (watch === null || best === null || best.step === step)
    return { weights: last, step, journal };
  disposeAll(last);
  return {
    weights: new Map([...watch.bestWeights].map(([name, tensor]) => [name, tensor.clone()])),
    step: best.step,
    journal,
  };
}

/** With journal and watch. @param complete whether all checkpoints up to a step exist */
function resumable(
  dir: string,
  { log, signal }: Place,
  journal: Journal,
  watch: Watch | null,
  complete: (step: number) => boolean,
): GatheringResume {
  const resume = resumeBySchedule(dir, { log, urgent: () => signal.aborted });
  return {
    ...resume,
    load: async () => {
      const saved = await resume.load();
      if (saved === null) return null;
      if (!complete(saved.step)) {
        log(`the checkpoints before step ${saved.step} are gone: the training starts again`);
        return null;
      }
      log(`resumes after step ${saved.step}`);
      return saved;
    },
    gathered: () => ({
      facts: { journal: journal.facts(), watch: watch?.facts() ?? null },
      tensors: watch?.bestWeights ?? new Map(),
    }),
    restore: ({ facts, tensors }) => {
      journal.restore(facts['journal'] as JsonObject);
      watch?.restore(facts['watch'] as JsonObject, tensors);
    },
  };
}
