/** The tokens that a head reads. */
import { named } from '../../base/lookup.ts';
import type { Reads, TokenRow } from './types.ts';

/** One token of each row. */
function oneEach(batch: readonly TokenRow[], place: (row: TokenRow) => number): Reads {
  return {
    example: Int32Array.from(batch, (_, b) => b),
    place: Int32Array.from(batch, place),
  };
}

/** The first token, [CLS]. */
export const firstTokens = (batch: readonly TokenRow[]): Reads => oneEach(batch, () => 0);

/**
 * The last token that is not the padding token, or the first where all are. transformers finds the
 * end of a padded row in this way, so that a row that ends with eos is read before it where
 * `pad_token_id` is eos's.
 * @param padding null: the last token
 */
export const lastTokens = (batch: readonly TokenRow[], padding: number | null): Reads =>
  oneEach(batch, ({ ids, vocabularyIds = ids }) =>
    Math.max(
      0,
      vocabularyIds.findLastIndex((id) => id !== padding),
    ),
  );

/** The mask of a cloze prompt. Throws where a row has none. */
export const maskTokens = (batch: readonly TokenRow[]): Reads =>
  oneEach(batch, ({ mask }) => {
    if (mask === undefined) throw new Error('a row for a cloze head has no mask');
    return mask;
  });

/**
 * The token before each token of the answer, which predicts it. A row without an answer is read at
 * its last token, which predicts the first token that the model writes.
 */
export function beforeAnswers(batch: readonly TokenRow[]): Reads {
  const example: number[] = [],
    place: number[] = [];
  batch.forEach(({ ids, answer = ids.length }, b) => {
    if (answer === 0) throw new Error('an answer needs a token before it');
    const end = answer === ids.length ? ids.length : ids.length - 1;
    for (let t = answer - 1; t < end; t++) {
      example.push(b);
      place.push(t);
    }
  });
  return { example: Int32Array.from(example), place: Int32Array.from(place) };
}

/** The targets of `beforeAnswers`: the tokens of the answers, row by row. */
export const answerTokens = (batch: readonly TokenRow[]): number[] =>
  batch.flatMap(({ ids, answer = ids.length }) => [...ids.subarray(answer)]);

/**
 * A row for a smaller token table.
 * @param place the row of that table for each id
 */
export const inTable = <R extends TokenRow>(row: R, place: ReadonlyMap<number, number>): R => ({
  ...row,
  ids: row.ids.map((id) => named(place, id)),
  vocabularyIds: row.vocabularyIds ?? row.ids,
});
