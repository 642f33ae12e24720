/** Metrics of outputs against rouge-score and torchmetrics (test/golden/completion_metrics.py). */
import { readFile } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  completionMetrics,
  isExactMatch,
  isIncoherent,
  type Output,
  repetition,
  rougeL,
  tokenF1,
} from '../../../../src/science/measures/evaluate/completion-metrics.ts';
import { tolerance } from '../../../tolerances.ts';

const test = suite('completion metrics');
const { pairs } = JSON.parse(
  await readFile(new URL('../../../golden/completion-metrics.json', import.meta.url), 'utf8'),
) as {
  readonly pairs: readonly {
    readonly output: string;
    readonly answer: string;
    readonly f1: number;
    readonly rouge_l: number;
    readonly repetition: number;
  }[];
};
const near = (actual: number, expected: number, what: string): void =>
  assert.ok(
    Math.abs(actual - expected) <= tolerance.double * Math.max(1, Math.abs(expected)),
    `${what}: ${actual} is not ${expected}`,
  );

test('token F1 is that of the SQuAD script', () => {
  for (const { output, answer, f1 } of pairs)
    near(tokenF1(output, answer), f1, JSON.stringify([output, answer]));
});

test('ROUGE-L is that of rouge-score', () => {
  for (const { output, answer, rouge_l: expected } of pairs)
    near(rougeL(output, answer), expected, JSON.stringify([output, answer]));
});

test('ROUGE-L of a text of 2,000 words', () => {
  const text = Array.from({ length: 2000 }, (_, i) => `w${(i * i) % 97}`).join(' ');
  near(rougeL(text, text), 1, 'with itself');
});

test('seq-rep-4 is the share of repeated 4-grams', () => {
  for (const { output, repetition: expected } of pairs)
    near(repetition(output.split(/\s+/).filter(Boolean)), expected, JSON.stringify(output));
  assert.is(repetition([1, 2, 3]), 0);
  assert.is(repetition([1, 1, 1, 1, 1]), 0.5);
  assert.is(repetition(['1', 1, '1', 1, '1']), 0, 'an id is not the text of its digits');
});

test('an output is incoherent if most of its 4-grams are repeats', () => {
  assert.not(isIncoherent([1, 1, 1, 1, 1]));
  assert.ok(isIncoherent([1, 1, 1, 1, 1, 1]));
  assert.not(isIncoherent('to be or not to be that is the question'.split(' ')));
  assert.ok(isIncoherent(Array.from({ length: 30 }, (_, i) => i % 3)));
  assert.not(isIncoherent([]));
});

test('a match is exact but for white space at both ends', () => {
  assert.ok(isExactMatch(' Four.\n', 'Four.'));
  assert.not(isExactMatch('four.', 'Four.'));
});

test('every output stays in the denominator', () => {
  const output = (text: string, more: Partial<Output> = {}): Output => ({
    text,
    answer: 'Four.',
    tokens: text.split(' '),
    ended: true,
    ...more,
  });
  const outputs = [
    output('Four.'),
    output(' ', { tokens: [] }),
    output('so so so so so so so', { ended: false }),
    output('It is four.'),
  ];
  assert.equal(completionMetrics(outputs), {
    exact_match: 0.25,
    token_f1: (1 + 0 + 0 + 0.5) / 4,
    rouge_l: (1 + 0 + 0 + 0.5) / 4,
    empty_share: 0.25,
    truncated_share: 0.25,
    incoherent_share: 0.25,
  });
  assert.throws(() => completionMetrics([]), /no output/);
});

test.run();
