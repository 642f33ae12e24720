/**
 * The record of a training so far: its history and what it used, in a form that can be saved with
 * its state.
 */
import { memoryUsage } from 'node:process';
import type { JsonObject } from '../../api.ts';
import type { StepBatch, StepRecord } from './settings.ts';

export interface Journal {
  readonly history: readonly StepRecord[];
  /** When each step ended, in seconds since 1970. */
  readonly times: readonly number[];
  add(record: StepRecord, batch: StepBatch): void;
  /**
   * The number of steps; if there were any, also examples, tokens, seconds, rates, final loss and
   * peak memory. Where the loss of an attack has a penalty, `penalised_share` is the share of steps
   * in which it was not zero.
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

export function trainingJournal(now: () => number = () => performance.now()): Journal {
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
