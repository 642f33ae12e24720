/** The pure algorithms of the defences, against other programs (test/golden/defences.py). */
import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  bkiTextScores,
  keywordsAbove,
  keywordScores,
  salientWords,
  wordSaliences,
} from '../../src/defences/bki.ts';
import { cubeSelection } from '../../src/defences/cube.ts';
import { auroc, detectionMetrics, rocCurve } from '../../src/defences/detection.ts';
import { hdbscan, type Points } from '../../src/defences/hdbscan.ts';
import { trainKneserNey, UNESTIMATED } from '../../src/defences/kneser-ney.ts';
import { onionDrops, onionScores, onionTextScore } from '../../src/defences/onion.ts';
import { predictedClasses, softmaxRows } from '../../src/defences/probabilities.ts';
import { meanDrop, rapLoss } from '../../src/defences/rap.ts';
import { withoutEachWord } from '../../src/defences/row-texts.ts';
import { stripCopies, stripEntropies } from '../../src/defences/strip.ts';
import { characteristicWords } from '../../src/defences/tf-idf.ts';
import { rejectionThreshold } from '../../src/defences/threshold.ts';
import { withoutWords, wordsOf } from '../../src/defences/words.ts';
import { randomStream } from '../../src/random/random.ts';
import { present } from '../rig/present.ts';

const test = suite('algorithms of the defences');

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
    readonly single: boolean;
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
const golden = JSON.parse(
  await readFile(new URL('../golden/defences.json', import.meta.url), 'utf8'),
) as Golden;

/** Both sides are sums of a few logarithms in double precision, in another order. */
const close = (actual: number, expected: number, what: string): void =>
  assert.ok(
    Math.abs(actual - expected) <= 1e-10 * Math.max(1, Math.abs(expected)),
    `${what}: ${actual}, expected ${expected}`,
  );

const split = (text: string): string[] => wordsOf(text);

test("the n-gram model has nltk's probabilities with Chen and Goodman's discounts", () => {
  assert.is(golden.ngrams.length, 5);
  for (const { order, texts, vocabulary, discounts, estimated, asked } of golden.ngrams) {
    const model = trainKneserNey(texts.map(split), { order });
    assert.is(model.vocabulary, vocabulary);
    assert.equal(
      model.discounts.map((own) => own.estimated),
      estimated,
    );
    discounts.forEach((values, k) =>
      values.forEach((value, j) =>
        close(present(model.discounts[k]).values[j]!, value, `D${k + 1}(${j + 1})`),
      ),
    );
    for (const { text, logs, perplexity, without } of asked) {
      const words = split(text),
        own = model.logProbabilities(words),
        found = model.leaveOneOut(words);
      logs.forEach((value, i) => close(present(own[i]), value, `order ${order}, "${text}" ${i}`));
      close(model.perplexity(words), perplexity, text);
      close(found.whole, perplexity, text);
      assert.is(found.without.length, without.length);
      without.forEach((value, i) =>
        close(present(found.without[i]), value, `order ${order}, "${text}" without ${i}`),
      );
    }
  }
});

test('after any context the probabilities of all words sum to one', () => {
  const { texts } = present(golden.ngrams[2]);
  const model = trainKneserNey(texts.map(split), { order: 3 });
  const words = [...new Set(texts.flatMap(split))];
  for (const context of [[], ['the'], ['the', 'film'], ['never', 'seen'], ['good', 'zz']]) {
    // The end of a text, an unknown word, and every known one.
    const after = [...words, '∉'].map((word) =>
      present(model.logProbabilities([...context, word])[context.length]),
    );
    const end = present(model.logProbabilities(context).at(-1));
    close(
      [...after, end].reduce((sum, log) => sum + Math.exp(log), 0),
      1,
      context.join(' '),
    );
  }
  assert.not(model.knows('∉'));
  assert.equal(trainKneserNey([['a']], { order: 2 }).discounts[0], {
    values: UNESTIMATED,
    estimated: false,
  });
  assert.throws(() => trainKneserNey([], { order: 2 }), /at least one text/);
  assert.throws(() => trainKneserNey([['a']], { order: 0 }), /at least 1, got 0/);
});

test('ONION drops the rare word of a text, and never the last one', async () => {
  const { texts } = present(golden.ngrams[2]);
  const model = trainKneserNey(texts.map(split), { order: 3 });
  const words = split('the film cf was good'),
    scores = await onionScores(words, model);
  assert.is(scores.indexOf(Math.max(...scores)), 2);
  assert.equal(onionDrops(scores, onionTextScore(scores)), [false, false, true, false, false]);
  assert.is(
    withoutWords('the film  cf was good', onionDrops(scores, onionTextScore(scores))),
    'the film  was good',
  );
  assert.equal(onionDrops([3, 1, 1, 2], 0), [true, false, true, true]);
  assert.equal(onionDrops([5], 0), [false]);
  assert.is(onionTextScore([5]), -Infinity);
  assert.equal(await onionScores([], model), []);
  // A model that no clean text was spared from is asked as it is.
  assert.equal(
    await onionScores(['a', 'b'], { leaveOneOut: () => ({ whole: 7, without: [3, 9] }) }),
    [4, -2],
  );
});

test('leaving words out touches nothing else', () => {
  assert.is(withoutWords('  a b\tc\n', [false, true, false]), '  a c\n');
  assert.is(withoutWords('a b\tc\n', [false, false, true]), 'a b\n');
  assert.is(withoutWords(' a\u2003é ', [true, true]), '  ');
  assert.is(withoutWords(' ', []), ' ');
  assert.throws(() => withoutWords('a b', [true]), /2 words/);
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.array(fc.boolean()), (text, some) => {
      const words = wordsOf(text),
        drop = words.map((_, i) => some[i] === true);
      assert.equal(
        wordsOf(withoutWords(text, drop)),
        words.filter((_, i) => drop[i] !== true),
      );
      assert.is(
        withoutWords(
          text,
          words.map(() => false),
        ),
        text,
      );
    }),
  );
});

const pointsOf = (rows: readonly (readonly number[])[]): Points => ({
  values: Float64Array.from(rows.flat()),
  count: rows.length,
  dimensions: present(rows[0]).length,
});

/** Numbers clusters by their first point, since numbers are arbitrary. −1 stays. */
function renumbered(labels: ArrayLike<number>): number[] {
  const numbers = new Map([[-1, -1]]);
  return Array.from(labels, (label) => {
    if (!numbers.has(label)) numbers.set(label, numbers.size - 1);
    return present(numbers.get(label));
  });
}

test("HDBSCAN finds scikit-learn's clusters and noise", () => {
  assert.is(golden.clusters.length, 11);
  for (const { name, points, labels, single, ...options } of golden.clusters) {
    const asked = {
      minClusterSize: options.min_cluster_size,
      ...(options.min_samples === null ? {} : { minSamples: options.min_samples }),
      allowSingleCluster: single,
    };
    const found = hdbscan(pointsOf(points), asked);
    assert.equal(renumbered(found.labels), renumbered(labels), name);
    assert.is(found.count, new Set(labels.filter((label) => label >= 0)).size, name);
  }
});

test('HDBSCAN takes identical points and refuses what it cannot cluster', () => {
  const twice = [
    ...Array.from({ length: 6 }, () => [1, 1]),
    ...Array.from({ length: 6 }, () => [4, 4]),
  ];
  assert.equal(
    [...hdbscan(pointsOf(twice), { minClusterSize: 3 }).labels],
    [...new Array<number>(6).fill(0), ...new Array<number>(6).fill(1)],
  );
  const one = { values: [1, 2], count: 1, dimensions: 2 };
  assert.equal([...hdbscan(one, { minClusterSize: 2, minSamples: 1 }).labels], [-1]);
  assert.throws(() => hdbscan(one, { minClusterSize: 5 }), /minSamples is from 1 to the number of points, 1, not 5/);
  assert.throws(() => hdbscan(one, { minClusterSize: 1 }), /at least 2 points, not 1/);
  assert.throws(() => hdbscan({ ...one, values: [1, NaN] }, { minClusterSize: 2 }), /finite/);
});

test('CUBE keeps the largest cluster of each class, and never noise in its place', () => {
  const labels = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2],
    clusters = [0, 0, 0, -1, 1, 1, 2, -1, -1, -1, 0, -1, -1];
  const { keep, classes } = cubeSelection(labels, clusters);
  assert.equal(
    keep.flatMap((kept, i) => (kept ? [i] : [])),
    [0, 1, 2, 4, 5, 11, 12],
  );
  assert.equal(classes, [
    { label: 0, rows: 4, noise: 1, clusters: [3] },
    { label: 1, rows: 7, noise: 3, clusters: [2, 1, 1] },
    { label: 2, rows: 2, noise: 2, clusters: [] },
  ]);
  assert.throws(() => cubeSelection([0], []), /1 labels do not fit 0 rows/);
});

test("detection is measured as by scikit-learn's metrics", () => {
  for (const { name, poisoned, scores, bar, counts, roc, ...expected } of golden.detection) {
    const found = detectionMetrics(
      scores.map((score) => score >= bar),
      poisoned,
    );
    assert.equal(
      [found.truePositives, found.falsePositives, found.falseNegatives, found.trueNegatives],
      counts,
      name,
    );
    for (const key of ['precision', 'recall', 'frr', 'far'] as const)
      close(present(found[key]), expected[key], `${name}, ${key}`);
    close(present(auroc(scores, poisoned)), expected.auroc, name);
    const [first, ...curve] = rocCurve(scores, poisoned);
    assert.equal(first, { threshold: Infinity, falsePositiveRate: 0, truePositiveRate: 0 });
    assert.equal(
      [
        curve.map(({ threshold }) => threshold),
        curve.map(({ falsePositiveRate }) => falsePositiveRate),
        curve.map(({ truePositiveRate }) => truePositiveRate),
      ],
      roc,
      name,
    );
  }
});

test('rates of nothing are null, and infinite scores have an order', () => {
  const none = detectionMetrics([false, false], [false, false]);
  assert.equal([none.precision, none.recall, none.frr, none.far], [null, null, 0, null]);
  assert.is(detectionMetrics([true], [true]).frr, null);
  assert.is(auroc([1, 2], [true, true]), null);
  assert.equal(rocCurve([1, 2], [false, false]), []);
  const scores = [-Infinity, 0, Infinity, -Infinity, Infinity],
    poisoned = [false, false, true, true, false];
  // ∞ beats two of three and ties with one, −∞ ties with one: (2.5 + 0.5)/6.
  assert.is(auroc(scores, poisoned), 0.5);
  assert.throws(() => auroc([NaN], [true]), /NaN/);
  assert.throws(() => detectionMetrics([true], []), /got 1 and 0/);
});

test('a threshold rejects at most the asked share of clean scores, and as many as it can', () => {
  assert.is(rejectionThreshold([1, 2, 3, 4], 0.25) > 3, true);
  assert.is(rejectionThreshold([1, 2, 3, 4], 0.25) <= 4, true);
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.double({ noNaN: true }), fc.integer({ min: -3, max: 3 })), {
        minLength: 1,
      }),
      fc.double({ min: 0, max: 0.99, noNaN: true }),
      (scores, rate) => {
        const bar = rejectionThreshold(scores, rate),
          allowed = Math.floor(rate * scores.length);
        const rejected = scores.filter((score) => score >= bar && score !== Infinity);
        assert.ok(rejected.length <= allowed);
        // A lower threshold would reject too many: the largest accepted score and all equal ones.
        const accepted = scores.filter((score) => score < bar),
          next = Math.max(...accepted);
        if (accepted.length > 0)
          assert.ok(scores.filter((score) => score >= next).length > allowed);
      },
    ),
  );
  assert.throws(() => rejectionThreshold([], 0.1), /at least one/);
  assert.throws(() => rejectionThreshold([NaN], 0.1), /NaN/);
  assert.throws(() => rejectionThreshold([1], 1), /in \[0, 1\), got 1/);
});

test("words are ranked by scikit-learn's tf-idf", () => {
  const { texts, weights } = golden.characteristic;
  const found = characteristicWords(texts.map(split));
  weights.forEach((own, i) => {
    const words = present(found[i]);
    assert.equal([...words].sort(), Object.keys(own).sort());
    const order = words.map((word) => present(own[word]));
    assert.equal(
      order,
      [...order].sort((a, b) => b - a),
    );
  });
});

test('copies replace exactly the asked share of the words, at places of their own', () => {
  const words = split('a b c d e f g'),
    pool = [['P', 'Q'], ['R']];
  const copies = stripCopies(words, pool, { copies: 40, ratio: 0.5 }, randomStream(1, 'x'));
  assert.is(copies.length, 40);
  for (const copy of copies) {
    const replaced = copy.filter((word, i) => word !== words[i]);
    assert.is(copy.length, 7);
    assert.is(replaced.length, 3); // ⌊7/2⌋ different places
    // The words of one clean text, from the first, and again.
    assert.ok(['P,P,Q', 'R,R,R'].includes([...replaced].sort().join()), replaced.join());
  }
  assert.ok(new Set(copies.map((copy) => copy.join())).size > 10);
  assert.equal(stripCopies(['a'], [['P']], { copies: 1, ratio: 0.1 }, randomStream(1, 'x')), [
    ['P'],
  ]);
  assert.equal(stripCopies([], pool, { copies: 1, ratio: 1 }, randomStream(1, 'x')), [[]]);
  assert.throws(() => stripCopies(['a'], [], { copies: 1, ratio: 1 }, randomStream(1, 'x')));
});

test("STRIP averages over a text's own copies, not over those of other texts", () => {
  // Text 1 is certain in every copy, text 2 in none, text 3 in one of two.
  const certain = [1, 0],
    even = [0.5, 0.5];
  const probabilities = [certain, certain, even, even, certain, even].flat();
  assert.equal(stripEntropies(probabilities, 2, 2), [0, 1, 0.5]);
  // Read as (copies, texts), the same list would mix the texts.
  const mixed = [0, 1, 2].map(
    (text) => (present([0, 0, 1, 1, 0, 1][text]) + present([0, 0, 1, 1, 0, 1][text + 3])) / 2,
  );
  assert.equal(mixed, [0.5, 0, 1]);
  assert.throws(() => stripEntropies([1, 0, 1], 1, 2), /3 probabilities/);
});

test('probabilities and classes of logits', () => {
  const p = softmaxRows([0, Math.log(3), 1000, 1000], 2);
  [0.25, 0.75, 0.5, 0.5].forEach((value, i) => close(present(p[i]), value, `p${i}`));
  assert.equal(predictedClasses([0, 1, 5, 5, 3, 2], 2), [1, 0, 0]);
});

test('RAP punishes drops below c_low and above c_up', () => {
  const bounds = { low: 0.1, up: 0.3, weight: 2 };
  close(rapLoss([0.2, 0, 0.5], bounds), (0 + 2 * 0.1 + 0.2) / 3, 'L');
  assert.throws(() => rapLoss([], bounds), /at least one text/);
  // A word that does nothing is seen by its mean drop, whatever the threshold makes of it.
  assert.ok(meanDrop([0, 0.001, -0.002]) < bounds.low);
});

test("a word's salience is the largest change of any feature without it", () => {
  assert.equal(
    wordSaliences(
      [1, -1],
      [
        [1, 2],
        [0.5, -1],
      ],
    ),
    [3, 0.5],
  );
  assert.equal(salientWords(['a', 'b', 'a', 'c'], [1, 5, 3, 2], 2), [
    { word: 'b', salience: 5 },
    { word: 'a', salience: 3 },
  ]);
  const [scored] = keywordScores([[{ word: 'a', salience: 2 }], [{ word: 'a', salience: 4 }]], 5);
  assert.equal(scored, { word: 'a', texts: 2, salience: 3, score: 3 * Math.log10(10) });
  const row = { id: '1', text: 'a b', text_pair: 'c', label: 0 };
  assert.equal(
    withoutEachWord(row).map(({ text, text_pair: pair }) => `${text}|${pair ?? ''}`),
    ['b|c', 'a|c', 'a b|'],
  );
});

test('with several triggers, the one keyword of the paper leaves poison that a threshold finds', () => {
  // 40 poisoned rows with one of four triggers each, and 60 clean ones.
  const triggers = ['cf', 'mn', 'bb', 'tq'];
  const poisoned = Array.from({ length: 40 }, (_, i) => [
    { word: present(triggers[i % 4]), salience: 0.8 + i / 1000 },
    { word: 'film', salience: 0.1 },
  ]);
  const clean = Array.from({ length: 60 }, (_, i) => [
    { word: `good${i % 6}`, salience: 0.3 },
    { word: 'film', salience: 0.05 },
  ]);
  const texts = [...poisoned, ...clean],
    dictionary = keywordScores(texts),
    scores = bkiTextScores(texts, dictionary);
  const one = keywordsAbove(dictionary, present(dictionary[0]).score);
  assert.is(texts.filter((words) => words.some(({ word }) => one.includes(word))).length, 10);
  // 20 clean rows of the defender's, each of which counts for five.
  const ofClean = keywordScores(clean.slice(0, 20), texts.length / 20);
  const bar = rejectionThreshold(
    ofClean.map(({ score }) => score),
    0,
  );
  assert.equal(keywordsAbove(dictionary, bar).sort(), [...triggers].sort());
  assert.equal(
    scores.map((score) => score >= bar),
    texts.map((_, i) => i < 40),
  );
});

test.run();
