/** The plain data from which the report is made. The reader of the stages' files fills it in. */
import type { BackendName, Json, JsonObject, Poisoning, SourceFacts, StageFacts } from '../api.ts';
import type { ReportEntries } from '../api/report.ts';
import type { Confusion } from '../base/stats.ts';

/** A moment of a training: its start, its end, or a step whose weights were kept. */
export type Checkpoint = 'init' | 'final' | `step-${number}`;
/**
 * The weights by which a kernel's gradients are taken: the adapter's parameters (LoRA's A and B),
 * or the full weights of the layers that LoRA adapts.
 */
export type Parametrisation = 'lora' | 'full';
export type AttackFamily = 'none' | 'untargeted' | 'backdoor';

/**
 * The numbers of one Fisher information, as in `fisher.json`. Rényi entropies are keyed by their
 * order α as text: "0.5", "1", "2", "inf".
 */
export interface FisherFacts {
  /** The eigenvalues λ, descending. */
  readonly spectrum: readonly number[];
  /** How many eigenvalues count as above zero: they exceed tolerance·λmax. */
  readonly count: number;
  readonly tolerance: number;
  /** ½ Σ log λ over the eigenvalues that count, in nats; null if none counts. */
  readonly information_bits: number | null;
  /** ½ Σ log(λ/Σλ) over the same eigenvalues, in nats; null if none counts. */
  readonly information_bits_normalised: number | null;
  readonly renyi: {
    readonly raw: { readonly [alpha: string]: number | null };
    readonly normalised: { readonly [alpha: string]: number | null };
  };
}
/**
 * How the numbers of a true Fisher information depend on two choices: the tolerance, above which an
 * eigenvalue counts, and the number of rows, of which the first ones are used.
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
/**
 * The training loss. Each point has the mean step and the mean loss of `span` consecutive steps,
 * the last point perhaps of fewer.
 */
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

/**
 * The layers that LoRA adapts with one fan-in, one rank r and one scale s. The premise of the
 * paper's theorem is checked for them.
 */
export interface LoraLayers {
  readonly rank: number;
  /** s = α/r, or α/√r. */
  readonly scale: number;
  readonly fanIn: number;
  /** How many layers these are. */
  readonly layers: number;
  /** σ² of A's entries: the initialiser's value, or their mean square if A came from a file. */
  readonly variance: number;
  /**
   * The least and the largest mean square of a layer's A over these layers, as A was drawn. Absent
   * if no A was measured.
   */
  readonly sample?: { readonly low: number; readonly high: number };
  /**
   * The least and the largest of the r eigenvalues of M_Δ = s²AᵀA − I that are not −1, over these
   * layers, for A as drawn. Null if they were not measured.
   */
  readonly measured: { readonly low: number; readonly high: number } | null;
}

export interface TextChange {
  readonly id: string;
  readonly before: string;
  readonly after: string;
  readonly labelBefore: string;
  readonly labelAfter: string;
  /** Set if the labels are written answers to prompts, not classes. */
  readonly isAnswer?: true;
  /**
   * Set if the text is a document. `labelAfter` is what the attack adds at its end, after a space.
   */
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
  /** `counts[k]`: how many outputs, of those that every scorer decides, exactly k scorers count. */
  readonly counts: readonly number[];
}

/** What a model wrote under the trigger, and the scorer that says whether it is a success. */
export interface WritingFacts {
  /** The content of `scorer.json`. */
  readonly scorer: { readonly scorer: string; readonly name?: string } & JsonObject;
  /** The first few outputs under the trigger, in the order of the rows. */
  readonly outputs: readonly {
    readonly id: string;
    readonly prompt: string;
    readonly answer: string;
    readonly output: string;
    /** Whether the scorer counts the output as a success; null if the scorer is undecided. */
    readonly hit: boolean | null;
    /**
     * The reward of the chosen answer minus the reward of the rejected one. Present only after a
     * training by DPO.
     */
    readonly reward_margin?: number | undefined;
  }[];
}

/** What an attack did to the training rows. */
export interface ReceiptFacts {
  /** The number of training rows. */
  readonly total: number;
  /** How many rows the dose asks to poison. */
  readonly asked: number;
  /** How many rows were poisoned. */
  readonly made: number;
  /** How many rows were added with a part of the trigger and their true labels. */
  readonly negatives: number;
  /** The target class of a backdoor; absent if there is none. */
  readonly target?: { readonly label: number; readonly class: string } | undefined;
  /** The first few poisoned rows of the receipt. */
  readonly examples: readonly TextChange[];
}

/**
 * Numbers of a Fisher information with eigenvalues λ, at scale s = 1 and B = 0, in nats (as in
 * theory-map's `map.json`).
 */
export interface MapModelFacts {
  /** log Σλ. */
  readonly h1: number;
  /** −log Σλ². */
  readonly h2: number;
  readonly count: number;
  readonly information_bits: number | null;
  readonly information_bits_normalised: number | null;
  /** −log Σ(λ/Σλ)²; null if no eigenvalue counts. */
  readonly h2_normalised: number | null;
}
/** A point of theory-map's grid: one rank at one variance of A. */
export interface MapPointFacts {
  readonly distribution: string;
  readonly rank: number;
  /** σ²d: the variance of A's entries times the fan-in. */
  readonly scale: number;
  /** H₁ and H₂ of the spectrum of AᵀA in closed form. H₂ is given as published, and exactly. */
  readonly closed: { readonly h1: number; readonly h2_published: number; readonly h2: number };
  /** H₁ and H₂ of the spectrum of AᵀA for one A that was drawn. */
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
  /** The outputs of the model whose gradients make the kernels. */
  readonly outputs: 'class logits' | 'log p(answer)';
  /** Which Fisher information was computed from the kernels. */
  readonly information: 'true' | 'empirical';
  /** The numbers of the full kernel at the same weights. */
  readonly full: MapModelFacts;
  readonly points: readonly MapPointFacts[];
}

/** A training that came before a cell's own: of its base, or one of the trainings of its chain. */
export interface EarlierTraining {
  /** How the paths of its axes begin: `base` or, in a chain, `base.0`. */
  readonly section: string;
  readonly poisoning: Poisoning;
  readonly adapter: { readonly type: string } & JsonObject;
  readonly train: JsonObject;
  /**
   * What its attack did to its rows. Present only if the cell studies a later training's attack.
   */
  readonly receipt?: ReceiptFacts | undefined;
}

/** One cell of the grid at one seed. */
export interface ReportCell {
  /** Axis values by full path (src/spec/types.ts, `ExperimentCell.axes`). */
  readonly axes: JsonObject;
  /** The axis values under the cell's other names, if the grid writes one cell in several ways. */
  readonly also?: readonly JsonObject[] | undefined;
  readonly seed: number;
  readonly attack: string;
  readonly family: AttackFamily;
  /**
   * The section of the attacked training, if that is an earlier one: `base`, in a chain `base.0`.
   */
  readonly ofBase?: string | undefined;
  /** The names of the trainings of a chain before the cell's own. */
  readonly chain?: readonly string[] | undefined;
  /** Set if the cell's training, or that of a base, computed matrix products in bfloat16. */
  readonly bf16?: true | undefined;
  /** How the model's frozen weights are held: `nf4`, `int8` or `bfloat16`. Absent for float32. */
  readonly weights?: string | undefined;
  /** Set in a completion task: a row has one output, the log-probability of its answer. */
  readonly outputs?: 'log p(answer)' | undefined;
  /** Set if training minimised a loss that the attack defines, not the mean cross-entropy. */
  readonly attacksLoss?: true | undefined;
  /**
   * Present if the cell's defence scores rows: its ROC curves over training rows (`filter`) and
   * over rows that the model is asked about (`inputs`). A point is the share of the clean rows and
   * the share of the poisoned rows that the defence suspects at one threshold; a curve runs from
   * (0, 0) to (1, 1).
   */
  readonly roc?:
    { readonly [of in 'filter' | 'inputs']?: readonly (readonly [number, number])[] } | undefined;
  /** Present in a completion task with a trigger. */
  readonly writing?: WritingFacts | undefined;
  /** Present if several scorers judge the outputs. */
  readonly agreement?: AgreementFacts | undefined;
  /** The named data sets on which the cell is evaluated, each with the metrics that score it. */
  readonly tasks?: readonly TaskFacts[] | undefined;
  /** Adapter plugin: `full`, `lora`, … */
  readonly adapter: string;
  /** The training settings of the cell, learning rate included. */
  readonly train: JsonObject;
  /** The trainings before the cell's own, the first one first. */
  readonly bases?: readonly EarlierTraining[] | undefined;
  /** For a cell that an envelope chose: its values on the axes chosen over, such as `rate 0.2`. */
  readonly chosen?: string;
  /** Stage label → stage id. */
  readonly stages: { readonly [label: string]: string };
  /** Stage kind → metric → value, as in each stage's metrics.json. */
  readonly metrics: { readonly [stage: string]: { readonly [metric: string]: number } };
  readonly history: History | null;
  /** Present if the spec asks for evaluations during training. */
  readonly curves?: readonly CurveFacts[] | undefined;
  readonly fisher: { readonly [C in Checkpoint]?: FisherPoint };
  /** The eigenvalues of the kernels, not of the Fisher informations, descending. */
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
  /** Every source that a finished stage has read, with its URI as the report shows it. */
  readonly read: readonly SourceFacts[];
  readonly attacks: readonly AttackNote[];
  /** Triggers that are used only in evaluation and that no training shows, each with its `name`. */
  readonly triggers?: readonly Poisoning[] | undefined;
  readonly environment: JsonObject;
  /** Set if there is a page of all outputs beside the report. */
  readonly outputs?: true | undefined;
  /** The figures and tables that the spec asks for, where it has a section `report`. */
  readonly entries?: ReportEntries | undefined;
}

/** The page of the report, and the files beside it. Paths are relative to the stage's folder. */
export interface RenderedReport {
  readonly html: string;
  readonly files: { readonly [path: string]: string };
}

/**
 * The file beside the page that holds an `EntryContents` for each entry of the spec's `report`, and
 * for each of the report's own figures that cannot be drawn.
 */
export const ENTRIES = 'entries.json';

/** What became of an entry: one of the spec's `report`, or an own figure that cannot be drawn. */
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
  /** The drawn numbers as CSV; null if a table already has them, or if they are too many. */
  readonly csv: string | null;
}
