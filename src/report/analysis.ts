/** Everything that the page and its figures show, computed once from the cells. Pure. */
import { withoutNumbers } from '../base/fault.ts';
import { type Caveat, caveatsOf } from './caveats.ts';
import { compareAll, type Comparisons } from './comparisons.ts';
import { type Condition, conditionsOf } from './conditions.ts';
import { toCsv } from './csv.ts';
import { evidenceColumns } from './evidence.ts';
import { chooseKernels, type KernelChoice } from './figures/kernels.ts';
import { type Finding, findingsOf } from './findings.ts';
import { groupBy } from './groups.ts';
import { blockLabel } from './labels.ts';
import { type Standing, standingOf } from './standing.ts';
import { taskBeside } from './tasks.ts';
import type { ReportCell, ReportInput } from './types.ts';

export interface Analysis {
  readonly input: ReportInput;
  readonly conditions: readonly Condition[];
  readonly comparisons: Comparisons;
  readonly findings: readonly Finding[];
  readonly standing: Standing;
  readonly caveats: readonly Caveat[];
  /** What stages were warned of, with the number of stages. */
  readonly warnings: readonly { readonly text: string; readonly stages: number }[];
  /** Whether kernels or Fisher information were asked for, which the paper's theorem is about. */
  readonly theorem: boolean;
  /** The kernels that are drawn. */
  readonly kernels: readonly KernelChoice[];
  /** The number of cells with kernels that are not drawn. */
  readonly undrawn: number;
}

const THEOREM_GOALS = ['kernel', 'ntk', 'fisher', 'delta', 'regime', 'theory-map'];

const conditionName = (condition: Condition): string => {
  const attack =
    condition.family === 'none'
      ? ['without attack', condition.setting].filter((part) => part !== '').join(', ')
      : `under ${blockLabel(condition)}`;
  return `${condition.adapterLabel} ${attack}`;
};

/**
 * Of warnings that differ in numbers alone, such as those of each seed, the first stands for all.
 */
function warningsOf({ stages }: ReportInput): Analysis['warnings'] {
  const told = stages.flatMap(({ id, warnings = [] }) => warnings.map((one) => ({ ...one, id })));
  const groups = groupBy(told, ({ message }) => withoutNumbers(message));
  return [...groups.values()].map((of) => {
    const [{ message, hint }] = of,
      others = new Set(of.map((one) => one.message)).size - 1;
    const all = others === 0 ? message : `${message} (and ${others} more with other numbers)`;
    return {
      text: hint === undefined ? `${all}.` : `${all}. ${hint}`,
      stages: new Set(of.map(({ id }) => id)).size,
    };
  });
}

export function analyse(input: ReportInput): Analysis {
  const conditions = conditionsOf(input.cells, input.stages);
  const comparisons = compareAll(conditions);
  const theorem = input.goals.some((goal) => THEOREM_GOALS.includes(goal));
  const hasKernel = (cell: ReportCell): boolean => Object.keys(cell.kernels).length > 0;
  const kernels = chooseKernels(input.cells, hasKernel);
  // A cell whose ntk stage has finished has a kernel, whether it was read or not.
  const withKernel = input.cells.filter(
    (cell) => hasKernel(cell) || cell.metrics['ntk'] !== undefined,
  );
  return {
    input,
    conditions,
    comparisons,
    findings: findingsOf(conditions, comparisons, theorem),
    standing: standingOf(conditions, comparisons),
    caveats: caveatsOf(
      conditions.map((condition) => ({
        label: conditionName(condition),
        cells: condition.cells,
      })),
    ),
    warnings: warningsOf(input),
    theorem,
    kernels,
    undrawn: withKernel.length - new Set(kernels.map(({ cell }) => cell)).size,
  };
}

/** The most rows that the CSV may have. For more, there is `dosimeter results SPEC --csv`. */
const MOST_ROWS = 15_000;

/** Returns the CSV and its number of rows. The CSV is null if it has no rows or too many. */
export function allMetricsCsv(conditions: readonly Condition[]): {
  readonly csv: string | null;
  readonly rows: number;
} {
  const metrics = conditions.flatMap(({ cells }) =>
    cells.flatMap((cell) => Object.values(cell.metrics)),
  );
  const count = metrics.reduce((sum, values) => sum + Object.keys(values).length, 0);
  if (count > MOST_ROWS || count === 0) return { csv: null, rows: count };
  const rows = conditions.flatMap(({ attackLabel, adapterLabel, setting, cells }) =>
    cells.flatMap((cell) =>
      Object.entries(cell.metrics).flatMap(([stage, values]) =>
        Object.entries(values).map(([metric, value]) => ({
          attack: attackLabel,
          adapter: adapterLabel,
          setting,
          seed: cell.seed,
          stage,
          metric,
          value,
          ...taskBeside(cell.tasks, { stage, metric }),
          ...evidenceColumns(cell, { stage, metric }),
        })),
      ),
    ),
  );
  return { csv: toCsv(rows), rows: count };
}
