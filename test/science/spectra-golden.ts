/** The reference values that test/golden/spectra.py makes with NumPy. */
import { readFile } from 'node:fs/promises';
import type { SpectrumSummary } from '../../src/science/measures/fisher.ts';

export interface FisherCase {
  readonly name: string;
  readonly rows: number; // N
  readonly classes: number; // C
  readonly parameters: number; // P
  readonly jacobian: readonly number[]; // (N, C, P)
  readonly logits: readonly number[]; // (N, C)
  readonly labels: readonly number[];
  readonly tolerance: number;
  readonly true: ExpectedSpectrum;
  readonly empirical: ExpectedSpectrum;
}

export interface ExpectedSpectrum extends Pick<SpectrumSummary, 'spectrum' | 'count' | 'renyi'> {
  readonly information_bits: number;
  readonly information_bits_normalised: number;
}

interface ChangeCase {
  readonly name: string;
  readonly shape: readonly [number, number];
  readonly initial: readonly number[];
  readonly change: readonly number[];
  readonly singular_values: readonly number[];
  readonly cosines: readonly number[];
  readonly effective_rank: number;
  readonly stable_rank: number;
  readonly intruder_dimensions: number;
}

interface SpectraGolden {
  readonly fisher: readonly FisherCase[];
  /** Descending. */
  readonly symmetric: readonly {
    readonly name: string;
    readonly size: number;
    readonly matrix: readonly number[];
    readonly eigenvalues: readonly number[];
  }[];
  readonly rectangles: readonly {
    readonly name: string;
    readonly shape: readonly [number, number];
    readonly matrix: readonly number[];
    readonly values: readonly number[];
  }[];
  readonly changes: {
    readonly energy: number;
    readonly vectors: number;
    readonly cosine: number;
    readonly cases: readonly ChangeCase[];
  };
}

export const spectraGolden = JSON.parse(
  await readFile(new URL('../golden/spectra.json', import.meta.url), 'utf8'),
) as SpectraGolden;
