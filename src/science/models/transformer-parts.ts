/** The linear layers and parameters of a transformer's body, in forward order. */
import { defined } from '../../base/defined.ts';
import type { Layer, Norm, Projection, Transformer } from './families/description.ts';
import { unitOf } from './norms.ts';
import type { LinearLayer, ParameterSpec, VectorLayer } from './types.ts';

/** The weight (m, n) and, where it has one, the bias (m) of a linear layer. */
export const linearParameters = ({
  name,
  in: n,
  out: m,
  bias,
  stored,
}: Omit<LinearLayer, 'adaptable'>): ParameterSpec[] => [
  { name: `${name}.weight`, shape: [m, n], ...defined({ stored }) },
  ...(bias ? [{ name: `${name}.bias`, shape: [m] }] : []),
];

/** The scale and, where it has one, the shift of a norm, each (width). */
export const normParameters = (
  { name, kind, bias = kind === 'layer', offset }: Norm,
  width: number,
): ParameterSpec[] => [
  { name: `${name}.weight`, shape: [width], draw: { fill: offset === true ? 0 : 1 } },
  ...(bias ? [{ name: `${name}.bias`, shape: [width] }] : []),
];

/** Returns a norm as a kernel over its vectors sees it. */
export const normVectors = (
  { name, kind, epsilon, bias = kind === 'layer' }: Norm,
  width: number,
  extent: Pick<VectorLayer, 'relative' | 'onePerText' | 'rowsPerToken'> = {},
): VectorLayer => ({
  name,
  in: width,
  out: width,
  bias,
  unit: unitOf(kind, epsilon),
  ...extent,
});

/** Returns the list without null and undefined. */
const present = <T>(list: readonly (T | null | undefined)[]): T[] =>
  list.filter((layer) => layer !== null && layer !== undefined);

/** The layers that the relative positions enter, which may be those of the tokens. */
const relativeProjections = ({ attention: { relative } }: Layer): Projection[] =>
  present([relative?.key, relative?.query]);

/** The linear layers that the last layer applies to the tokens that the head reads alone. */
function readTokenProjections({ attention: { input, output }, feedForward }: Layer): Projection[] {
  const { input: wide, down } = feedForward;
  return [
    ...('fused' in input ? [] : [input.query]),
    output,
    ...('fused' in wide ? [wide.fused] : present([wide.gate, wide.up])),
    down,
  ];
}

/** The linear layers of one layer, in forward order. */
function projections(layer: Layer): Projection[] {
  const { attention, feedForward } = layer;
  const { input, output } = attention,
    { input: wide, down } = feedForward;
  const own = 'fused' in input ? [input.fused] : [input.query, input.key, input.value];
  const names = own.map(({ name }) => name);
  return [
    ...own,
    ...relativeProjections(layer).filter(({ name }) => !names.includes(name)),
    output,
    ...('fused' in wide ? [wide.fused] : present([wide.gate, wide.up])),
    down,
  ];
}

/** The parameters of all norms of one layer. */
function parametersOfNorms(
  { attention, norms: { attention: first, feedForward } }: Layer,
  h: number,
) {
  const { headNorms, headWidth } = attention;
  return [
    ...(first === null ? [] : normParameters(first, h)),
    ...normParameters(feedForward, h),
    ...(headNorms === undefined
      ? []
      : [headNorms.query, headNorms.key].flatMap((norm) => normParameters(norm, headWidth))),
  ];
}

/**
 * The linear layers of the body.
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
 * Returns the norms of one layer.
 * @param read in the last layer, `onePerText` if the head reads one token of each text, for those
 *   norms of which only that token counts; otherwise empty
 */
function normLayers(
  { arrangement, attention, norms: { attention: first, feedForward } }: Layer,
  h: number,
  read: Pick<VectorLayer, 'onePerText'>,
): VectorLayer[] {
  const { headNorms, headWidth, heads, kvHeads } = attention;
  return [
    ...(first === null ? [] : [normVectors(first, h, arrangement === 'post' ? read : {})]),
    ...(headNorms === undefined
      ? []
      : [
          normVectors(headNorms.query, headWidth, { rowsPerToken: heads, ...read }),
          normVectors(headNorms.key, headWidth, { rowsPerToken: kvHeads }),
        ]),
    normVectors(feedForward, h, read),
  ];
}

/**
 * The norms of the body, as layers whose vectors kernels are taken over.
 * @param readsOne whether the head reads one token of each text
 */
export function bodyVectors(model: Transformer, readsOne: boolean): VectorLayer[] {
  const { embeddings, hidden: h, layers, norm } = model;
  const read = readsOne ? { onePerText: true } : {};
  const tables = new Set(present(layers.map(({ attention }) => attention.relative?.table)));
  return [
    ...(embeddings.norm === undefined ? [] : [normVectors(embeddings.norm, h)]),
    ...present([...tables].map((table) => table.norm)).map((own) =>
      normVectors(own, h, { relative: true }),
    ),
    ...layers.flatMap((layer, i) => normLayers(layer, h, i === layers.length - 1 ? read : {})),
    ...(norm === undefined ? [] : [normVectors(norm, h, read)]),
  ];
}

/** The tables of relative positions, each once, and the parameters of their norms. */
function relativeParameters({ layers, hidden }: Transformer): ParameterSpec[] {
  const tables = new Set(present(layers.map(({ attention }) => attention.relative?.table)));
  return [...tables].flatMap(({ name, span, norm }) => [
    { name, shape: [2 * span, hidden] },
    ...(norm === null ? [] : normParameters(norm, hidden)),
  ]);
}

/**
 * The parameters of the body.
 * @param tokenTable the name of the token table, (V, h)
 */
export function bodyParameters(model: Transformer, tokenTable: string): ParameterSpec[] {
  const { embeddings, hidden: h, layers, norm, vocabulary } = model;
  const { positions, types, padding } = embeddings;
  return [
    {
      name: tokenTable,
      shape: [vocabulary, h],
      ...(padding === null ? {} : { draw: { zeroRow: padding } }),
    },
    ...[positions, types].flatMap((table) =>
      table === undefined ? [] : [{ name: table.table, shape: [table.rows, h] }],
    ),
    ...(embeddings.norm === undefined ? [] : normParameters(embeddings.norm, h)),
    ...layers.flatMap((layer) => parametersOfNorms(layer, h)),
    ...relativeParameters(model),
    ...(norm === undefined ? [] : normParameters(norm, h)),
    ...bodyLinears(model, false).flatMap(linearParameters),
  ];
}
