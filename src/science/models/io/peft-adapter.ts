/**
 * What a PEFT folder holds, and how factors that started as a part of the weights (PiSSA, OLoRA)
 * become plain factors of twice the rank.
 */
import { defined } from '../../../base/defined.ts';
import { at } from '../../../base/lookup.ts';
import type { HostTensor } from '../types.ts';
import type { LoraBias, Residual } from './peft-config.ts';

export interface PeftFactors {
  readonly A: HostTensor; // (r, n)
  readonly B: HostTensor; // (m, r)
  readonly alpha: number;
  /** A₀ and B₀ of W − s·B₀·A₀, in the same shapes. */
  readonly fixed?: { readonly A: HostTensor; readonly B: HostTensor };
  /** DoRA's magnitudes, (m). */
  readonly magnitude?: HostTensor;
}

export interface PeftAdapter {
  /** The name of the base model; null where whoever opens the adapter chooses the model. */
  readonly base?: string | null;
  /** The rank of layers without a pattern. The rank of a given layer is that of its factors. */
  readonly rank: number;
  readonly alpha: number;
  readonly rslora: boolean;
  readonly dora?: boolean;
  /** What the factors started as; null where the base is as it is. */
  readonly residual?: Residual | null;
  /** Whether checkpoints hold a layer that is adapted transposed (GPT-2's Conv1D). */
  readonly transposed?: boolean;
  /** Dropout rate on the input of A while training. */
  readonly dropout: number;
  readonly bias: LoraBias;
  /** The factors by canonical name of the layer. */
  readonly layers: ReadonlyMap<string, PeftFactors>;
  /** Model parameters that are saved whole (the classifier), by canonical name. */
  readonly saved: ReadonlyMap<string, HostTensor>;
  /** Trained biases except the classifier's, by canonical name. */
  readonly biases: ReadonlyMap<string, HostTensor>;
}

/**
 * The field of the file's metadata that says what the second half of each layer's rank is: −B₀ and
 * A₀, as PEFT's path_initial_model_for_weight_conversion appends them. PEFT does not read it.
 */
export const CONVERTED = 'dosimeter_residual';

/** How many times α doubles with the rank, at the same scale s. */
export const widened = (rslora: boolean): number => (rslora ? Math.SQRT2 : 2);
/** Rows `from` to `to` of a matrix. */
const rows = ({ shape: [, n = 0], data }: HostTensor, from: number, to: number): HostTensor => ({
  shape: [to - from, n],
  data: data.slice(from * n, to * n),
});
/** Columns `from` to `to` of a matrix, times a sign. */
const columns = (
  { shape: [m = 0, r = 0], data }: HostTensor,
  from: number,
  to: number,
  sign: 1 | -1 = 1,
): HostTensor => {
  const width = to - from;
  return {
    shape: [m, width],
    data: Float32Array.from(
      { length: m * width },
      (_, i) => sign * at(data, Math.floor(i / width) * r + from + (i % width)),
    ),
  };
};

/** Separates [A; A₀] and [B, −B₀], which `joined` has put into one pair. */
export function separated(read: PeftAdapter, residual: Residual): PeftAdapter {
  // With rank stabilisation α was multiplied by √2, so the quotient is rounded.
  const alphaOf = (alpha: number): number => Number((alpha / widened(read.rslora)).toPrecision(12));
  const layers = new Map<string, PeftFactors>();
  for (const [name, { A, B, alpha, magnitude }] of read.layers) {
    const both = at(A.shape, 0),
      r = both / 2;
    layers.set(name, {
      A: rows(A, 0, r),
      B: columns(B, 0, r),
      alpha: alphaOf(alpha),
      fixed: { A: rows(A, r, both), B: columns(B, r, both, -1) },
      ...defined({ magnitude }),
    });
  }
  return { ...read, rank: read.rank / 2, alpha: alphaOf(read.alpha), residual, layers };
}

/** [A; A₀] and [B, −B₀] as one pair of twice the rank, at the same scale. */
export function joined({ A, B, fixed }: PeftFactors): {
  readonly A: HostTensor;
  readonly B: HostTensor;
} {
  if (fixed === undefined) return { A, B };
  const [r = 0, n = 0] = A.shape,
    [m = 0] = B.shape;
  const both = new Float32Array(2 * r * n);
  both.set(A.data);
  both.set(fixed.A.data, r * n);
  return {
    A: { shape: [2 * r, n], data: both },
    B: {
      shape: [m, 2 * r],
      data: Float32Array.from({ length: m * 2 * r }, (_, i) => {
        const [row, k] = [Math.floor(i / (2 * r)), i % (2 * r)];
        return k < r ? at(B.data, row * r + k) : -at(fixed.B.data, row * r + k - r);
      }),
    },
  };
}
