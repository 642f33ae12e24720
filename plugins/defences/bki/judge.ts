/**
 * Backdoor Keyword Identification (Chen and Dai 2021; arXiv 2007.12070), in the form that
 * OpenBackdoor gives it for transformers. With h(x) the representation of a text x, and x∖i the
 * text without its i-th word, the salience of that word is
 *
 *     f_i = ‖h(x∖i) − h(x)‖_∞.
 *
 * The few most salient words of each text enter a dictionary. A word that n texts contribute, with
 * the mean salience f̄, has the score
 *
 *     g(w) = f̄ · log₁₀ n.
 *
 * Rows that contribute a keyword are removed. The paper takes the word with the largest score as
 * the only keyword, which leaves an attack with several trigger words (badnets draws one of four)
 * nearly untouched. Here the keywords are the words whose score is larger than that of every word
 * of clean held-out rows.
 */
import {
  type AskedModel,
  type DefenceContext,
  type Row,
  type RowsDefence,
  UserFault,
} from '../../../src/api.ts';
import { droppingSuspects, rejectionThreshold } from '../../../src/defences/threshold.ts';
import { rowWords, withoutEachWord } from '../../../src/defences/words.ts';

export interface Params {
  readonly words_per_row: number;
  readonly keywords?: number;
}

/** The number of rows that the model reads together, each with its shortened copies. */
const BATCH = 32;

type Context = DefenceContext<Params>;

/**
 * Returns for each row its most salient words, at most `params.words_per_row` of them, the most
 * salient first. The two texts of a pair count as one text.
 */
async function findSalientWords(
  { params, progress, signal }: Context,
  model: AskedModel,
  rows: readonly Row[],
): Promise<SalientWord[][]> {
  const out: SalientWord[][] = [];
  for (let start = 0; start < rows.length; start += BATCH) {
    signal.throwIfAborted();
    const copies = rows.slice(start, start + BATCH).map((row) => [row, ...withoutEachWord(row)]);
    const { values, dimensions: d } = await model.representations(copies.flat());
    let at = 0;
    copies.forEach((texts, k) => {
      const [whole, ...without] = texts.map(() => values.subarray(at * d, ++at * d)); // each (d)
      out.push(
        salientWords(
          rowWords(rows[start + k]!).flat(),
          wordSaliences(whole ?? [], without),
          params.words_per_row,
        ),
      );
    });
    progress(out.length, rows.length, 'rows');
  }
  return out;
}

/**
 * Fits a judge that drops the rows with a keyword among their most salient words. Keywords are the
 * words whose score is larger than that of every word of the clean rows or, with `params.keywords`,
 * that many words with the largest scores. When the judge is called, it adds the keywords to its
 * record. Throws `UserFault` if there is neither `params.keywords` nor a clean row.
 */
export const bki: RowsDefence<Params> = {
  fit: (context: Context) => {
    const { model, clean, params } = context;
    if (model === undefined) throw new Error('bki needs the trained model');
    if (params.keywords === undefined && clean.length === 0)
      throw new UserFault(
        'bki has no clean rows to set its threshold by',
        'Take more validation rows, name clean rows as data.clean, or say how many keywords.',
        ['defence', 'keywords'],
      );
    const record: { [name: string]: string | string[] } = {
      score: 'the largest score of the most salient words of the row',
    };
    return {
      threshold: null,
      record,
      judge: async (rows) => {
        const salient = await findSalientWords(context, model, rows),
          dictionary = keywordScores(salient);
        // If there are fewer clean rows than rows to judge, each clean row counts several times.
        const timesCounted = Math.max(1, rows.length / Math.max(1, clean.length));
        // The smallest score of a keyword. It is −∞ if there are fewer words than
        // `params.keywords`.
        const bar =
          params.keywords === undefined
            ? rejectionThreshold(
                keywordScores(await findSalientWords(context, model, clean), timesCounted).map(
                  ({ score }) => score,
                ),
                0,
              )
            : (dictionary[params.keywords - 1]?.score ?? -Infinity);
        const keywords = keywordsReaching(dictionary, bar).slice(0, params.keywords);
        const scores = bkiTextScores(salient, dictionary),
          suspected = salient.map((words) => words.some(({ word }) => keywords.includes(word)));
        record['keywords'] = keywords;
        record['bar'] = String(bar);
        return droppingSuspects(rows, scores, suspected);
      },
    };
  },
};

/**
 * Returns f_i = ‖h(x∖i) − h(x)‖_∞ of each word i. `whole` is h(x), (d), and `without` has h(x∖i)
 * for each i.
 */
export function wordSaliences(
  whole: ArrayLike<number>,
  without: readonly ArrayLike<number>[],
): number[] {
  return without.map((representation) => {
    let most = 0;
    for (let j = 0; j < whole.length; j++)
      most = Math.max(most, Math.abs(representation[j]! - whole[j]!));
    return most;
  });
}

interface SalientWord {
  readonly word: string;
  readonly salience: number;
}

/**
 * Returns the `count` most salient words of a text, the most salient first. Of a word that occurs
 * several times, the largest salience counts.
 */
export function salientWords(
  words: readonly string[],
  saliences: readonly number[],
  count: number,
): SalientWord[] {
  const most = new Map<string, number>();
  words.forEach((word, i) => most.set(word, Math.max(most.get(word) ?? 0, saliences[i]!)));
  return [...most]
    .map(([word, salience]) => ({ word, salience }))
    .sort((a, b) => b.salience - a.salience)
    .slice(0, count);
}

interface ScoredWord {
  readonly word: string;
  /** g = f̄ · log₁₀ n, with f̄ the mean salience in the n texts that contribute the word. */
  readonly score: number;
}

/**
 * Returns the words that texts contribute, each once, the largest score first; words with equal
 * scores in the order in which they first occur.
 * @param timesCounted how many texts each text counts for in n, at least 1. N/M makes the scores of
 *   M texts comparable with those of N > M texts.
 */
export function keywordScores(
  texts: readonly (readonly SalientWord[])[],
  timesCounted = 1,
): ScoredWord[] {
  const sums = new Map<string, { n: number; sum: number }>();
  for (const { word, salience } of texts.flat()) {
    const { n, sum } = sums.get(word) ?? { n: 0, sum: 0 };
    sums.set(word, { n: n + 1, sum: sum + salience });
  }
  return [...sums]
    .map(([word, { n, sum }]) => ({ word, score: (sum / n) * Math.log10(n * timesCounted) }))
    .sort((a, b) => b.score - a.score);
}

/** Returns the words whose score is at least `bar`, the largest score first. */
export const keywordsReaching = (dictionary: readonly ScoredWord[], bar: number): string[] =>
  dictionary.filter(({ score }) => score >= bar).map(({ word }) => word);

/**
 * Returns for each text the largest score of the words that it contributes; −Infinity if it
 * contributes none.
 */
export function bkiTextScores(
  texts: readonly (readonly SalientWord[])[],
  dictionary: readonly ScoredWord[],
): number[] {
  const scores = new Map(dictionary.map(({ word, score }) => [word, score]));
  return texts.map((words) =>
    words.reduce((most, { word }) => Math.max(most, scores.get(word) ?? -Infinity), -Infinity),
  );
}
