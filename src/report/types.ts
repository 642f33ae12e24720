/** Phase 4, results → HTML: what the report is made of. Plain data; whoever reads the stages' files fills it in. */
import type { BackendName, JsonObject, StageFacts } from '../api.ts';

/** Of a training: its start, its end, or a kept step. */
export type Checkpoint = 'init' | 'final' | `step-${number}`;
/** Which weights a kernel is over: A and B, or the weights of the same layers in full. */
export type Parametrisation = 'lora' | 'full';
export type AttackFamily = 'none' | 'untargeted' | 'backdoor';

/** `fisher.json`, one matrix. Rényi entropies by α: "0.5", "1", "2", "inf". */
export interface FisherFacts {
  /** Descending. */
  readonly spectrum: readonly number[];
  /** How many eigenvalues count. */
  readonly count: number;
  readonly tolerance: number;
  /** Nats; null where it isn't a number (no eigenvalue counts). */
  readonly information_bits: number | null;
  readonly information_bits_normalised: number | null;
  readonly renyi: {
    readonly raw: { readonly [alpha: string]: number | null };
    readonly normalised: { readonly [alpha: string]: number | null };
  };
}
/** How a true Fisher's counted eigenvalues and information bits move: with the tolerance, and over the first rows alone. */
export interface FisherSensitivity {
  readonly tolerances: readonly {
    readonly tolerance: number;
    readonly count: number;
    readonly information_bits: number | null;
  }[];
  readonly rows: readonly {
    readonly rows: number;
    readonly count: number;
    readonly information_bits: number | null;
    readonly information_bits_normalised: number | null;
  }[];
}
export type FisherPoint = {
  readonly [P in Parametrisation]?: {
    readonly true?: FisherFacts;
    readonly empirical?: FisherFacts;
    readonly sensitivity?: FisherSensitivity;
  };
};

/** A kernel as it is on disk. */
export interface KernelData {
  readonly rows: number; // N
  readonly classes: number; // C
  readonly data: ArrayLike<number>; // (N, C, N, C)
}
export interface KernelPoint {
  readonly kernels: { readonly [P in Parametrisation]?: KernelData };
  /** Label of each of the N rows, as `rows.json` has them. */
  readonly labels: readonly number[];
}

export interface HistoryPoint {
  readonly step: number;
  readonly loss: number;
}
/** Training loss, as means over `span` steps each. */
export interface History {
  readonly span: number;
  readonly points: readonly HistoryPoint[];
}

/** One look at a training on its way (`curves.jsonl`). */
export interface CurveFacts {
  /** 0: before the first. */
  readonly step: number;
  readonly accuracy: number;
  readonly asr?: number;
  readonly poisoned_accuracy?: number;
}

/** Layers that share a fan-in, for the premise of the theorem. */
export interface LoraLayers {
  /** The layers' fan-in, n. */
  readonly fanIn: number;
  readonly layers: number;
  /** σ² of A's entries: the initialiser's, or the mean square of the entries where A came from a file. */
  readonly variance: number;
  /** Smallest and largest mean square of the entries of one layer's A, as drawn; left out where no A was looked at. */
  readonly sample?: { readonly low: number; readonly high: number };
  /** Of the r eigenvalues of M_Δ = s²AᵀA − I that are not −1: the extremes over these layers, for the A that training started from; null where unknown. */
  readonly measured: { readonly low: number; readonly high: number } | null;
}
export interface LoraFacts {
  readonly rank: number;
  /** s = α/r, or α/√r. */
  readonly scale: number;
  readonly groups: readonly LoraLayers[];
}

export interface TextChange {
  readonly id: string;
  readonly before: string;
  readonly after: string;
  readonly labelBefore: string;
  readonly labelAfter: string;
}
export interface ReceiptFacts {
  readonly total: number;
  readonly asked: number;
  readonly made: number;
  readonly negatives: number;
  /** A few of the poisoned rows, the first of the receipt. */
  readonly examples: readonly TextChange[];
}

/** Of a true Fisher information at s = 1, B = 0 (theory-map's map.json). Nats. */
export interface MapModelFacts {
  /** log Σλ and −log Σλ². */
  readonly h1: number;
  readonly h2: number;
  readonly count: number;
  readonly information_bits: number | null;
  readonly information_bits_normalised: number | null;
  readonly h2_normalised: number | null;
}
/** One rank at one variance. */
export interface MapPointFacts {
  readonly distribution: string;
  readonly rank: number;
  /** σ²d. */
  readonly scale: number;
  /** Of the spectrum of AᵀA: as published and exact. */
  readonly closed: { readonly h1: number; readonly h2_published: number; readonly h2: number };
  /** Of one draw of A. */
  readonly drawn: { readonly h1: number; readonly h2: number };
  /** Null where the model's layers are narrower than the rank. */
  readonly model: MapModelFacts | null;
}
export interface MapFacts {
  /** Whether the measured model has a checkpoint's weights, or drawn ones. */
  readonly init: 'pretrained' | 'random';
  /** d of the closed form and the draws. */
  readonly width: number;
  readonly rows: number;
  readonly classes: number;
  /** The full kernel at the same point. */
  readonly full: MapModelFacts;
  readonly points: readonly MapPointFacts[];
}

/** One cell of the grid at one seed. */
export interface ReportCell {
  /** Axis values by full path (experiment/types.ts, `ExperimentCell.axes`). */
  readonly axes: JsonObject;
  /** Those of its other names: the same cell, written in another way. Left out where it has one name. */
  readonly also?: readonly JsonObject[];
  readonly seed: number;
  readonly attack: string;
  readonly family: AttackFamily;
  /** The attack is on the base that the cell's own, clean training starts from. */
  readonly ofBase?: true;
  /** Its training lowered a loss of the attack's own, not the mean cross-entropy. */
  readonly attacksLoss?: true;
  /** Adapter plugin: `full`, `lora`, … */
  readonly adapter: string;
  /** What the cell was trained with, learning rate and all. */
  readonly train: JsonObject;
  /** Stage label → stage id. */
  readonly stages: { readonly [label: string]: string };
  /** Stage kind → metric → value, as in each stage's metrics.json. */
  readonly metrics: { readonly [stage: string]: { readonly [metric: string]: number } };
  readonly history: History | null;
  /** Where the spec asks for looks at the training. */
  readonly curves?: readonly CurveFacts[];
  readonly fisher: { readonly [C in Checkpoint]?: FisherPoint };
  /** The kernels' own eigenvalues, descending, to stand beside the Fisher's. */
  readonly kernelSpectra: {
    readonly [C in Checkpoint]?: { readonly [P in Parametrisation]?: readonly number[] };
  };
  readonly kernels: { readonly [C in Checkpoint]?: KernelPoint };
  readonly lora: LoraFacts | null;
  readonly receipt: ReceiptFacts | null;
  /** What theory-map left, where it was asked for. */
  readonly map?: MapFacts;
}

export interface AttackNote {
  readonly name: string;
  readonly summary: string;
  readonly citation: string;
}

export interface ReportInput {
  readonly name: string;
  readonly specFile: string;
  readonly specText: string;
  /** Goal stage kinds. */
  readonly goals: readonly string[];
  readonly cells: readonly ReportCell[];
  /** Every stage of the run, for the DAG, timings and store keys. */
  readonly stages: readonly StageFacts[];
  readonly backends: readonly BackendName[];
  /** Class names by label id; empty where no data set could be read. */
  readonly classes: readonly string[];
  /** Spec source → what a paper would cite of it (package, version, digest, classes, rows). */
  readonly sources: { readonly [role: string]: JsonObject };
  readonly attacks: readonly AttackNote[];
  readonly environment: JsonObject;
}

/** The page and every figure beside it, by path relative to the stage's folder. */
export interface RenderedReport {
  readonly html: string;
  readonly files: { readonly [path: string]: string };
}

/** One panel or several that belong together, drawn. */
export interface Figure {
  /** Unique in the page, `[a-z0-9-]+`. */
  readonly id: string;
  readonly title: string;
  /** What is seen, what the marks mean, what was left out. */
  readonly caption: string;
  /** A complete `<svg>` element with its own title. */
  readonly svg: string;
  /** The numbers in it; null where the picture has none that the tables lack. */
  readonly csv: string | null;
}
