/** The heads of a transformer: what they read, their parameters, and their outputs. */
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../api.ts';
import { at, named } from '../../base/lookup.ts';
import { differentiable } from '../../tensor/differentiable.ts';
import { hasFused } from '../../tensor/fused.ts';
import { fusedRowGradients, matmul, rowSums } from '../../tensor/products.ts';
import { scatterRows, takeRows } from '../../tensor/rows.ts';
import { activations, dropout } from './elementwise.ts';
import type {
  CausalLmHead,
  ClassifierHead,
  MaskedLmHead,
  Projection,
  Transformer,
} from './families/description.ts';
import { allTokens, rowStarts } from './layout.ts';
import { linear } from './linear.ts';
import { normalised } from './norms.ts';
import { beforeAnswers, firstTokens, lastTokens, maskTokens } from './outputs.ts';
import type { Body } from './self-attention.ts';
import { linearParameters, normParameters, normVectors } from './transformer-parts.ts';
import type {
  ForwardContext,
  Head,
  LinearLayer,
  ParameterSpec,
  Reads,
  TokenMap,
  TokenRow,
  VectorLayer,
} from './types.ts';

export interface HeadPart {
  /** Whether the head reads one token of each text. */
  readonly readsOne: boolean;
  readonly linears: readonly LinearLayer[];
  readonly vectors: readonly VectorLayer[];
  /** All parameters of the head, including those of its linear layers. */
  readonly parameters: readonly ParameterSpec[];
  /** Names under which checkpoints may hold the token table again, as the head's output table. */
  readonly tied: readonly string[];
  reads(batch: readonly TokenRow[]): Reads;
  /**
   * Computes the outputs. `rows`: which row of the batch each row of x belongs to.
   * x: (Q, h) → (Q, O), or (B, O) if the head takes a mean.
   */
  outputs(x: Tensor2D, rows: TokenMap, context: ForwardContext): Tensor2D;
}

/** The mean of each row's states. x: (Q, h), whose rows belong to `tokens` → (B, h). */
function meanOfRows(x: Tensor2D, tokens: TokenMap): Tensor2D {
  const { batch, example } = tokens,
    Q = example.length;
  const counts = new Array<number>(batch).fill(0);
  for (const b of example) counts[b]!++;
  const shareOf = (b: number): number => 1 / at(counts, b);
  if (hasFused()) {
    // Each row is summed by itself, so that its bits do not depend on the other rows.
    const shares = tf.tensor2d(Float32Array.from(example, shareOf), [Q, 1]),
      order = tf.tensor1d(Int32Array.from(example.keys()), 'int32'),
      starts = rowStarts(tokens),
      owners = tf.tensor1d(example, 'int32');
    return differentiable([x], {
      forward: () => ({
        value: fusedRowGradients(shares, x, { order, starts }),
        saved: [shares, owners],
      }),
      backward: (dy, [share, rows]) => [tf.mul(takeRows(dy, rows), share)],
    });
  }
  const values = new Float32Array(batch * Q);
  example.forEach((b, i) => {
    values[b * Q + i] = shareOf(b);
  });
  const shares = tf.tensor2d(values, [batch, Q]); // (B, Q)
  return differentiable([x], {
    forward: () => ({ value: rowSums(shares, x), saved: [shares] }),
    backward: (dy, [share]) => [rowSums(share, dy, true)],
  });
}

const READS: Readonly<
  Record<ClassifierHead['reads'], (rows: readonly TokenRow[], padding: number | null) => Reads>
> = { first: firstTokens, last: lastTokens, mean: allTokens };

function classifierPart(model: Transformer, head: ClassifierHead, classes: number): HeadPart {
  const { dense } = head;
  const output: LinearLayer = { ...head.output, out: classes, adaptable: false };
  const linears = [
    ...(dense === undefined
      ? []
      : [{ ...dense.layer, adaptable: dense.adaptable, onePerText: true }]),
    output,
  ];
  const parameters = [
    ...linears.flatMap(linearParameters),
    ...normParameters(dense?.norm, model.hidden),
  ];
  return {
    readsOne: head.reads !== 'mean',
    linears,
    vectors: normVectors(dense?.norm, model.hidden, { onePerText: true }),
    parameters: parameters.map((spec) => ({ ...spec, mayBeMissing: true })),
    tied: [],
    reads: (batch) => READS[head.reads](batch, head.padding ?? null),
    outputs: (states, tokens, context) => {
      const pools = head.reads === 'mean',
        { batch } = tokens;
      const oneEach = { batch, example: Int32Array.from({ length: batch }, (_, b) => b) },
        rows = pools ? oneEach : tokens;
      const dropping = model.dropout.includes('head') ? context.dropout : undefined;
      let x = pools ? meanOfRows(states, tokens) : states; // (B, h)
      if (dense !== undefined) {
        if (dense.dropsInput === true) x = dropout(x, dropping);
        x = named(
          activations,
          dense.activation,
          'activation',
        )(context.linear(dense.layer.name, x, rows));
        if (dense.norm !== undefined) x = normalised(dense.norm, x, rows, context);
      }
      return context.linear(output.name, dropout(x, dropping), rows); // (B, C)
    },
  };
}

/**
 * Returns the part of a cloze head. `tokens`: the token whose logit each class has, (C). Throws
 * UserFault if config.json asks for an untied output table.
 */
function clozePart(
  { model, tokenTable }: Body,
  head: MaskedLmHead,
  tokens: readonly number[],
): HeadPart {
  if (head.untied)
    throw new UserFault(
      'config.json: tie_word_embeddings false is not implemented for a cloze head',
      'Its decoder is tied to the word embeddings.',
    );
  const { dense, norm, bias } = head;
  const ofBias = bias.name.replace(/\.bias$/, '');
  return {
    readsOne: true,
    linears: [{ ...dense, adaptable: head.adaptable ?? true, onePerText: true }],
    vectors: [
      ...normVectors(norm, dense.out, { onePerText: true }),
      // Only the logits of C tokens are computed, with C entries of the bias over the vocabulary.
      { name: ofBias, in: dense.out, out: tokens.length, bias: true, onePerText: true },
    ],
    parameters: [
      ...linearParameters(dense),
      ...normParameters(norm, dense.out),
      { ...bias, shape: [model.vocabulary] },
    ],
    // Checkpoints may hold the token table once more as the weight that goes with this bias.
    tied: [bias.name, ...(bias.aliases ?? [])].map((name) => name.replace(/bias$/, 'weight')),
    reads: maskTokens,
    outputs: (states, rows, context) => {
      const activate = named(activations, head.activation, 'activation'),
        activated = activate(context.linear(dense.name, states, rows));
      const x = normalised(norm, activated, rows, context);
      const logits = verbalizerLogits(
        x,
        context.parameter(tokenTable) as Tensor2D,
        context.parameter(bias.name) as Tensor1D,
        tokens,
      ); // (B, C)
      return context.vectorTap?.(ofBias, () => x, logits, rows) ?? logits;
    },
  };
}

/** Returns the part of a causal-LM head. With a tied output it has no layers and no parameters. */
function causalLmPart({ output, tied, aliases = [] }: CausalLmHead, tokenTable: string): HeadPart {
  const own: Projection[] = tied ? [] : [output];
  return {
    readsOne: false,
    linears: own.map((layer) => ({ ...layer, adaptable: false })),
    vectors: [],
    parameters: own.flatMap(linearParameters).map((spec) => ({ ...spec, aliases })),
    tied: tied ? [`${output.name}.weight`, ...aliases] : [],
    reads: beforeAnswers,
    outputs: (x, rows, context) =>
      tied
        ? linear(x, context.parameter(tokenTable) as Tensor2D, null)
        : context.linear(output.name, x, rows), // (Q, V)
  };
}

/**
 * Returns what a head adds to a model. `classes`: C, which only a classifier reads. Throws if the
 * model's description has no head of this type.
 */
export function describeHead(body: Body, head: Head, classes: number): HeadPart {
  const { classifier, cloze, causalLm } = body.model.heads;
  if (head.type === 'classifier') return classifierPart(body.model, classifier, classes);
  if (head.type === 'cloze' && cloze !== undefined) return clozePart(body, cloze, head.tokens);
  if (head.type === 'causal-lm' && causalLm !== undefined)
    return causalLmPart(causalLm, body.tokenTable);
  throw new Error(`the description has no ${head.type} head`);
}

/**
 * y_c = x · E_v(c) + b_v(c), where v(c) is the token of class c. Of the decoder's V columns only
 * these C are computed. x: (B, h), table E: (V, h), bias b: (V), tokens: (C) → (B, C).
 *
 *     dx = dy E_v;  dE_v(c) = Σ_B dy_c x;  db_v(c) = Σ_B dy_c;  zero at every other token
 */
function verbalizerLogits(
  x: Tensor2D,
  table: Tensor2D,
  bias: Tensor1D,
  tokens: readonly number[],
): Tensor2D {
  const [V] = table.shape;
  // The masked-LM loss asks for the logits of the whole vocabulary, in order.
  const isWholeTable = tokens.length === V && tokens.every((token, c) => token === c);
  return differentiable([x, table, bias], {
    forward: () => {
      const index = tf.tensor1d(tokens.slice(), 'int32');
      const columns = isWholeTable ? table : takeRows(table, index); // (C, h)
      const biases = isWholeTable ? bias : tf.gather(bias, index); // (C)
      return {
        value: tf.add<Tensor2D>(matmul(x, columns, false, true), biases),
        saved: [x, columns, index],
      };
    },
    backward: (dy, [input, columns, index], needs) => [
      needs[0] ? matmul(dy, columns) : null,
      needs[1] ? scatterRows(matmul(dy, input, true, false), index, V) : null,
      needs[2] ? tf.reshape(scatterRows(tf.reshape(tf.sum(dy, 0), [-1, 1]), index, V), [V]) : null,
    ],
  });
}
