/** What the report is told about the grid, in addition to the stages' files. */
import { type JsonObject, type Poisoning, stepsOf } from '../../../src/api.ts';

export type Params = {
  /** The kinds of the goal stages. */
  readonly goals: readonly string[];
  readonly cells: readonly PlannedCell[];
  /** The distinct training settings. Most cells share theirs with others. */
  readonly train: readonly JsonObject[];
  /** Role → what the spec says about the source. */
  readonly sources: { readonly [role: string]: JsonObject };
};

export type PlannedCell = {
  readonly seed: number;
  /** The attack on the cell, or else on its base. */
  readonly poisoning: Poisoning;
  /** Present if that attack is on the cell's base. */
  readonly of_base?: true;
  readonly adapter: { readonly type: string } & JsonObject;
  /** Present if the cell's training, or its base's, took its products in bfloat16. */
  readonly bf16?: true;
  /** The index of the cell's training settings in `Params.train`. */
  readonly train: number;
};

/**
 * The goals for which models are trained, possibly on poisoned rows. With any of them, the report
 * shows receipts and data sets.
 */
const TRAINED_GOALS = new Set(['train', 'evaluate', 'kernel', 'ntk', 'fisher']);
export const isTrainedGoal = (kind: string): boolean => TRAINED_GOALS.has(kind);

/** The goals that the report reads. */
export const readGoals = (goals: readonly string[]): readonly string[] =>
  goals.filter((goal) => goal !== 'report');

/**
 * Returns the names of all attacks of these cells. Each step of a composed attack is listed by its
 * own name.
 */
export const attackNames = (
  cells: readonly { readonly poisoning: Poisoning }[],
): readonly string[] => [
  ...new Set(cells.flatMap(({ poisoning }) => stepsOf(poisoning).map(({ attack }) => attack))),
];
