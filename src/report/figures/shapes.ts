/** Paths of SVG, as far as a painter must understand them. Pure. */
interface Shape {
  readonly name: string;
  readonly attribs: { readonly [name: string]: string };
}

export const numbersIn = (text: string): number[] =>
  (text.match(/-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?/gi) ?? []).map(Number);

/** Rectangles and paths of a `<clipPath>`, as paths. */
export const clipShapes = (shapes: readonly Shape[]): readonly string[] =>
  shapes.map(({ name, attribs }) => {
    if (name === 'path') return attribs['d'] ?? '';
    if (name !== 'rect')
      throw new TypeError(`a figure is clipped by <${name}>, which is not painted`);
    const [x, y, width, height] = ['x', 'y', 'width', 'height'].map((of) =>
      Number(attribs[of] ?? 0),
    );
    return `M${x!},${y!}h${width!}v${height!}h${-width!}Z`;
  });

/** Numbers that each command takes, the last two of them its end. */
const TAKES: Readonly<Record<string, number>> = { M: 2, L: 2, H: 1, V: 1, Q: 4, C: 6, A: 7, Z: 0 };

interface Step {
  readonly from: readonly [x: number, y: number];
  /** The last point before the end that gives the direction: a curve's control point, else `from`. */
  readonly towards: readonly [x: number, y: number];
  readonly to: readonly [x: number, y: number];
}

function steps(d: string): Step[] {
  const found: Step[] = [];
  let at: readonly [number, number] = [0, 0],
    start = at;
  for (const [, command, list] of d.matchAll(/([a-zA-Z])([^a-zA-Z]*)/g)) {
    const upper = command!.toUpperCase(),
      relative = command !== upper;
    const takes = TAKES[upper];
    if (takes === undefined) throw new TypeError(`a figure has a path with ${command!}`);
    const values = numbersIn(list!);
    for (let i = 0; takes === 0 ? i === 0 : i + takes <= values.length; i += takes || 1) {
      const [x0, y0] = relative ? at : [0, 0];
      const point = (k: number): readonly [number, number] => [
        x0 + values[i + k]!,
        y0 + values[i + k + 1]!,
      ];
      const from = at;
      at =
        upper === 'Z'
          ? start
          : upper === 'H'
            ? [x0 + values[i]!, from[1]]
            : upper === 'V'
              ? [from[0], y0 + values[i]!]
              : point(takes - 2);
      if (upper === 'M' && i === 0) start = at;
      found.push({
        from,
        towards: upper === 'Q' || upper === 'C' ? point(takes - 4) : from,
        to: at,
      });
    }
  }
  return found;
}

/** Where a path ends, and in which direction (radians, clockwise from the right). */
export function endOf(d: string): {
  readonly x: number;
  readonly y: number;
  readonly angle: number;
} {
  const last = steps(d).at(-1);
  if (last === undefined) throw new TypeError('a path that has an end');
  const [x, y] = last.to;
  return { x, y, angle: Math.atan2(y - last.towards[1], x - last.towards[0]) };
}

/** The box of a path's points; of a curve, of its ends. */
export function bounds(d: string): {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
} {
  const points = steps(d).map(({ to }) => to);
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y };
}
