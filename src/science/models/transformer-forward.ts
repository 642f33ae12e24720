/**
 * The forward pass of a transformer's body. Linear layers, norms and activations are computed for
 * the S real tokens of a batch and not for padding; the last layer computes its queries, output and
 * feed-forward only for the Q tokens that the head reads. Neither changes the result.
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../base/lookup.ts';
import { add } from '../../tensor/differentiable.ts';
import { concatRows, gatherRows } from '../../tensor/rows.ts';
import { activations, dropout, gated, scaled } from './elementwise.ts';
import type { FeedForward, Layer, Transformer } from './families/description.ts';
import { allTokens, concatInts, layOut } from './layout.ts';
import { normalised } from './norms.ts';
import { attend, type Body, isLast, openPass, type Pass } from './self-attention.ts';
import type { ForwardContext, Reads, TokenMap, TokenRow } from './types.ts';

export interface HiddenStates {
  readonly x: Tensor2D;
  readonly rows: TokenMap;
}

/**
 * Returns whether each token is the padding token, which may be in a text, (S). Returns null if
 * none is, or if the model has no padding token (`padding` null).
 */
function flagPadding(batch: readonly TokenRow[], padding: number | null): boolean[] | null {
  if (padding === null) return null;
  const all = batch.map(({ ids, vocabularyIds = ids }) => vocabularyIds);
  if (!all.some((ids) => ids.includes(padding))) return null;
  return all.flatMap((ids) => Array.from(ids, (id) => id === padding));
}

/**
 * Returns the row of the position table for each token, (S). Under `skipsPadding`, padding tokens
 * are not counted, and have the row before `first`.
 * @param padding whether each token is the padding token; null: none is
 */
function positionRows(
  { first, skipsPadding }: NonNullable<Transformer['embeddings']['positions']>,
  places: Int32Array,
  padding: readonly boolean[] | null,
): Int32Array {
  if (padding === null || skipsPadding !== true) return places.map((t) => t + first);
  let skipped = 0;
  return places.map((t, i) => {
    if (t === 0) skipped = 0;
    if (padding[i] === true) skipped++;
    return padding[i] === true ? first - 1 : t - skipped + first;
  });
}

/**
 * Returns the embeddings of a batch's tokens, (S, h).
 * @param shift is added to the rows of the token table, (S, h)
 */
function embed(
  { model, tokenTable, context, layout, dropping }: Pass,
  batch: readonly TokenRow[],
  shift?: Tensor2D,
): Tensor2D {
  const { scale, positions, types, norm } = model.embeddings;
  const padding = flagPadding(batch, model.embeddings.padding);
  // The rows of padding tokens have no gradient.
  const factors = padding?.map((isPadding) => (isPadding ? 0 : 1)),
    kept = factors && tf.tensor2d(factors, [layout.all.places.length, 1]);
  /** Returns the rows of a table at these indexes, (S, h). `factor`: on each row's gradient. */
  const lookUp = (table: string, index: Int32Array, factor?: Tensor2D): Tensor2D =>
    gatherRows(context.parameter(table) as Tensor2D, tf.tensor1d(index, 'int32'), factor);
  const ids = concatInts(batch.map((row) => row.ids));
  const read = lookUp(tokenTable, ids, kept);
  const own = shift === undefined ? read : add(read, shift);
  let sum = scale === undefined ? own : scaled(own, scale);
  if (types !== undefined)
    sum = add(sum, lookUp(types.table, concatInts(batch.map(({ typeIds }) => typeIds))));
  const place =
    positions === undefined
      ? null
      : lookUp(
          positions.table,
          positionRows(positions, layout.all.places, padding),
          positions.skipsPadding === true ? kept : undefined,
        );
  if (norm !== undefined) sum = normalised(norm, sum, layout.all.map, context, place);
  else if (place !== null) sum = add(sum, place);
  return dropout(sum, dropping('embeddings'));
}

/** down(act(up x)) or, with a gate, down(act(gate x) ⊙ up x). x: (S, h) → (S, h). */
function applyFeedForward(own: FeedForward, x: Tensor2D, rows: TokenMap, pass: Pass): Tensor2D {
  const { context, dropping } = pass,
    { linear } = context,
    { input, down } = own,
    act = named(activations, own.activation, 'activation');
  let wide: Tensor2D;
  if ('fused' in input) wide = gated(act, [linear(input.fused.name, x, rows)]);
  else if (input.gate === undefined) wide = act(linear(input.up.name, x, rows));
  else wide = gated(act, [linear(input.gate.name, x, rows), linear(input.up.name, x, rows)]);
  const read = dropout(wide, dropping('feed-forward-input'));
  return dropout(linear(down.name, read, rows), dropping('feed-forward-output'));
}

/** Applies layer `i`, described by `own`. x: (S, h) → (S, h), or (Q, h) for the last layer. */
function applyLayer(own: Layer, x: Tensor2D, i: number, pass: Pass): Tensor2D {
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
    const middle = normalised(norms.attention, attended, rows, context, residual);
    const fed = applyFeedForward(own.feedForward, middle, rows, pass);
    return normalised(norms.feedForward, fed, rows, context, middle);
  }
  const middle = add(residual, attended);
  const read = normalised(
    norms.feedForward,
    arrangement === 'parallel' ? residual : middle,
    rows,
    context,
  );
  return add(middle, applyFeedForward(own.feedForward, read, rows, pass));
}

/** Yields the hidden states after each layer: (S, h), and (Q, h) after the last one. */
function* layerStates(
  pass: Pass,
  batch: readonly TokenRow[],
  shift?: Tensor2D,
): Generator<Tensor2D, void> {
  const { model, context } = pass;
  let x = context.scope(() => embed(pass, batch, shift)); // (S, h)
  for (const [i, own] of model.layers.entries()) {
    const input = x;
    x = context.scope(() => applyLayer(own, input, i, pass));
    yield x;
  }
}

/** Applies the model's last norm, if it has one. x: (S, h), whose rows belong to `tokens`. */
const withLastNorm = ({ model, context }: Pass, x: Tensor2D, tokens: TokenMap): Tensor2D => {
  const { norm } = model;
  return norm === undefined ? x : context.scope(() => normalised(norm, x, tokens, context));
};

/** Returns the last hidden states of the tokens that the head reads, (Q, h). */
export function lastHiddenStates(
  body: Body,
  batch: readonly TokenRow[],
  reads: Reads,
  context: ForwardContext,
): HiddenStates {
  const pass = openPass(body, context, layOut(batch, reads, context.cache?.lengths));
  let last: Tensor2D | undefined;
  for (const x of layerStates(pass, batch)) last = x;
  if (last === undefined) throw new RangeError('a transformer has at least one layer');
  const rows = pass.layout.read.map;
  return { x: withLastNorm(pass, last, rows), rows };
}

/**
 * Returns the hidden states of the tokens that the head reads after each of the L layers, each with
 * the model's last norm, as one batch: (L·Q, h), the first layer's first.
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
  const layers = [...layerStates(pass, batch)].map((x, i) =>
    withLastNorm(pass, i === count - 1 || index === null ? x : gatherRows(x, index), map),
  ); // each (Q, h)
  const Q = map.example.length;
  const example = Int32Array.from(
    { length: count * Q },
    (_, i) => Math.floor(i / Q) * map.batch + at(map.example, i % Q),
  );
  return { x: concatRows(layers), rows: { batch: count * map.batch, example } };
}

/**
 * Returns the hidden states of all tokens after each of the L layers, (S, h) each, the last ones
 * with the model's last norm: transformers' `output_hidden_states` without the embeddings.
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
  return [...layerStates(pass, batch, shift)].map((x, i) =>
    i === count - 1 ? withLastNorm(pass, x, pass.layout.all.map) : x,
  );
}
