/** Elements and formats that several parts of the page share. */
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Text } from '../../report/browser/rows.tsx';
import { formatSeconds, plural } from '../../report/format.ts';
import {
  type Failure,
  type Place,
  type RunFacts,
  type RunState,
  STAGE_STATES,
  type StageState,
} from '../wire.ts';
import type { LinkState, RunView } from './connection.ts';

/** A sign and a word for each state, so that colour is not the only mark. */
export const STATE_WORDS: {
  readonly [State in StageState]: readonly [sign: string, word: string];
} = {
  running: ['▶', 'running'],
  ready: ['◔', 'queued'],
  waiting: ['○', 'waiting'],
  failed: ['✕', 'failed'],
  blocked: ['⊘', 'blocked'],
  stopped: ['■', 'stopped'],
  abandoned: ['–', 'not run'],
  ran: ['✓', 'ran'],
  cached: ['✓', 'cached'],
};

const RUN_WORDS: { readonly [State in RunState]: readonly [sign: string, word: string] } = {
  running: ['▶', 'running'],
  done: ['✓', 'done'],
  failed: ['✕', 'failed'],
  interrupted: ['■', 'interrupted'],
  killed: ['■', 'killed'],
  silent: ['?', 'silent'],
  unknown: ['?', 'on another machine'],
};

const chip = ([sign, word]: readonly [string, string], kind: string): JSX.Element => (
  <span class={`chip ${kind}`}>
    <span aria-hidden="true">{sign}</span> {word}
  </span>
);

export const StageChip = ({ state }: { readonly state: StageState }): JSX.Element =>
  chip(STATE_WORDS[state], `is-${state}`);
export const RunChip = ({ state }: { readonly state: RunState }): JSX.Element =>
  chip(RUN_WORDS[state], `run-${state}`);

/** Returns counts in words, without those that are 0: `12 ran, 2 running`. */
export const countsInWords = (counts: { readonly [state: string]: number }): string =>
  STAGE_STATES.filter((state) => (counts[state] ?? 0) > 0)
    .map((state) => `${counts[state] ?? 0} ${STATE_WORDS[state][1]}`)
    .join(', ');

const BAR = ['ran', 'cached', 'failed', 'blocked', 'stopped', 'abandoned', 'running'] as const;

/** A bar with a part for the share of each state. The unfinished rest is empty. */
export function StateBar({
  counts,
  all,
}: {
  readonly counts: { readonly [state: string]: number };
  readonly all: number;
}): JSX.Element {
  return (
    <span class="statebar" aria-hidden="true">
      {BAR.filter((state) => (counts[state] ?? 0) > 0).map((state) => (
        <span
          key={state}
          class={`part-${state}`}
          style={{ width: `${(100 * (counts[state] ?? 0)) / Math.max(1, all)}%` }}
        />
      ))}
    </span>
  );
}

export const finishedCount = ({ ran = 0, cached = 0 }: { ran?: number; cached?: number }): number =>
  ran + cached;

/** Returns the current time, which is updated each second while `active`. */
export function useNow(active: boolean): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!active) return undefined;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [active]);
  return now;
}

/** Formats a duration that is given in milliseconds: `3 min 5 s`. */
export const secondsText = (milliseconds: number): string =>
  formatSeconds(Math.round(milliseconds / 1000));

/**
 * Formats an estimate that is given in seconds, rounded to 5 s, a minute or ten minutes by its
 * size.
 */
export function estimateText(left: number): string {
  const unit = left < 60 ? 5 : left < 3600 ? 60 : 600;
  return formatSeconds(Math.max(unit, Math.round(left / unit) * unit));
}

/** Formats a time in ms since 1970 as date and time; null as a dash. */
export const formatDate = (time: number | null): string =>
  time === null
    ? '–'
    : new Date(time).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** Returns a run's name or, without one, its spec's file name or, without that, the run's id. */
export const runName = ({ name, spec, id }: Pick<RunFacts, 'name' | 'spec' | 'id'>): string =>
  name === '' ? spec.split('/').at(-1) || id : name;

/** A part of the page with a heading, which the navigation jumps to. */
export const Section = ({
  id,
  title,
  children,
}: {
  readonly id: string;
  readonly title: string;
  readonly children: ComponentChildren;
}): JSX.Element => (
  <section id={id} aria-labelledby={`${id}-title`}>
    <h2 id={`${id}-title`} tabIndex={-1}>
      {title}
    </h2>
    {children}
  </section>
);

/** Says where a scheduler has a job: `Slurm job 12 on n1`, or `Slurm job 12 queued: Resources`. */
export const placeText = ({ job, node, waits }: Place): string =>
  waits !== null ? `${job} queued: ${waits}` : node === null ? job : `${job} on ${node}`;

/** A list of facts, without those whose value is null. */
export const Facts = ({
  facts,
}: {
  readonly facts: readonly (readonly [name: string, value: string | null])[];
}): JSX.Element => (
  <dl class="facts">
    {facts.map(([name, value]) =>
      value === null ? null : (
        <div key={name}>
          <dt>{name}</dt>
          <dd>
            <Text>{value}</Text>
          </dd>
        </div>
      ),
    )}
  </dl>
);

export interface Column<Row> {
  readonly title: ComponentChildren;
  /** A CSS class. */
  readonly kind?: 'number' | 'nowrap' | 'bar' | 'stage';
  readonly cell: (row: Row) => ComponentChildren;
}

/** A table whose first column names its rows. If it has a label, it is in a region that scrolls. */
export function Table<Row>({
  label,
  dense = false,
  columns,
  rows,
  keyOf,
}: {
  readonly label?: string;
  readonly dense?: boolean;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  readonly keyOf: (row: Row) => string;
}): JSX.Element {
  const table = (
    <table class={dense ? 'dense' : undefined}>
      <thead>
        <tr>
          {columns.map(({ title, kind }, i) => (
            <th key={i} scope="col" class={kind === 'number' ? kind : undefined}>
              {title}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={keyOf(row)}>
            {columns.map(({ kind, cell }, i) =>
              i === 0 ? (
                <th key={i} scope="row" class={kind}>
                  {cell(row)}
                </th>
              ) : (
                <td key={i} class={kind}>
                  {cell(row)}
                </td>
              ),
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
  return label === undefined ? (
    table
  ) : (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      {table}
    </div>
  );
}

export const FailureText = ({
  failure: { error, hint, internal },
}: {
  readonly failure: Pick<Failure, 'error' | 'hint' | 'internal'>;
}): JSX.Element => (
  <>
    <p class="message">
      {internal ? <strong>internal error: </strong> : null}
      <Text>{error}</Text>
    </p>
    {hint === null ? null : (
      <p class="message hint">
        <Text>{hint}</Text>
      </p>
    )}
  </>
);

/** Says that the server can't be reached, or that it has refused; null if neither is so. */
export function LinkNote({ state }: { readonly state: LinkState }): JSX.Element | null {
  if (state === 'connecting' || state === 'live') return null;
  return (
    <div class="failed-note" role="alert">
      <p>
        <strong>
          {state === 'lost' ? 'The connection is lost.' : 'The server refused the request.'}
        </strong>{' '}
        {state === 'lost'
          ? 'This page may be out of date. It tries again by itself.'
          : 'There is no such run, or dosimeter serve was restarted: open the address that it printed.'}
      </p>
    </div>
  );
}

const EVERY_MS = 20_000;

/** Tells a screen reader how far the run is: every EVERY_MS, and when it no longer runs. */
export function Announcer({ view: { facts, stages } }: { readonly view: RunView }): JSX.Element {
  const [said, setSaid] = useState('');
  const latest = useRef('');
  latest.current = progressSentence(facts, stages.length);
  useEffect(() => {
    const timer = setInterval(() => setSaid(latest.current), EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => {
    if (facts.state !== 'running') setSaid(latest.current);
  }, [facts.state]);
  return (
    <p class="unseen" role="status">
      {said}
    </p>
  );
}

/** Returns how far a run is, in words; `all` is the number of its stages. */
function progressSentence({ state, counts, left }: RunFacts, all: number): string {
  const failed = counts.failed ?? 0;
  return [
    `${finishedCount(counts)} of ${plural(all, 'stage')} done`,
    failed > 0 ? `${failed} failed` : '',
    state === 'running'
      ? left === null
        ? ''
        : `about ${estimateText(left)} left`
      : `the run is ${state}`,
  ]
    .filter((part) => part !== '')
    .join(', ');
}
