/** What the report is told of the grid besides the stages' files. */
import { type JsonObject, type Poisoning, stepsOf } from '../../../src/api.ts';

export type Params = {
  /** The kinds of the goal stages. */
  readonly goals: readonly string[];
  readonly cells: readonly PlannedCell[];
  /** The distinct training settings: most cells share theirs. */
  readonly train: readonly JsonObject[];
  /** Role → what the spec says of the source. */
  readonly sources: { readonly [role: string]: JsonObject };
};

export type PlannedCell = {
  readonly seed: number;
  /** The attack that the cell is about. */
  readonly poisoning: Poisoning;
  /** Whether that attack is on the cell's base. */
  readonly of_base?: true;
  readonly adapter: { readonly type: string } & JsonObject;
  /** The index of its settings in `Params.train`. */
  readonly train: number;
};

/**
 * Goals whose cells were trained on poisoned rows: the report shows receipts and data sets then.
 */
const TRAINED_GOALS = new Set(['train', 'evaluate', 'kernel', 'ntk', 'fisher']);
export const isTrainedGoal = (kind: string): boolean => TRAINED_GOALS.has(kind);

/** The goals that the report reads. */
export const readGoals = (goals: readonly string[]): readonly string[] =>
  goals.filter((goal) => goal !== 'report');

/** The names of all attacks of these cells, the steps of an attack each by its own. */
export const attackNames = (
  cells: readonly { readonly poisoning: Poisoning }[],
): readonly string[] => [
  ...new Set(cells.flatMap(({ poisoning }) => stepsOf(poisoning).map(({ attack }) => attack))),
];
