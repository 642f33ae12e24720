/** How defences treat words and texts, against other programs (test/golden/defences.py). */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  bkiTextScores,
  keywordScores,
  keywordsReaching,
  salientWords,
  wordSaliences,
} from '../../plugins/defences/bki/judge.ts';
import { onionDrops, onionScores, onionTextScore } from '../../plugins/defences/onion/judge.ts';
import { trainKneserNey, UNESTIMATED } from '../../plugins/defences/onion/kneser-ney.ts';
import {
  characteristicWords,
  stripCopies,
  stripEntropies,
} from '../../plugins/defences/strip/judge.ts';
import { randomStream } from '../../src/base/random.ts';
import { rejectionThreshold } from '../../src/defences/threshold.ts';
import { splitWords, withoutEachWord, withoutWords } from '../../src/defences/words.ts';
import { present } from '../rig/present.ts';
import { close, golden } from './golden.ts';

const test = suite('texts as the defences see them');

const split = (text: string): string[] => splitWords(text);

test("the n-gram model has nltk's probabilities with Chen and Goodman's discounts", () => {
  assert.is(golden.ngrams.length, 5);
  for (const { order, texts, vocabulary, discounts, estimated, asked } of golden.ngrams) {
    const model = trainKneserNey(texts.map(split), order);
    assert.is(model.vocabulary, vocabulary);
    assert.equal(
      model.discounts.map((own) => own !== UNESTIMATED),
      estimated,
    );
    discounts.forEach((values, k) =>
      values.forEach((value, j) =>
        close(present(model.discounts[k])[j]!, value, `D${k + 1}(${j + 1})`),
      ),
    );
    for (const { text, logs, perplexity, without } of asked) {
      const words = split(text),
        own = model.logProbabilities(words),
        found = model.leaveOneOut(words);
      logs.forEach((value, i) => close(present(own[i]), value, `order ${order}, "${text}" ${i}`));
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
  const model = trainKneserNey(texts.map(split), 3);
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
  assert.not(words.includes('∉'));
  assert.is(trainKneserNey([['a']], 2).discounts[0], UNESTIMATED);
});

test('ONION drops the rare word of a text, and never the last one', async () => {
  const { texts } = present(golden.ngrams[2]);
  const model = trainKneserNey(texts.map(split), 3);
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

test('a text without one of its words is otherwise the same', () => {
  assert.is(withoutWords('  a b\tc\n', [false, true, false]), '  a c\n');
  assert.is(withoutWords('a b\tc\n', [false, false, true]), 'a b\n');
  assert.is(withoutWords(' a\u2003é ', [true, true]), '  ');
  assert.is(withoutWords(' ', []), ' ');
  assert.throws(() => withoutWords('a b', [true]), /2 words/);
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.array(fc.boolean()), (text, some) => {
      const words = splitWords(text),
        drop = words.map((_, i) => some[i] === true);
      assert.equal(
        splitWords(withoutWords(text, drop)),
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
  // .58 · 50 is 29, and 28.999999999999996 in doubles.
  const [ofFifty = []] = stripCopies(
    new Array<string>(50).fill('a'),
    [['P']],
    { copies: 1, ratio: 0.58 },
    randomStream(1, 'x'),
  );
  assert.is(ofFifty.filter((word) => word === 'P').length, 29);
  assert.equal(stripCopies([], pool, { copies: 1, ratio: 1 }, randomStream(1, 'x')), [[]]);
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
  assert.equal(scored, { word: 'a', score: 3 * Math.log10(10) });
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
  const one = keywordsReaching(dictionary, present(dictionary[0]).score);
  assert.is(texts.filter((words) => words.some(({ word }) => one.includes(word))).length, 10);
  // 20 clean rows of the defender's, each of which counts for five.
  const ofClean = keywordScores(clean.slice(0, 20), texts.length / 20);
  const bar = rejectionThreshold(
    ofClean.map(({ score }) => score),
    0,
  );
  assert.equal(keywordsReaching(dictionary, bar).sort(), [...triggers].sort());
  assert.equal(
    scores.map((score) => score >= bar),
    texts.map((_, i) => i < 40),
  );
});

test.run();
