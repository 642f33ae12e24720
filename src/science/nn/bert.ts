/**
 * BERT (Devlin et al. 2019) with its heads, equal to transformers' BertForSequenceClassification
 * and BertForMaskedLM.
 */
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { UserFault } from '../../api.ts';
import type { LinearLayer } from '../model/types.ts';
import { activationNamed, tanh } from './activation.ts';
import type { BertConfig } from './bert-config.ts';
import { bertEncoder, TOKEN_TABLE } from './bert-encoder.ts';
import { dropout } from './dropout.ts';
import { family, type HeadPart, linearParameters, normParameters } from './family.ts';
import { layerNorm } from './layer-norm.ts';
import { firstTokens, maskTokens } from './places.ts';
import { verbalizerLogits } from './verbalizer.ts';

const pooledLayers = ({ hidden, classes }: BertConfig): LinearLayer[] => [
  { name: 'pooler.dense', in: hidden, out: hidden, adaptable: true },
  { name: 'classifier', in: hidden, out: classes, adaptable: false },
];

const classifier: HeadPart<BertConfig> = {
  transformersName: 'BertForSequenceClassification',
  outer: ['classifier'],
  headModules: ['classifier'],
  tied: false,
  linears: pooledLayers,
  parameters: (config) =>
    pooledLayers(config)
      .flatMap(linearParameters)
      .map((spec) => ({ ...spec, mayBeMissing: true })),
  places: firstTokens,
  logits: (_config, x, rows, context) => {
    const pooled = tanh(context.linear('pooler.dense', x, rows)); // (B, h)
    return context.linear('classifier', dropout(pooled, context.dropout), rows); // (B, C)
  },
};

const TRANSFORM = 'cls.predictions.transform',
  BIAS = 'cls.predictions.bias';
const transform = ({ hidden }: BertConfig): LinearLayer => ({
  name: `${TRANSFORM}.dense`,
  in: hidden,
  out: hidden,
  adaptable: true,
});

/**
 * LN(act(x Wᵀ + b)) Eᵀ + bias with E the token embeddings. Of the V columns only those of `tokens`
 * are computed.
 */
const cloze = (tokens: readonly number[]): HeadPart<BertConfig> => ({
  transformersName: 'BertForMaskedLM',
  outer: ['cls'],
  headModules: [],
  tied: true,
  check: (json) => {
    if (json['tie_word_embeddings'] === false)
      throw new UserFault(
        'config.json: tie_word_embeddings false is not implemented for a cloze head',
        'Its decoder is tied to the word embeddings.',
      );
  },
  linears: (config) => [transform(config)],
  parameters: (config) => [
    ...linearParameters(transform(config)),
    ...normParameters(`${TRANSFORM}.LayerNorm`, config.hidden),
    { name: BIAS, shape: [config.vocabulary], aliases: ['cls.predictions.decoder.bias'] },
  ],
  places: maskTokens,
  logits: (config, x, rows, { linear, parameter }) => {
    const dense = linear(`${TRANSFORM}.dense`, x, rows); // (B, h)
    const activated = activationNamed(config.activation)(dense); // (B, h)
    const transformed = layerNorm(
      activated,
      parameter(`${TRANSFORM}.LayerNorm.weight`) as Tensor1D,
      parameter(`${TRANSFORM}.LayerNorm.bias`) as Tensor1D,
      config.epsilon,
    );
    return verbalizerLogits(
      transformed,
      parameter(TOKEN_TABLE) as Tensor2D,
      parameter(BIAS) as Tensor1D,
      tokens,
    ); // (B, C)
  },
});

export const bert = family<BertConfig>(bertEncoder, { classifier, cloze });
