/** Everything that the page and its figures show, computed once from the cells. Pure. */
import { defined } from '../base/defined.ts';
import { withoutNumbers } from '../base/fault.ts';
import { type Caveat, caveatsOf, isSaid } from './caveats.ts';
import { compareAdapters, compareKernels, type Comparisons } from './comparisons.ts';
import { type Condition, conditionName, conditionsOf, isFull, rowCountsIn } from './conditions.ts';
import { toCsv } from './csv.ts';
import { evidenceColumns, predictsOneClass, rowsText, writesAnswers } from './evidence.ts';
import { chooseKernels, type KernelChoice } from './figures/kernels.ts';
import { type Finding, findingsOf } from './findings.ts';
import { plural } from './format.ts';
import { distinct, groupBy } from './groups.ts';
import { ASR, DROP, type MetricNote } from './metrics.ts';
import { taskField } from './tasks.ts';
import type { ReportCell, ReportInput } from './types.ts';
import { SEEDS_NEEDED, type Verdict } from './verdict.ts';

export interface Analysis {
  readonly input: ReportInput;
  readonly conditions: readonly Condition[];
  readonly comparisons: Comparisons;
  readonly findings: readonly Finding[];
  readonly standing: Standing;
  readonly caveats: readonly Caveat[];
  /** The stages' warnings, each with the number of stages that gave it. */
  readonly warnings: readonly {
    readonly text: string;
    /** What to do; '' if the warning does not say. */
    readonly hint: string;
    readonly stages: number;
  }[];
  /**
   * Whether the spec asks for kernels or Fisher information, which the paper's theorem is about.
   */
  readonly theorem: boolean;
  readonly kernels: readonly KernelChoice[];
  /** How many cells have kernels of which none is drawn. */
  readonly undrawn: number;
}

const THEOREM_GOALS = ['kernel', 'ntk', 'fisher', 'delta', 'regime', 'theory-map'];

export const caveatsOfConditions = (conditions: readonly Condition[]): readonly Caveat[] =>
  caveatsOf(
    conditions.map((condition) => ({ label: conditionName(condition), cells: condition.cells })),
  );

/**
 * Returns the caveats and the stages' warnings. A warning that a caveat already says is left out,
 * and its hint is added to that caveat. Warnings whose texts differ only in their numbers are
 * merged. The first text and its hint stand for all of them, with the count of the other texts.
 */
function notesOf(
  { stages }: ReportInput,
  caveats: readonly Caveat[],
): Pick<Analysis, 'caveats' | 'warnings'> {
  const told = stages.flatMap(({ id, warnings = [] }) => warnings.map((one) => ({ ...one, id })));
  const rest = told.filter(({ message }) => !isSaid(caveats, message));
  const groups = groupBy(rest, ({ message }) => withoutNumbers(message));
  const warnings = [...groups.values()].map((alike) => {
    const [{ message, hint }] = alike,
      others = new Set(alike.map((one) => one.message)).size - 1;
    const all = others === 0 ? message : `${message} (and ${others} more with other numbers)`;
    return {
      text: `${all}.`,
      hint: hint ?? '',
      stages: new Set(alike.map(({ id }) => id)).size,
    };
  });
  const withHints = caveats.map((caveat) => {
    const hints = told.flatMap(({ message, hint = [] }) => (isSaid([caveat], message) ? hint : []));
    return { ...caveat, text: [caveat.text, ...distinct(hints)].join(' ') };
  });
  return { caveats: withHints, warnings };
}

export function analyse(input: ReportInput): Analysis {
  const conditions = conditionsOf(input.cells, input.stages);
  const comparisons: Comparisons = {
    adapters: compareAdapters(conditions),
    kernels: compareKernels(conditions),
  };
  const theorem = input.goals.some((goal) => THEOREM_GOALS.includes(goal));
  const hasKernel = (cell: ReportCell): boolean => Object.keys(cell.kernels).length > 0;
  const kernels = chooseKernels(input.cells, hasKernel);
  // A cell whose stage ntk has finished has a kernel, even if the reader left its file unread.
  const withKernel = input.cells.filter(
    (cell) => hasKernel(cell) || cell.metrics['ntk'] !== undefined,
  );
  return {
    input,
    conditions,
    comparisons,
    findings: findingsOf(conditions, comparisons, theorem),
    standing: writeStanding(conditions, comparisons),
    ...notesOf(input, caveatsOfConditions(conditions)),
    theorem,
    kernels,
    undrawn: withKernel.length - new Set(kernels.map(({ cell }) => cell)).size,
  };
}

/** The most rows of the CSV of all metrics. For more, there is `dosimeter results SPEC --csv`. */
const MOST_ROWS = 15_000;

/**
 * Returns every metric of every cell as CSV, and how many rows that takes. `csv` is null if there
 * are no rows, or more than MOST_ROWS.
 */
export function allMetricsCsv(conditions: readonly Condition[]): {
  readonly csv: string | null;
  readonly rows: number;
} {
  const metrics = conditions.flatMap(({ cells }) =>
    cells.flatMap((cell) => Object.values(cell.metrics)),
  );
  const count = metrics.reduce((sum, values) => sum + Object.keys(values).length, 0);
  if (count > MOST_ROWS || count === 0) return { csv: null, rows: count };
  const rowCount = rowCountsIn(conditions);
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
          ...taskField(cell.tasks, { stage, metric }),
          ...evidenceColumns(cell, { stage, metric }),
          ...defined({ fewer_rows: rowsText(rowCount(cell, { stage, metric })) || undefined }),
        })),
      ),
    ),
  );
  return { csv: toCsv(rows), rows: count };
}

/** The answer at the top of the page. */
export interface Standing {
  readonly headline: readonly string[];
  readonly detail: string;
}

/**
 * Counts verdicts: `LoRA has the lower ASR: refuted in 2 of 3 comparisons, undecided in 1`. If all
 * are the same: `CLAIM: held in all 3 comparisons`, or, for a single comparison, `CLAIM: held`.
 */
function tally(claim: string, verdicts: readonly Verdict[]): string {
  const total = verdicts.length;
  const counts = (['held', 'refuted', 'undecided'] as const)
    .map((state) => ({
      state,
      count: verdicts.filter((verdict) => verdict.state === state).length,
    }))
    .filter(({ count }) => count > 0);
  const [only, ...others] = counts;
  if (only !== undefined && others.length === 0) {
    const all = total === 2 ? 'both' : `all ${total}`;
    return `${claim}: ${only.state}${total > 1 ? ` in ${all} comparisons` : ''}`;
  }
  const parts = counts.map(({ state, count }, i) =>
    i === 0 ? `${state} in ${count} of ${total} comparisons` : `${state} in ${count}`,
  );
  return `${claim}: ${parts.join(', ')}`;
}

/**
 * Returns what the page says if the grid allows no verdict on LoRA against full fine-tuning; null
 * if it may allow one.
 */
function undecidedStanding(conditions: readonly Condition[]): Standing | null {
  if (!conditions.some(isFull) || conditions.every(isFull))
    return {
      headline: ['Undecided: this grid does not have LoRA and full fine-tuning side by side.'],
      detail: 'It cannot tell which is hurt more.',
    };
  const attacked = conditions.filter(({ family }) => family !== 'none');
  const unclaimed = distinct(attacked.map((condition) => condition.unclaimed));
  if (attacked.length > 0 && !unclaimed.includes(null))
    return {
      headline: [`No verdict: the paper makes no claim about ${unclaimed.join(' or ')}.`],
      detail: 'How much of the attack each adapter keeps is below, with intervals over seeds.',
    };
  const evaluated = attacked.flatMap(({ cells }) =>
    cells.filter(({ metrics }) => metrics['evaluate'] !== undefined),
  );
  if (evaluated.length > 0 && evaluated.every(predictsOneClass))
    return {
      headline: [
        'No evidence: every attacked model ' +
          (evaluated.some(writesAnswers) ? 'writes one text only.' : 'predicts one class only.'),
      ],
      detail: 'Train longer, or at another learning rate, and look at the clean accuracy first.',
    };
  const seeds = distinct(conditions.flatMap(({ cells }) => cells.map(({ seed }) => seed))).length;
  if (seeds < SEEDS_NEEDED)
    return {
      headline: [`Undecided (n = ${plural(seeds, 'seed')}; verdict needs ≥ ${SEEDS_NEEDED}).`],
      detail: 'What follows is what these runs showed, not a general result.',
    };
  return null;
}

const tallySentences = (
  claims: readonly (readonly [claim: string, verdicts: readonly Verdict[]])[],
): string[] =>
  claims
    .filter(([, verdicts]) => verdicts.length > 0)
    .map(([claim, verdicts]) => `${tally(claim, verdicts)}.`);

/** Returns a sentence for each claim about ASR or accuracy that has verdicts, with their counts. */
export function scoreTallies(adapters: Comparisons['adapters']): string[] {
  const verdictsOn = (metric: MetricNote): Verdict[] =>
    adapters.flatMap((comparison) =>
      comparison.metric === metric && comparison.verdict ? [comparison.verdict] : [],
    );
  return tallySentences([
    ['Backdoors, “LoRA has the lower ASR”', verdictsOn(ASR)],
    ['Untargeted, “LoRA loses more accuracy”', verdictsOn(DROP)],
  ]);
}

/**
 * Writes the answer at the top of the page: why there is no verdict or, if there are verdicts, the
 * counts of verdicts on scores (`headline`) and on kernels (`detail`).
 */
function writeStanding(
  conditions: readonly Condition[],
  { adapters, kernels }: Comparisons,
): Standing {
  const undecided = undecidedStanding(conditions);
  if (undecided !== null) return undecided;
  const verdictsOnKernels = (isNormalised: boolean): Verdict[] =>
    kernels.flatMap(({ quantity, verdict }) =>
      verdict && isNormalised === quantity.id.includes('normalised') ? [verdict] : [],
    );
  const scores = scoreTallies(adapters);
  return {
    headline:
      scores.length > 0 ? scores : ['Undecided: no attack of this grid has results for both.'],
    detail: tallySentences([
      [
        '“LoRA’s information bits and entropies are at most the full ones”, raw',
        verdictsOnKernels(false),
      ],
      ['The same, normalised', verdictsOnKernels(true)],
    ]).join(' '),
  };
}
