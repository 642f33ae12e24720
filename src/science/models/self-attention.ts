/** The attention of one layer of a transformer: projections, rotations, attention, output layer. */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { named } from '../../base/lookup.ts';
import { gatherRows } from '../../tensor/rows.ts';
import {
  attention,
  attentionOfRows,
  type AttentionShape,
  cachedAttention,
  padded,
  rotate,
} from './attention.ts';
import { dropout, dropoutMask } from './elementwise.ts';
import type { Attention } from './families/description.ts';
import type { Tokens } from './layout.ts';
import { columns, partOfHeads } from './linear.ts';
import { headNormalised } from './norms.ts';
import { relativeBias } from './relative.ts';
import { isFused, isLast, maskKey, type Pass } from './transformer-pass.ts';
import type { ForwardContext, TokenCache } from './types.ts';

/**
 * Queries of the tokens with a query, keys and values of all tokens. x: (S, h); own: (Q, h), the
 * rows of x that have a query.
 */
function project(
  { attention: own, index }: { readonly attention: Attention; readonly index: Tensor1D | null },
  x: Tensor2D,
  queries: Tokens,
  { context, layout }: Pass,
): Projected {
  const { input, heads, kvHeads, headWidth: d, headNorms } = own;
  const { linear } = context,
    all = layout.all.map;
  const taken = (y: Tensor2D): Tensor2D => (index === null ? y : gatherRows(y, index));
  const parts = (): Projected => {
    if (!('fused' in input))
      return [
        linear(input.query.name, taken(x), queries.map),
        linear(input.key.name, x, all),
        linear(input.value.name, x, all),
      ];
    const y = linear(input.fused.name, x, all);
    return input.order === 'heads'
      ? [taken(partOfHeads(y, heads, 0)), partOfHeads(y, heads, 1), partOfHeads(y, heads, 2)]
      : [
          taken(columns(y, 0, heads * d)),
          columns(y, heads * d, kvHeads * d),
          columns(y, (heads + kvHeads) * d, kvHeads * d),
        ];
  };
  const [q, k, v] = parts();
  if (headNorms === undefined) return [q, k, v];
  return [
    headNormalised(headNorms.query, q, heads, queries.map, context),
    headNormalised(headNorms.key, k, kvHeads, all, context),
    v,
  ];
}

type Projected = [q: Tensor2D, k: Tensor2D, v: Tensor2D];

/** Returns queries and keys, rotated by their positions if the model has rotary embeddings. */
function turn(
  { rotary, heads, kvHeads }: Attention,
  [q, k, v]: Projected,
  queries: 'all' | 'read',
  { angles }: Pass,
): Projected {
  if (rotary === undefined) return [q, k, v];
  const own = named(angles, rotary);
  return [rotate(q, heads, own[queries]), rotate(k, kvHeads, own.all), v];
}

/** Dropout's mask on the weights of an attention, where there is one. */
const kept = (
  { batch, heads, queries, keys }: AttentionShape,
  dropped: ForwardContext['dropout'],
): { keep?: Tensor } =>
  dropped === undefined
    ? {}
    : { keep: dropoutMask([batch, heads, queries.width, keys.width], dropped) };

/** Attention over the cached tokens and those of the batch, which are cached too. */
function extended(
  cache: TokenCache,
  layer: number,
  [q, k, v]: Projected,
  shape: AttentionShape,
): Tensor2D {
  const { batch, kvHeads, keys: side } = shape;
  const blocks = cache.extend(
    layer,
    padded(k, side, batch, kvHeads),
    padded(v, side, batch, kvHeads),
  );
  return cachedAttention(q, blocks, shape);
}

/** Attention of normalised states, with its output layer. x: (S, h) → (Q, h). */
export function attend(own: Attention, x: Tensor2D, i: number, pass: Pass): Tensor2D {
  const { context, layout, dropping } = pass,
    last = isLast(pass, i);
  const queries = last ? layout.read : layout.all,
    index = last ? layout.read.index : null;
  const [q, k, v] = turn(
    own,
    project({ attention: own, index }, x, queries, pass),
    last ? 'read' : 'all',
    pass,
  );
  const output = (mixed: Tensor2D): Tensor2D =>
    dropout(context.linear(own.output.name, mixed, queries.map), dropping('attention-output'));
  const { heads, kvHeads, scale = 1 / Math.sqrt(own.headWidth), relative } = own,
    batch = layout.lengths.length;
  if (isFused(pass, context, own)) {
    const { causal, window = Infinity } = own;
    const rows = named(pass.rows, last);
    return output(attentionOfRows(q, k, v, rows, { heads, kvHeads, scale, causal, window }));
  }
  const shape = {
    batch,
    heads,
    kvHeads,
    scale,
    queries: queries.side,
    keys: layout.all.side,
    mask: named(pass.masks, maskKey(own, last)),
  };
  const bias =
    relative &&
    relativeBias(
      relative,
      [q, k],
      named(pass.tables, relative.table),
      { batch, heads, scale, layout, last },
      context,
      dropping('embeddings'),
    ); // (B, H, Tq, T)
  const mixed =
    context.cache === undefined
      ? attention(q, k, v, shape, { ...(bias && { bias }), ...kept(shape, dropping('attention')) })
      : extended(context.cache, i, [q, k, v], shape); // (Q, H·d)
  return output(mixed);
}
