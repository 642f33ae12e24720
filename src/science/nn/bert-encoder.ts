/**
 * BERT's embeddings and encoder layers (Devlin et al. 2019), equal to transformers' BertModel
 * without its pooler. Linear layers, norms and activations are computed for the S real tokens of a
 * batch and not for padding; the last layer computes its query, output and feed-forward only for
 * the tokens that the head reads. Neither changes the result.
 */
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../lookup.ts';
import type {
  ForwardContext,
  LinearLayer,
  ParameterSpec,
  TokenMap,
  TokenRow,
} from '../model/types.ts';
import { add } from '../tensor/differentiable.ts';
import { concatRows, gatherRows } from '../tensor/rows.ts';
import { activationNamed } from './activation.ts';
import { attention, type AttentionLayout, attentionLayout, singleQuery } from './attention.ts';
import { type BertConfig, parseBertConfig } from './bert-config.ts';
import { dropout, dropoutMask } from './dropout.ts';
import { type Body, type HiddenStates, linearParameters, normParameters } from './family.ts';
import { addLayerNorm } from './layer-norm.ts';

/** The token embeddings, (V, h), which a masked-LM head reads as well. */
export const TOKEN_TABLE = 'embeddings.word_embeddings.weight';

const block = (i: number): string => `encoder.layer.${i}`;

function linears(config: BertConfig): LinearLayer[] {
  const { hidden: h, intermediate: m } = config;
  const layers: LinearLayer[] = [];
  const add = (name: string, input: number, out: number): void => {
    layers.push({ name, in: input, out, adaptable: true });
  };
  for (let i = 0; i < config.layers; i++) {
    for (const name of ['query', 'key', 'value']) add(`${block(i)}.attention.self.${name}`, h, h);
    add(`${block(i)}.attention.output.dense`, h, h);
    add(`${block(i)}.intermediate.dense`, h, m);
    add(`${block(i)}.output.dense`, m, h);
  }
  return layers;
}

function parameters(config: BertConfig): ParameterSpec[] {
  const h = config.hidden;
  const norm = (name: string): ParameterSpec[] => normParameters(name, h);
  return [
    {
      name: TOKEN_TABLE,
      shape: [config.vocabulary, h],
      ...(config.padding === null ? {} : { draw: { zeroRow: config.padding } }),
    },
    { name: 'embeddings.position_embeddings.weight', shape: [config.positions, h] },
    { name: 'embeddings.token_type_embeddings.weight', shape: [config.types, h] },
    ...norm('embeddings.LayerNorm'),
    ...Array.from({ length: config.layers }, (_, i) => [
      ...norm(`${block(i)}.attention.output.LayerNorm`),
      ...norm(`${block(i)}.output.LayerNorm`),
    ]).flat(),
    ...linears(config).flatMap(linearParameters),
  ];
}

/** Where the tokens of each row are in a batch. */
interface Layout {
  readonly lengths: readonly number[];
  readonly tokens: TokenMap; // (S)
  /** The tokens that the head reads, one for each row. */
  readonly read: TokenMap; // (B)
  readonly readIndex: Tensor1D; // (B), into S
  readonly attention: AttentionLayout;
}

/** The map of an activation that has one token for each row of the batch. */
const oneEach = (batch: number): TokenMap => ({
  batch,
  example: Int32Array.from({ length: batch }, (_, b) => b),
});

/** @param places for each row, the position of the token that the head reads */
function layOut(batch: readonly TokenRow[], places: Int32Array, heads: number): Layout {
  const lengths = batch.map((row) => row.ids.length);
  const example = new Int32Array(lengths.reduce((a, b) => a + b, 0)),
    read = new Int32Array(batch.length);
  let start = 0;
  lengths.forEach((length, b) => {
    example.fill(b, start, start + length);
    read[b] = start + at(places, b);
    start += length;
  });
  return {
    lengths,
    tokens: { batch: batch.length, example },
    read: oneEach(batch.length),
    readIndex: tf.tensor1d(read, 'int32'),
    attention: attentionLayout(lengths, heads),
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

function embed(
  config: BertConfig,
  batch: readonly TokenRow[],
  context: ForwardContext,
  { tokens }: Layout,
): Tensor2D {
  const S = tokens.example.length;
  const look = (table: string, ids: readonly Int32Array[]): Tensor2D =>
    gatherRows(
      context.parameter(`embeddings.${table}_embeddings.weight`) as Tensor2D,
      concatInts(ids, S),
    ); // (S, h)
  const words = look(
    'word',
    batch.map((row) => row.ids),
  );
  const types = look(
    'token_type',
    batch.map((row) => row.typeIds),
  );
  const positions = look(
    'position',
    batch.map((row) => Int32Array.from(row.ids, (_, t) => t)),
  );
  return addLayerNorm(
    add(words, types),
    positions,
    norm(context, 'embeddings.LayerNorm.weight'),
    norm(context, 'embeddings.LayerNorm.bias'),
    config.epsilon,
  );
}

const norm = (context: ForwardContext, name: string): Tensor1D =>
  context.parameter(name) as Tensor1D;

function encoderLayer(
  config: BertConfig,
  i: number,
  x: Tensor2D,
  context: ForwardContext,
  layout: Layout,
): Tensor2D {
  const name = block(i),
    last = i === config.layers - 1;
  const { linear, dropout: dropping } = context;
  const { tokens } = layout;
  // Q tokens have a query: all S, or in the last layer the B that the head reads.
  const rows = last ? layout.read : tokens;
  const residual = last ? gatherRows(x, layout.readIndex) : x; // (Q, h)
  const queries = last ? singleQuery(layout.attention) : layout.attention.keys;
  const q = linear(`${name}.attention.self.query`, residual, rows);
  const k = linear(`${name}.attention.self.key`, x, tokens);
  const v = linear(`${name}.attention.self.value`, x, tokens); // (S, h)
  const keep =
    dropping === undefined
      ? undefined
      : dropoutMask(
          [tokens.batch, config.heads, queries.width, layout.attention.keys.width],
          dropping,
        );
  const mixed = attention(q, k, v, layout.attention, queries, keep); // (Q, h)
  const attended = addLayerNorm(
    dropout(linear(`${name}.attention.output.dense`, mixed, rows), dropping),
    residual,
    norm(context, `${name}.attention.output.LayerNorm.weight`),
    norm(context, `${name}.attention.output.LayerNorm.bias`),
    config.epsilon,
  );
  const wide = activationNamed(config.activation)(
    linear(`${name}.intermediate.dense`, attended, rows),
  ); // (Q, m)
  return addLayerNorm(
    dropout(linear(`${name}.output.dense`, wide, rows), dropping),
    attended,
    norm(context, `${name}.output.LayerNorm.weight`),
    norm(context, `${name}.output.LayerNorm.bias`),
    config.epsilon,
  ); // (Q, h)
}

/** Yields the hidden states after each layer in turn: (S, h), and (B, h) after the last one. */
function* encode(
  config: BertConfig,
  batch: readonly TokenRow[],
  context: ForwardContext,
  layout: Layout,
): Generator<Tensor2D, void> {
  const embedded = (): Tensor2D => embed(config, batch, context, layout);
  let x = context.scope(() => dropout(embedded(), context.dropout)); // (S, h)
  for (let i = 0; i < config.layers; i++) {
    const input = x;
    x = context.scope(() => encoderLayer(config, i, input, context, layout));
    yield x;
  }
}

function hidden(
  config: BertConfig,
  batch: readonly TokenRow[],
  places: Int32Array,
  context: ForwardContext,
): HiddenStates {
  const layout = layOut(batch, places, config.heads);
  let last: Tensor2D | undefined;
  for (const x of encode(config, batch, context, layout)) last = x;
  if (last === undefined) throw new RangeError('a BERT has at least one layer');
  return { x: last, rows: layout.read }; // (B, h)
}

function hiddenLayers(
  config: BertConfig,
  batch: readonly TokenRow[],
  places: Int32Array,
  context: ForwardContext,
): HiddenStates {
  const layout = layOut(batch, places, config.heads);
  const states = [...encode(config, batch, context, layout)].map((x, i) =>
    i === config.layers - 1 ? x : gatherRows(x, layout.readIndex),
  ); // each (B, h)
  return { x: concatRows(states), rows: oneEach(config.layers * batch.length) }; // (L·B, h)
}

export const bertEncoder: Body<BertConfig> = {
  modelType: 'bert',
  prefix: 'bert.',
  parseConfig: parseBertConfig,
  linears,
  parameters,
  tokenTable: TOKEN_TABLE,
  initializerRange: (config) => config.initializerRange,
  vocabularySize: (config) => config.vocabulary,
  maxPositions: (config) => config.positions,
  hidden,
  hiddenLayers,
};
