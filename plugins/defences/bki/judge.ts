import {
  type AskedModel,
  type DefenceContext,
  type Row,
  type RowsDefence,
  UserFault,
} from '../../../src/api.ts';
import { rowWords, withoutEachWord } from '../../../src/defences/row-texts.ts';
import { rejectionThreshold } from '../../../src/defences/threshold.ts';
import {
  bkiTextScores,
  keywordsAbove,
  keywordScores,
  type SalientWord,
  salientWords,
  wordSaliences,
} from './keywords.ts';

export interface Params {
  readonly words_per_row: number;
  readonly keywords?: number;
}

/** The number of rows that the model reads together, each with its shortened copies. */
const ROWS = 32;

type Context = DefenceContext<Params>;

/** The most salient words of each row. */
async function salientOf(
  { params, progress, signal }: Context,
  model: AskedModel,
  rows: readonly Row[],
): Promise<SalientWord[][]> {
  const out: SalientWord[][] = [];
  for (let start = 0; start < rows.length; start += ROWS) {
    signal.throwIfAborted();
    const copies = rows.slice(start, start + ROWS).map((row) => [row, ...withoutEachWord(row)]);
    const { values, dimensions: d } = await model.representations(copies.flat());
    let at = 0;
    copies.forEach((own, k) => {
      const [whole, ...without] = own.map(() => values.subarray(at * d, ++at * d));
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
        const salient = await salientOf(context, model, rows),
          dictionary = keywordScores(salient);
        // Where there are fewer clean rows than rows to judge, each clean row counts several times.
        const scale = Math.max(1, rows.length / Math.max(1, clean.length));
        const bar =
          params.keywords === undefined
            ? rejectionThreshold(
                keywordScores(await salientOf(context, model, clean), scale).map(
                  ({ score }) => score,
                ),
                0,
              )
            : (dictionary[params.keywords - 1]?.score ?? -Infinity);
        const keywords = keywordsAbove(dictionary, bar).slice(0, params.keywords);
        const scores = bkiTextScores(salient, dictionary),
          suspected = salient.map((words) => words.some(({ word }) => keywords.includes(word)));
        record['keywords'] = keywords;
        record['bar'] = String(bar);
        return {
          scores,
          suspected,
          rows: rows.map((row, i) => (suspected[i] === true ? null : row)),
        };
      },
    };
  },
};
