/** For each row, the position of the token that a head reads, (B). */
import type { TokenRow } from '../model/types.ts';

/** The first token, [CLS]. */
export const firstTokens = (batch: readonly TokenRow[]): Int32Array => new Int32Array(batch.length);

/** The mask of a cloze prompt. Throws where a row has none. */
export const maskTokens = (batch: readonly TokenRow[]): Int32Array =>
  Int32Array.from(batch, ({ mask }) => {
    if (mask === undefined) throw new Error('a row for a cloze head has no mask');
    return mask;
  });
