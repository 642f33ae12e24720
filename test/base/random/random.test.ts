import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type RandomStream, randomStream } from '../../../src/base/random.ts';
import { present } from '../../rig/present.ts';

const test = suite('random streams');
const take = <T>(n: number, draw: () => T): T[] => Array.from({ length: n }, draw);
const mean = (values: readonly number[]): number =>
  values.reduce((sum, x) => sum + x, 0) / values.length;
/**
 * |actual − expected| within five standard errors: a chance of one in 1.7 million for each check.
 */
function near(actual: number, expected: number, standardError: number, what: string): void {
  assert.ok(
    Math.abs(actual - expected) < 5 * standardError,
    `${what}: ${actual}, expected ${expected} ± ${5 * standardError}`,
  );
}

test('a stream depends on (seed, purpose, name), whatever else was drawn', () => {
  const first = take(5, randomStream(1, 'rows', 'x').uniform);
  const other = randomStream(1, 'rows', 'y');
  take(1000, () => other.normal());
  assert.equal(take(5, randomStream(1, 'rows', 'x').uniform), first);
});

test('the first draws of a stream are pinned', () => {
  const stream = randomStream(1, 'rows', 'badnets');
  assert.equal(
    [
      stream.uniform(),
      stream.uniform(),
      stream.normal(),
      stream.integer(1000),
      [...stream.permutation(6)],
    ],
    [0.4452432105470271, 0.24610022713203805, -0.6780754894859813, 734, [1, 3, 0, 2, 5, 4]],
  );
});

test('another seed, purpose or name gives another stream; their texts are not joined', () => {
  const triples: [number, string, string][] = [
    [1, 'ab', 'c'],
    [1, 'a', 'bc'],
    [1, 'abc', ''],
    [1, '', 'abc'],
    [11, 'ab', 'c'],
    [2, 'ab', 'c'],
    [1, 'ab","', 'c'],
    [1, 'ab', '","c'],
  ];
  assert.is(
    new Set(triples.map((triple) => randomStream(...triple).uniform())).size,
    triples.length,
  );
});

test('streams with neighbouring seeds or names are not correlated', () => {
  const n = 4000;
  for (const [a, b] of [
    [randomStream(1, 'A', 'layer.0'), randomStream(1, 'A', 'layer.1')],
    [randomStream(1, 'A'), randomStream(2, 'A')],
  ] as [RandomStream, RandomStream][]) {
    near(mean(take(n, () => a.normal() * b.normal())), 0, 1 / Math.sqrt(n), 'E[xy]');
  }
});

test('uniform: the moments and bounds are right, and neighbours are independent', () => {
  const n = 40_000,
    stream = randomStream(3, 'uniform'),
    values = take(n, stream.uniform);
  assert.ok(values.every((x) => x >= 0 && x < 1));
  near(mean(values), 1 / 2, Math.sqrt(1 / 12 / n), 'mean');
  near(mean(values.map((x) => x * x)), 1 / 3, Math.sqrt(4 / 45 / n), 'E[x²]');
  near(
    mean(values.slice(1).map((x, i) => (x - 0.5) * (present(values[i]) - 0.5))),
    0,
    1 / 12 / Math.sqrt(n),
    'lag 1',
  );
  // All 53 bits are used: the last of them is set in half of the draws.
  near(mean(values.map((x) => (x * 2 ** 53) % 2)), 1 / 2, Math.sqrt(1 / 4 / n), 'last bit');
});

test('normal: four moments and the tails are right, and pairs are independent', () => {
  const n = 40_000,
    stream = randomStream(3, 'normal'),
    values = take(n, stream.normal);
  near(mean(values), 0, Math.sqrt(1 / n), 'mean');
  near(mean(values.map((z) => z ** 2)), 1, Math.sqrt(2 / n), 'variance');
  near(mean(values.map((z) => z ** 3)), 0, Math.sqrt(15 / n), 'skewness');
  near(mean(values.map((z) => z ** 4)), 3, Math.sqrt(96 / n), 'kurtosis');
  near(
    mean(values.map((z) => (Math.abs(z) > 1.959963984540054 ? 1 : 0))),
    0.05,
    Math.sqrt((0.05 * 0.95) / n),
    'tail',
  );
  near(mean(values.slice(1).map((z, i) => z * present(values[i]))), 0, Math.sqrt(1 / n), 'lag 1');
});

test('integer: every value of [0, n) is equally likely; n must be whole and positive', () => {
  const stream = randomStream(3, 'integer'),
    draws = 14_000,
    counts = new Array<number>(7).fill(0);
  for (let i = 0; i < draws; i++) counts[stream.integer(7)]!++;
  for (const count of counts) near(count, 2000, Math.sqrt(((draws / 7) * 6) / 7), 'count');
  assert.is(stream.integer(1), 0);
  for (const n of [0, -1, 1.5, NaN, Infinity])
    assert.throws(() => stream.integer(n), /whole n ≥ 1/);
});

test('a permutation contains every index once', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 1 << 30 }),
      fc.integer({ min: 0, max: 300 }),
      (seed, n) => {
        assert.equal(
          [...randomStream(seed, 'p').permutation(n)].sort((a, b) => a - b),
          take(n, () => 0).map((_, i) => i),
        );
      },
    ),
    { numRuns: 100, seed: 1 },
  );
});

test('every permutation is equally likely, and so is every sample at its start', () => {
  const draws = 12_000,
    orders = new Map<string, number>(),
    pairs = new Map<string, number>();
  const stream = randomStream(3, 'permutation');
  for (let i = 0; i < draws; i++) {
    const order = stream.permutation(4),
      key = order.join(),
      pair = [...order.slice(0, 2)].sort().join();
    orders.set(key, (orders.get(key) ?? 0) + 1);
    pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
  }
  assert.is(orders.size, 24);
  assert.is(pairs.size, 6);
  for (const [key, count] of orders)
    near(count, draws / 24, Math.sqrt(((draws / 24) * 23) / 24), key);
  for (const [key, count] of pairs) near(count, draws / 6, Math.sqrt(((draws / 6) * 5) / 6), key);
});

test.run();
