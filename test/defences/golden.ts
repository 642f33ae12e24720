/** The golden values of the defences' algorithms (test/golden/defences.py). */
import { readFile } from 'node:fs/promises';
import * as assert from 'uvu/assert';

interface Golden {
  readonly ngrams: readonly {
    readonly order: number;
    readonly texts: readonly string[];
    readonly vocabulary: number;
    readonly discounts: readonly number[][];
    readonly estimated: readonly boolean[];
    readonly asked: readonly {
      readonly text: string;
      readonly logs: readonly number[];
      readonly perplexity: number;
      readonly without: readonly number[];
    }[];
  }[];
  readonly clusters: readonly {
    readonly name: string;
    readonly points: readonly number[][];
    readonly min_cluster_size: number;
    readonly min_samples: number | null;
    readonly labels: readonly number[];
  }[];
  readonly detection: readonly {
    readonly name: string;
    readonly poisoned: readonly boolean[];
    readonly scores: readonly number[];
    readonly bar: number;
    readonly counts: readonly number[];
    readonly precision: number;
    readonly recall: number;
    readonly frr: number;
    readonly far: number;
    readonly auroc: number;
    readonly roc: readonly [readonly number[], readonly number[], readonly number[]];
  }[];
  readonly characteristic: {
    readonly texts: readonly string[];
    readonly weights: readonly Readonly<Record<string, number>>[];
  };
}
export const golden = JSON.parse(
  await readFile(new URL('../golden/defences.json', import.meta.url), 'utf8'),
) as Golden;

/** Both sides are sums of a few logarithms in double precision, in another order. */
export const close = (actual: number, expected: number, what: string): void =>
  assert.ok(
    Math.abs(actual - expected) <= 1e-10 * Math.max(1, Math.abs(expected)),
    `${what}: ${actual}, expected ${expected}`,
  );
