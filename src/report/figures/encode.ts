/**
 * What several figures share: parts of Vega-Lite specifications, and how a specification is drawn
 * as SVG text that can share a page with other SVGs.
 */
import * as vega from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { codePoints, plural } from '../format.ts';
import { distinct } from '../groups.ts';
import type { Figure, Parametrisation } from '../types.ts';
import { config, legendLayout, type Palette } from './theme.ts';

/**
 * Returns a transform that keeps the rows of one kind: seeds, means and references share a table.
 */
export const onlyPart = (part: string) => [{ filter: `datum.part == '${part}'` }];

/** What captions call the line through a mean that shows its interval. */
export const LINE = '95% t-interval (of two seeds, from one value to the other)';

/**
 * Returns the look of points: filled if their numbers are evidence, else hollow. Hollow points are
 * larger, so that filled points at the same place lie within them.
 */
export const hollowIfVoid = (size: number) => ({
  fillOpacity: { condition: { test: 'datum.isVoid', value: 0 }, value: 0.9 },
  size: { condition: { test: 'datum.isVoid', value: 2.2 * size }, value: size },
});

export const KERNELS: readonly { readonly of: Parametrisation; readonly name: string }[] = [
  { of: 'full', name: 'full kernel' },
  { of: 'lora', name: 'LoRA kernel' },
];
/** Dashed lines are the full kernel's, solid ones LoRA's. */
export const KERNEL_DASH = {
  field: 'kernel',
  type: 'nominal' as const,
  legend: null,
  scale: {
    domain: KERNELS.map(({ name }) => name),
    range: [
      [5, 4],
      [1, 0],
    ],
  },
};

/** The most names of what a figure leaves out. */
const MOST_NAMES = 8;

/** Returns `A; B; C`; of many names the first ones, and how many others there are. */
export function namesText(names: readonly string[]): string {
  const named = names.slice(0, MOST_NAMES),
    more = names.length - named.length;
  return (more === 0 ? named : [...named, `${more} more`]).join('; '); // labels contain commas
}

/** Returns ` 2 more lines are left out of this figure: A; B.`, or '' without names. */
export function leftOut(names: readonly string[], noun: string): string {
  if (names.length === 0) return '';
  const verb = names.length === 1 ? 'is' : 'are';
  return (
    ` ${plural(names.length, `more ${noun}`)} ${verb} left out of this figure: ` +
    `${namesText(names)}.`
  );
}

/**
 * Returns a key of a list of values: different lists have different keys, but undefined counts as
 * null.
 */
export const keyed = (...values: readonly (string | number | null | undefined)[]): string =>
  JSON.stringify(values);

/** Whether there are at least two different values, not counting null. */
export const varies = (values: readonly (number | string | null)[]): boolean =>
  distinct(values.filter((value) => value !== null)).length > 1;

export const joinLabels = (...parts: readonly string[]): string =>
  parts.filter((part) => part !== '').join(' · ');

export const slug = (text: string): string =>
  text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');

const LONGEST_ID = 80;
/**
 * Returns an id for each of several figures of a kind, by what each shows: `loss-badnets-rate-0-1`.
 * Where these are equal, all but the first are numbered.
 */
export function idsFor(kind: string, shows: readonly string[]): readonly string[] {
  const ids = new Set<string>();
  for (const show of shows) {
    const own = slug(slug(`${kind} ${show}`).slice(0, LONGEST_ID));
    let id = own;
    for (let n = 2; ids.has(id); n++) id = `${own}-${n}`;
    ids.add(id);
  }
  return [...ids];
}

const encodingAs =
  <const Type extends string>(type: Type) =>
  <More extends object>(field: string, title: string | string[] | null, more: More) => ({
    field,
    type,
    title,
    ...more,
  });
export const quantitative = encodingAs('quantitative');
export const nominal = encodingAs('nominal');
export const ordinal = encodingAs('ordinal');

/** Draws a Vega-Lite specification. The parts of `caption` are joined without spaces. */
export const drawFigure = async (
  { id, title }: Pick<Figure, 'id' | 'title'>,
  caption: readonly string[],
  spec: TopLevelSpec,
  csv: string,
): Promise<Figure> => ({
  id,
  title,
  caption: caption.join(''),
  svg: await draw(spec, id, title),
  spec: { $schema: 'https://vega.github.io/schema/vega-lite/v6.json', ...spec, config },
  csv,
});

/** Returns at most `most` items (`shown`), and the others (`left`). */
export const takeFirst = <T>(items: readonly T[], most: number) => ({
  shown: items.slice(0, most),
  left: items.slice(most),
});

export const strokeColour = ({ domain, range }: Palette) => ({
  field: 'line',
  type: 'nominal' as const,
  scale: { domain, range },
  title: null,
  legend: {
    values: domain,
    ...legendLayout(domain),
    symbolType: 'stroke' as const,
  },
});

interface TextItem {
  readonly fontSize?: number;
  readonly fontWeight?: string | number;
  readonly limit?: number;
}
/** What Vega's typings lack: measuring text, and resetting the ids of clip paths. */
declare module 'vega' {
  const textMetrics: { width: (item: TextItem, text: string | number | null) => number };
  function resetSVGDefIds(): void;
}
// Without a canvas, Vega assumes 0.8 em for each character, about 1.5 times what a sans-serif font
// needs. Figures would then be mostly margin.
vega.textMetrics.width = ({ fontSize = 11, fontWeight, limit = 0 }, text) => {
  const each = (fontWeight === 'bold' ? 0.64 : 0.59) * fontSize;
  const width = each * codePoints(String(text ?? '')).length;
  return limit > 0 ? Math.min(limit, width) : width;
};

export const escapeXml = (text: string): string =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');

/** Gives an `<svg>` a title for screen readers, and ids that are unique in the page. */
export function labelSvg(svg: string, id: string, title: string): string {
  return svg
    .replaceAll(/ id="([^"]+)"/g, (_, name: string) => ` id="${id}-${name}"`)
    .replaceAll(/="url\(#([^)"]+)\)"/g, (_, name: string) => `="url(#${id}-${name})"`)
    .replace(
      /^<svg([^>]*)>/,
      (_, attributes: string) =>
        `<svg${attributes} role="img" aria-labelledby="${id}-title">` +
        `<title id="${id}-title">${escapeXml(title)}</title>`,
    );
}

/**
 * Draws a specification with its own data as an `<svg>`, without canvas or network. The same
 * specification gives the same bytes.
 */
export async function draw(spec: TopLevelSpec, id: string, title: string): Promise<string> {
  // Vega-Lite's warnings (a scale without data, …) are for authors of specifications.
  const quiet = vega.logger(vega.Error);
  const { spec: compiled } = compile({ ...spec, config }, { logger: quiet });
  const view = new vega.View(vega.parse(compiled), { renderer: 'none', logger: quiet });
  try {
    await view.runAsync();
    // Nothing is awaited between here and the drawing, so that the ids are the same each time.
    vega.resetSVGDefIds();
    return labelSvg(tidySvg(await view.toSVG()), id, title);
  } finally {
    view.finalize();
  }
}

/**
 * Makes Vega's SVG smaller: rounds coordinates to hundredths of a pixel, and removes hidden paths
 * and attributes that change nothing of what is drawn. Writes each line of a text as a `<text>` of
 * its own, so that PDF and PNG have the lines too.
 */
const tidySvg = (svg: string): string =>
  svg
    .replaceAll(/(<text [^>]*)>(<tspan.*?)<\/text>/g, (_, open: string, lines: string) =>
      [...lines.matchAll(/<tspan(?: x="0" dy="([\d.]+)")?>(.*?)<\/tspan>/g)]
        .map(([, dy = '0', text = ''], i) => `${open} y="${i * Number(dy)}">${text}</text>`)
        .join(''),
    )
    .replaceAll(
      /<path [^>]* display="none"\/>| (?:pointer-events="none"|aria-hidden="true")(?=[^<]*>)/g,
      '',
    )
    .replaceAll(
      / (d|transform|x|y|x1|x2|y1|y2|width|height)="([^"]*)"/g,
      (_, name: string, value: string) =>
        ` ${name}="${value.replaceAll(/-?\d+\.\d{3,}/g, roundToHundredth)}"`,
    );
const roundToHundredth = (number: string): string => String(Math.round(Number(number) * 100) / 100);
