/** Curves over the steps of a training: drawn, and their main numbers in a table. */
import type { JSX } from 'preact';
import { formatNumber } from '../../report/format.ts';
import type { Curve } from '../wire.ts';

const WIDTH = 440,
  HEIGHT = 170,
  LEFT = 46,
  BOTTOM = 24,
  TOP = 8,
  RIGHT = 10;

/** Losses share one drawing; the other curves, between 0 and 1, share another. */
const isLoss = ({ name }: Curve): boolean => /loss|penalty/.test(name);

export function Curves({ curves }: { readonly curves: readonly Curve[] }): JSX.Element | null {
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
      <CurveTable curves={shown} />
    </>
  );
}

/** The first and the latest value of each curve. */
function CurveTable({ curves }: { readonly curves: readonly Curve[] }): JSX.Element {
  return (
    <table class="dense">
      <thead>
        <tr>
          <th scope="col">Curve</th>
          <th scope="col" class="number">
            First
          </th>
          <th scope="col" class="number">
            Latest
          </th>
          <th scope="col" class="number">
            At step
          </th>
        </tr>
      </thead>
      <tbody>
        {curves.map(({ name, points }, i) => (
          <tr key={name}>
            <th scope="row">
              <span class={`key key-${i % 4}`} aria-hidden="true" /> {name}
            </th>
            <td class="number">{formatNumber(points[0]?.[1])}</td>
            <td class="number">{formatNumber(points.at(-1)?.[1])}</td>
            <td class="number">{formatNumber(points.at(-1)?.[0])}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

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
  const ticks = ticksOf(low, top);
  const high = Math.max(top, ticks.at(-1) ?? top);
  const x = (step: number): number =>
    LEFT + ((WIDTH - LEFT - RIGHT) * (step - from)) / Math.max(to - from, 1e-9);
  const y = (value: number): number =>
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
      {curves.map((curve) => (
        <Line key={curve.name} curve={curve} style={styleOf(curve)} x={x} y={y} />
      ))}
    </svg>
  );
}

/** A line, or a dot while there is a single point. */
function Line({
  curve: { points },
  style,
  x,
  y,
}: {
  readonly curve: Curve;
  readonly style: number;
  readonly x: (step: number) => number;
  readonly y: (value: number) => number;
}): JSX.Element {
  const [[step, value] = [0, 0]] = points;
  if (points.length === 1)
    return <circle class={`dot-${style}`} cx={x(step)} cy={y(value)} r="3.5" />;
  const at = points.map(([s, v]) => `${x(s).toFixed(1)} ${y(v).toFixed(1)}`);
  return <path class={`line line-${style}`} d={`M${at.join('L')}`} />;
}

const inWords = ({ name, points }: Curve): string =>
  `${name}: ${formatNumber(points[0]?.[1])} at step ${formatNumber(points[0]?.[0])}, ` +
  `${formatNumber(points.at(-1)?.[1])} at step ${formatNumber(points.at(-1)?.[0])}`;

/** Returns three to six round numbers that cover the values. */
function ticksOf(low: number, top: number): number[] {
  const span = top - low;
  if (!(span > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(span / 3));
  const unit = [1, 2, 5, 10].map((n) => n * power).find((step) => span / step <= 5) ?? span;
  const ticks: number[] = [];
  for (let n = Math.floor(low / unit); n * unit < top + unit; n++)
    ticks.push(Number((n * unit).toPrecision(6)));
  return ticks;
}
