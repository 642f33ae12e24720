/** What a training has been so far: its history and what it took, in a form that outlives a kill. */
import { memoryUsage } from 'node:process';
import type { JsonObject } from '../../api.ts';
import type { StepBatch, StepRecord } from './settings.ts';

export interface Journal {
  readonly history: readonly StepRecord[];
  /** When each step ended, in seconds since 1970. */
  readonly times: readonly number[];
  add(record: StepRecord, batch: StepBatch): void;
  /**
   * steps, and where there are any examples, tokens, seconds, rates, final loss and peak memory; where an attack's loss has a
   * penalty, the share of steps in which there was one (`penalised_share`). In a pack: `packed` trainings
   * shared the steps (the most at once), and seconds is this one's share of their time, so that the members' add up to it.
   */
  metrics(): Record<string, number>;
  facts(): JsonObject;
  restore(facts: JsonObject): void;
  /** Runs something that is no training (a checkpoint, an evaluation) off the clock. */
  apart<T>(run: () => Promise<T>): Promise<T>;
}

const penalised = (history: readonly StepRecord[]): { readonly penalised_share?: number } =>
  history[0]?.penalty === undefined
    ? {}
    : { penalised_share: history.filter(({ penalty }) => penalty! > 0).length / history.length };

export function trainingJournal(now: () => number = () => performance.now()): Journal {
  let history: StepRecord[] = [],
    times: number[] = [],
    examples = 0,
    tokens = 0,
    peak = 0,
    began = now(),
    packed = 0,
    share = 0,
    sharing = false;
  const seconds = (): number => (sharing ? share : (now() - began) / 1000);
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
      packed = Math.max(packed, batch.packed ?? 0);
      sharing = batch.seconds !== undefined;
      share += batch.seconds ?? 0;
      peak = Math.max(peak, memoryUsage.rss());
    },
    metrics: () => {
      const steps = history.length,
        took = seconds();
      return {
        steps,
        ...(steps === 0
          ? {}
          : {
              examples,
              tokens,
              seconds: took,
              examples_per_second: examples / took,
              tokens_per_second: tokens / took,
              final_loss: history[steps - 1]!.loss,
              ...penalised(history),
              peak_memory_mb: peak / 2 ** 20,
              ...(packed > 0 ? { packed } : {}),
            }),
      };
    },
    facts: () => ({
      history: history as unknown as JsonObject[],
      times,
      examples,
      tokens,
      peak,
      packed,
      seconds: seconds(),
    }),
    restore: (facts) => {
      const saved = facts as unknown as {
        history: StepRecord[];
        times: number[];
        examples: number;
        tokens: number;
        peak: number;
        packed: number;
        seconds: number;
      };
      ({ examples, tokens, peak, packed, seconds: share } = saved);
      history = [...saved.history];
      times = [...saved.times];
      began = now() - saved.seconds * 1000;
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
