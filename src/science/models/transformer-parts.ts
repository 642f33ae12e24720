/** The linear layers, norms and parameters of a transformer's body. */
import type {
  Layer,
  Norm,
  Projection,
  RelativeTable,
  Transformer,
} from './families/description.ts';
import { unitOf } from './norms.ts';
import type { LinearLayer, ParameterSpec, VectorLayer } from './types.ts';

/** The bytes of parameters in float32. */
export const parameterBytes = (parameters: readonly ParameterSpec[]): number =>
  parameters.reduce((sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0);

/** The weight (m, n) and, where it has one, the bias (m) of a linear layer. */
export const linearParameters = ({
  name,
  in: n,
  out: m,
  bias,
  stored,
}: Omit<LinearLayer, 'adaptable'>): ParameterSpec[] => [
  { name: `${name}.weight`, shape: [m, n], stored },
  ...(bias ? [{ name: `${name}.bias`, shape: [m] }] : []),
];

type NormOrNone = Norm | null | undefined;

/** The scale and, where it has one, the shift of a norm, each (width). Without a norm: none. */
export function normParameters(norm: NormOrNone, width: number): ParameterSpec[] {
  if (norm === null || norm === undefined) return [];
  const { name, kind, bias = kind === 'layer', offset } = norm;
  return [
    { name: `${name}.weight`, shape: [width], draw: { fill: offset === true ? 0 : 1 } },
    ...(bias ? [{ name: `${name}.bias`, shape: [width] }] : []),
  ];
}

/**
 * A norm as a kernel over its vectors sees it, in a list. Without a norm: an empty list.
 * @param extent which rows it is applied to, if not to one for each token
 */
export function normVectors(
  norm: NormOrNone,
  width: number,
  extent: Pick<VectorLayer, 'relative' | 'onePerText' | 'rowsPerToken'> = {},
): VectorLayer[] {
  if (norm === null || norm === undefined) return [];
  const { name, kind, epsilon, bias = kind === 'layer' } = norm;
  return [{ name, in: width, out: width, bias, unit: unitOf(kind, epsilon), ...extent }];
}

/** Returns the entries that are neither null nor undefined. */
const present = <T>(list: readonly (T | null | undefined)[]): T[] =>
  list.filter((layer) => layer !== null && layer !== undefined);

/** The layers that the table of relative positions enters. They may also be key or query layers. */
const relativeProjections = ({ attention: { relative } }: Layer): Projection[] =>
  present([relative?.key, relative?.query]);

/** The linear layers after attention: its output layer, then the feed-forward's. */
const outputProjections = ({ attention: { output }, feedForward: { input, down } }: Layer) => [
  output,
  ...('fused' in input ? [input.fused] : present([input.gate, input.up])),
  down,
];

/** The linear layers that the last layer applies only to the tokens that the head reads. */
const readTokenProjections = (layer: Layer): Projection[] => [
  ...('fused' in layer.attention.input ? [] : [layer.attention.input.query]),
  ...outputProjections(layer),
];

function projections(layer: Layer): Projection[] {
  const { input } = layer.attention;
  const own = 'fused' in input ? [input.fused] : [input.query, input.key, input.value];
  const names = own.map(({ name }) => name);
  return [
    ...own,
    ...relativeProjections(layer).filter(({ name }) => !names.includes(name)),
    ...outputProjections(layer),
  ];
}

const parametersOfNorms = ({ attention: { headNorms, headWidth }, norms }: Layer, h: number) => [
  ...normParameters(norms.attention, h),
  ...normParameters(norms.feedForward, h),
  ...normParameters(headNorms?.query, headWidth),
  ...normParameters(headNorms?.key, headWidth),
];

/**
 * The linear layers of the body, in forward order.
 * @param readsOne whether the head reads one token of each text
 */
export function bodyLinears({ layers }: Transformer, readsOne: boolean): LinearLayer[] {
  const relative = new Set(layers.flatMap(relativeProjections).map(({ name }) => name)),
    last = layers.at(-1),
    read = new Set(
      readsOne && last !== undefined ? readTokenProjections(last).map(({ name }) => name) : [],
    );
  return layers.flatMap(projections).map((layer) => ({
    ...layer,
    adaptable: true,
    ...(relative.has(layer.name) ? { relative: true } : {}),
    ...(read.has(layer.name) && !relative.has(layer.name) ? { onePerText: true } : {}),
  }));
}

/**
 * The norms of one layer, as kernels over their vectors see them.
 * @param read what to say of the norms that the last layer applies only to the tokens that the head
 *   reads: `onePerText` if it reads one token of each text; empty if not, and in other layers
 */
function normLayers(
  { arrangement, attention, norms: { attention: first, feedForward } }: Layer,
  h: number,
  read: Pick<VectorLayer, 'onePerText'>,
): VectorLayer[] {
  const { headNorms, headWidth, heads, kvHeads } = attention;
  return [
    ...normVectors(first, h, arrangement === 'post' ? read : {}),
    ...normVectors(headNorms?.query, headWidth, { rowsPerToken: heads, ...read }),
    ...normVectors(headNorms?.key, headWidth, { rowsPerToken: kvHeads }),
    ...normVectors(feedForward, h, read),
  ];
}

/** The tables of relative positions, each once. */
const relativeTables = (layers: readonly Layer[]): RelativeTable[] =>
  present([...new Set(layers.map(({ attention }) => attention.relative?.table))]);

/** The norms of the body, for kernels over their vectors. `readsOne`: as in `bodyLinears`. */
export function bodyVectors(model: Transformer, readsOne: boolean): VectorLayer[] {
  const { embeddings, hidden: h, layers, norm } = model;
  const read = readsOne ? { onePerText: true } : {};
  return [
    ...normVectors(embeddings.norm, h),
    ...relativeTables(layers).flatMap((table) => normVectors(table.norm, h, { relative: true })),
    ...layers.flatMap((layer, i) => normLayers(layer, h, i === layers.length - 1 ? read : {})),
    ...normVectors(norm, h, read),
  ];
}

/** The parameters of the body. `tokenTable`: the name of the token table, (V, h). */
export function bodyParameters(model: Transformer, tokenTable: string): ParameterSpec[] {
  const { embeddings, hidden: h, layers, norm, vocabulary } = model;
  const { positions, types, padding } = embeddings;
  return [
    {
      name: tokenTable,
      shape: [vocabulary, h],
      draw: padding === null ? undefined : { zeroRow: padding },
    },
    ...[positions, types].flatMap((table) =>
      table === undefined ? [] : [{ name: table.table, shape: [table.rows, h] }],
    ),
    ...normParameters(embeddings.norm, h),
    ...layers.flatMap((layer) => parametersOfNorms(layer, h)),
    ...relativeTables(layers).flatMap((table) => [
      { name: table.name, shape: [2 * table.span, h] },
      ...normParameters(table.norm, h),
    ]),
    ...normParameters(norm, h),
    ...bodyLinears(model, false).flatMap(linearParameters),
  ];
}
