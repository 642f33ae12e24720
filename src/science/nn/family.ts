/**
 * A model family of its parts: a body that makes hidden states, and heads that read one token a row of them. A body
 * computes its last layer for those tokens alone, so a head says which they are before the body runs.
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import { UserFault } from '../../api.ts';
import type {
  Architecture,
  ForwardContext,
  Head,
  LinearLayer,
  ParameterSpec,
  TokenMap,
  TokenRow,
} from './types.ts';

/** Everything below the head. */
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
  /** What transformers puts before the body's names (`bert.`). */
  readonly prefix: string;
  /** The table that token ids index. */
  readonly tokenTable: string;
  /** Last hidden states of one token a row, (B, h). places: (B), each in its row. */
  hidden(
    config: Config,
    batch: readonly TokenRow[],
    places: Int32Array,
    context: ForwardContext,
  ): HiddenStates;
  /** The same after each of the L layers: (L·B, h), the first layer's rows first, as a batch of that many. Left out: the model has no `layerwise`. */
  hiddenLayers?(
    config: Config,
    batch: readonly TokenRow[],
    places: Int32Array,
    context: ForwardContext,
  ): HiddenStates;
}

export interface HiddenStates {
  readonly x: Tensor2D;
  readonly rows: TokenMap;
}

export interface HeadPart<Config> {
  /** transformers' class of the body under this head. */
  readonly transformersName: string;
  /** Its modules that stand beside the body in transformers, without the body's prefix (`classifier`, `cls`). */
  readonly outer: readonly string[];
  /** As the Architecture's. */
  readonly headModules: readonly string[];
  /** Whether it reads the token table as well, so that every row of it gets a gradient. */
  readonly tied: boolean;
  /** Throws UserFault at what config.json asks of the head and isn't implemented. */
  check?(json: { readonly [field: string]: unknown }): void;
  linears(config: Config): readonly LinearLayer[];
  /** Those of its linear layers included. */
  parameters(config: Config): readonly ParameterSpec[];
  /** The token of each row that it reads, (B). */
  places(batch: readonly TokenRow[]): Int32Array;
  /** x: (B, h) → (B, C). */
  logits(config: Config, x: Tensor2D, rows: TokenMap, context: ForwardContext): Tensor2D;
}

/** The heads of a family; what it has none of is refused by name. */
export interface Heads<Config> {
  readonly classifier?: HeadPart<Config>;
  /** tokens: (C). */
  readonly cloze?: (tokens: readonly number[]) => HeadPart<Config>;
}

/** Weight (m, n) and bias (m) of a linear layer. */
export const linearParameters = ({ name, in: n, out: m }: LinearLayer): ParameterSpec[] => [
  { name: `${name}.weight`, shape: [m, n] },
  { name: `${name}.bias`, shape: [m] },
];

/** Scale and shift (h) of a norm. */
export const normParameters = (name: string, width: number): ParameterSpec[] => [
  { name: `${name}.weight`, shape: [width], draw: { fill: 1 } },
  { name: `${name}.bias`, shape: [width] },
];

/** Whether a parameter or layer lies in one of these modules. */
export const within = (name: string, modules: readonly string[]): boolean =>
  modules.some((module) => name === module || name.startsWith(`${module}.`));

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

export function family<Config>(
  body: Body<Config>,
  heads: Heads<Config>,
  head: Head = { type: 'classifier' },
): Architecture<Config> {
  const part = partOf(body, heads, head);
  const { modelType, initializerRange, vocabularySize, maxPositions } = body;
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
    ...(body.hiddenLayers === undefined
      ? {}
      : {
          layerwise: (config, batch, context) => {
            const { x, rows } = body.hiddenLayers!(config, batch, part.places(batch), context); // (L·B, h)
            return part.logits(config, x, rows, context); // (L·B, C)
          },
        }),
  };
}
