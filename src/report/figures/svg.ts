/** Draws Vega-Lite specifications as SVG text that can share a page with other SVGs. */
import * as vega from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { codePoints } from '../format.ts';
import { config } from './theme.ts';

interface TextItem {
  readonly fontSize?: number;
  readonly fontWeight?: string | number;
  readonly limit?: number;
}
/**
 * The hook for measuring text, and the function that resets the ids of clip paths. Vega's typings
 * lack both.
 */
declare module 'vega' {
  const textMetrics: { width: (item: TextItem, text: string | number | null) => number };
  function resetSVGDefIds(): void;
}
// Without a canvas, Vega assumes 0.8 em for each character, half as much again as a sans-serif font
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

/** Gives an `<svg>` a title for screen readers, and ids that no other SVG of the page has. */
export function label(svg: string, id: string, title: string): string {
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
 * Draws a specification that holds its own data, without canvas or network. The same specification
 * gives the same bytes.
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
    return label(shorten(await view.toSVG()), id, title);
  } finally {
    view.finalize();
  }
}

/** Rounds coordinates to hundredths of a pixel: Vega writes 15 digits. Text is left alone. */
const shorten = (svg: string): string =>
  svg.replaceAll(
    / (d|transform|x|y|x1|x2|y1|y2|width|height)="([^"]*)"/g,
    (_, name: string, value: string) => ` ${name}="${value.replaceAll(/-?\d+\.\d{3,}/g, round)}"`,
  );
const round = (number: string): string => String(Math.round(Number(number) * 100) / 100);
