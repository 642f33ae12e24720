/**
 * The `report` section of a spec as it is handed to the report: figures and tables of the grid that
 * the spec's author asked for. The report's own figures of the grid are written in the same way.
 */
import type { Json } from '../base/json.ts';
import { basePrefix } from './cell.ts';

/**
 * Something that a mark can show. `field` is one of:
 * - the full path of an axis of the grid: `poisoning.rate`;
 * - `adapter`, `attack`, `defence` or `setting`: the report's name for this part of a cell, made of
 *   all that varies in the part;
 * - `seed`;
 * - a metric, as `STAGE.METRIC`: `evaluate.asr`;
 * - `metric`: which of several metrics a mark shows;
 * - `kernel`: which kernel a metric of the Fisher information belongs to;
 * - `step`: the training step at which `train.loss`, or a metric that `evaluate.curves` asks for,
 *   was taken;
 * - `training`: the position in a chain of trainings, from 1, after which a metric was taken.
 */
export interface Channel {
  readonly field: string;
  /** Default: the field's name in the report. */
  readonly title?: string;
  /**
   * Default: `category` for text, `log2` for ranks, `linear` for other numbers; but if the numbers
   * of x span a factor of 20 and none is negative, `log` (`symlog` if one is 0).
   */
  readonly scale?: 'linear' | 'log' | 'log2' | 'symlog' | 'category';
  /** The ends of the axis. Default: what fits the values. */
  readonly domain?: readonly [least: number, most: number];
}

/**
 * Chooses cells by fields, which are named by full path: a cell must have, in each of them, one of
 * the listed values or a number within the bounds. A listed null stands for a field that the cell
 * lacks. For an attack on a base, `poisoning` means the base's `poisoning`.
 */
export interface CellPattern {
  readonly [path: string]: readonly Json[] | { readonly min?: number; readonly max?: number };
}

/** How a mark sums up the values that the seeds of a cell have. */
export type Statistic = 'mean' | 'median' | 'min' | 'max';
/**
 * What is drawn or written beside a statistic: half of the 95% Student t interval (`interval`; of
 * two seeds, both values), the sample standard deviation with n − 1 (`std`), the least and the
 * largest value (`range`), or nothing (`none`).
 */
export type SpreadName = 'interval' | 'std' | 'range' | 'none';

/**
 * Chooses, among the conditions that differ only in the axes `over` and are within the bounds of
 * `where`, the one with the highest or lowest mean of a metric over the seeds. It is chosen by the
 * metric on the validation rows; the numbers shown are those on the test rows.
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

/** Names in `Envelope.over` → the sections of a cell that they mean, where the two differ. */
const SECTIONS: Readonly<Record<string, string>> = { attack: 'poisoning' };

/**
 * Whether an envelope chooses over the axis `path`.
 * @param ofBase whether the attack is on a base: then `poisoning.rate` in `over` also means
 *   `base.poisoning.rate`, and `attack` means all of the base's poisoning
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

/** Numbers from a CSV, such as published ones, that are drawn over a figure. */
export interface Overlay {
  /** The rows of the CSV that are drawn, by column. */
  readonly rows: readonly { readonly [column: string]: string }[];
  readonly citation: string;
  /** The columns with the place on x, the value (`y`), and what tells lines apart (`color`). */
  readonly x: string;
  readonly y: string;
  readonly color?: string;
  /** The metric of the figure that the values belong to. Default: the first. */
  readonly metric?: string;
  /**
   * The column with the spread that is drawn on both sides of the value, or the two columns with
   * its ends.
   */
  readonly spread?: string | readonly [low: string, high: string];
  /** The columns whose values say in which panel a row is drawn, if the figure has several. */
  readonly facet?: { readonly row?: string; readonly column?: string };
  /**
   * For each value of the column `color`, the name of the line in the figure whose colour it gets.
   */
  readonly names: { readonly [value: string]: string };
  /** What the legend calls these numbers. Default: "published". */
  readonly label: string;
}

export interface FigureEntry {
  /** Unique, `[a-z0-9-]+`. It names the figure's files and its anchor on the page. */
  readonly name: string;
  readonly title?: string;
  /** What the figure shows. The report adds what the marks mean and what was left out. */
  readonly caption?: string;
  /** Default: `heatmap` where y is an axis, `point` where x is text or a metric, else `line`. */
  readonly mark?: 'line' | 'point' | 'bar' | 'heatmap';
  /** What varies: an axis, a name, the step or, in a scatter plot, a metric. */
  readonly x: Channel;
  /**
   * Metrics. Each has a panel of its own, unless `color` tells them apart (the field `metric`). In
   * a heat map, one axis instead.
   */
  readonly y: readonly Channel[];
  /**
   * Whether x runs upwards and the values run to the right. Default: true for the mark `point` if x
   * is text, else false.
   */
  readonly flip?: boolean;
  /**
   * What the colours stand for: the values of these fields of cells or, in a heat map, one metric.
   * Fields that tell apart cells at the same place are added.
   */
  readonly color?: { readonly fields: readonly string[]; readonly title?: string };
  /** Fields of cells whose values have a panel each, in rows or in columns of panels. */
  readonly facet?: { readonly row?: readonly string[]; readonly column?: readonly string[] };
  /**
   * The cells drawn: those that match one of the patterns, in the order of the patterns. Default:
   * all.
   */
  readonly cells?: readonly CellPattern[];
  readonly envelope?: Envelope;
  /**
   * Draws, instead of values, their differences from full fine-tuning or from the clean twin,
   * paired by seed.
   */
  readonly against?: 'full' | 'clean';
  /** Default: `mean`. */
  readonly statistic?: Statistic;
  /** Default: `interval` beside the mean, `range` beside any other statistic. */
  readonly spread?: SpreadName;
  /** Whether each seed has a point or, over steps, a line. Default: true. */
  readonly seeds?: boolean;
  /** Whether the statistic is written beside its mark. Default: true in a heat map, else false. */
  readonly values?: boolean;
  /** Metrics that are marked beside those of y, such as `evaluate.majority_share`. */
  readonly references?: readonly string[];
  readonly overlays?: readonly Overlay[];
  /**
   * The width: one column (3.25 in) or the page (6.75 in) of a two-column paper, both with type of
   * 7.5 pt, or a phone's screen. Default: a panel of the report's page.
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
  /** A figure with the name of one of the report's own figures replaces that one. */
  readonly figures: readonly FigureEntry[];
  readonly tables: readonly TableEntry[];
  /** Whether the report's own figures are shown. The figure of the run's stages is always shown. */
  readonly defaults: boolean;
}
