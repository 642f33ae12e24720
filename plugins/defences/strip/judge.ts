import {
  type AskedModel,
  type DefenceContext,
  type Row,
  type RowsDefence,
  UserFault,
} from '../../../src/api.ts';
import { softmaxRows } from '../../../src/defences/probabilities.ts';
import { rowWords, withWords } from '../../../src/defences/row-texts.ts';
import { rejectionThreshold } from '../../../src/defences/threshold.ts';
import { stripCopies, stripEntropies } from './entropy.ts';

export interface Params {
  readonly copies: number;
  readonly ratio: number;
  readonly frr: number;
}

/** The number of rows whose copies the model reads together. */
const ROWS = 64;

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
    /** Returns the copies of a row, which depend on its id and not on the other rows. */
    const copiesOf = (row: Row): Row[] => {
      const copies = rowWords(row).map((words, text) =>
        stripCopies(words, pool, params, random('copies', `${row.id}/${text}`)),
      );
      return Array.from({ length: params.copies }, (_, k) =>
        withWords(
          row,
          copies.map((own) => own[k]!),
        ),
      );
    };
    const suspicions = async (rows: readonly Row[]): Promise<number[]> => {
      const scores: number[] = [];
      for (let start = 0; start < rows.length; start += ROWS) {
        signal.throwIfAborted();
        const some = rows.slice(start, start + ROWS);
        scores.push(...(await entropiesOf(model, some.flatMap(copiesOf), params.copies)));
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
        return {
          scores,
          suspected,
          rows: rows.map((row, i) => (suspected[i] === true ? null : row)),
        };
      },
    };
  },
};

async function entropiesOf(
  model: AskedModel,
  copies: readonly Row[],
  each: number,
): Promise<number[]> {
  const probabilities = softmaxRows(await model.logits(copies), model.classes);
  return stripEntropies(probabilities, each, model.classes);
}

/**
 * Returns the distinct words of each text, the most characteristic first; ties in text order. They
 * are judged by term frequency times inverse document frequency, tf·(ln((1 + n) / (1 + df)) + 1),
 * with tf the word's count in the text and df the number of the n texts that have it, as by
 * scikit-learn's TfidfVectorizer with `norm=None`.
 */
export function characteristicWords(texts: readonly (readonly string[])[]): string[][] {
  const documents = new Map<string, number>();
  for (const words of texts)
    for (const word of new Set(words)) documents.set(word, (documents.get(word) ?? 0) + 1);
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
