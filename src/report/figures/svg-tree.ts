/** An SVG as a tree of elements with inherited presentation attributes, and its paths. */
import type { parseDocument as Parse } from 'htmlparser2';

type ChildNode = ReturnType<typeof Parse>['children'][number];
export type Element = Extract<ChildNode, { readonly attribs: object }>;

export const isElement = (node: ChildNode): node is Element => 'name' in node && 'attribs' in node;
export const childElements = (node: Element): Element[] => node.children.filter(isElement);

export function collectText(node: Element): string {
  const texts = node.children.map((child) => {
    if (isElement(child)) return collectText(child);
    return 'data' in child ? child.data : '';
  });
  return texts.join('');
}

export function definitionsIn(node: Element, into = new Map<string, Element>()) {
  for (const child of childElements(node)) {
    if (child.attribs['id'] !== undefined) into.set(child.attribs['id'], child);
    definitionsIn(child, into);
  }
  return into as ReadonlyMap<string, Element>;
}

/** The presentation attributes that children inherit, with initial values. */
const INHERITED = {
  fill: 'black',
  stroke: 'none',
  'stroke-width': '1',
  'stroke-dasharray': 'none',
  'stroke-linejoin': 'miter',
  'font-size': '12',
  'font-weight': 'normal',
  'text-anchor': 'start',
};
type Inherited = keyof typeof INHERITED;

export type Style = Readonly<Record<Inherited, string>> & {
  /** The product of the opacities of the element and its ancestors. */
  readonly opacity: number;
};
export const INITIAL_STYLE: Style = { ...INHERITED, opacity: 1 };

export function inheritStyle({ attribs }: Element, inherited: Style): Style {
  const own = { ...inherited, opacity: inherited.opacity * Number(attribs['opacity'] ?? 1) };
  for (const name of Object.keys(INHERITED) as Inherited[]) {
    const value = attribs[name];
    if (value !== undefined) own[name] = value;
  }
  return own;
}

/** Returns the numbers in a text, in their order; [] if there are none. */
export const numbersIn = (text: string): number[] =>
  (text.match(/-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?/gi) ?? []).map(Number);

/** Returns the shapes of a `<clipPath>` (rectangles and paths) as paths. */
export const clipShapes = (shapes: readonly Pick<Element, 'name' | 'attribs'>[]): string[] =>
  shapes.map(({ name, attribs }) => {
    if (name === 'path') return attribs['d'] ?? '';
    if (name !== 'rect')
      throw new TypeError(`the figure is clipped by <${name}>, which cannot be painted`);
    const at = (of: string): number => Number(attribs[of] ?? 0);
    return `M${at('x')},${at('y')}h${at('width')}v${at('height')}h${-at('width')}Z`;
  });

type Point = readonly [x: number, y: number];

/**
 * How many numbers each path command takes. The last two are the point where it ends, except for H,
 * V and Z.
 */
const TAKES: Readonly<Record<string, number>> = { M: 2, L: 2, H: 1, V: 1, Q: 4, C: 6, A: 7, Z: 0 };

interface Step {
  readonly from: Point;
  /**
   * The point whose direction to `to` is the step's at its end: the last control point, or `from`.
   */
  readonly towards: Point;
  readonly to: Point;
}

/** Returns the commands of a path, one for each group of numbers. Further groups after M are L. */
const commandsIn = (d: string) =>
  [...d.matchAll(/([a-zA-Z])([^a-zA-Z]*)/g)].flatMap(([, command = '', list = '']) => {
    const takes = TAKES[command.toUpperCase()];
    if (takes === undefined) throw new TypeError(`a figure has a path with ${command}`);
    const values = numbersIn(list);
    if (takes === 0) return [{ command, numbers: [] }];
    return Array.from({ length: Math.floor(values.length / takes) }, (_, i) => ({
      command: i > 0 && /m/i.test(command) ? (command === 'm' ? 'l' : 'L') : command,
      numbers: values.slice(i * takes, (i + 1) * takes),
    }));
  });

/** Returns the steps of a path in absolute coordinates. */
function pathSteps(d: string): Step[] {
  const found: Step[] = [];
  let at: Point = [0, 0],
    start = at;
  for (const { command, numbers } of commandsIn(d)) {
    const upper = command.toUpperCase(),
      [x0, y0] = command === upper ? ([0, 0] as const) : at;
    /** Returns the k-th point, counted from the end, of the command's numbers. */
    const point = (k: number): Point => [
      x0 + (numbers.at(-2 * k) ?? 0),
      y0 + (numbers.at(1 - 2 * k) ?? 0),
    ];
    const from = at;
    if (upper === 'Z') at = start;
    else if (upper === 'H') at = [x0 + (numbers[0] ?? 0), from[1]];
    else if (upper === 'V') at = [from[0], y0 + (numbers[0] ?? 0)];
    else at = point(1);
    if (upper === 'M') start = at;
    found.push({ from, towards: upper === 'Q' || upper === 'C' ? point(2) : from, to: at });
  }
  return found;
}

/** Returns where a path ends, and its direction there (radians, clockwise from the right). */
export function findEnd(d: string) {
  const last = pathSteps(d).at(-1);
  if (last === undefined) throw new TypeError('an empty path has no end');
  const [x, y] = last.to;
  return { x, y, angle: Math.atan2(y - last.towards[1], x - last.towards[0]) };
}

/** Returns the bounding box of a path's points; a curve counts by its ends, without its bulge. */
export function bounds(d: string) {
  const points = pathSteps(d).map(({ to }) => to);
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y };
}
