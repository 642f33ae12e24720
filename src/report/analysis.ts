/** Everything that the page and its figures show, computed once from the cells. Pure. */
import { withoutNumbers } from '../base/fault.ts';
import { type Caveat, caveatsOf } from './caveats.ts';
import { compareAll, type Comparisons } from './comparisons.ts';
import { type Condition, conditionsOf } from './conditions.ts';
import { type Finding, findingsOf } from './findings.ts';
import { groupBy } from './groups.ts';
import { chooseKernels, type KernelChoice } from './kernel-choice.ts';
import { blockLabel } from './labels.ts';
import { type Standing, standingOf } from './standing.ts';
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
