/** An SVG as a tree of elements with inherited presentation attributes. */
import type { parseDocument as Parse } from 'htmlparser2';

type ChildNode = ReturnType<typeof Parse>['children'][number];
export type Element = Extract<ChildNode, { readonly attribs: object }>;

export const isElement = (node: ChildNode): node is Element => 'name' in node && 'attribs' in node;
export const elements = (node: Element): Element[] => node.children.filter(isElement);

export function textOf(node: Element): string {
  const texts = node.children.map((child) => {
    if (isElement(child)) return textOf(child);
    return 'data' in child ? child.data : '';
  });
  return texts.join('');
}

/** Returns the elements that `url(#id)` can refer to. */
export function definitionsIn(node: Element, into = new Map<string, Element>()) {
  for (const child of elements(node)) {
    if (child.attribs['id'] !== undefined) into.set(child.attribs['id'], child);
    definitionsIn(child, into);
  }
  return into as ReadonlyMap<string, Element>;
}

/** The presentation attributes that a child inherits unless it has its own. */
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
  /** Multiplied down the tree. */
  readonly opacity: number;
};
/** The style at the root. */
export const INITIAL_STYLE: Style = { ...INHERITED, opacity: 1 };

export function styleOf({ attribs }: Element, inherited: Style): Style {
  const own = { ...inherited, opacity: inherited.opacity * Number(attribs['opacity'] ?? 1) };
  for (const name of Object.keys(INHERITED) as Inherited[]) {
    const value = attribs[name];
    if (value !== undefined) own[name] = value;
  }
  return own;
}
