/** The attention of one layer of a transformer: projections, rotations, attention, output layer. */
import type { Tensor, Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs-core';
import { named } from '../../base/lookup.ts';
import { type FusedRows, hasFused } from '../../tensor/fused.ts';
import { gatherRows } from '../../tensor/rows.ts';
import {
  type Angles,
  attention,
  attentionOfRows,
  cachedAttention,
  computeAngles,
  pad,
  rotate,
} from './attention.ts';
import { dropout, dropoutMask } from './elementwise.ts';
import type {
  Attention,
  DropoutPlace,
  RelativeTable,
  Rotary,
  Transformer,
} from './families/description.ts';
import { attentionMask, type Layout, rowsOf, type Tokens } from './layout.ts';
import { columns, partOfHeads } from './linear.ts';
import { headNormalised } from './norms.ts';
import { openRelative, relativeBias, type RelativeRows } from './relative.ts';
import type { ForwardContext } from './types.ts';

export interface Body {
  readonly model: Transformer;
  readonly tokenTable: string;
}

/** What the layers of one batch share. */
export interface Pass extends Body {
  readonly context: ForwardContext;
  readonly layout: Layout;
  /** The masks of the layers that are not fused, by `maskKey`. */
  readonly masks: ReadonlyMap<string, Tensor4D | null>;
  /** Where the tokens stand, for layers with fused attention; by whether the layer is the last. */
  readonly rows: ReadonlyMap<boolean, FusedRows>;
  readonly angles: ReadonlyMap<Rotary, { readonly all: Angles; readonly read: Angles }>;
  readonly tables: ReadonlyMap<RelativeTable, RelativeRows>;
  /** Returns the rate and stream of dropout at a place; undefined where the model applies none. */
  readonly dropping: (place: DropoutPlace) => ForwardContext['dropout'];
}

/** Returns the key of a layer's mask in `Pass.masks`. */
const maskKey = ({ causal, window, heads, kvHeads }: Attention, last: boolean): string =>
  JSON.stringify([causal, window ?? null, heads / kvHeads, last]);

/** Whether layer i, counted from 0, is the model's last. */
export const isLast = ({ model }: Body, i: number): boolean => i === model.layers.length - 1;

/**
 * Returns the rate and stream of dropout at a place; undefined if the model applies none there, or
 * if the pass has no dropout at all.
 */
const droppedAt = (
  { model }: Body,
  { dropout: dropped }: ForwardContext,
  place: DropoutPlace,
): ForwardContext['dropout'] => (model.dropout.includes(place) ? dropped : undefined);

/**
 * Whether the attention of a layer is computed by one fused operation. The operation has no cache,
 * no relative positions and no dropout of the attention weights.
 */
const isFused = (body: Body, context: ForwardContext, { relative }: Attention): boolean =>
  hasFused() &&
  context.cache === undefined &&
  relative === undefined &&
  droppedAt(body, context, 'attention') === undefined;

/**
 * Makes what the layers share, such as masks and rotary angles. Its tensors must outlive the scope
 * of a layer. If there is a cache, adds the batch's tokens to it, and throws if a layer has
 * relative positions.
 */
export function openPass(body: Body, context: ForwardContext, layout: Layout): Pass {
  context.cache?.open(layout.all);
  const masks = new Map<string, Tensor4D | null>(),
    angles = new Map<Rotary, { all: Angles; read: Angles }>(),
    tables = new Map<RelativeTable, RelativeRows>(),
    rows = new Map<boolean, FusedRows>();
  body.model.layers.forEach(({ attention: own }, i) => {
    const last = isLast(body, i),
      key = maskKey(own, last);
    const queries = last ? layout.read : layout.all,
      groupSize = own.heads / own.kvHeads;
    if (isFused(body, context, own)) {
      if (!rows.has(last)) rows.set(last, rowsOf(layout, queries));
    } else if (!masks.has(key))
      masks.set(
        key,
        context.cache === undefined
          ? attentionMask(layout, queries, own, groupSize)
          : context.cache.mask(queries, own, groupSize),
      );
    if (own.rotary !== undefined && !angles.has(own.rotary)) {
      const all = computeAngles(own.rotary, layout.all.places);
      const read = layout.read.index === null ? all : computeAngles(own.rotary, layout.read.places);
      angles.set(own.rotary, { all, read });
    }
    const table = own.relative?.table;
    if (table !== undefined && context.cache !== undefined)
      throw new Error('generation with relative positions is not implemented');
    if (table !== undefined && !tables.has(table))
      tables.set(table, openRelative(table, layout, context));
  });
  const dropping = (place: DropoutPlace) => droppedAt(body, context, place);
  return { ...body, context, layout, masks, rows, angles, tables, dropping };
}

type Projected = [q: Tensor2D, k: Tensor2D, v: Tensor2D];

/**
 * Returns the queries of the tokens at `index`, (Q, H·d), where null stands for all tokens; and the
 * keys and values of all tokens, (S, Hk·d). x: (S, h).
 */
function project(
  { input, heads, kvHeads, headWidth: d, headNorms }: Attention,
  x: Tensor2D,
  queries: Tokens,
  index: Tensor1D | null,
  { context, layout }: Pass,
): Projected {
  const { linear } = context,
    all = layout.all.map;
  /** Returns the rows of y at `index`; y itself if that is null. */
  const atIndex = (y: Tensor2D): Tensor2D => (index === null ? y : gatherRows(y, index));
  const parts = (): Projected => {
    if (!('fused' in input))
      return [
        linear(input.query.name, atIndex(x), queries.map),
        linear(input.key.name, x, all),
        linear(input.value.name, x, all),
      ];
    const y = linear(input.fused.name, x, all);
    return input.order === 'heads'
      ? [atIndex(partOfHeads(y, heads, 0)), partOfHeads(y, heads, 1), partOfHeads(y, heads, 2)]
      : [
          atIndex(columns(y, 0, heads * d)),
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

/**
 * The attention of layer `i`, output layer included. x: what the projections read, (S, h) → (S, h),
 * or (Q, h) for the last layer.
 */
export function attend(own: Attention, x: Tensor2D, i: number, pass: Pass): Tensor2D {
  const { context, layout, dropping } = pass,
    last = isLast(pass, i);
  const queries = last ? layout.read : layout.all,
    index = last ? layout.read.index : null;
  const { heads, kvHeads, scale = 1 / Math.sqrt(own.headWidth), relative, rotary } = own,
    batch = layout.lengths.length;
  const [plainQ, plainK, v] = project(own, x, queries, index, pass),
    angles = rotary && named(pass.angles, rotary);
  const q = angles ? rotate(plainQ, heads, last ? angles.read : angles.all) : plainQ,
    k = angles ? rotate(plainK, kvHeads, angles.all) : plainK;
  const output = (mixed: Tensor2D): Tensor2D =>
    dropout(context.linear(own.output.name, mixed, queries.map), dropping('attention-output'));
  if (isFused(pass, context, own)) {
    const { causal, window = Infinity } = own;
    const rows = named(pass.rows, last);
    return output(attentionOfRows(q, k, v, rows, { heads, kvHeads, scale, causal, window }));
  }
  const padding = layout.all.padding,
    mask = named(pass.masks, maskKey(own, last));
  const shape = { batch, heads, kvHeads, scale, queries: queries.padding, keys: padding, mask };
  if (context.cache !== undefined) {
    const padded = (y: Tensor2D): Tensor => pad(y, padding, batch, kvHeads); // (B, Hk, T, d)
    return output(cachedAttention(q, context.cache.extend(i, padded(k), padded(v)), shape));
  }
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
  const dropped = dropping('attention');
  const keep =
    dropped && dropoutMask([batch, heads, queries.padding.width, padding.width], dropped);
  return output(attention(q, k, v, shape, { bias, keep })); // (Q, H·d)
}
