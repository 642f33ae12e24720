/** The plain data from which the report is made. The reader of the stages' files fills it in. */
import type { BackendName, Json, JsonObject, Poisoning, SourceFacts, StageFacts } from '../api.ts';
import type { ReportEntries } from '../api/report.ts';
import type { Confusion } from '../base/stats.ts';

/** A moment of a training: its start, its end, or a step that was kept. */
export type Checkpoint = 'init' | 'final' | `step-${number}`;
/** The weights that a kernel is over: the adapter’s (A and B), or the full ones of its layers. */
export type Parametrisation = 'lora' | 'full';
export type AttackFamily = 'none' | 'untargeted' | 'backdoor';

/** One matrix of `fisher.json`. Rényi entropies are keyed by α: "0.5", "1", "2", "inf". */
export interface FisherFacts {
  /** The eigenvalues λ, descending. */
  readonly spectrum: readonly number[];
  /** How many eigenvalues count as above zero: they exceed tolerance·λmax. */
  readonly count: number;
  readonly tolerance: number;
  /** ½ Σ log λ over the eigenvalues that count, in nats; null if none counts. */
  readonly information_bits: number | null;
  readonly information_bits_normalised: number | null;
  readonly renyi: {
    readonly raw: { readonly [alpha: string]: number | null };
    readonly normalised: { readonly [alpha: string]: number | null };
  };
}
/**
 * How two numbers of a true Fisher information, the count of eigenvalues above the tolerance and
 * the information bits, change with that tolerance and with the number of rows (the first N).
 */
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
    readonly sensitivity?: FisherSensitivity;
  };
};

/** A kernel as it is stored. */
export interface KernelData {
  readonly rows: number; // N
  readonly classes: number; // C
  readonly data: ArrayLike<number>; // (N, C, N, C)
}
export interface KernelPoint {
  /** Set in a completion task: a row has one output, the log-probability of its answer. */
  readonly outputs?: 'log p(answer)' | undefined;
  readonly kernels: { readonly [P in Parametrisation]?: KernelData };
  /** The label of each of the N rows, as in `rows.json`. Empty in a completion task. */
  readonly labels: readonly number[];
}

export interface HistoryPoint {
  readonly step: number;
  readonly loss: number;
}
/** The training loss; each point is the mean of `span` steps. */
export interface History {
  readonly span: number;
  readonly points: readonly HistoryPoint[];
}

/** One evaluation during training (a line of `curves.jsonl`). */
export interface CurveFacts {
  /** The number of steps taken: 0 is before the first one. */
  readonly step: number;
  readonly accuracy: number;
  readonly asr?: number | undefined;
  readonly poisoned_accuracy?: number | undefined;
}

/** LoRA's adapted layers of one fan-in, rank and scale, for the premise of the theorem. */
export interface LoraLayers {
  readonly rank: number;
  /** s = α/r, or α/√r. */
  readonly scale: number;
  readonly fanIn: number;
  readonly layers: number;
  /** σ² of A's entries: the initialiser's value, or their mean square if A came from a file. */
  readonly variance: number;
  /** The range of the mean square of one layer's A, as drawn. Absent if no A was measured. */
  readonly sample?: { readonly low: number; readonly high: number };
  /** The range of the r eigenvalues of M_Δ = s²AᵀA − I that are not −1, at A as drawn; or null. */
  readonly measured: { readonly low: number; readonly high: number } | null;
}

export interface TextChange {
  readonly id: string;
  readonly before: string;
  readonly after: string;
  readonly labelBefore: string;
  readonly labelAfter: string;
  /** Whether the labels are answers to prompts. */
  readonly isAnswer?: true;
  /** Whether they are what an attack adds at the end of a document, after a space. */
  readonly isDocument?: true;
}
/** A named data set, and the metrics by which it is scored, the main one first. */
export interface TaskFacts {
  readonly dataset: string;
  readonly metrics: readonly string[];
}
/** How scorers agree on the outputs that they decide (`agreement.json` of evaluate). */
export interface AgreementFacts {
  readonly scorers: readonly string[];
  readonly pairs: readonly { readonly of: readonly [string, string]; readonly counts: Confusion }[];
  /** `counts[k]`: how many of the outputs that every scorer decides are counted by exactly k. */
  readonly counts: readonly number[];
}

/** What a model wrote under the trigger, and which scorer counted a success. */
export interface WritingFacts {
  /** The content of `scorer.json`. */
  readonly scorer: { readonly scorer: string; readonly name?: string } & JsonObject;
  /** The first few outputs under the trigger, in the order of the rows. */
  readonly outputs: readonly {
    readonly id: string;
    readonly prompt: string;
    readonly answer: string;
    readonly output: string;
    /** Whether the scorer counts a success; null if it is undecided. */
    readonly hit: boolean | null;
    /** The reward of the chosen answer minus that of the rejected one, after a training by DPO. */
    readonly reward_margin?: number | undefined;
  }[];
}

/** What an attack did to the training rows. */
export interface ReceiptFacts {
  /** The training rows, those of them that the dose asks for, and those that were poisoned. */
  readonly total: number;
  readonly asked: number;
  readonly made: number;
  /** The rows that were added with a part of the trigger and their true labels. */
  readonly negatives: number;
  /** The target class of a backdoor; absent if there is none. */
  readonly target?: { readonly label: number; readonly class: string } | undefined;
  /** The first few poisoned rows of the receipt. */
  readonly examples: readonly TextChange[];
}

/** Numbers of a Fisher information at s = 1, B = 0 (theory-map's map.json), in nats. */
export interface MapModelFacts {
  /** `h1` = log Σλ, `h2` = −log Σλ². */
  readonly h1: number;
  readonly h2: number;
  readonly count: number;
  readonly information_bits: number | null;
  readonly information_bits_normalised: number | null;
  readonly h2_normalised: number | null;
}
/** A point of theory-map's grid: one rank at one variance of A. */
export interface MapPointFacts {
  readonly distribution: string;
  readonly rank: number;
  /** σ²d. */
  readonly scale: number;
  /** The closed forms for the spectrum of AᵀA, as published and exact. */
  readonly closed: { readonly h1: number; readonly h2_published: number; readonly h2: number };
  /** The same two numbers of the spectrum of AᵀA for one drawn A. */
  readonly drawn: { readonly h1: number; readonly h2: number };
  /** What was measured on the model; null if its layers are narrower than the rank. */
  readonly model: MapModelFacts | null;
}
export interface MapFacts {
  /** Whether the measured model has a checkpoint's weights or randomly drawn ones. */
  readonly init: 'pretrained' | 'random';
  /** The fan-in d of the closed forms and of the drawn A. */
  readonly width: number;
  readonly rows: number;
  readonly classes: number;
  /** What the kernels are of, and which Fisher information was computed from them. */
  readonly outputs: 'class logits' | 'log p(answer)';
  readonly information: 'true' | 'empirical';
  /** The numbers of the full kernel at the same weights. */
  readonly full: MapModelFacts;
  readonly points: readonly MapPointFacts[];
}

/** A training before a cell's own. */
export interface EarlierTraining {
  /** Its section in the paths of axes: `base` or, in a chain, `base.0`. */
  readonly section: string;
  readonly poisoning: Poisoning;
  readonly adapter: { readonly type: string } & JsonObject;
  readonly train: JsonObject;
  /** The receipt of its poisoned rows, if the cell studies a later attack. */
  readonly receipt?: ReceiptFacts | undefined;
}

/** One cell of the grid at one seed. */
export interface ReportCell {
  /** Axis values by full path (src/spec/types.ts, `ExperimentCell.axes`). */
  readonly axes: JsonObject;
  /** The axes of the cell's other names, if the grid writes it in several ways. */
  readonly also?: readonly JsonObject[] | undefined;
  readonly seed: number;
  readonly attack: string;
  readonly family: AttackFamily;
  /** If the attack is on an earlier training, its section: `base` or, in a chain, `base.0`. */
  readonly ofBase?: string | undefined;
  /** The names of the trainings of a chain before the cell's own. */
  readonly chain?: readonly string[] | undefined;
  /** Set if the cell's training, or its base's, took its products in bfloat16. */
  readonly bf16?: true | undefined;
  /** Set if the frozen weights of the cell's model are not in float32, as `Precision` names it. */
  readonly weights?: string | undefined;
  /** Set in a completion task: a row has one output, the log-probability of its answer. */
  readonly outputs?: 'log p(answer)' | undefined;
  /** Set if training minimised a loss that the attack defines, not the mean cross-entropy. */
  readonly attacksLoss?: true | undefined;
  /**
   * Set if the cell's defence scores rows: its ROC curve over training rows (`filter`) and asked
   * rows (`inputs`), from (0, 0) to (1, 1), as shares of clean and of poisoned rows that it
   * suspects.
   */
  readonly roc?:
    { readonly [of in 'filter' | 'inputs']?: readonly (readonly [number, number])[] } | undefined;
  /** Present in a completion task with a trigger. */
  readonly writing?: WritingFacts | undefined;
  /** Present if several scorers judge the outputs. */
  readonly agreement?: AgreementFacts | undefined;
  /** The evaluated data sets that have metrics of their own. */
  readonly tasks?: readonly TaskFacts[] | undefined;
  /** Adapter plugin: `full`, `lora`, … */
  readonly adapter: string;
  /** The training settings of the cell, learning rate included. */
  readonly train: JsonObject;
  /** The trainings before the cell's own, the first one first. */
  readonly bases?: readonly EarlierTraining[] | undefined;
  /** The point of an envelope that the cell was chosen at: `rate 0.2`. */
  readonly chosen?: string;
  /** Stage label → stage id. */
  readonly stages: { readonly [label: string]: string };
  /** Stage kind → metric → value, as in each stage's metrics.json. */
  readonly metrics: { readonly [stage: string]: { readonly [metric: string]: number } };
  readonly history: History | null;
  /** Present if the spec asks for evaluations during training. */
  readonly curves?: readonly CurveFacts[] | undefined;
  readonly fisher: { readonly [C in Checkpoint]?: FisherPoint };
  /** The eigenvalues of the kernels themselves, descending. */
  readonly kernelSpectra: {
    readonly [C in Checkpoint]?: { readonly [P in Parametrisation]?: readonly number[] };
  };
  readonly kernels: { readonly [C in Checkpoint]?: KernelPoint };
  /** Null without LoRA, or if its layers are not known. */
  readonly lora: readonly LoraLayers[] | null;
  readonly receipt: ReceiptFacts | null;
  readonly map?: MapFacts | undefined;
}

export interface AttackNote {
  readonly name: string;
  readonly summary: string;
  readonly citation: string;
  /** Each parameter’s values in the grid. */
  readonly params: { readonly [param: string]: readonly Json[] };
}

export interface ReportInput {
  readonly name: string;
  readonly specFile: string;
  readonly specText: string;
  /** Goal stage kinds. */
  readonly goals: readonly string[];
  readonly cells: readonly ReportCell[];
  /** Every stage of the run: for the DAG, the timings and the store keys. */
  readonly stages: readonly StageFacts[];
  readonly backends: readonly BackendName[];
  /** Class names by label id; empty if no data set could be read. */
  readonly classes: readonly string[];
  /** Role (`model`, `test data`) → what a paper cites: package, version, digest, classes, rows. */
  readonly sources: { readonly [role: string]: JsonObject };
  /** Every source that a finished stage has read, its URI as it is shown. */
  readonly read: readonly SourceFacts[];
  readonly attacks: readonly AttackNote[];
  /** Triggers that no training shows, each with its `name`. */
  readonly triggers?: readonly Poisoning[] | undefined;
  readonly environment: JsonObject;
  /** Set if there is a page of all outputs beside the report. */
  readonly outputs?: true | undefined;
  /** The figures and tables that the spec asks for, where it has a section `report`. */
  readonly entries?: ReportEntries | undefined;
}

/** The files' paths are relative to the stage's folder. */
export interface RenderedReport {
  readonly html: string;
  readonly files: { readonly [path: string]: string };
}

/** The file beside the page that holds an `EntryContents` for each entry of the spec's `report`. */
export const ENTRIES = 'entries.json';

/** The files that an entry of the spec's `report` gave. */
export interface EntryContents {
  readonly name: string;
  /** The paths of the entry's files, without the endings that tell their formats. */
  readonly files: readonly string[];
  /** What the entry could not show, and why. */
  readonly lacks: readonly string[];
}

/** The formats of a figure or a table, each with the ending of its files. */
export const FIGURE_FORMATS = {
  vega: 'vl.json',
  svg: 'svg',
  pdf: 'pdf',
  png: 'png',
  csv: 'csv',
  latex: 'tex',
  markdown: 'md',
} as const;
export type FigureFormat = keyof typeof FIGURE_FORMATS;

/** A drawn figure: one panel, or several that belong together. */
export interface Figure {
  /** Unique in the page, `[a-z0-9-]+`. */
  readonly id: string;
  readonly title: string;
  /** What is shown, what the marks mean, what was left out. */
  readonly caption: string;
  /** A complete `<svg>` element with its own title. */
  readonly svg: string;
  /** The Vega-Lite specification of the figure, with its data, if there is one. */
  readonly spec?: object;
  /** The numbers that are drawn; null if tables hold them, or if they are too many for a file. */
  readonly csv: string | null;
}
