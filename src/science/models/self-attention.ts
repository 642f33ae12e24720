/** The attention of one layer of a transformer: projections, rotations, attention, output layer. */
import type { Tensor, Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs-core';
import { named } from '../../base/lookup.ts';
import { type FusedRows, hasFused } from '../../tensor/fused.ts';
import { gatherRows } from '../../tensor/rows.ts';
import {
  type Angles,
  anglesOf,
  attention,
  attentionOfRows,
  type AttentionShape,
  cachedAttention,
  pad,
  rotate,
} from './attention.ts';
import { dropout, dropoutMask } from './elementwise.ts';
import type { Attention, RelativeTable, Rotary, Transformer } from './families/description.ts';
import type { KeyValueCache } from './generate.ts';
import { type Layout, maskOf, rowsOf, type Tokens } from './layout.ts';
import { columns, partOfHeads } from './linear.ts';
import { headNormalised } from './norms.ts';
import { openRelative, relativeBias, type RelativeRows } from './relative.ts';
import type { ForwardContext } from './types.ts';

/** A model's description, and the name of its token table. */
export interface Body {
  readonly model: Transformer;
  readonly tokenTable: string;
}

/** What the layers of one batch share. */
export interface Pass {
  readonly model: Transformer;
  readonly tokenTable: string;
  readonly context: ForwardContext;
  readonly layout: Layout;
  /** The masks of the layers that are not fused, by `maskKey`. */
  readonly masks: ReadonlyMap<string, Tensor4D | null>;
  /** Where the tokens stand, for fused attention: by whether the layer is the last. */
  readonly rows: ReadonlyMap<boolean, FusedRows>;
  readonly angles: ReadonlyMap<Rotary, { readonly all: Angles; readonly read: Angles }>;
  readonly tables: ReadonlyMap<RelativeTable, RelativeRows>;
  /** Returns the rate and stream of dropout at a place where the model applies it; else nothing. */
  readonly dropping: (place: Transformer['dropout'][number]) => ForwardContext['dropout'];
}

/** Returns the key of the mask that layers of the same kind of attention share. */
const maskKey = ({ causal, window, heads, kvHeads }: Attention, last: boolean): string =>
  JSON.stringify([causal, window ?? null, heads / kvHeads, last]);

export const isLast = ({ model }: Body, i: number): boolean => i === model.layers.length - 1;

/** Returns the pass's dropout if the model has dropout at this place; undefined elsewhere. */
const droppedAt = (
  { model }: Body,
  { dropout: dropped }: ForwardContext,
  place: Transformer['dropout'][number],
): ForwardContext['dropout'] => (model.dropout.includes(place) ? dropped : undefined);

/**
 * Whether the attention of a layer is computed by one operation, which has no cache, no relative
 * positions and no dropout.
 */
const isFused = (body: Body, context: ForwardContext, { relative }: Attention): boolean =>
  hasFused() &&
  context.cache === undefined &&
  relative === undefined &&
  droppedAt(body, context, 'attention') === undefined;

/** Makes the tensors that layers share, which must outlive the scope of a layer. */
export function openPass(body: Body, context: ForwardContext, layout: Layout): Pass {
  const { model, tokenTable } = body;
  context.cache?.open(layout.all);
  const masks = new Map<string, Tensor4D | null>(),
    angles = new Map<Rotary, { all: Angles; read: Angles }>(),
    tables = new Map<RelativeTable, RelativeRows>(),
    rows = new Map<boolean, FusedRows>();
  model.layers.forEach(({ attention: own }, i) => {
    const last = isLast(body, i),
      key = maskKey(own, last);
    const queries = last ? layout.read : layout.all,
      groups = own.heads / own.kvHeads;
    if (isFused(body, context, own)) {
      if (!rows.has(last)) rows.set(last, rowsOf(layout, queries));
    } else if (!masks.has(key))
      masks.set(
        key,
        context.cache === undefined
          ? maskOf(layout, queries, own, groups)
          : context.cache.mask(queries, own, groups),
      );
    if (own.rotary !== undefined && !angles.has(own.rotary)) {
      const all = anglesOf(own.rotary, layout.all.places);
      const read = layout.read.index === null ? all : anglesOf(own.rotary, layout.read.places);
      angles.set(own.rotary, { all, read });
    }
    const table = own.relative?.table;
    if (table !== undefined && context.cache !== undefined)
      throw new Error('generation with relative positions is not implemented');
    if (table !== undefined && !tables.has(table))
      tables.set(table, openRelative(table, layout, context));
  });
  return {
    model,
    tokenTable,
    context,
    layout,
    masks,
    rows,
    angles,
    tables,
    dropping: (place) => droppedAt(body, context, place),
  };
}

/**
 * Returns queries (Q, H·d) of the tokens at `index`, all if it is null, and keys and values (S,
 * Hk·d) of all tokens. x: (S, h).
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

type Projected = [q: Tensor2D, k: Tensor2D, v: Tensor2D];

/** Returns queries and keys rotated by their positions, if the layer has rotary embeddings. */
function applyRotary(
  { rotary, heads, kvHeads }: Attention,
  [q, k, v]: Projected,
  queries: 'all' | 'read',
  { angles }: Pass,
): Projected {
  if (rotary === undefined) return [q, k, v];
  const own = named(angles, rotary);
  return [rotate(q, heads, own[queries]), rotate(k, kvHeads, own.all), v];
}

/** Draws the mask of the attention weights, as the field `keep`; none without dropout. */
const drawDropoutMask = (
  { batch, heads, queries, keys }: AttentionShape,
  dropped: ForwardContext['dropout'],
): { keep?: Tensor } =>
  dropped === undefined
    ? {}
    : { keep: dropoutMask([batch, heads, queries.width, keys.width], dropped) };

/**
 * Attention over the keys and values of the cache, to which it adds those of the batch. → (Q, H·d)
 */
function attendCached(
  cache: KeyValueCache,
  layer: number,
  [q, k, v]: Projected,
  shape: AttentionShape,
): Tensor2D {
  const { batch, kvHeads, keys: padding } = shape;
  const blocks = cache.extend(
    layer,
    pad(k, padding, batch, kvHeads),
    pad(v, padding, batch, kvHeads),
  );
  return cachedAttention(q, blocks, shape);
}

/**
 * The attention of layer `i` with its output layer. x: (S, h), what its projections read → (S, h),
 * or (Q, h) for the last layer.
 */
export function attend(own: Attention, x: Tensor2D, i: number, pass: Pass): Tensor2D {
  const { context, layout, dropping } = pass,
    last = isLast(pass, i);
  const queries = last ? layout.read : layout.all,
    index = last ? layout.read.index : null;
  const [q, k, v] = applyRotary(
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
    queries: queries.padding,
    keys: layout.all.padding,
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
      ? attention(q, k, v, shape, {
          ...(bias && { bias }),
          ...drawDropoutMask(shape, dropping('attention')),
        })
      : attendCached(context.cache, i, [q, k, v], shape); // (Q, H·d)
  return output(mixed);
}
