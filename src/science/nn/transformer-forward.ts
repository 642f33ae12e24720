/**
 * The forward pass of a transformer's body. Linear layers, norms and activations are computed for
 * the S real tokens of a batch and not for padding; the last layer computes its queries, output and
 * feed-forward only for the Q tokens that the head reads. Neither changes the result.
 */
import type { Tensor, Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type FusedRows, hasFused } from '../../compute/fused.ts';
import type {
  Attention,
  FeedForward,
  Layer,
  RelativeTable,
  Rotary,
  Transformer,
} from '../../families/description.ts';
import { at, named } from '../lookup.ts';
import type { ForwardContext, Reads, TokenCache, TokenMap, TokenRow } from '../model/types.ts';
import { add } from '../tensor/differentiable.ts';
import { concatRows, gatherRows } from '../tensor/rows.ts';
import { activationNamed } from './activation.ts';
import {
  attention,
  attentionOfRows,
  type AttentionShape,
  cachedAttention,
  padded,
} from './attention.ts';
import { columns, partOfHeads } from './columns.ts';
import { dropout, dropoutMask } from './dropout.ts';
import { gated, scaled } from './elementwise.ts';
import { allTokens, type Layout, layOut, maskOf, rowsOf, type Tokens } from './layout.ts';
import { addNormalised, headNormalised, normalised } from './norms.ts';
import { openRelative, relativeBias, type RelativeRows } from './relative.ts';
import { type Angles, anglesOf, rotate } from './rotary.ts';

export interface HiddenStates {
  readonly x: Tensor2D;
  readonly rows: TokenMap;
}

/** A model's description, and the name of its token table. */
export interface Body {
  readonly model: Transformer;
  readonly tokenTable: string;
}

/** What the layers of one batch share. */
interface Pass {
  readonly model: Transformer;
  readonly tokenTable: string;
  readonly context: ForwardContext;
  readonly layout: Layout;
  /** The masks by kind of attention, of all tokens and of those that the head reads. */
  readonly masks: ReadonlyMap<string, Tensor4D | null>;
  /** Where the tokens stand for those layers whose attention is one operation, by `last`. */
  readonly rows: ReadonlyMap<boolean, FusedRows>;
  readonly angles: ReadonlyMap<Rotary, { readonly all: Angles; readonly read: Angles }>;
  readonly tables: ReadonlyMap<RelativeTable, RelativeRows>;
  /** The rate and stream of dropout where this model applies it; undefined elsewhere. */
  readonly dropping: (place: Transformer['dropout'][number]) => ForwardContext['dropout'];
}

const maskKey = ({ causal, window, heads, kvHeads }: Attention, last: boolean): string =>
  JSON.stringify([causal, window ?? null, heads / kvHeads, last]);

const isLast = ({ model }: Body, i: number): boolean => i === model.layers.length - 1;

const droppedAt = (
  { model }: Body,
  { dropout: dropped }: ForwardContext,
  place: Transformer['dropout'][number],
): ForwardContext['dropout'] => (model.dropout.includes(place) ? dropped : undefined);

/** Whether the attention of a layer is computed by one operation: it only scales and masks. */
const isFused = (body: Body, context: ForwardContext, { relative }: Attention): boolean =>
  hasFused() &&
  context.cache === undefined &&
  relative === undefined &&
  droppedAt(body, context, 'attention') === undefined;

/** Makes the tensors that layers share, which must outlive the scope of a layer. */
function openPass(body: Body, context: ForwardContext, layout: Layout): Pass {
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

const concatInts = (parts: readonly Int32Array[], total: number): Tensor1D => {
  const out = new Int32Array(total);
  let start = 0;
  for (const part of parts) {
    out.set(part, start);
    start += part.length;
  }
  return tf.tensor1d(out, 'int32');
};

/**
 * The sum of the tables' rows, normalised where the model does so. (S, h)
 * @param shift is added to the rows of the token table, (S, h)
 */
function embed(
  { model, tokenTable, context, layout, dropping }: Pass,
  batch: readonly TokenRow[],
  shift?: Tensor2D,
): Tensor2D {
  const { scale, positions, types, norm } = model.embeddings;
  const S = layout.all.places.length;
  const look = (table: string, ids: readonly Int32Array[]): Tensor2D =>
    gatherRows(context.parameter(table) as Tensor2D, concatInts(ids, S));
  const read = look(
    tokenTable,
    batch.map(({ ids }) => ids),
  );
  const own = shift === undefined ? read : add(read, shift);
  let sum = scale === undefined ? own : scaled(own, scale);
  if (types !== undefined)
    sum = add(
      sum,
      look(
        types.table,
        batch.map(({ typeIds }) => typeIds),
      ),
    );
  const place =
    positions === undefined
      ? null
      : look(positions.table, [layout.all.places.map((t) => t + positions.first)]);
  if (place !== null)
    sum =
      norm === undefined
        ? add(sum, place)
        : addNormalised(norm, sum, place, layout.all.map, context);
  else if (norm !== undefined) sum = normalised(norm, sum, layout.all.map, context);
  return dropout(sum, dropping('embeddings'));
}

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
function attend(own: Attention, x: Tensor2D, i: number, pass: Pass): Tensor2D {
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
    dropout(context.linear(own.output.name, mixed, queries.map), dropping('residual'));
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

/** x: (S, h) → (S, h). */
function feed(own: FeedForward, x: Tensor2D, rows: TokenMap, pass: Pass): Tensor2D {
  const { context, dropping } = pass,
    { linear } = context,
    { input, down } = own,
    act = activationNamed(own.activation);
  let wide: Tensor2D;
  if ('fused' in input) {
    const y = linear(input.fused.name, x, rows),
      m = input.fused.out / 2;
    wide = gated(act(columns(y, 0, m)), columns(y, m, m));
  } else if (input.gate === undefined) wide = act(linear(input.up.name, x, rows));
  else wide = gated(act(linear(input.gate.name, x, rows)), linear(input.up.name, x, rows));
  return dropout(linear(down.name, wide, rows), dropping('residual'));
}

/** One layer. x: (S, h) → (S, h), or (Q, h) for the last one. */
function layer(own: Layer, x: Tensor2D, i: number, pass: Pass): Tensor2D {
  const { context, layout } = pass,
    last = isLast(pass, i);
  const { arrangement, norms } = own;
  const rows = (last ? layout.read : layout.all).map,
    index = last ? layout.read.index : null;
  const residual = index === null ? x : gatherRows(x, index); // (Q, h)
  const input =
    arrangement === 'post' || norms.attention === null
      ? x
      : normalised(norms.attention, x, layout.all.map, context);
  const attended = attend(own.attention, input, i, pass);
  if (arrangement === 'post') {
    if (norms.attention === null) throw new Error('a post-norm layer needs its norm');
    const middle = addNormalised(norms.attention, attended, residual, rows, context);
    return addNormalised(
      norms.feedForward,
      feed(own.feedForward, middle, rows, pass),
      middle,
      rows,
      context,
    );
  }
  const middle = add(residual, attended);
  const read = normalised(
    norms.feedForward,
    arrangement === 'parallel' ? residual : middle,
    rows,
    context,
  );
  return add(middle, feed(own.feedForward, read, rows, pass));
}

/** Yields the hidden states after each layer: (S, h), and (Q, h) after the last one. */
function* states(
  pass: Pass,
  batch: readonly TokenRow[],
  shift?: Tensor2D,
): Generator<Tensor2D, void> {
  const { model, context } = pass;
  let x = context.scope(() => embed(pass, batch, shift)); // (S, h)
  for (const [i, own] of model.layers.entries()) {
    const input = x;
    x = context.scope(() => layer(own, input, i, pass));
    yield x;
  }
}

/** x with the model's last norm. x: (S, h), whose rows belong to `tokens` → (S, h). */
const finished = ({ model, context }: Pass, x: Tensor2D, tokens: TokenMap): Tensor2D => {
  const { norm } = model;
  return norm === undefined ? x : context.scope(() => normalised(norm, x, tokens, context));
};

/** The last hidden states of the tokens that the head reads, (Q, h). */
export function hidden(
  body: Body,
  batch: readonly TokenRow[],
  reads: Reads,
  context: ForwardContext,
): HiddenStates {
  const pass = openPass(body, context, layOut(batch, reads, context.cache?.lengths));
  let last: Tensor2D | undefined;
  for (const x of states(pass, batch)) last = x;
  if (last === undefined) throw new RangeError('a transformer has at least one layer');
  const rows = pass.layout.read.map;
  return { x: finished(pass, last, rows), rows };
}

/**
 * The hidden states of those tokens after each of the L layers, each with the model's last norm, as
 * one batch: (L·Q, h), the first layer's first.
 */
export function hiddenLayers(
  body: Body,
  batch: readonly TokenRow[],
  reads: Reads,
  context: ForwardContext,
): HiddenStates {
  const pass = openPass(body, context, layOut(batch, reads));
  const { index, map } = pass.layout.read,
    count = body.model.layers.length;
  const layers = [...states(pass, batch)].map((x, i) =>
    finished(pass, i === count - 1 || index === null ? x : gatherRows(x, index), map),
  ); // each (Q, h)
  const Q = map.example.length;
  const example = Int32Array.from(
    { length: count * Q },
    (_, i) => Math.floor(i / Q) * map.batch + at(map.example, i % Q),
  );
  return { x: concatRows(layers), rows: { batch: count * map.batch, example } };
}

/**
 * The hidden states of all tokens after each of the L layers, (S, h) each, the last one with the
 * model's last norm: transformers' `output_hidden_states` without the embeddings.
 * @param shift is added to the rows of the token table, (S, h)
 */
export function hiddenStates(
  body: Body,
  batch: readonly TokenRow[],
  context: ForwardContext,
  shift?: Tensor2D,
): Tensor2D[] {
  const pass = openPass(body, context, layOut(batch, allTokens(batch)));
  const count = body.model.layers.length;
  return [...states(pass, batch, shift)].map((x, i) =>
    i === count - 1 ? finished(pass, x, pass.layout.all.map) : x,
  );
}
