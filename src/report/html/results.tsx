/** Tables over seeds, paired differences, and the figures that the grid's axes call for. */
import type { JSX } from 'preact';
import { allMetricsCsv } from '../all-metrics.ts';
import type { Condition } from '../conditions.ts';
import { writesAnswers } from '../evidence.ts';
import { metricsOfTable } from '../metrics.ts';
import type { Figure } from '../types.ts';
import type { Chapter, ChapterProps } from './chapter.ts';
import { Defences } from './defences.tsx';
import { Differences } from './differences.tsx';
import { EvidenceRule } from './evidence.tsx';
import { expectedMetrics, MetricTable } from './metric-table.tsx';
import { OwnStages } from './own-stages.tsx';
import { CsvLink, Figures } from './parts.tsx';
import { ScorerNote, Writing } from './writing.tsx';

/** Whether a condition was evaluated on test rows. */
const hasTest = ({ cells }: Condition): boolean =>
  cells.some(({ metrics }) => metrics['evaluate']?.['test_examples'] !== undefined);

function MetricTables({ conditions }: { readonly conditions: readonly Condition[] }): JSX.Element {
  const expects = expectedMetrics(conditions);
  const attacked = conditions.filter(({ family }) => family !== 'none');
  return (
    <>
      <h3>Metrics of the task</h3>
      <MetricTable
        label="Results by condition"
        conditions={conditions}
        metrics={metricsOfTable('task')}
        expects={expects}
      />
      {attacked.length > 0 && <h3>The attacks</h3>}
      <MetricTable
        label="Attacks by condition"
        conditions={attacked}
        metrics={metricsOfTable('attack')}
        expects={expects}
      />
      <ScorerNote conditions={attacked} />
      <MetricTable
        label="Whether attacks were read and learnt"
        conditions={attacked}
        metrics={metricsOfTable('check')}
        expects={expects}
      />
      {conditions.some(hasTest) && <h3>The same on the test rows</h3>}
      <MetricTable
        label="Results on the test rows"
        conditions={conditions}
        metrics={metricsOfTable('test')}
        expects={expects}
      />
    </>
  );
}

function AllMetrics({ conditions }: { readonly conditions: readonly Condition[] }): JSX.Element {
  const { csv, rows } = allMetricsCsv(conditions);
  const count = rows.toLocaleString('en');
  return (
    <p class="small">
      {csv !== null ? (
        <CsvLink name="all-metrics" csv={csv}>
          Every metric of every cell (CSV, {count} rows)
        </CsvLink>
      ) : rows > 0 ? (
        <>
          All {count} numbers: <code>dosimeter results SPEC --csv</code>.
        </>
      ) : null}
    </p>
  );
}

/** Shows figures under a heading, or nothing if there are none. */
const Illustration = ({
  title,
  text,
  figures,
}: {
  readonly title: string;
  readonly text?: string;
  readonly figures: readonly Figure[];
}): JSX.Element | null =>
  figures.length === 0 ? null : (
    <>
      <h3>{title}</h3>
      {text === undefined ? null : <p>{text}</p>}
      <Figures figures={figures} />
    </>
  );

const Results = ({ analysis: { conditions, comparisons }, figures }: ChapterProps): JSX.Element => (
  <>
    <Figures figures={figures.scores} layout="masonry" />
    <MetricTables conditions={conditions} />
    <Defences conditions={conditions} figures={figures.defences} />
    <EvidenceRule answers={conditions.some(({ cells }) => cells.some(writesAnswers))} />
    <Writing conditions={conditions} />
    <AllMetrics conditions={conditions} />
    <OwnStages conditions={conditions} />
    <Differences comparisons={comparisons.adapters} />
    <Illustration title="Against the axes of the grid" figures={figures.axes} />
    <Illustration
      title="Over the steps of training"
      text={
        'They show whether an attack is learnt late or not at all, and whether an adapter is ' +
        'merely slower.'
      }
      figures={figures.steps}
    />
    <Illustration
      title="Training loss"
      text={
        'An adapter that has not learnt its training rows, poisoned ones included, is not shown ' +
        'to resist them.'
      }
      figures={figures.losses}
    />
  </>
);

export const results: Chapter = {
  id: 'results',
  nav: 'Results',
  title: 'Results',
  draw: (props) => <Results {...props} />,
};
