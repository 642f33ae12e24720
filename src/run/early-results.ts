/**
 * Tells, while a run goes on, how the first clean model of each adapter does beside the majority
 * class, and the first backdoor of each attack beside its clean twin: users should not wait for the
 * end of a grid to see that no model has learnt the task.
 */
import path from 'node:path';
import { isAttacked } from '../api.ts';
import type { Plan, StageId } from '../plan/types.ts';
import { type Measured, unlearntReason, writesAnswers } from '../report/evidence.ts';
import { formatNumber } from '../report/format.ts';
import { ACCURACY, ASR, ASR_CLEAN, MAJORITY } from '../report/metrics.ts';
import type { ExperimentCell } from '../spec/types.ts';
import { readRegularOr } from '../store/regular.ts';
import { isFinished } from './execute/execution.ts';
import { METRICS as METRICS_FILE, parseMetrics } from './execute/metrics.ts';
import type { RunEvent } from './log/events.ts';

/** The most lines about clean models, and the most about backdoors. */
const MOST_TOLD = 6;

export type StopWhen = 'collapsed';

/** Returns why `--stop-when collapsed` can't end a run; null if it can. */
export function whyNoneCanCollapse({ experiment: { cells }, cellStages }: Plan): string | null {
  const evaluated = cells.filter((_, i) => cellStages[i]?.stages['evaluate'] !== undefined);
  if (evaluated.length === 0) return 'no model is evaluated';
  if (evaluated.every(({ config }) => config.head.type === 'regression'))
    return 'a regression predicts numbers, not classes';
  return evaluated.some(isClean) ? null : 'no model without an attack is evaluated';
}

/**
 * Returns a function that gets a run's events, and passes lines about the first models to `tell`.
 * For each event it returns why `--stop-when collapsed` stops the run; null if it does not.
 */
export function createEarlyResults(
  { experiment, cellStages }: Plan,
  tell: (line: string) => void,
): (event: RunEvent) => string | null {
  const cellByStage = new Map<StageId, ExperimentCell>();
  cellStages.forEach(({ stages: { evaluate } }, i) => {
    const cell = experiment.cells[i];
    if (evaluate !== undefined && cell && !cellByStage.has(evaluate))
      cellByStage.set(evaluate, cell);
  });
  const told = { clean: new Set<string>(), backdoor: new Set<string>() };
  let advised = false;
  /**
   * Whether a name is new and fewer than MOST_TOLD were told; if so, it counts as told from now on.
   */
  const takeIfFirst = (kind: keyof typeof told, name: string): boolean =>
    told[kind].size < MOST_TOLD && !told[kind].has(name) && Boolean(told[kind].add(name));
  return (event) => {
    if (event.type !== 'stage-ended') return null;
    const { stage, outcome } = event,
      cell = cellByStage.get(stage.id);
    if (!cell || !isFinished(outcome)) return null;
    const measured = readMeasured(outcome.dir);
    if (measured === null) return null;
    if (!isClean(cell)) {
      const text = backdoorText(measured);
      if (text !== null && takeIfFirst('backdoor', cell.config.poisoning.attack))
        tell(`first backdoor, ${cell.label}: ${text}`);
      return null;
    }
    // A regression has no accuracy.
    if (measured.metrics['evaluate']?.[ACCURACY.metric] === undefined) return null;
    const fault = unlearntReason(measured);
    if (takeIfFirst('clean', adapterAxes(cell)))
      tell(
        `first clean model, ${cell.label}: ${accuracyText(measured)}` +
          (fault === null ? '' : `; it ${fault}`),
      );
    if (fault !== null && !advised)
      tell(
        'attacks on models that have not learnt the task show nothing; another learning rate ' +
          `or more steps may help${'document' in cell.config.data.train.columns ? '' : SWEEP}`,
      );
    advised ||= fault !== null;
    return fault === null ? null : `the clean model ${cell.label} ${fault}`;
  };
}

/** Left out for documents: the command scores answers of held-out rows, which documents lack. */
const SWEEP = ' (dosimeter learning-rates SPEC)';

const isClean = ({ config }: ExperimentCell): boolean => !isAttacked(config);

/** Returns the cell's values on the adapter's axes, as a text. */
const adapterAxes = ({ axes }: ExperimentCell): string =>
  JSON.stringify(Object.entries(axes).filter(([field]) => field.startsWith('adapter.')));

/** Reads what an evaluation has measured; null if its folder has no sound metrics. */
function readMeasured(dir: string): Measured | null {
  const bytes = readRegularOr(path.join(dir, METRICS_FILE));
  const parsed = bytes && parseMetrics(bytes.toString('utf8'));
  return parsed && 'metrics' in parsed ? { metrics: { evaluate: parsed.metrics } } : null;
}

/** Returns the value of an evaluation's metric as a text; `–` if it has none. */
const metricText = ({ metrics }: Measured, { metric }: { readonly metric: string }): string =>
  formatNumber(metrics['evaluate']?.[metric], 'proportion');

const accuracyText = (measured: Measured): string =>
  `accuracy ${metricText(measured, ACCURACY)}, ` +
  `the commonest ${writesAnswers(measured) ? 'answer' : 'class'}'s share ` +
  metricText(measured, MAJORITY);

/** Returns a backdoor's attack success rate and its clean twin's as a text; null without one. */
function backdoorText(measured: Measured): string | null {
  if (measured.metrics['evaluate']?.[ASR.metric] === undefined) return null; // no backdoor
  return (
    `attack success rate ${metricText(measured, ASR)}, ` +
    `its clean twin's ${metricText(measured, ASR_CLEAN)}`
  );
}
