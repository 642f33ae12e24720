/** Vega-Lite → SVG text in Node, made fit to stand beside other SVGs in one page. */
import * as vega from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { config } from './theme.ts';

interface TextItem {
  readonly fontSize?: number;
  readonly fontWeight?: string | number;
  readonly limit?: number;
}
/** A hook for a measure of the caller's own, and the counter of clip paths; Vega's typings lack both. */
const { textMetrics, resetSVGDefIds } = vega as unknown as {
  readonly textMetrics: { width: (item: TextItem, text: unknown) => number };
  readonly resetSVGDefIds: () => void;
};
// Without a canvas Vega takes 0.8 em a character, half as much again as a sans-serif has: figures would be mostly margin.
textMetrics.width = ({ fontSize = 11, fontWeight, limit = 0 }, text) => {
  const width = (fontWeight === 'bold' ? 0.64 : 0.59) * fontSize * [...String(text ?? '')].length;
  return limit > 0 ? Math.min(limit, width) : width;
};

export const escapeXml = (text: string): string =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');

/** An `<svg>` gets a title that screen readers read, and ids that no other SVG of the page has. */
export function label(svg: string, id: string, title: string): string {
  return svg
    .replaceAll(/ id="([^"]+)"/g, (_, name: string) => ` id="${id}-${name}"`)
    .replaceAll(/="url\(#([^)"]+)\)"/g, (_, name: string) => `="url(#${id}-${name})"`)
    .replace(
      /^<svg([^>]*)>/,
      (_, attributes: string) =>
        `<svg${attributes} role="img" aria-labelledby="${id}-title"><title id="${id}-title">${escapeXml(title)}</title>`,
    );
}

/** Draws; no canvas, no network: data stand in the specification. Numbers in paths are cut to a tenth of a pixel. */
export async function draw(spec: TopLevelSpec, id: string, title: string): Promise<string> {
  // Vega-Lite's advice (a scale without data, …) is for authors of a specification; the tests read it.
  const quiet = vega.logger(vega.Error);
  const { spec: compiled } = compile({ ...spec, config }, { logger: quiet });
  const view = new vega.View(vega.parse(compiled), { renderer: 'none', logger: quiet });
  try {
    await view.runAsync();
    resetSVGDefIds(); // the same data must give the same bytes; nothing awaits between here and the drawing
    return label(shorten(await view.toSVG()), id, title);
  } finally {
    view.finalize();
  }
}

/** Vega writes 15 digits a coordinate; the text in `<text>` is left alone. */
const shorten = (svg: string): string =>
  svg.replaceAll(
    / (d|transform|x|y|x1|x2|y1|y2|width|height)="([^"]*)"/g,
    (_, name: string, value: string) =>
      ` ${name}="${value.replaceAll(/-?\d+\.\d{3,}/g, (number) => String(Math.round(Number(number) * 100) / 100))}"`,
  );
