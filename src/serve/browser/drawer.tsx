/** One stage, beside the page of its run. */
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { formatNumber, formatSeconds } from '../../report/format.ts';
import type { Stage, StageDetail, StageLinks } from '../wire.ts';
import { Curves } from './curve.tsx';
import { Named } from './failures.tsx';
import { LogView, useStage } from './log-view.tsx';
import { dateOf, plural, seconds, StageChip, Text, useNow } from './parts.tsx';
import type { RunView } from './run-store.ts';

export interface DrawerProps {
  readonly view: RunView;
  /** The stage's index. */
  readonly index: number;
  readonly onOpen: (index: number) => void;
  readonly onClose: () => void;
}

export function Drawer({ view, index, onOpen, onClose }: DrawerProps): JSX.Element | null {
  const stage = view.stages[index];
  const { detail, log } = useStage(view.facts.id, stage?.id ?? '');
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    heading.current?.focus();
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === 'Escape') onClose();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [onClose]);
  if (stage === undefined) return null;
  const label = view.stages[index]?.label ?? '';
  return (
    <div class="drawer" role="dialog" aria-labelledby="drawer-title">
      <div class="drawer-head">
        <StageChip state={stage.state} />
        <button type="button" class="close" onClick={onClose}>
          Close
        </button>
      </div>
      <h2 id="drawer-title" ref={heading} tabIndex={-1}>
        <Text>{label}</Text>
      </h2>
      <StageFacts stage={stage} detail={detail} skew={view.skew} />
      {detail === null ? (
        <p class="muted">Reading …</p>
      ) : (
        <Trouble detail={detail} view={view} onOpen={onOpen} />
      )}
      {detail !== null && detail.curves.length > 0 ? (
        <Part title="Training">
          <Curves curves={detail.curves} />
        </Part>
      ) : null}
      {detail !== null && detail.metrics.length > 0 ? (
        <Part title="Metrics">
          <Metrics metrics={detail.metrics} />
        </Part>
      ) : null}
      <Part title="Log">
        <LogView label={`Log of ${label}`} log={log} />
      </Part>
      {detail === null ? null : (
        <>
          <Links title="Reads" links={detail.reads} view={view} onOpen={onOpen} />
          <Links title="Is read by" links={detail.readBy} view={view} onOpen={onOpen} />
        </>
      )}
    </div>
  );
}

const Part = ({
  title,
  children,
}: {
  readonly title: string;
  readonly children: ComponentChildren;
}): JSX.Element => (
  <>
    <h3>{title}</h3>
    {children}
  </>
);

function StageFacts({
  stage,
  detail,
  skew,
}: {
  readonly stage: Stage;
  readonly detail: StageDetail | null;
  readonly skew: number;
}): JSX.Element {
  const { id, state, since, progress } = stage;
  const now = useNow(state === 'running') - skew;
  const facts: (readonly [string, string])[] = [
    ['Id', id],
    ...(since === undefined ? [] : ([['Began', dateOf(since)]] as const)),
    ...(state === 'running' && since !== undefined
      ? ([['Running for', seconds(Math.max(0, now - since))]] as const)
      : []),
    ...(stage.seconds === undefined ? [] : ([['Took', formatSeconds(stage.seconds)]] as const)),
    ...(progress === undefined
      ? []
      : ([['Progress', `${progress[0]} of ${progress[1]} ${progress[2]}`]] as const)),
    ...((detail?.attempts ?? 0) > 1 ? ([['Attempts', String(detail?.attempts)]] as const) : []),
    ...(detail?.key ? ([['Key', detail.key]] as const) : []),
  ];
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>
            <Text>{value}</Text>
          </dd>
        </div>
      ))}
    </dl>
  );
}

function Trouble({
  detail: { failure, blockedBy },
  view,
  onOpen,
}: Pick<DrawerProps, 'view' | 'onOpen'> & { readonly detail: StageDetail }): JSX.Element | null {
  if (failure !== null)
    return (
      <div class="failed-note">
        <p class="message">
          {failure.internal ? <strong>internal error: </strong> : null}
          <Text>{failure.error}</Text>
        </p>
        {failure.hint === null ? null : (
          <p class="message hint">
            <Text>{failure.hint}</Text>
          </p>
        )}
      </div>
    );
  if (blockedBy === null) return null;
  const by = view.stages.findIndex(({ id }) => id === blockedBy);
  return (
    <div class="failed-note">
      <p>It can’t run, because this stage failed:</p>
      {by < 0 ? <Text>{blockedBy}</Text> : <Named stages={[by]} view={view} onOpen={onOpen} />}
    </div>
  );
}

const Metrics = ({ metrics }: { readonly metrics: StageDetail['metrics'] }): JSX.Element => (
  <table class="dense">
    <thead>
      <tr>
        <th scope="col">Metric</th>
        <th scope="col" class="number">
          Value
        </th>
      </tr>
    </thead>
    <tbody>
      {metrics.map(([name, value]) => (
        <tr key={name}>
          <th scope="row">
            <Text>{name}</Text>
          </th>
          <td class="number">{formatNumber(value)}</td>
        </tr>
      ))}
    </tbody>
  </table>
);

function Links({
  title,
  links: { stages, count },
  view,
  onOpen,
}: Pick<DrawerProps, 'view' | 'onOpen'> & {
  readonly title: string;
  readonly links: StageLinks;
}): JSX.Element | null {
  if (count === 0) return null;
  return (
    <Part title={title}>
      <Named stages={stages} view={view} onOpen={onOpen} />
      {count > stages.length ? (
        <p class="small muted">and {plural(count - stages.length, 'more stage')}</p>
      ) : null}
    </Part>
  );
}
