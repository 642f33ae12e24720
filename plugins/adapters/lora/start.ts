/** The initial values of LoRA's own parameters: drawn, a part of W, or read from a folder. */
import { named } from '../../../src/base/lookup.ts';
import type { FactorNames, WeightReader } from '../../../src/science/models/adapter.ts';
import type { PeftAdapter, PeftFactors } from '../../../src/science/models/io/peft.ts';
import type { Residual } from '../../../src/science/models/io/peft-config.ts';
import type { HostTensor, LinearLayer } from '../../../src/science/models/types.ts';
import { drawA, initialVariance, isDrawn, presets } from './init.ts';
import type { LayerPlan, LoraParams } from './plan.ts';
import { type Factors, residualFactors } from './residual.ts';

/** Returns the initial factors of a layer; null if they are a part of its weight. */
export type LayerStart = (
  layer: LinearLayer,
  rank: number,
  seed: number,
) => Pick<PeftFactors, 'A' | 'B' | 'fixed' | 'magnitude'> | null;

/** A drawn and B zero; null for factors that are a part of the weight. */
export function drawnStart(init: NonNullable<LoraParams['init']>): LayerStart {
  const { distribution = 'kaiming-uniform' } = init;
  if (!isDrawn(distribution)) return () => null;
  const { shape } = presets[distribution];
  return ({ name, in: n, out: m }, rank, seed) => ({
    A: drawA(name, n, rank, shape, initialVariance({ ...init, distribution }, n, rank), seed),
    B: { shape: [m, rank], data: new Float32Array(m * rank) },
  });
}

export const folderStart =
  ({ layers }: PeftAdapter): LayerStart =>
  ({ name }) =>
    named(layers, name);

/** The norm of each row of W + s·B·A, (m), in double precision. */
function rowNorms(
  W: HostTensor,
  products: readonly { readonly factors: Factors; readonly scale: number }[],
): HostTensor {
  const [m = 0, n = 0] = W.shape;
  const norms = Float32Array.from({ length: m }, (_, i) => {
    const row = Float64Array.from(W.data.subarray(i * n, (i + 1) * n));
    for (const {
      factors: { A, B },
      scale,
    } of products) {
      const r = A.shape[0] ?? 0;
      for (let k = 0; k < r; k++) {
        const b = scale * (B.data[i * r + k] ?? 0);
        if (b === 0) continue;
        for (let j = 0; j < n; j++) row[j] = (row[j] ?? 0) + b * (A.data[k * n + j] ?? 0);
      }
    }
    return Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
  });
  return { shape: [m], data: norms };
}

/**
 * The initial values of a layer's own parameters, by name. DoRA's magnitudes start as the norms of
 * the weight's rows, so that the model is unchanged.
 * @param read reads W; needed for DoRA and for factors that are a part of W
 */
export function startValues(
  layer: LinearLayer,
  names: FactorNames,
  {
    layers,
    residual,
    start,
  }: {
    readonly layers: ReadonlyMap<string, LayerPlan>;
    readonly residual: Residual | null;
    readonly start: LayerStart;
  },
  seed: number,
  read: WeightReader | undefined,
): ReadonlyMap<string, HostTensor> {
  const { rank } = named(layers, layer.name);
  const weight = (): HostTensor => {
    if (read === undefined) throw new Error(`${layer.name} starts from its weight`);
    return read(`${layer.name}.weight`);
  };
  const given = start(layer, rank, seed);
  const part =
    residual === null || given?.fixed !== undefined
      ? null
      : residualFactors(residual, weight(), rank, names.scale);
  const factors = given ?? part,
    fixed = given?.fixed ?? part;
  if (factors === null) throw new Error(`nothing says what ${layer.name} starts from`);
  const values = new Map([
    [names.A, factors.A],
    [names.B, factors.B],
  ]);
  if (names.fixed !== undefined && fixed !== null) {
    values.set(names.fixed.A, fixed.A);
    values.set(names.fixed.B, fixed.B);
  }
  if (names.magnitude !== undefined)
    values.set(
      names.magnitude,
      given?.magnitude ??
        rowNorms(weight(), [
          { factors, scale: names.scale },
          ...(fixed === null ? [] : [{ factors: fixed, scale: -names.scale }]),
        ]),
    );
  return values;
}
