/** The page of `dosimeter serve`: its routes, and the list of runs. */
import { type JSX, render } from 'preact';
import { useEffect, useLayoutEffect, useState } from 'preact/hooks';
import { Text } from '../../report/browser/rows.tsx';
import { plural } from '../../report/format.ts';
import type { RunLine, RunList } from '../wire.ts';
import { followStream, hasToken, type LinkState, takeToken } from './connection.ts';
import {
  type Column,
  countsInWords,
  finishedCount,
  formatDate,
  LinkNote,
  RunChip,
  runName,
  secondsText,
  StateBar,
  Table,
} from './parts.tsx';
import { OutputsPage, RunPage } from './run-page.tsx';

/**
 * Reads `#/run/ID`, `#/run/ID/stage/STAGE` and `#/run/ID/outputs?…`. For any other hash, `run` is
 * null, and the list of runs is shown.
 */
function parseRoute(hash: string) {
  const [, run, stage, outputs] =
    /^#\/run\/([^/]+)(?:\/stage\/([^/]+)|\/(outputs)\?.*)?$/.exec(hash) ?? [];
  /** Returns a part of an address, decoded; null if it is missing or not well encoded. */
  const decodePart = (part: string | undefined): string | null => {
    try {
      return part === undefined ? null : decodeURIComponent(part);
    } catch {
      return null;
    }
  };
  return { run: decodePart(run), stage: decodePart(stage), outputs: outputs !== undefined };
}

function App(): JSX.Element {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  // Not `useEffect`, which runs after the first paint: the hash may change before.
  useLayoutEffect(() => {
    const onHash = (): void => {
      takeToken();
      setRoute(parseRoute(location.hash));
    };
    addEventListener('hashchange', onHash);
    return () => removeEventListener('hashchange', onHash);
  }, []);
  if (!hasToken()) return <NoToken />;
  return route.run === null ? (
    <RunsPage />
  ) : route.outputs ? (
    <OutputsPage key={route.run} id={route.run} />
  ) : (
    <RunPage key={route.run} id={route.run} stage={route.stage} />
  );
}

const NoToken = (): JSX.Element => (
  <main class="wrap">
    <section>
      <h1>Open the whole address</h1>
      <p>
        This page needs the token in the address that <code>dosimeter serve</code> printed. Each
        start of the command makes a new token, and each tab keeps its own.
      </p>
    </section>
  </main>
);

function RunsPage(): JSX.Element {
  const [list, setList] = useState<RunList | null>(null);
  const [link, setLink] = useState<LinkState>('connecting');
  useEffect(() => {
    document.title = 'runs · dosimeter';
    return followStream('/api/runs/stream', {
      onState: setLink,
      onEvent: (_, data) => setList(data as RunList),
    });
  }, []);
  const going = list?.runs.filter(({ state }) => state === 'running').length ?? 0;
  return (
    <>
      <header class="top">
        <div class="wrap">
          <p class="eyebrow">dosimeter · runs</p>
          <h1>Runs</h1>
          <p class="question" role="status">
            {list === null ? 'Reading …' : `${plural(going, 'run')} running`}
          </p>
        </div>
      </header>
      <main class="wrap">
        <LinkNote state={link} />
        {list !== null && list.runs.length === 0 ? (
          <p>Nothing has run here yet. A run appears as soon as it starts.</p>
        ) : null}
        {list !== null && list.runs.length > 0 ? <RunTable list={list} /> : null}
      </main>
    </>
  );
}

const RUN_COLUMNS: readonly Column<RunLine>[] = [
  {
    title: 'Experiment',
    cell: (run) => (
      <>
        <a href={`#/run/${encodeURIComponent(run.id)}`}>
          <Text>{runName(run)}</Text>
        </a>
        <span class="small muted block">{run.id}</span>
      </>
    ),
  },
  { title: 'State', kind: 'nowrap', cell: ({ state }) => <RunChip state={state} /> },
  { title: 'Stages, with those cached before', kind: 'bar', cell: FinishedCell },
  { title: 'Failed', kind: 'number', cell: FailedCell },
  { title: 'Began', kind: 'nowrap', cell: ({ started }) => formatDate(started) },
  {
    title: 'Took',
    kind: 'number',
    cell: (run) => (run.seconds === null ? '–' : secondsText(run.seconds * 1000)),
  },
];

/** How many stages of a run ran or were cached, as a bar and in words. */
function FinishedCell({ counts }: RunLine): JSX.Element {
  const all = Object.values(counts).reduce((sum, n) => sum + n, 0);
  return (
    <>
      <StateBar counts={counts} all={all} />
      <span class="nowrap" title={countsInWords(counts)}>
        {finishedCount(counts)} of {all}
      </span>
    </>
  );
}

/** How many stages of a run failed and how many they block. */
function FailedCell({ counts: { failed = 0, blocked = 0 } }: RunLine): JSX.Element {
  return (
    <span class={failed + blocked > 0 ? 'bad' : undefined}>
      {failed}
      {blocked > 0 ? <span class="small block">{blocked} blocked</span> : null}
    </span>
  );
}

const RunTable = ({ list: { runs, earlier } }: { readonly list: RunList }): JSX.Element => (
  <section aria-label="Runs">
    <Table label="Table of runs" columns={RUN_COLUMNS} rows={runs} keyOf={({ id }) => id} />
    {earlier > 0 ? (
      <p class="small muted">
        {plural(earlier, 'earlier run')} not listed: <code>dosimeter status --all</code>
      </p>
    ) : null}
  </section>
);

takeToken();
const page = document.getElementById('page');
if (page !== null) {
  page.replaceChildren();
  render(<App />, page);
}
