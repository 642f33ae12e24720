/**
 * The `report` section of a spec as it is handed to the report: figures and tables of the grid that
 * the spec's author asked for. The report's own figures of the grid are written in the same way.
 */
import type { Json } from '../base/json.ts';
import { basePrefix } from './cell.ts';

/**
 * Something that a mark can show: an axis of the grid by its full path (`poisoning.rate`); the
 * report's name of a cell's `adapter`, `attack`, `defence` or `setting`, which holds all that
 * varies in it; `seed`; a metric as `STAGE.METRIC` (`evaluate.asr`); `metric` (which of several
 * metrics) or `kernel` (of which kernel one of the Fisher information is); `step`, the step of
 * training, at which `train.loss` and what `evaluate.curves` took are known; or `training`, the
 * position in a chain of trainings, from 1, after which its numbers were taken.
 */
export interface Channel {
  readonly field: string;
  /** Default: the field's name in the report. */
  readonly title?: string;
  /** Default: `log` where positive numbers span a factor of 20, `category` for text. */
  readonly scale?: 'linear' | 'log' | 'log2' | 'symlog' | 'category';
  /** The ends of the axis. Default: what fits the values. */
  readonly domain?: readonly [least: number, most: number];
}

/**
 * Chooses the cells that have, in each field by its full path, one of the listed values or a number
 * within the bounds; null stands for a field that a cell lacks. For an attack on a base,
 * `poisoning` means the base's.
 */
export interface CellPattern {
  readonly [path: string]: readonly Json[] | { readonly min?: number; readonly max?: number };
}

/** What a mark stands for over the seeds of a cell. */
export type Statistic = 'mean' | 'median' | 'min' | 'max';
/**
 * What is drawn or written beside a statistic: half of the 95% Student t interval, the sample
 * standard deviation (n − 1), the least and the largest value.
 */
export type SpreadName = 'interval' | 'std' | 'range' | 'none';

/**
 * Chooses, among the conditions that differ only in the axes `over` and are within bounds, the one
 * with the highest or lowest mean of a metric over the seeds. The metric of the validation rows
 * chooses; the numbers shown are those of the test rows.
 */
export interface Envelope {
  /** Paths of axes, or `adapter`, `attack` or `defence` for all that varies in them. */
  readonly over: readonly string[];
  readonly choose: 'highest' | 'lowest';
  /** `STAGE.METRIC`. */
  readonly by: string;
  /** Bounds of means over the seeds, by `STAGE.METRIC`. */
  readonly where?: {
    readonly [metric: string]: { readonly min?: number; readonly max?: number };
  };
  /**
   * The seeds over whose means the condition is chosen. The numbers shown are then those of the
   * other seeds, so that no training takes part in choosing its own number. Default: all seeds
   * choose, and all are shown.
   */
  readonly selectionSeeds?: readonly number[];
}

/** By its name in `Envelope.over`, the section of a cell, where the two differ. */
const SECTIONS: Readonly<Record<string, string>> = { attack: 'poisoning' };

/**
 * Whether an envelope chooses over the axis `path`. For an attack on a base, `poisoning.rate` also
 * means `base.poisoning.rate`, and `attack` all of the base's poisoning.
 */
export function isNamed(over: Envelope['over'], path: string, ofBase: boolean): boolean {
  const inner = path.slice(basePrefix(path).length),
    own = ofBase && inner.startsWith('poisoning.') ? inner : path;
  return over.some(
    (one) =>
      [path, own].includes(one) ||
      (!one.includes('.') && own.startsWith(`${SECTIONS[one] ?? one}.`)),
  );
}

export interface Overlay {
  /** The rows of the CSV that are drawn, by column. */
  readonly rows: readonly { readonly [column: string]: string }[];
  readonly citation: string;
  /** The columns with the place on x, the value (`y`), and what tells lines apart (`color`). */
  readonly x: string;
  readonly y: string;
  readonly color?: string;
  /** The metric of the figure that the values are of. Default: the first. */
  readonly metric?: string;
  /** The column with the spread that is drawn beside the value, or those with its two ends. */
  readonly spread?: string | readonly [low: string, high: string];
  /** The columns whose values say in which panel a row is drawn, if the figure has several. */
  readonly facet?: { readonly row?: string; readonly column?: string };
  /** By a value of the column `color`, the name of the figure's line whose colour it gets. */
  readonly names: { readonly [value: string]: string };
  /** What the legend calls these numbers. Default: "published". */
  readonly label: string;
}

export interface FigureEntry {
  /** Unique, `[a-z0-9-]+`: the name of the files and of the place on the page. */
  readonly name: string;
  readonly title?: string;
  /** What the figure shows. The report adds what the marks mean and what was left out. */
  readonly caption?: string;
  /** Default: `heatmap` where y is an axis, `point` where x is text or a metric, else `line`. */
  readonly mark?: 'line' | 'point' | 'bar' | 'heatmap';
  /** What varies: an axis, a name, the step or, in a scatter plot, a metric. */
  readonly x: Channel;
  /** Metrics, with one panel each unless `metric` has the colours. In a heat map, one axis. */
  readonly y: readonly Channel[];
  /** Whether x runs upwards and values to the right. Default: for points over text. */
  readonly flip?: boolean;
  /**
   * What has a colour of its own: fields of cells, or in a heat map one metric. Fields that tell
   * apart cells at the same place are added.
   */
  readonly color?: { readonly fields: readonly string[]; readonly title?: string };
  /** Fields of cells whose values have a panel each, in rows or in columns of panels. */
  readonly facet?: { readonly row?: readonly string[]; readonly column?: readonly string[] };
  /** The cells drawn: those that match one of the patterns, in their order. Default: all. */
  readonly cells?: readonly CellPattern[];
  readonly envelope?: Envelope;
  /** Draws differences, paired by seed, from full fine-tuning or from the clean twin. */
  readonly against?: 'full' | 'clean';
  /** Default: `mean`. */
  readonly statistic?: Statistic;
  /** Default: `interval`, and `range` for another statistic than the mean. */
  readonly spread?: SpreadName;
  /** Whether each seed has a point or, over steps, a line. Default: true. */
  readonly seeds?: boolean;
  /** Whether the statistic is written beside its mark. Default: in a heat map. */
  readonly values?: boolean;
  /** Metrics that are marked beside those of y, such as `evaluate.majority_share`. */
  readonly references?: readonly string[];
  readonly overlays?: readonly Overlay[];
  /**
   * The width: one column of a two-column paper (3.25 in) or its page (6.75 in), with type of 7.5
   * pt, or a phone's. Default: a panel of the report's page.
   */
  readonly size?: 'column' | 'page' | 'phone';
}

export interface TableEntry {
  readonly name: string;
  readonly title?: string;
  readonly caption?: string;
  /** Paths of axes, or `adapter`, `attack`, `defence`, `setting` as in figures; outermost first. */
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  /** `STAGE.METRIC`. */
  readonly metrics: readonly string[];
  readonly cells?: readonly CellPattern[];
  readonly envelope?: Envelope;
  readonly against?: 'full' | 'clean';
  readonly spread?: Exclude<SpreadName, 'none'>;
}

export interface ReportEntries {
  /** A figure with the name of one of the report's own figures replaces that. */
  readonly figures: readonly FigureEntry[];
  readonly tables: readonly TableEntry[];
  /** Whether the report's own figures are shown. That of the run's stages always is. */
  readonly defaults: boolean;
}
