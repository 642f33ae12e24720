/**
 * The map over rank × variance of the paper's Figure 3: as published, exact, from a draw of A, and
 * measured on a model.
 */
import {
  spectrumOf,
  type SpectrumSummary,
  summariseSpectrum,
} from '../../../src/science/measures/fisher/fisher.ts';
import { answersFisher, trueFisher } from '../../../src/science/measures/fisher/matrices.ts';
import type { OutputsOf } from '../../../src/science/models/types.ts';
import { type ClosedForm, closedForm, type Shape } from './closed-form.ts';
import type { DrawnMoments } from './drawn.ts';
import type { RankKernels } from './rank-kernels.ts';

/** Entropies of a spectrum at one scale, in nats. */
export interface MapValues {
  /** log Σλ */
  readonly h1: number;
  /** −log Σλ² */
  readonly h2: number;
}

/** Summaries of the Fisher information of the model's outputs, at s = 1. */
export interface ModelValues extends MapValues {
  readonly count: number;
  /** ½ Σ log λ; null where every eigenvalue counts as zero. */
  readonly information_bits: number | null;
  /** ½ Σ log(λ/Σλ), which does not change with the scale. */
  readonly information_bits_normalised: number | null;
  /** H₂ of λ/Σλ. */
  readonly h2_normalised: number | null;
}

export interface MapPoint {
  readonly distribution: Shape;
  readonly rank: number;
  /** σ²d. */
  readonly scale: number;
  /** In closed form, at σ² = scale/d with d the map's width. */
  readonly closed: ClosedForm;
  /** From AᵀA for one draw of A, (r, d). */
  readonly drawn: MapValues;
  /**
   * Measured at σ² = scale/d with d each layer's own fan-in; null where the rank exceeds a layer's
   * width.
   */
  readonly model: ModelValues | null;
}

export interface TheoryMap {
  readonly width: number;
  readonly rows: number;
  /** What the model's kernels are of. */
  readonly outputs: OutputsOf;
  /** Whether the Fisher information is the true or, of log p(answer), the empirical one. */
  readonly information: 'true' | 'empirical';
  /** The number of outputs of a row. */
  readonly classes: number;
  /** The same for full fine-tuning: over the weights of the same layers, at the same point. */
  readonly full: ModelValues;
  readonly points: readonly MapPoint[];
}

const modelValues = ({
  spectrum,
  count,
  information_bits,
  information_bits_normalised,
  renyi,
}: SpectrumSummary): ModelValues => ({
  h1: Math.log(spectrum.reduce((a, b) => a + b, 0)),
  h2: -Math.log(spectrum.reduce((a, b) => a + b * b, 0)),
  count,
  information_bits,
  information_bits_normalised,
  h2_normalised: renyi.normalised['2'] ?? null,
});

/** Returns the summaries of the spectrum whose eigenvalues are c times as large. */
const scaled = (values: ModelValues, c: number): ModelValues => ({
  ...values,
  h1: values.h1 + Math.log(c),
  h2: values.h2 - 2 * Math.log(c),
  information_bits:
    values.information_bits === null
      ? null
      : values.information_bits + (values.count / 2) * Math.log(c),
});

export interface MapOptions {
  readonly width: number;
  readonly scales: readonly number[];
  /** All ranks, ascending. */
  readonly drawn: ReadonlyMap<Shape, readonly DrawnMoments[]>;
  /** Kernels of the model for `modelRanks`. */
  readonly model: RankKernels;
  readonly modelRanks: readonly number[];
  /** The number of rows, N. */
  readonly rows: number;
  /** Eigenvalues at or below tolerance · λmax count as zero. */
  readonly tolerance: number;
}

export function theoryMap({
  width,
  scales,
  drawn,
  model,
  modelRanks,
  rows,
  tolerance,
}: MapOptions): TheoryMap {
  const classes = model.logits.length / rows;
  const information = model.outputs === 'class logits' ? 'true' : 'empirical';
  const summary = (kernel: Float64Array): ModelValues => {
    const matrix =
      information === 'true'
        ? trueFisher(kernel, model.logits, rows, classes)
        : answersFisher(kernel, rows);
    return modelValues(summariseSpectrum(spectrumOf(matrix), { tolerance, alphas: [2] }));
  };
  const points = [...drawn].flatMap(([distribution, moments]) => {
    const measured = new Map(
      modelRanks.map((rank, k) => [rank, summary(model.lora.get(distribution)![k]!)]),
    );
    return moments.flatMap(({ rank, sum, sum_squares: squares }) =>
      scales.map((scale): MapPoint => {
        const variance = scale / width,
          own = measured.get(rank);
        return {
          distribution,
          rank,
          scale,
          closed: closedForm(distribution, rank, width, variance),
          drawn: { h1: Math.log(variance * sum), h2: -Math.log(variance ** 2 * squares) },
          model: own === undefined ? null : scaled(own, scale),
        };
      }),
    );
  });
  const of = { width, rows, outputs: model.outputs, information, classes } as const;
  return { ...of, full: summary(model.full), points };
}
