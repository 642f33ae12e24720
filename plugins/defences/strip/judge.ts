/**
 * STRIP (Gao et al. 2019; for texts Gao et al. 2021; arXiv 1911.10312): when many words of a text
 * are replaced, the prediction for a clean text changes, but the prediction for a text with a
 * trigger does not. A share of the words of each text is replaced by words of clean held-out texts,
 * in several copies. A text is rejected if the mean entropy of the predictions for its copies,
 *
 *     H(x) = −(1/n) Σ_copies Σ_c p_c log₂ p_c,
 *
 * is below the quantile of clean held-out texts at the allowed false rejection rate.
 */
import {
  type DefenceContext,
  type RandomStream,
  type Row,
  type RowsDefence,
  UserFault,
} from '../../../src/api.ts';
import { flooredShare } from '../../../src/base/rounding.ts';
import { droppingSuspects, rejectionThreshold } from '../../../src/defences/threshold.ts';
import { rowWords, withWords } from '../../../src/defences/words.ts';
import { softmax } from '../../../src/science/measures/fisher.ts';

export interface Params {
  readonly copies: number;
  readonly ratio: number;
  readonly frr: number;
}

/** The number of rows whose copies the model reads together. */
const ROWS_PER_PASS = 64;

/**
 * Fits a judge that drops the rows whose −H(x) reaches the threshold, which the clean rows set.
 * Throws `UserFault` if no clean row has a word.
 */
export const strip: RowsDefence<Params> = {
  fit: async ({ model, clean, params, random, progress, signal }: DefenceContext<Params>) => {
    if (model === undefined) throw new Error('strip needs the trained model');
    const pool = characteristicWords(clean.map((row) => rowWords(row).flat())).filter(
      (words) => words.length > 0,
    );
    if (pool.length === 0)
      throw new UserFault(
        'strip has no clean row with words, and replaces the words of texts by those of clean rows',
        'Take more validation rows, or name clean rows as data.clean.',
        ['defence', 'defence'],
      );
    /** Returns the copies of a row, which depend on the row's id and not on the other rows. */
    const makeCopies = (row: Row): Row[] => {
      const copies = rowWords(row).map((words, text) =>
        stripCopies(words, pool, params, random('copies', `${row.id}/${text}`)),
      );
      return Array.from({ length: params.copies }, (_, k) =>
        withWords(
          row,
          copies.map((ofText) => ofText[k]!),
        ),
      );
    };
    /** Returns −H(x) of each row, in bits. */
    const suspicions = async (rows: readonly Row[]): Promise<number[]> => {
      const scores: number[] = [];
      for (let start = 0; start < rows.length; start += ROWS_PER_PASS) {
        signal.throwIfAborted();
        const chunk = rows.slice(start, start + ROWS_PER_PASS);
        const p = softmax(await model.logits(chunk.flatMap(makeCopies)), model.classes);
        scores.push(...stripEntropies(p, params.copies, model.classes));
        progress(scores.length, rows.length, 'rows');
      }
      return scores.map((entropy) => -entropy);
    };
    const ofClean = await suspicions(clean);
    const threshold = rejectionThreshold(ofClean, params.frr);
    return {
      threshold,
      record: {
        score: 'minus the mean entropy of the copies, in bits',
        clean_rejected: ofClean.filter((score) => score >= threshold).length,
      },
      judge: async (rows) => {
        const scores = await suspicions(rows),
          suspected = scores.map((score) => score >= threshold);
        return droppingSuspects(rows, scores, suspected);
      },
    };
  },
};

/**
 * Returns the distinct words of each text, the most characteristic first; ties in text order. A
 * word scores tf·(ln((1 + n) / (1 + df)) + 1), with tf its count in the text and df the number of
 * the n texts that have it. That is scikit-learn's TfidfVectorizer with `norm=None`.
 */
export function characteristicWords(texts: readonly (readonly string[])[]): string[][] {
  const documents = new Map<string, number>();
  for (const words of texts)
    for (const word of new Set(words)) documents.set(word, (documents.get(word) ?? 0) + 1);
  /** Returns ln((1 + n) / (1 + df)) + 1 of a word. */
  const idf = (word: string): number =>
    Math.log((1 + texts.length) / (1 + (documents.get(word) ?? 0))) + 1;
  return texts.map((words) => {
    const counts = new Map<string, number>();
    for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
    return [...counts]
      .map(([word, count]) => ({ word, score: count * idf(word) }))
      .sort((a, b) => b.score - a.score)
      .map(({ word }) => word);
  });
}

/**
 * Returns copies of a text of words. In each, ⌊ratio·words⌋ words, but at least one, at places
 * drawn without replacement are replaced by the most characteristic words of one clean text, which
 * is drawn for each copy. If that text has too few words, they are repeated. The copies of a text
 * without words have none either. OpenBackdoor draws the places with replacement, so it replaces
 * fewer words than its ratio says.
 * @param pool the words of clean texts, the most characteristic first (`characteristicWords`); not
 *   empty, and each text has a word
 */
export function stripCopies(
  words: readonly string[],
  pool: readonly (readonly string[])[],
  { copies, ratio }: Pick<Params, 'copies' | 'ratio'>,
  random: RandomStream,
): string[][] {
  const count = words.length === 0 ? 0 : Math.max(1, flooredShare(ratio, words.length));
  return Array.from({ length: copies }, () => {
    const from = pool[random.integer(pool.length)]!,
      places = random.permutation(words.length).subarray(0, count);
    const copy = [...words];
    places.forEach((place, i) => (copy[place] = from[i % from.length]!));
    return copy;
  });
}

/** Returns −Σ p log₂ p of the probabilities, in bits; a p of 0 adds nothing. */
const entropyBits = (probabilities: ArrayLike<number>): number =>
  Array.from(probabilities).reduce((sum, p) => (p > 0 ? sum - p * Math.log2(p) : sum), 0);

/**
 * Returns H(x) of each text, in bits. Throws a RangeError if there are not `copies` times `classes`
 * probabilities for each text.
 * @param probabilities (N·copies, C), row-major: the copies of the first text, then those of the
 *   second, and so on
 */
export function stripEntropies(
  probabilities: ArrayLike<number>,
  copies: number,
  classes: number,
): number[] {
  const texts = probabilities.length / (copies * classes);
  if (!Number.isInteger(texts))
    throw new RangeError(
      `${probabilities.length} probabilities are not ${copies} copies of ${classes} classes each`,
    );
  const all = Array.from(probabilities);
  return Array.from({ length: texts }, (_, text) => {
    let sum = 0;
    for (let copy = 0; copy < copies; copy++) {
      const from = (text * copies + copy) * classes;
      sum += entropyBits(all.slice(from, from + classes));
    }
    return sum / copies;
  });
}
