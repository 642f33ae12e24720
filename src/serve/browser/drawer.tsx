/** One stage, beside the page of its run: its facts, curves, metrics, log and links. */
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { Text } from '../../report/browser/rows.tsx';
import { formatNumber, formatSeconds, plural } from '../../report/format.ts';
import type { Curve, Stage, StageDetail, StageLinks } from '../wire.ts';
import type { RunView } from './connection.ts';
import { LogView, useStage } from './log-view.tsx';
import {
  type Column,
  Facts,
  FailureText,
  formatDate,
  placeText,
  secondsText,
  StageChip,
  Table,
  useNow,
} from './parts.tsx';
import { Named } from './running.tsx';

export interface DrawerProps {
  readonly view: RunView;
  readonly index: number;
  readonly onOpen: (index: number) => void;
  readonly onClose: () => void;
}

/**
 * The drawer of the stage with this index; null if the run has no such stage. It takes the focus,
 * and Escape closes it.
 */
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
  const { state, label } = stage;
  const { curves = [], metrics = [], reads, readBy } = detail ?? {};
  return (
    <div class="drawer" role="dialog" aria-labelledby="drawer-title">
      <div class="drawer-head">
        <StageChip state={state} />
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
      {curves.length > 0 && <h3>Training</h3>}
      <Curves curves={curves} />
      {metrics.length > 0 && <h3>Metrics</h3>}
      {metrics.length > 0 && (
        <Table dense columns={METRIC_COLUMNS} rows={metrics} keyOf={([name]) => name} />
      )}
      <h3>Log</h3>
      <LogView label={`Log of ${label}`} log={log} />
      <Links title="Reads" links={reads} view={view} onOpen={onOpen} />
      <Links title="Is read by" links={readBy} view={view} onOpen={onOpen} />
    </div>
  );
}

const METRIC_COLUMNS: readonly Column<StageDetail['metrics'][number]>[] = [
  { title: 'Metric', cell: ([name]) => <Text>{name}</Text> },
  { title: 'Value', kind: 'number', cell: ([, value]) => formatNumber(value) },
];

/**
 * A stage's facts.
 * @param skew see `RunView.skew`
 */
function StageFacts({
  stage,
  detail,
  skew,
}: {
  readonly stage: Stage;
  readonly detail: StageDetail | null;
  readonly skew: number;
}): JSX.Element {
  const { id, state, since, progress, place } = stage;
  const isRunning = state === 'running';
  const now = useNow(isRunning) - skew;
  const attempts = detail?.attempts ?? 0;
  return (
    <Facts
      facts={[
        ['Id', id],
        ['Began', since === undefined ? null : formatDate(since)],
        [
          'Running for',
          isRunning && since !== undefined ? secondsText(Math.max(0, now - since)) : null,
        ],
        ['Took', stage.seconds === undefined ? null : formatSeconds(stage.seconds)],
        ['Progress', progress === undefined ? null : progressText(progress)],
        ['Where', place === undefined ? null : placeText(place)],
        ['Attempts', attempts > 1 ? String(attempts) : null],
        ['Key', detail?.key ?? null],
      ]}
    />
  );
}

const progressText = ([done, total, unit]: NonNullable<Stage['progress']>): string =>
  `${done} of ${total} ${unit}`;

/** Why the stage failed or can't run; null if it neither failed nor is blocked. */
function Trouble({
  detail: { failure, blockedBy },
  view,
  onOpen,
}: Pick<DrawerProps, 'view' | 'onOpen'> & { readonly detail: StageDetail }): JSX.Element | null {
  if (failure !== null)
    return (
      <div class="failed-note">
        <FailureText failure={failure} />
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

/** A titled list of links to stages, and how many more there are; null if there are none. */
function Links({
  title,
  links: { stages, count } = { stages: [], count: 0 },
  view,
  onOpen,
}: Pick<DrawerProps, 'view' | 'onOpen'> & {
  readonly title: string;
  readonly links: StageLinks | undefined;
}): JSX.Element | null {
  if (count === 0) return null;
  return (
    <>
      <h3>{title}</h3>
      <Named stages={stages} view={view} onOpen={onOpen} />
      {count > stages.length ? (
        <p class="small muted">and {plural(count - stages.length, 'more stage')}</p>
      ) : null}
    </>
  );
}

const WIDTH = 440,
  HEIGHT = 170,
  LEFT = 46,
  BOTTOM = 24,
  TOP = 8,
  RIGHT = 10;

/**
 * Whether a curve is a loss. Losses share one drawing; all other curves, which lie between 0 and 1,
 * share another.
 */
const isLoss = ({ name }: Curve): boolean => /loss|penalty/.test(name);

/**
 * Drawings of the curves, and a table of their first and latest values; null without any points.
 */
function Curves({ curves }: { readonly curves: readonly Curve[] }): JSX.Element | null {
  const shown = curves.filter(({ points }) => points.length > 0);
  if (shown.length === 0) return null;
  const parts = [shown.filter(isLoss), shown.filter((curve) => !isLoss(curve))];
  return (
    <>
      {parts
        .filter((part) => part.length > 0)
        .map((part) => (
          <Drawing
            key={part[0]?.name}
            curves={part}
            styleOf={(curve) => shown.indexOf(curve) % 4}
          />
        ))}
      <Table
        dense
        columns={CURVE_COLUMNS}
        rows={shown.map((curve, i) => ({ ...curve, style: i % 4 }))}
        keyOf={({ name }) => name}
      />
    </>
  );
}

const CURVE_COLUMNS: readonly Column<Curve & { readonly style: number }>[] = [
  {
    title: 'Curve',
    cell: ({ name, style }) => (
      <>
        <span class={`key key-${style}`} aria-hidden="true" /> {name}
      </>
    ),
  },
  { title: 'First', kind: 'number', cell: ({ points }) => formatNumber(points[0]?.[1]) },
  { title: 'Latest', kind: 'number', cell: ({ points }) => formatNumber(points.at(-1)?.[1]) },
  { title: 'At step', kind: 'number', cell: ({ points }) => formatNumber(points.at(-1)?.[0]) },
];

/** Draws curves over common axes. `styleOf` returns the number of a curve's colour. */
function Drawing({
  curves,
  styleOf,
}: {
  readonly curves: readonly Curve[];
  readonly styleOf: (curve: Curve) => number;
}): JSX.Element {
  const points = curves.flatMap((curve) => curve.points);
  const steps = points.map(([step]) => step),
    values = points.map(([, value]) => value);
  const [from, to] = [Math.min(...steps), Math.max(...steps)];
  const top = Math.max(...values, 0),
    low = Math.min(...values, 0);
  const ticks = chooseTicks(low, top);
  const high = Math.max(top, ticks.at(-1) ?? top);
  const x: Scale = (step) =>
    LEFT + ((WIDTH - LEFT - RIGHT) * (step - from)) / Math.max(to - from, 1e-9);
  const y: Scale = (value) =>
    TOP + ((HEIGHT - TOP - BOTTOM) * (high - value)) / Math.max(high - low, 1e-9);
  return (
    <svg
      class="curve"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={curves.map(inWords).join('; ')}
    >
      {ticks.map((tick) => (
        <g key={tick}>
          <path class="rule" d={`M${LEFT} ${y(tick)}H${WIDTH - RIGHT}`} />
          <text x={LEFT - 6} y={y(tick) + 4} text-anchor="end">
            {tick}
          </text>
        </g>
      ))}
      <text x={LEFT} y={HEIGHT - 6}>
        step {formatNumber(from)}
      </text>
      <text x={WIDTH - RIGHT} y={HEIGHT - 6} text-anchor="end">
        {formatNumber(to)}
      </text>
      {curves.map((curve) => drawCurve(curve, styleOf(curve), x, y))}
    </svg>
  );
}

type Scale = (value: number) => number;

/** Draws a curve at the pixels that the scales return; a single point as a dot. */
function drawCurve({ name, points }: Curve, style: number, x: Scale, y: Scale): JSX.Element {
  const [[step, value] = [0, 0]] = points;
  if (points.length === 1)
    return <circle key={name} class={`dot-${style}`} cx={x(step)} cy={y(value)} r="3.5" />;
  const at = points.map(([s, v]) => `${x(s).toFixed(1)} ${y(v).toFixed(1)}`);
  return <path key={name} class={`line line-${style}`} d={`M${at.join('L')}`} />;
}

const inWords = ({ name, points }: Curve): string =>
  `${name}: ${formatNumber(points[0]?.[1])} at step ${formatNumber(points[0]?.[0])}, ` +
  `${formatNumber(points.at(-1)?.[1])} at step ${formatNumber(points.at(-1)?.[0])}`;

/**
 * Returns round numbers (four to seven) in equal steps that cover the range from `low` to `top`;
 * `low` alone if the two are equal.
 */
function chooseTicks(low: number, top: number): number[] {
  const span = top - low;
  if (!(span > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(span / 3));
  const unit = [1, 2, 5, 10].map((n) => n * power).find((step) => span / step <= 5) ?? span;
  const ticks: number[] = [];
  for (let n = Math.floor(low / unit); n * unit < top + unit; n++)
    ticks.push(Number((n * unit).toPrecision(6)));
  return ticks;
}
