/** The linear layers and parameters of a transformer's body, in forward order. */
import type { LinearLayer, ParameterSpec } from '../model/types.ts';
import type { Layer, Norm, Projection, Transformer } from './transformer.ts';

/** A linear layer that adapters may adapt. */
export const adaptable = (layer: Projection): LinearLayer => ({ ...layer, adaptable: true });

/** The weight (m, n) and, where it has one, the bias (m) of a linear layer. */
export const linearParameters = ({
  name,
  in: n,
  out: m,
  bias,
  stored,
}: Omit<LinearLayer, 'adaptable'>): ParameterSpec[] => [
  { name: `${name}.weight`, shape: [m, n], ...(stored === undefined ? {} : { stored }) },
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

const present = (list: readonly (Projection | undefined)[]): Projection[] =>
  list.filter((layer) => layer !== undefined);

/** The linear layers of one layer of the transformer, in forward order. */
function projections({ attention, feedForward }: Layer): Projection[] {
  const { input, output } = attention,
    { input: wide, down } = feedForward;
  return [
    ...('fused' in input ? [input.fused] : [input.query, input.key, input.value]),
    output,
    ...('fused' in wide ? [wide.fused] : present([wide.gate, wide.up])),
    down,
  ];
}

function norms({ attention, norms: { attention: first, feedForward } }: Layer, h: number) {
  const { headNorms, headWidth } = attention;
  return [
    ...(first === null ? [] : normParameters(first, h)),
    ...normParameters(feedForward, h),
    ...(headNorms === undefined
      ? []
      : [headNorms.query, headNorms.key].flatMap((norm) => normParameters(norm, headWidth))),
  ];
}

export const bodyLinears = ({ layers }: Transformer): LinearLayer[] =>
  layers.flatMap(projections).map(adaptable);

/** The tables and norms of the relative positions, once for all layers that share them. */
function relativeParameters({ layers, hidden }: Transformer): ParameterSpec[] {
  const specs = new Map<string, ParameterSpec>();
  for (const { attention } of layers) {
    const { relative } = attention;
    if (relative === undefined) continue;
    specs.set(relative.table, { name: relative.table, shape: [2 * relative.span, hidden] });
    if (relative.norm !== null)
      for (const spec of normParameters(relative.norm, hidden)) specs.set(spec.name, spec);
  }
  return [...specs.values()];
}

/** @param tokenTable the name of the token table, (V, h) */
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
    ...layers.flatMap((layer) => norms(layer, h)),
    ...relativeParameters(model),
    ...(norm === undefined ? [] : normParameters(norm, h)),
    ...bodyLinears(model).flatMap(linearParameters),
  ];
}
