/** The page of `dosimeter serve`: its routes, and the list of runs. */
import { type JSX, render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { RunLine, RunList } from '../wire.ts';
import { followStream, hasToken, type LinkState, takeToken } from './connection.ts';
import {
  countsInWords,
  dateOf,
  finishedCount,
  LinkNote,
  plural,
  RunChip,
  seconds,
  StateBar,
  Text,
} from './parts.tsx';
import { OutputsPage, RunPage } from './run-page.tsx';

/** `#/`, `#/run/ID`, `#/run/ID/stage/STAGE` and `#/run/ID/outputs?…`. */
export interface Route {
  readonly run: string | null;
  readonly stage: string | null;
  readonly outputs: boolean;
}

/** Returns the route; without a run for any other hash, which shows the list of runs. */
function routeOf(hash: string): Route {
  const [, run, stage, outputs] =
    /^#\/run\/([^/]+)(?:\/stage\/([^/]+)|\/(outputs)\?.*)?$/.exec(hash) ?? [];
  const decoded = (part: string | undefined): string | null => {
    try {
      return part === undefined ? null : decodeURIComponent(part);
    } catch {
      return null;
    }
  };
  return { run: decoded(run), stage: decoded(stage), outputs: outputs !== undefined };
}

function App(): JSX.Element {
  const [route, setRoute] = useState(() => routeOf(location.hash));
  useEffect(() => {
    const onHash = (): void => {
      takeToken();
      setRoute(routeOf(location.hash));
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
    return followStream('/api/runs/stream', null, {
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

const RunTable = ({ list: { runs, earlier } }: { readonly list: RunList }): JSX.Element => (
  <section aria-label="Runs">
    <div class="scroll" tabIndex={0} role="region" aria-label="Table of runs">
      <table class="runs">
        <thead>
          <tr>
            <th scope="col">Experiment</th>
            <th scope="col">State</th>
            <th scope="col">Stages, with those cached before</th>
            <th scope="col" class="number">
              Failed
            </th>
            <th scope="col">Began</th>
            <th scope="col" class="number">
              Took
            </th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <RunRow key={run.id} run={run} />
          ))}
        </tbody>
      </table>
    </div>
    {earlier > 0 ? (
      <p class="small muted">
        {plural(earlier, 'earlier run')} not listed: <code>dosimeter status --all</code>
      </p>
    ) : null}
  </section>
);

function RunRow({ run }: { readonly run: RunLine }): JSX.Element {
  const all = Object.values(run.counts).reduce((sum, n) => sum + n, 0);
  const { failed = 0, blocked = 0 } = run.counts;
  return (
    <tr>
      <th scope="row">
        <a href={`#/run/${encodeURIComponent(run.id)}`}>
          <Text>{run.name === '' ? run.spec.split('/').at(-1) || run.id : run.name}</Text>
        </a>
        <span class="small muted block">{run.id}</span>
      </th>
      <td class="nowrap">
        <RunChip state={run.state} />
      </td>
      <td class="bar">
        <StateBar counts={run.counts} all={all} />
        <span class="nowrap" title={countsInWords(run.counts)}>
          {finishedCount(run.counts)} of {all}
        </span>
      </td>
      <td class={failed + blocked > 0 ? 'number bad' : 'number'}>
        {failed}
        {blocked > 0 ? <span class="small block">{blocked} blocked</span> : null}
      </td>
      <td class="nowrap">{dateOf(run.started)}</td>
      <td class="number">{run.seconds === null ? '–' : seconds(run.seconds * 1000)}</td>
    </tr>
  );
}

takeToken();
const page = document.getElementById('page');
if (page !== null) {
  page.replaceChildren();
  render(<App />, page);
}
