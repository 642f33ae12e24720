/** The page of one run, and the page of the outputs in its report. */
import type { JSX } from 'preact';
import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { OutputBrowser } from '../../report/browser/outputs.tsx';
import { Text } from '../../report/browser/rows.tsx';
import { plural } from '../../report/format.ts';
import type { Outputs } from '../../report/outputs.ts';
import { mayGoOn, type RunFacts } from '../wire.ts';
import { askJson, countGroups, type LinkState, openRun, type RunView } from './connection.ts';
import { Drawer } from './drawer.tsx';
import { GraphView, KindTable } from './graph-view.tsx';
import { RunLog } from './log-view.tsx';
import {
  Announcer,
  countsInWords,
  estimateText,
  Facts,
  finishedCount,
  formatDate,
  LinkNote,
  RunChip,
  runName,
  secondsText,
  Section,
  StateBar,
  useNow,
} from './parts.tsx';
import { ResultsTable } from './results-table.tsx';
import { Failures, Running } from './running.tsx';
import { type StageFilter, StageList } from './stage-list.tsx';

const CHAPTERS = [
  ['running', 'Running'],
  ['failures', 'Failures'],
  ['graph', 'Graph'],
  ['stages', 'Stages'],
  ['results', 'Results'],
  ['log', 'Log'],
] as const;

/**
 * Returns the address of a run's page with the drawer of a stage open; if `stage` is null, with
 * none open.
 */
const stageHash = (run: string, stage: string | null): string =>
  `#/run/${encodeURIComponent(run)}${stage === null ? '' : `/stage/${encodeURIComponent(stage)}`}`;

/**
 * The page of a run; until the run has been read, a note on what the page waits for.
 * @param stage the id of the stage whose drawer is open; null if none is
 */
export function RunPage({
  id,
  stage,
}: {
  readonly id: string;
  readonly stage: string | null;
}): JSX.Element {
  const [view, setView] = useState<RunView | null>(null);
  const [link, setLink] = useState<LinkState>('connecting');
  useEffect(() => openRun(id, setView, setLink), [id]);
  if (view !== null) return <Run view={view} link={link} open={stage} />;
  return (
    <main class="wrap">
      <LinkNote state={link} />
      {link === 'refused' ? (
        <p>
          <a href="#/">All runs</a>
        </p>
      ) : (
        <p role="status">Reading the run …</p>
      )}
    </main>
  );
}

/** Returns functions that open and close a stage's drawer. Closing it gives the focus back. */
function useDrawer(
  run: string,
  stages: RunView['stages'],
): [open: (index: number) => void, close: () => void] {
  const opener = useRef<Element | null>(null);
  const open = useCallback(
    (index: number) => {
      const stage = stages[index];
      if (stage === undefined) return;
      opener.current ??= document.activeElement;
      location.hash = stageHash(run, stage.id);
    },
    [stages, run],
  );
  const close = useCallback(() => {
    location.hash = stageHash(run, null);
    const back = opener.current;
    opener.current = null;
    if (back instanceof HTMLElement && back.isConnected) back.focus();
  }, [run]);
  return [open, close];
}

/**
 * The page of a run that has been read.
 * @param open the id of the stage whose drawer is open; null if none is
 */
function Run({
  view,
  link,
  open,
}: {
  readonly view: RunView;
  readonly link: LinkState;
  readonly open: string | null;
}): JSX.Element {
  const { facts, stages } = view;
  const { id } = facts;
  const [filter, setFilter] = useState<StageFilter>({ text: '', state: '', group: '' });
  const groups = useMemo(() => countGroups(view), [view.version]);
  const [openStage, close] = useDrawer(id, stages);
  const show = useCallback((wanted: Partial<StageFilter>) => {
    setFilter({ text: '', state: '', group: '', ...wanted });
    goTo('stages');
  }, []);
  const all = stages.length;
  const name = runName(facts);
  useEffect(() => {
    document.title = `${finishedCount(facts.counts)}/${all} · ${name} · dosimeter`;
  }, [name, finishedCount(facts.counts), all]);
  const hasReport = groups.some((of) => of.name === 'report' && finishedCount(of.counts) > 0);
  const index = open === null ? -1 : stages.findIndex((stage) => stage.id === open);
  return (
    <>
      <Header view={view} />
      <nav aria-label="Chapters">
        <div class="wrap">
          {CHAPTERS.map(([chapter, title]) => (
            <a
              key={chapter}
              href={stageHash(id, null)}
              onClick={(event) => {
                event.preventDefault();
                goTo(chapter);
              }}
            >
              {title}
            </a>
          ))}
          {hasReport ? <a href={`#${outputsBase(id)}`}>Outputs</a> : null}
        </div>
      </nav>
      <main class="wrap">
        <LinkNote state={link} />
        <Announcer view={view} />
        <Damage view={view} />
        <Section id="running" title="Running and next">
          <Running view={view} onOpen={openStage} onShow={show} />
        </Section>
        <Section id="failures" title="Failures">
          <Failures view={view} onOpen={openStage} onShow={show} />
        </Section>
        <Section id="graph" title="What reads what">
          <GraphView graph={view.graph} groups={groups} onShow={show} />
          <KindTable groups={groups} onShow={show} />
        </Section>
        <Section id="stages" title="Stages">
          <StageList
            view={view}
            groups={groups}
            filter={filter}
            onFilter={setFilter}
            onOpen={openStage}
          />
        </Section>
        <Section id="results" title="Results so far">
          <ResultsTable view={view} groups={groups} onOpen={openStage} />
        </Section>
        <Section id="log" title="Log">
          <RunLog view={view} />
        </Section>
      </main>
      <footer>
        <div class="wrap">
          Read-only, and reachable from this machine only. Text from runs is never treated as HTML.
        </div>
      </footer>
      {index >= 0 ? (
        <Drawer key={open} view={view} index={index} onOpen={openStage} onClose={close} />
      ) : null}
    </>
  );
}

/** Returns what the addresses of a run's page of outputs begin with, after the `#`. */
const outputsBase = (run: string): string => `/run/${encodeURIComponent(run)}/outputs?`;

/** All rows that the models of a run were asked about, once its report is made. */
export function OutputsPage({ id }: { readonly id: string }): JSX.Element {
  const [outputs, setOutputs] = useState<Outputs | 'none' | null>(null);
  useEffect(() => {
    document.title = 'outputs · dosimeter';
    const end = new AbortController();
    askJson<Outputs>(`/api/runs/${encodeURIComponent(id)}/outputs`, end.signal).then(
      (found) => setOutputs((found.format as number) === 1 ? found : 'none'),
      () => end.signal.aborted || setOutputs('none'),
    );
    return () => end.abort();
  }, [id]);
  return (
    <>
      <header class="top">
        <div class="wrap">
          <p class="eyebrow">
            <a href="#/">dosimeter · runs</a> · <a href={stageHash(id, null)}>{id}</a>
          </p>
          <h1>Outputs</h1>
        </div>
      </header>
      <main class="wrap">
        {outputs === null ? (
          <p role="status">Reading the outputs …</p>
        ) : outputs === 'none' ? (
          <p>
            The report of this run has no outputs: nothing was evaluated, an earlier version made
            it, or it is not in the store.
          </p>
        ) : (
          <OutputBrowser outputs={outputs} base={outputsBase(id)} />
        )}
      </main>
    </>
  );
}

function goTo(chapter: string): void {
  document.getElementById(chapter)?.scrollIntoView();
  document.getElementById(`${chapter}-title`)?.focus({ preventScroll: true });
}

function Header({ view: { facts, skew, stages } }: { readonly view: RunView }): JSX.Element {
  const all = stages.length;
  const goesOn = mayGoOn(facts.state);
  const now = useNow(goesOn) - skew;
  const done = finishedCount(facts.counts);
  return (
    <header class="top">
      <div class="wrap">
        <p class="eyebrow">
          <a href="#/">dosimeter · runs</a> · {facts.id}
        </p>
        <h1>
          <Text>{runName(facts)}</Text> <RunChip state={facts.state} />
        </h1>
        <p class="question">
          <Text>{facts.spec}</Text>
        </p>
        <div
          class="progress"
          role="progressbar"
          aria-label="Stages done"
          aria-valuemin={0}
          aria-valuemax={all}
          aria-valuenow={done}
          aria-valuetext={`${done} of ${plural(all, 'stage')}: ${countsInWords(facts.counts)}`}
        >
          <StateBar counts={facts.counts} all={all} />
        </div>
        <Facts
          facts={[
            ['Done', `${done.toLocaleString('en')} of ${plural(all, 'stage')}`],
            ['Time left', goesOn ? timeLeftText(facts, now) : null],
            ['Rate', facts.rate === null ? '–' : `${Number(facts.rate.toPrecision(2))} stages/min`],
            [goesOn ? 'Running for' : 'Took', durationText(facts, now)],
            ['Failed', String(facts.counts.failed ?? 0)],
            ['Began', formatDate(facts.started)],
            [
              'Last heard of',
              goesOn && facts.state !== 'running' ? sinceText(facts.heard, now) : null,
            ],
            ['Backend', facts.backend || null],
            ['Executor', facts.executor || null],
            ['Machine', facts.host || null],
          ]}
        />
      </div>
    </header>
  );
}

/**
 * Returns the estimated time left, in words.
 * @param now milliseconds since 1970 by the server's clock
 */
const timeLeftText = ({ left, now: at }: RunFacts, now: number): string =>
  left === null ? 'not known yet' : `about ${estimateText(Math.max(0, left - (now - at) / 1000))}`;

/**
 * Returns how long the run took or has been running, in words; a dash if it has not begun.
 * @param now milliseconds since 1970 by the server's clock
 */
function durationText({ seconds: took, started, heard, state }: RunFacts, now: number): string {
  if (took !== null) return secondsText(took * 1000);
  if (started === null) return '–';
  const until = mayGoOn(state) ? now : (heard ?? now);
  return secondsText(Math.max(0, until - started));
}

/** Returns how long ago the run was last heard of, in words; a dash if it never was. */
const sinceText = (heard: number | null, now: number): string =>
  heard === null ? '–' : `${secondsText(Math.max(0, now - heard))} ago`;

/** Says what of the run is not shown, or not known; null if there is nothing to say. */
function Damage({ view: { facts, left, graph } }: { readonly view: RunView }): JSX.Element | null {
  const told = [
    facts.state === 'unknown'
      ? 'It runs, or ran, on another machine. Its heartbeat is being watched.'
      : null,
    facts.state === 'silent'
      ? 'It has not ended, but its process on another machine gives no sign of life.'
      : null,
    facts.damaged > 0
      ? `Lines of its journal that can’t be read and are left out: ${facts.damaged}.`
      : null,
    left > 0 ? `${plural(left, 'stage')} can’t be shown, because the run has too many.` : null,
    facts.name === '' && graph.groups.length > 0
      ? 'The run recorded no plan: its stages appear here when they start.'
      : null,
  ].filter((text) => text !== null);
  if (told.length === 0) return null;
  return (
    <ul class="caveats told">
      {told.map((text) => (
        <li key={text}>{text}</li>
      ))}
    </ul>
  );
}
