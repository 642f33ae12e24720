/** The metrics of finished stages, one kind at a time. */
import type { JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { Grid } from '../../report/browser/grid.tsx';
import { Choice } from '../../report/browser/outputs.tsx';
import { Text } from '../../report/browser/rows.tsx';
import { formatNumber, plural } from '../../report/format.ts';
import { METRICS } from '../../report/metrics.ts';
import type { Results } from '../wire.ts';
import { askJson, type GroupCounts, type RunView } from './connection.ts';
import { finishedCount } from './parts.tsx';

/** The shortest time between two requests for results, while stages finish. */
const EVERY_MS = 3000;

/** The kinds to show at first: the first of them that has a finished stage is chosen. */
const FIRST = ['evaluate', 'ntk', 'fisher', 'train'];

const KINDS = new Map(METRICS.map(({ metric, kind }) => [metric, kind]));

export interface ResultsTableProps {
  readonly view: RunView;
  readonly groups: readonly GroupCounts[];
  readonly onOpen: (index: number) => void;
}

export function ResultsTable({ view, groups, onOpen }: ResultsTableProps): JSX.Element {
  const choices = groups.filter(({ counts }) => finishedCount(counts) > 0);
  const [wanted, setWanted] = useState('');
  const usual = FIRST.find((name) => choices.some((choice) => choice.name === name));
  const group = choices.find(({ name }) => name === (wanted === '' ? usual : wanted)) ?? choices[0];
  const done = group === undefined ? 0 : finishedCount(group.counts);
  const results = useResults(view.facts.id, group?.name ?? '', done);
  if (group === undefined) return <p class="muted">No stage has finished yet.</p>;
  return (
    <>
      <form class="filter" onSubmit={(event) => event.preventDefault()}>
        <Choice
          name="Kind"
          value={group.name}
          options={choices.map(({ name }) => [name, name])}
          onChoose={setWanted}
        />
        <span class="muted small" role="status">
          {done} of {plural(group.all, 'stage')} finished
          {results !== null && results.left > 0 ? `, ${results.left} of them not shown` : ''}
        </span>
      </form>
      {results === null ? (
        <p class="muted">Reading …</p>
      ) : results.rows.length === 0 ? (
        <p class="muted">
          Stages of this kind have no metrics, or their entries are not in the store.
        </p>
      ) : (
        <>
          <MetricsTable results={results} group={group.name} view={view} onOpen={onOpen} />
          <NotEvidence reasons={results.reasons} />
        </>
      )}
    </>
  );
}

/** Says why numbers with a dagger are not evidence; null if there are none. */
function NotEvidence({ reasons }: Pick<Results, 'reasons'>): JSX.Element | null {
  const found = [...new Set(reasons.flatMap((own) => Object.values(own)))];
  return found.length === 0 ? null : (
    <p class="muted small">† Not evidence: the model {found.join(' or ')}.</p>
  );
}

/**
 * Returns the results of a group; null until they have come. Asks for them again when more stages
 * have finished, at most once in `EVERY_MS`.
 */
function useResults(run: string, group: string, done: number): Results | null {
  const [found, setFound] = useState<{ readonly group: string; readonly results: Results } | null>(
    null,
  );
  const [asked, setAsked] = useState({ group: '', at: 0 });
  useEffect(() => {
    if (group === '') return undefined;
    const end = new AbortController();
    const wait = asked.group === group ? Math.max(0, asked.at + EVERY_MS - Date.now()) : 0;
    const timer = setTimeout(() => {
      setAsked({ group, at: Date.now() });
      askJson<Results>(
        `/api/runs/${encodeURIComponent(run)}/results/${encodeURIComponent(group)}`,
        end.signal,
      ).then(
        (results) => setFound({ group, results }),
        () => undefined, // the run's own stream reports that the server is gone
      );
    }, wait);
    return () => {
      clearTimeout(timer);
      end.abort();
    };
  }, [run, group, done]);
  return found?.group === group ? found.results : null;
}

/** The width of the column of names on a phone, and its largest width elsewhere, in pixels. */
const NAMES = { phone: 210, most: 420 };
const PHONE = 600;

/** The table of metrics: a row for each stage, a column for each metric. */
function MetricsTable({
  results: { metrics, rows, reasons },
  group,
  view,
  onOpen,
}: Pick<ResultsTableProps, 'view' | 'onOpen'> & {
  readonly results: Results;
  readonly group: string;
}): JSX.Element {
  const columns = useMemo(
    () => [
      { name: 'Stage' },
      ...metrics.map((name) => ({ name: name.replaceAll('_', ' '), isNumber: true })),
    ],
    [metrics],
  );
  // The kind of all stages stands above the table, so it is left out of their names.
  const names = useMemo(
    () =>
      rows.map(([stage]) => {
        const label = view.stages[stage]?.label ?? '';
        return label.startsWith(`${group} `) ? label.slice(group.length + 1) : label;
      }),
    [rows, group],
  );
  const longest = Math.max(0, ...names.map((name) => name.length));
  return (
    <Grid
      id="result"
      label="Results so far"
      columns={columns}
      widths={[
        innerWidth < PHONE ? NAMES.phone : Math.min(NAMES.most, Math.max(170, 7 * longest)),
        ...columns.slice(1).map(({ name }) => Math.min(200, 28 + 8 * name.length)),
      ]}
      count={rows.length}
      cells={(row) => {
        const [stage, values] = rows[row] ?? [-1, []];
        return [
          <span class="cut" title={view.stages[stage]?.label ?? ''}>
            <Text>{names[row] ?? ''}</Text>
          </span>,
          ...values.map((value, i) => {
            const metric = metrics[i] ?? '',
              text = formatNumber(value, KINDS.get(metric)),
              reason = reasons[row]?.[metric];
            return reason === undefined ? (
              text
            ) : (
              <span title={`Not evidence: the model ${reason}.`}>{text} †</span>
            );
          }),
        ];
      }}
      onOpen={(row) => {
        const stage = rows[row]?.[0];
        if (stage !== undefined) onOpen(stage);
      }}
    />
  );
}
