/** Which token of each row a head reads: (B), places in their rows. */
import type { TokenRow } from './types.ts';

/** [CLS]. */
export const firstTokens = (batch: readonly TokenRow[]): Int32Array => new Int32Array(batch.length);

/** A decoder's last token, which alone has seen the whole row. */
export const lastTokens = (batch: readonly TokenRow[]): Int32Array =>
  Int32Array.from(batch, ({ ids }) => ids.length - 1);

export const maskTokens = (batch: readonly TokenRow[]): Int32Array =>
  Int32Array.from(batch, ({ mask }) => {
    if (mask === undefined) throw new Error('a row for a cloze head has no mask');
    return mask;
  });
