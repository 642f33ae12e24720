/**
 * Assembles a model family from a body, which computes hidden states, and heads, each of which
 * reads one token of each row. The body computes its last layer only for those tokens, so the head
 * names them before the body runs.
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import { UserFault } from '../../api.ts';
import { within } from '../model/names.ts';
import type {
  Architecture,
  ForwardContext,
  Head,
  LinearLayer,
  ParameterSpec,
  TokenMap,
  TokenRow,
} from '../model/types.ts';

/** The part of a model below its head. */
export interface Body<Config> extends Pick<
  Architecture<Config>,
  | 'modelType'
  | 'parseConfig'
  | 'linears'
  | 'parameters'
  | 'initializerRange'
  | 'vocabularySize'
  | 'maxPositions'
> {
  /** The prefix of the body's names in transformers (`bert.`). */
  readonly prefix: string;
  /** The parameter that token ids index. */
  readonly tokenTable: string;
  /**
   * The last hidden state of one token in each row, (B, h).
   * @param places for each row, the position of that token, (B)
   */
  hidden(
    config: Config,
    batch: readonly TokenRow[],
    places: Int32Array,
    context: ForwardContext,
  ): HiddenStates;
  /**
   * The hidden states of those tokens after each of the L layers, as one batch: (L·B, h), the first
   * layer's rows first. Without it, the architecture has no `layerwise`.
   */
  readonly hiddenLayers?: (
    config: Config,
    batch: readonly TokenRow[],
    places: Int32Array,
    context: ForwardContext,
  ) => HiddenStates;
}

export interface HiddenStates {
  readonly x: Tensor2D;
  readonly rows: TokenMap;
}

export interface HeadPart<Config> {
  /** The class of transformers that has this body and head. */
  readonly transformersName: string;
  /**
   * The head's modules that transformers places outside the body, so that they lack the body's
   * prefix (`classifier`, `cls`).
   */
  readonly outer: readonly string[];
  /** As `Architecture.headModules`. */
  readonly headModules: readonly string[];
  /** Whether the head reads the token table too, so that every row of the table has a gradient. */
  readonly tied: boolean;
  /** Throws UserFault where config.json asks for a head that is not implemented. */
  check?(json: { readonly [field: string]: unknown }): void;
  linears(config: Config): readonly LinearLayer[];
  /** All parameters of the head, including those of its linear layers. */
  parameters(config: Config): readonly ParameterSpec[];
  /** For each row, the position of the token that the head reads, (B). */
  places(batch: readonly TokenRow[]): Int32Array;
  /** The logits. x: (B, h) → (B, C). */
  logits(config: Config, x: Tensor2D, rows: TokenMap, context: ForwardContext): Tensor2D;
}

/** The heads of a family. A head that is missing here is refused by its type. */
export interface Heads<Config> {
  readonly classifier?: HeadPart<Config>;
  /** @param tokens for each class, the token whose logit is the class's, (C) */
  readonly cloze?: (tokens: readonly number[]) => HeadPart<Config>;
}

/** The weight (m, n) and bias (m) of a linear layer. */
export const linearParameters = ({ name, in: n, out: m }: LinearLayer): ParameterSpec[] => [
  { name: `${name}.weight`, shape: [m, n] },
  { name: `${name}.bias`, shape: [m] },
];

/** The scale and shift of a norm, each (h). */
export const normParameters = (name: string, width: number): ParameterSpec[] => [
  { name: `${name}.weight`, shape: [width], draw: { fill: 1 } },
  { name: `${name}.bias`, shape: [width] },
];

function partOf<Config>(body: Body<Config>, heads: Heads<Config>, head: Head): HeadPart<Config> {
  const part = head.type === 'classifier' ? heads.classifier : heads.cloze?.(head.tokens);
  if (part === undefined) {
    throw new UserFault(
      `${body.modelType} has no ${head.type} head here`,
      `It has ${Object.keys(heads).join(', ')}: name one as head.type.`,
    );
  }
  return part;
}

/**
 * The architecture with this body and head. Throws UserFault where the family has no head of this
 * type.
 */
export function family<Config>(
  body: Body<Config>,
  heads: Heads<Config>,
  head: Head = { type: 'classifier' },
): Architecture<Config> {
  const part = partOf(body, heads, head);
  const { modelType, initializerRange, vocabularySize, maxPositions, hiddenLayers } = body;
  return {
    modelType,
    initializerRange,
    vocabularySize,
    maxPositions,
    head,
    withHead: (other) => family(body, heads, other),
    transformersName: part.transformersName,
    headModules: part.headModules,
    parseConfig: (json, classes) => {
      const config = body.parseConfig(json, classes);
      part.check?.(json as Record<string, unknown>);
      return config;
    },
    linears: (config) => [...body.linears(config), ...part.linears(config)],
    parameters: (config) => [...body.parameters(config), ...part.parameters(config)],
    isHead: (canonical) => within(canonical, part.outer),
    externalName: (canonical) =>
      within(canonical, part.outer) ? canonical : `${body.prefix}${canonical}`,
    tokenTable: part.tied ? null : body.tokenTable,
    forward: (config, batch, context) => {
      const { x, rows } = body.hidden(config, batch, part.places(batch), context); // (B, h)
      return part.logits(config, x, rows, context); // (B, C)
    },
    ...(hiddenLayers === undefined
      ? {}
      : {
          layerwise: (config, batch, context) => {
            // (L·B, h)
            const { x, rows } = hiddenLayers(config, batch, part.places(batch), context);
            return part.logits(config, x, rows, context); // (L·B, C)
          },
        }),
  };
}
