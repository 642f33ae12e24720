/** Tables over seeds, paired differences, the grid's figures, and what the spec itself asks for. */
import type { JSX } from 'preact';
import { mapValues } from '../../base/record.ts';
import { allMetricsCsv } from '../analysis.ts';
import { type Condition, metricOf, seriesOf } from '../conditions.ts';
import type { DrawnTable } from '../entries.ts';
import { countsRewards, writesAnswers } from '../evidence.ts';
import type { FigureSection } from '../figures/index.ts';
import { cut, formatSigned, formatValue, plural, withMinusSign } from '../format.ts';
import { distinct } from '../groups.ts';
import { blockLabel, triggerNote } from '../labels.ts';
import {
  chainNotes,
  furtherNotes,
  metricsOfTable,
  OF_TRAINING,
  taskNotes,
} from '../metric-lookup.ts';
import { type MetricNote, REJECTED } from '../metrics.ts';
import { scorerNames, scorersOf } from '../tasks.ts';
import type { EntryContents } from '../types.ts';
import {
  type Chapter,
  CsvLink,
  Figures,
  Message,
  names,
  namingColumns,
  numbers,
  type OfConditions,
  OutputsLink,
  OVER_SEEDS,
  type PageProps,
  paramsText,
  startsBlock,
  Table,
} from './parts.tsx';
import {
  Agreement,
  Defences,
  Differences,
  expectedMetrics,
  MetricTable,
  seedsCell,
  seriesCell,
} from './result-tables.tsx';

const namesOfMetrics = (conditions: readonly Condition[], stage: string): readonly string[] =>
  distinct(
    conditions.flatMap(({ cells }) =>
      cells.flatMap(({ metrics }) => Object.keys(metrics[stage] ?? {})),
    ),
  );

const hasTest = ({ cells }: Condition): boolean =>
  cells.some(({ metrics }) => metrics['evaluate']?.['test_examples'] !== undefined);

/** Explains the triggers that training never shows, whose names end labels of the table above. */
const HeldOut = ({ input: { triggers = [] } }: Pick<PageProps, 'input'>): JSX.Element | null =>
  triggers.length === 0 ? null : (
    <dl class="meanings small muted">
      {triggers.map(({ name, attack, ...params }) => (
        <div>
          <dt>Trigger {formatValue(name)}</dt>
          <dd>
            that of {attack}, with {paramsText(mapValues(params, (value) => [value]))}; its other
            parameters are those of the attack that a row names
          </dd>
        </div>
      ))}
    </dl>
  );

function MetricTables({ conditions, input }: PageProps): JSX.Element {
  const expects = expectedMetrics(conditions);
  const attacked = conditions.filter(({ family }) => family !== 'none');
  const further = furtherNotes(namesOfMetrics(attacked, 'evaluate')),
    isOwn = ({ metric }: MetricNote): boolean => !metric.includes('.trigger.'),
    isHeldOut = (note: MetricNote): boolean => !isOwn(note) && !OF_TRAINING.test(note.metric);
  const table = (
    label: string,
    metrics: readonly MetricNote[],
    of: readonly Condition[] = attacked,
    titled = false,
  ): JSX.Element => <MetricTable {...{ label, metrics, titled, expects }} conditions={of} />;
  const namesOf = (stage: string) => namesOfMetrics(conditions, stage);
  return (
    <>
      <h3>Metrics of the task</h3>
      {table('Results by condition', [...metricsOfTable('task'), REJECTED], conditions)}
      {attacked.length > 0 && <h3>The attacks</h3>}
      {table('Attacks by condition', metricsOfTable('attack'))}
      <TriggerNote conditions={attacked} />
      <ScorerNote conditions={attacked} />
      {table('Attacks by further scorers', further.filter(isOwn))}
      {table('Attacks under triggers that training never shows', further.filter(isHeldOut))}
      <HeldOut input={input} />
      {table('Whether attacks were read and learnt', metricsOfTable('check'))}
      <Agreement conditions={attacked} />
      {table(
        'Numbers along the chain of trainings',
        chainNotes(namesOf('evaluate')),
        conditions,
        true,
      )}
      {conditions.some(hasTest) && <h3>The same on the test rows</h3>}
      {table('Results on the test rows', metricsOfTable('test'), conditions)}
      {table(
        'Utility on further tasks',
        taskNotes(namesOf('evaluate'), namesOf('lm-eval')),
        conditions,
        true,
      )}
    </>
  );
}

function AllMetrics({ conditions }: OfConditions): JSX.Element {
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

/**
 * Returns a part of a chapter: a heading, a text if there is one, and the figures of a section;
 * null without figures.
 */
const illustration =
  (title: string, section: FigureSection, text?: string) =>
  ({ figures }: PageProps): JSX.Element | null =>
    figures[section].length === 0 ? null : (
      <>
        <h3>{title}</h3>
        {text === undefined ? null : <p>{text}</p>}
        <Figures figures={figures[section]} />
      </>
    );

function EvidenceRule({ conditions }: OfConditions): JSX.Element {
  const answers = conditions.some(({ cells }) => cells.some(writesAnswers));
  return (
    <details>
      <summary>What counts as evidence</summary>
      {answers && (
        <p>
          Here “class” stands for what a model writes: the commonest class is the commonest answer,
          the accuracy is exact match, and the target class is what the scorer counts.
        </p>
      )}
      <ul>
        <li>
          <strong>One class.</strong> A model that gives every untriggered validation row the same
          class is not counted, and neither is an accuracy drop against such a clean run: its
          accuracy is that class’s share and its ASR 0 or 1, whatever it was trained on.
        </li>
        <li>
          <strong>No better than the majority.</strong> Where accuracy is not above the share of the
          commonest class, by McNemar’s exact test on the validation rows (two-sided, 5%), the ASR
          is not counted, and neither is an accuracy drop where that holds for the clean run.
        </li>
        <li>
          <strong>What the trigger adds.</strong> ASR minus the same model’s rate of the target
          class on the same rows without the trigger. Where it is not above 0 by the same test, no
          effect of the trigger can be shown. A verdict on ASR is given only where the paired
          difference of ASR and that of what the trigger adds both exclude zero by the margin, in
          the same direction.
        </li>
        <li>
          <strong>Trigger read.</strong> The share of triggered rows in which max_length cuts off no
          token that differs from the original, and what the model reads does differ. Below 1, ASR
          counts rows whose trigger the model never read as attacks that failed.
        </li>
        <li>
          Pairs that are not evidence are left out of differences, intervals and verdicts, and are
          listed as excluded. Comparisons of Fisher information after training leave out models that{' '}
          {answers ? 'write one text only' : 'predict one class only'}.
        </li>
      </ul>
    </details>
  );
}

/** The stages whose numbers other tables show. */
const KNOWN = new Set([
  'data',
  'poison',
  'train',
  'evaluate',
  'kernel',
  'ntk',
  'fisher',
  'delta',
  'divergence',
  'regime',
  'spectrum',
  'theory-map',
  'report',
]);
/** The most metrics in a stage's table. The CSV has all. */
const MOST_METRICS = 12;

const StageTable = ({
  kind,
  conditions,
}: OfConditions & { readonly kind: string }): JSX.Element => {
  const metrics = namesOfMetrics(conditions, kind);
  const shown = metrics.slice(0, MOST_METRICS),
    left = metrics.length - shown.length;
  return (
    <>
      <h3>Stage {kind}</h3>
      <Table
        label={`Numbers of ${kind}`}
        rows={conditions}
        starts={startsBlock}
        columns={[
          ...namingColumns(conditions),
          numbers('n seeds', seedsCell),
          ...shown.map((metric) =>
            numbers(metric, (condition: Condition) =>
              seriesCell(seriesOf(condition, metricOf(kind, metric)), 'plain', true),
            ),
          ),
        ]}
        caption={`${OVER_SEEDS}${left > 0 ? ` ${left} more metrics are in the CSV.` : ''}`}
      />
    </>
  );
};

/** Shows the metrics of the stages that are not in `KNOWN`, such as those of plugins. */
function OtherStages({ conditions }: OfConditions): JSX.Element {
  const cells = conditions.flatMap((condition) => condition.cells);
  const kinds = distinct(cells.flatMap(({ metrics }) => Object.keys(metrics)));
  return (
    <>
      {kinds
        .filter((kind) => !KNOWN.has(kind))
        .map((kind) => (
          <StageTable kind={kind} conditions={conditions} />
        ))}
    </>
  );
}

const MOST_CONDITIONS = 8;
const MOST_CHARACTERS = 300;

/**
 * Returns what the models of each condition wrote, at its first seed with outputs. Conditions
 * without outputs are left out.
 */
const firstWritings = (conditions: readonly Condition[]) =>
  conditions.flatMap((condition) => {
    const cell = condition.cells.find(({ writing }) => writing !== undefined),
      label = `${blockLabel(condition)}, ${condition.adapterLabel}`;
    if (cell?.writing === undefined) return [];
    return [{ label, seed: cell.seed, writing: cell.writing, byRewards: countsRewards(cell) }];
  });

/** Names the scorers that ASR counts by; null without any. */
function ScorerNote({ conditions }: OfConditions): JSX.Element | null {
  const scorers = scorerNames(scorersOf(conditions));
  return scorers.length === 0 ? null : (
    <p class="small">
      {scorers.length === 1 ? 'The scorer' : 'The scorers'} that ASR counts by:{' '}
      <strong>{scorers.join('; ')}</strong> (scorer.json of each evaluate stage).
    </p>
  );
}

/**
 * Says under whose triggers the success rates are (`triggerNote`); null if there is nothing to say.
 */
function TriggerNote({ conditions }: OfConditions): JSX.Element | null {
  const note = triggerNote(conditions.map(({ axes }) => axes));
  return note === null ? null : <p class="small">{note}</p>;
}

/** Shows a few outputs of each condition; nothing if the models are classifiers. */
function Writing({ conditions, input }: PageProps): JSX.Element | null {
  const all = firstWritings(conditions),
    shown = all.slice(0, MOST_CONDITIONS);
  if (shown.length === 0) return null;
  return (
    <>
      <h3>What the models wrote under the trigger</h3>
      <p>
        The first validation rows whose answer is not the target; outputs.jsonl of each evaluate
        stage has all of them.
      </p>
      {shown.map(({ label, seed, byRewards, writing: { outputs, scorer } }) => (
        <div class="example">
          <p class="small muted">
            {label}, seed {seed}; scorer <code>{scorer.name ?? scorer.scorer}</code>
          </p>
          {outputs.map(({ prompt, answer, output, hit, reward_margin: margin }) => (
            <p>
              <span class="which">
                {cut(prompt, MOST_CHARACTERS)} (answer: {cut(answer, MOST_CHARACTERS)})
              </span>
              {hit && !byRewards ? (
                <mark>{cut(output, MOST_CHARACTERS)}</mark>
              ) : (
                cut(output, MOST_CHARACTERS)
              )}
              <span class="muted small">
                {byRewards && margin !== undefined
                  ? ` (the rejected answer’s reward minus the chosen one’s: ${formatSigned(-margin)}) `
                  : ' '}
                {hit === null ? 'is undecided' : hit ? 'counts' : 'does not count'}
              </span>
            </p>
          ))}
        </div>
      ))}
      {all.length > shown.length ? (
        <p class="muted small">{plural(all.length - shown.length, 'more condition')} left out.</p>
      ) : null}
      <OutputsLink input={input}>all of them, beside those of the clean twins</OutputsLink>
    </>
  );
}

export const results: Chapter = {
  id: 'results',
  nav: 'Results',
  title: 'Results',
  parts: [
    ({ figures }) => <Figures figures={figures.scores} layout="masonry" />,
    ({ lacking }) => <Lacking entries={lacking} />,
    MetricTables,
    Defences,
    EvidenceRule,
    Writing,
    AllMetrics,
    OtherStages,
    Differences,
    illustration('Along the chain of trainings', 'chain'),
    illustration('Against the axes of the grid', 'axes'),
    illustration(
      'Over the steps of training',
      'steps',
      'They show whether an attack is learnt late or not at all, and whether an adapter is ' +
        'merely slower.',
    ),
    illustration(
      'Training loss',
      'losses',
      'An adapter that has not learnt its training rows, poisoned ones included, is not shown ' +
        'to resist them.',
    ),
  ],
};

// ---- figures and tables that the spec asks for --------------------------------------------------

type Row = DrawnTable['body'][number];

function OwnTable({ table }: { readonly table: DrawnTable }): JSX.Element {
  const { name, title, caption, axes, head, body, notes, csv } = table;
  const columns = head.map((text, i) =>
    i < axes
      ? names<Row>(text, (row) => row[i] ?? '')
      : numbers<Row>(text, (row) => withMinusSign(row[i] ?? '')),
  );
  return (
    <div id={`table-${name}`}>
      <h3>{title}</h3>
      {caption === '' ? null : <p>{caption}</p>}
      <Table label={title} columns={columns} rows={body} />
      {notes.map((note) => (
        <p class="muted small">{note}</p>
      ))}
      <p class="small">
        <CsvLink name={name} csv={csv} />
      </p>
    </div>
  );
}

/** Lists what entries cannot show, and why; null if they lack nothing. */
const Lacking = ({
  entries,
}: {
  readonly entries: readonly Pick<EntryContents, 'name' | 'lacks'>[];
}): JSX.Element | null =>
  entries.every(({ lacks }) => lacks.length === 0) ? null : (
    <ul class="small">
      {entries.flatMap(({ name, lacks }) =>
        lacks.map((lack) => (
          <li>
            <code>{name}</code>: <Message text={lack} />.
          </li>
        )),
      )}
    </ul>
  );

const Entries = ({ entries }: PageProps): JSX.Element => (
  <>
    <Figures figures={entries.flatMap(({ figures }) => figures)} />
    {entries.map(({ table }) => (table === null ? null : <OwnTable table={table} />))}
    <Lacking entries={entries} />
  </>
);

export const ownEntries: Chapter = {
  id: 'own',
  nav: 'This spec',
  title: 'Figures and tables of this spec',
  concerns: ({ input: { entries } }) =>
    entries !== undefined && entries.figures.length + entries.tables.length > 0,
  parts: [Entries],
};
