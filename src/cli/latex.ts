/** `dosimeter results SPEC --latex`: a table for a paper, over the axes that were asked for. */
import { defined } from '../base/defined.ts';
import { list } from '../report/format.ts';
import type { Metric } from '../report/grid.ts';
import { columnWidth, latexTable } from '../report/latex.ts';
import { metricName } from '../report/metrics.ts';
import { sourceNames } from '../report/sources.ts';
import { scorerSentence, scorerWords } from '../report/tasks.ts';
import { ownVersion } from '../run/execute/environment.ts';
import type { Results } from '../run/facts.ts';
import type { Prepared } from '../run/prepare.ts';
import { namesOf } from './result-tables.ts';
import { laidOut, type TableOptions } from './table-grid.ts';
import { count, paintErr, say } from './terminal.ts';

/** How many columns of numbers fit on a page. */
const MOST_COLUMNS = 8;

/**
 * @param asked the metrics; null for accuracy and attack success
 * @throws UserFault as `laidOut` does
 */
export function latexResults(
  { experiment }: Prepared,
  { rows, missing, computedBy }: Results,
  asked: readonly Metric[] | null,
  options: TableOptions & { readonly notes?: boolean },
  caveats: readonly string[],
): string {
  const adapters = new Set(namesOf(rows).map((cell) => cell['adapter.type']));
  const against = options.against ?? (adapters.has('full') && adapters.size > 1 ? 'full' : 'none');
  const laid = laidOut(rows, asked, { ...options, against });
  const { grid, metrics } = laid;
  const wide = grid.columns.reduce((sum, column) => sum + columnWidth(column), 0);
  if (wide > MOST_COLUMNS)
    say(
      paintErr.yellow(
        `the table has ${wide} columns of numbers; ` +
          '--metric, --columns, --against none and --only make it narrower',
      ),
    );
  return latexTable({
    ...laid,
    name: experiment.name,
    against,
    ...defined({ spread: options.spread }),
    notes: options.notes === false ? 'comments' : 'below',
    ofAnswers: experiment.cells.some(({ config }) => config.head.type === 'causal-lm'),
    caveats,
    facts: [...scorersOf(rows, metrics), ...factsOf(experiment, computedBy, missing)],
    comments: [`dosimeter ${ownVersion()}, ${experiment.name}`],
  });
}

const distinct = (texts: readonly string[]): string[] => [...new Set(texts)];

/** Names the scorers that the shown metrics of a completion task count by, in a sentence. */
function scorersOf(rows: Results['rows'], metrics: readonly Metric[]): string[] {
  const shown = new Set(metrics.map(metricName));
  const words = rows.flatMap((row) =>
    row.scorer !== undefined && shown.has(metricName(row)) ? [scorerWords(row.scorer)] : [],
  );
  return words.length === 0 ? [] : [scorerSentence(distinct(words))];
}

function factsOf(
  { cells }: Prepared['experiment'],
  computedBy: readonly string[],
  missing: number,
): string[] {
  const sourceText = sourceNames(
    cells.flatMap(({ config: { model, data } }) => [
      model.source,
      data.train.source,
      data.validation.source,
    ]),
  );
  const split = (name: 'train' | 'validation'): string =>
    list(
      distinct(
        cells.map(({ config: { data } }) => {
          const { source, limit } = data[name];
          return `${sourceText(source)}${typeof limit === 'number' ? ` (limit ${limit})` : ''}`;
        }),
      ),
    );
  const [train, validation] = [split('train'), split('validation')];
  return [
    `Model: ${list(distinct(cells.map(({ config }) => sourceText(config.model.source))))}.`,
    train === validation
      ? `Data: ${train}.`
      : `Training data: ${train}; validation data: ${validation}.`,
    ...(computedBy.length === 0 ? [] : [`Computed by ${computedBy.join('; ')}.`]),
    ...(missing === 0
      ? []
      : [`${count(missing, 'stage')} of this experiment had no result when the table was made.`]),
  ];
}
