/**
 * ONION (Qi et al. 2021, section 3; arXiv 2011.10369): a word that makes a text much less likely
 * may be a trigger, and is left out. With PPL the perplexity under a language model, and x∖i the
 * text x without its i-th word, the suspicion score of that word is
 *
 *     f_i = PPL(x) − PPL(x∖i),
 *
 * and words with f_i ≥ bar are dropped. The paper uses GPT-2 and tunes the bar on held-out rows;
 * OpenBackdoor has a bar of 0. Here any `LanguageModel` serves.
 */
import {
  type DefenceContext,
  type JsonObject,
  type Judge,
  type Row,
  type RowsDefence,
  UserFault,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { rowTexts } from '../../../src/data/texts.ts';
import { droppingSuspects, rejectionThreshold } from '../../../src/defences/threshold.ts';
import { splitWords, withoutWords } from '../../../src/defences/words.ts';
import { openCausalModel } from './causal-model.ts';
import type { Params } from './index.ts';
import { type LanguageModel, trainKneserNey } from './kneser-ney.ts';

/** Returns f_i for each word of a text: the larger, the more suspicious. */
export async function onionScores(
  words: readonly string[],
  model: LanguageModel,
): Promise<number[]> {
  if (words.length === 0) return [];
  const { whole, without } = await model.leaveOneOut(words);
  return without.map((perplexity) => whole - perplexity);
}

/**
 * Returns for each word whether it is dropped, f_i ≥ bar. If all words of a text would be dropped,
 * the least suspicious one (the first, if several are) is kept, so that there is something left to
 * classify.
 */
export function onionDrops(scores: readonly number[], bar: number): boolean[] {
  const drops = scores.map((score) => score >= bar);
  if (drops.length > 0 && drops.every(Boolean)) {
    const least = scores.reduce((best, score, i) => (score < scores[best]! ? i : best), 0);
    drops[least] = false;
  }
  return drops;
}

/**
 * Returns the suspicion of a whole text, for detection: its largest word score. −Infinity for a
 * text of fewer than two words, from which nothing is ever dropped.
 */
export const onionTextScore = (scores: readonly number[]): number =>
  scores.length < 2 ? -Infinity : Math.max(...scores);

type Context = DefenceContext<Params>;

/** The number of folds of the clean rows. Each fold is judged by a model of the other folds. */
const FOLDS = 5;

/**
 * A language model, and the models that judge the clean rows, none of which was trained on the rows
 * that it judges.
 */
export interface OnionModel {
  readonly model: LanguageModel;
  /** Returns the model that judges the clean row at an index. */
  readonly ofClean: (index: number) => LanguageModel;
  /** What the judge's record says of the model. */
  readonly record: JsonObject;
  readonly close?: () => void;
}

/**
 * Trains an n-gram model on all clean rows and, for each fold, one on the rows of the other folds.
 * Throws `UserFault` if there are fewer clean rows than folds.
 */
function ngramOnionModel({ clean, params: { order } }: Context): OnionModel {
  const texts = clean.map((row) => rowTexts(row).map(splitWords));
  if (texts.length < FOLDS)
    throw new UserFault(
      `onion has ${texts.length} clean rows, and an n-gram model needs at least ${FOLDS}`,
      'Take more validation rows, name clean rows as data.clean, or give a language_model.',
      ['defence', 'language_model'],
    );
  const model = trainKneserNey(texts.flat(), order);
  const folds = Array.from({ length: FOLDS }, (_, fold) =>
    trainKneserNey(texts.filter((_row, i) => i % FOLDS !== fold).flat(), order),
  );
  return {
    model,
    ofClean: (index) => folds[index % FOLDS]!,
    record: {
      language_model: `Kneser–Ney ${order}-gram model of ${clean.length} clean rows`,
      vocabulary: model.vocabulary,
    },
  };
}

/** Returns, for each text of a row, f_i of each of its words. */
const wordScores = (row: Row, model: LanguageModel): Promise<number[][]> =>
  Promise.all(rowTexts(row).map((text) => onionScores(splitWords(text), model)));

const rowSuspicion = (scores: readonly (readonly number[])[]): number =>
  Math.max(...scores.map(onionTextScore));

/**
 * Returns a judge that removes the words whose score reaches the bar or, with `suspects: drop`,
 * drops the rows that have such a word. A text of one word is left as it is.
 */
async function fit(context: Context): Promise<Judge> {
  const { params, clean, signal, progress } = context;
  const opened =
    params.language_model === undefined ? ngramOnionModel(context) : await openCausalModel(context);
  try {
    const { bar, record } = await chooseBar(context, opened);
    return {
      threshold: bar,
      record: {
        ...opened.record,
        ...record,
        clean_rows_judged: record === null ? 0 : clean.length,
      },
      ...defined({ close: opened.close }),
      judge: async (rows) => {
        const scores: number[] = [],
          cleaned: Row[] = [];
        for (const [i, row] of rows.entries()) {
          signal.throwIfAborted();
          const ofWords = await wordScores(row, opened.model);
          scores.push(rowSuspicion(ofWords));
          cleaned.push(withoutSuspects(row, ofWords, bar));
          progress(i + 1, rows.length, 'rows');
        }
        const suspected = scores.map((score) => score >= bar);
        return params.suspects === 'drop'
          ? droppingSuspects(cleaned, scores, suspected)
          : { scores, suspected, rows: cleaned };
      },
    };
  } catch (error) {
    opened.close?.();
    throw error;
  }
}

/**
 * Returns the spec's bar or, if the spec has none, a bar that the clean rows set. `record` has how
 * many clean rows reach the bar that they set; it is null for the spec's bar. Throws `UserFault` if
 * there is neither a bar in the spec nor a clean row.
 */
async function chooseBar(
  { params, clean }: Context,
  { ofClean }: OnionModel,
): Promise<{ readonly bar: number; readonly record: JsonObject | null }> {
  if (params.bar !== undefined) return { bar: params.bar, record: null };
  if (clean.length === 0) throw new UserFault('onion has no clean rows to set its bar with');
  const scores: number[] = [];
  for (const [i, row] of clean.entries())
    scores.push(rowSuspicion(await wordScores(row, ofClean(i))));
  const bar = rejectionThreshold(scores, params.frr);
  return { bar, record: { clean_suspected: scores.filter((score) => score >= bar).length } };
}

/**
 * Returns the row without its suspicious words; the row itself if it has none.
 * @param scores for each text of the row, f_i of each of its words
 */
function withoutSuspects(row: Row, scores: readonly (readonly number[])[], bar: number): Row {
  const [text, pair] = rowTexts(row).map((whole, i) => {
    const ofWords = scores[i]!;
    const drops = onionTextScore(ofWords) >= bar ? onionDrops(ofWords, bar) : [];
    return drops.includes(true) ? withoutWords(whole, drops) : whole;
  });
  if (text === row.text && pair === row.text_pair) return row;
  return { ...row, text: text ?? row.text, ...defined({ text_pair: pair }) };
}

export const onion: RowsDefence<Params> = { fit };
