import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import { Text } from '../../report/browser/rows.tsx';
import { plural } from '../../report/format.ts';
import type { Stage } from '../wire.ts';
import type { RunView } from './connection.ts';
import { type Column, FailureText, placeText, secondsText, Table, useNow } from './parts.tsx';
import type { StageFilter } from './stage-list.tsx';

/** How many running stages, and how many queued ones, are listed at most. */
const RUNNING = 50,
  QUEUED = 8;

export interface RunningProps {
  readonly view: RunView;
  readonly onOpen: (index: number) => void;
  readonly onShow: (filter: Partial<StageFilter>) => void;
}

type Numbered = readonly [index: number, stage: Stage];

export function Running({ view, onOpen, onShow }: RunningProps): JSX.Element {
  const { running, queued } = useMemo(() => {
    const entries = [...view.stages.entries()];
    const of = (state: Stage['state']): Numbered[] =>
      entries.filter(([, stage]) => stage.state === state);
    return { running: of('running'), queued: of('ready') };
  }, [view.version]);
  const now = useNow(running.length > 0) - view.skew;
  const columns: readonly (Column<Numbered> | false)[] = [
    {
      title: 'Stage',
      kind: 'stage',
      cell: ([index, stage]) => <StageLink index={index} label={stage.label} onOpen={onOpen} />,
    },
    running.some(([, { place }]) => place !== undefined) && {
      title: 'Where',
      cell: ([, { place }]) => (place === undefined ? '–' : <Text>{placeText(place)}</Text>),
    },
    { title: 'Progress', kind: 'bar', cell: ([, stage]) => <Progress stage={stage} /> },
    {
      title: 'For',
      kind: 'number',
      cell: ([, { since }]) => (since === undefined ? '–' : secondsText(Math.max(0, now - since))),
    },
  ];
  return (
    <>
      {running.length === 0 ? (
        <p class="muted">Nothing is running.</p>
      ) : (
        <Table
          label="Running stages"
          columns={columns.filter((column) => column !== false)}
          rows={running.slice(0, RUNNING)}
          keyOf={([, { id }]) => id}
        />
      )}
      {running.length > RUNNING ? (
        <p class="small muted">
          {running.length - RUNNING} more{' '}
          <button type="button" class="link" onClick={() => onShow({ state: 'running' })}>
            show them
          </button>
        </p>
      ) : null}
      {queued.length > 0 ? <Queue queued={queued} onOpen={onOpen} onShow={onShow} /> : null}
    </>
  );
}

function Progress({ stage: { progress, label } }: { readonly stage: Stage }): JSX.Element {
  if (progress === undefined) return <span class="muted">unknown</span>;
  const [done, total, unit] = progress;
  return (
    <>
      <progress max={Math.max(total, 1)} value={Math.min(done, total)} aria-label={label} />
      <span class="nowrap">
        {done}/{total} <Text>{unit}</Text>
      </span>
    </>
  );
}

const Queue = ({
  queued,
  onOpen,
  onShow,
}: Omit<RunningProps, 'view'> & { readonly queued: readonly Numbered[] }): JSX.Element => (
  <>
    <h3>
      Next: {plural(queued.length, 'stage')} {queued.length === 1 ? 'waits' : 'wait'} for a free
      place
    </h3>
    <ol class="queue">
      {queued.slice(0, QUEUED).map(([index, stage]) => (
        <li key={stage.id}>
          <StageLink index={index} label={stage.label} onOpen={onOpen} />
        </li>
      ))}
    </ol>
    {queued.length > QUEUED ? (
      <p class="small">
        <button type="button" class="link" onClick={() => onShow({ state: 'ready' })}>
          Show all that wait
        </button>
      </p>
    ) : null}
  </>
);

const StageLink = ({
  index,
  label,
  onOpen,
}: Pick<RunningProps, 'onOpen'> & {
  readonly index: number;
  readonly label: string;
}): JSX.Element => (
  <button type="button" class="link" onClick={() => onOpen(index)}>
    <Text>{label}</Text>
  </button>
);

/** How many stages that failed with the same message are named at most. */
const NAMED = 5;

export function Failures({ view, onOpen, onShow }: RunningProps): JSX.Element {
  const { failures } = view;
  if (failures.length === 0) return <p class="muted">Nothing has failed.</p>;
  return (
    <ul class="failures">
      {failures.map((failure) => (
        <li key={failure.error + String(failure.hint)} class="failed-note">
          <FailureText failure={failure} />
          <p class="small">
            {plural(failure.count, 'stage')} failed with this
            {failure.blocked > 0 ? `, which blocks ${plural(failure.blocked, 'stage')}` : ''}:
          </p>
          <Named stages={failure.stages.slice(0, NAMED)} view={view} onOpen={onOpen} />
          {failure.count > NAMED ? (
            <button type="button" class="link small" onClick={() => onShow({ state: 'failed' })}>
              show all that failed
            </button>
          ) : null}
        </li>
      ))}
    </ul>
  );
}

/** A list of links to stages. @param stages their indexes */
export const Named = ({
  stages,
  view,
  onOpen,
}: Pick<RunningProps, 'view' | 'onOpen'> & {
  readonly stages: readonly number[];
}): JSX.Element => (
  <ul class="named">
    {stages.map((index) => (
      <li key={index}>
        <StageLink index={index} label={view.stages[index]?.label ?? ''} onOpen={onOpen} />
      </li>
    ))}
  </ul>
);
