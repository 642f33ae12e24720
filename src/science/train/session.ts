/** A training with all that a stage does around it: its journal, kept steps, looks on the way, and going on after a kill. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { JsonObject } from '../../api.ts';
import type { Network, Tensors } from '../nn/network.ts';
import { checkpointFolder } from './checkpoints.ts';
import { type Journal, trainingJournal } from './journal.ts';
import { train, type TrainHooks } from './loop.ts';
import { resumeBySchedule } from './resume.ts';
import type { LabelledRow, TrainSettings } from './settings.ts';
import { disposeAll } from './trained-values.ts';
import type { Watch } from './watch.ts';

/** What of a stage's RunContext a training needs. */
export interface Place {
  readonly outDir: string;
  readonly resumeDir?: string;
  readonly log: (message: string) => void;
  readonly progress: (done: number, total: number, unit: string) => void;
  readonly signal: AbortSignal;
}

export interface SessionOptions {
  readonly network: Network;
  readonly rows: readonly LabelledRow[];
  readonly settings: TrainSettings;
  /** Steps that are kept. */
  readonly kept: readonly number[];
  /** Writes weights as the stage does its own. */
  readonly save: (weights: Tensors, dir: string) => Promise<void>;
  readonly watch: Watch | null;
  readonly place: Place;
  /** In place of the loop: where the training is a member of a pack. */
  readonly trainer?: typeof train;
}

export interface Session {
  /** The caller disposes of them. */
  readonly weights: Map<string, Tensor>;
  /** The step that they are of. */
  readonly step: number;
  readonly journal: Journal;
}

export async function runSession({
  network,
  rows,
  settings,
  kept,
  save,
  watch,
  place,
  trainer = train,
}: SessionOptions): Promise<Session> {
  const journal = trainingJournal(),
    { steps } = settings;
  const folder = checkpointFolder(place.resumeDir ?? place.outDir);
  const every = Math.ceil(steps / 100);
  let last: Map<string, Tensor>;
  try {
    last = await trainer(network, rows, settings, {
      onStep: async (record, batch) => {
        journal.add(record, batch);
        if (record.step % every === 0)
          place.log(
            `step ${record.step} of ${steps}: loss ${record.loss.toPrecision(5)}, learning rate ${record.learning_rate.toPrecision(4)}`,
          );
        place.progress(record.step, steps, 'steps');
        await new Promise((resolve) => {
          setImmediate(resolve);
        }); // an abort is heard between steps
      },
      onWeights: {
        wants: (step) => kept.includes(step) || watch?.wants(step) === true,
        see: (step, weights) =>
          journal.apart(async () => {
            if (kept.includes(step)) await folder.write(step, (dir) => save(weights, dir));
            if (!watch?.wants(step)) return;
            const verdict = await watch.see(step, weights);
            const point = watch.curves.at(-1)!;
            place.log(
              Object.entries(point)
                .map(
                  ([name, value]) =>
                    `${name.replace('_', ' ')} ${Number.isInteger(value) ? value : (value as number).toFixed(4)}`,
                )
                .join(', '),
            );
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
    // What was learnt on the way to a failure stays readable in the log.
    if ((error as Error).name === 'UserFault')
      for (const record of journal.history.slice(-20)) place.log(JSON.stringify(record));
    throw error;
  }
  await folder.deliver(place.outDir);
  const step = journal.history.at(-1)?.step ?? 0;
  if (watch === null || watch.bestWeights.size === 0 || watch.best!.step === step)
    return { weights: last, step, journal };
  disposeAll(last);
  return {
    weights: new Map([...watch.bestWeights].map(([name, tensor]) => [name, tensor.clone()])),
    step: watch.best!.step,
    journal,
  };
}

/** @param complete whether all that was kept up to a step is still there */
function resumable(
  dir: string,
  { log, signal }: Place,
  journal: Journal,
  watch: Watch | null,
  complete: (step: number) => boolean,
): NonNullable<TrainHooks['resume']> {
  const resume = resumeBySchedule(dir, { log, urgent: () => signal.aborted });
  return {
    ...resume,
    load: async () => {
      const saved = await resume.load();
      if (saved === null) return null;
      if (!complete(saved.step)) {
        log(`the checkpoints before step ${saved.step} are gone: the training starts anew`);
        return null;
      }
      log(`goes on after step ${saved.step}`);
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
