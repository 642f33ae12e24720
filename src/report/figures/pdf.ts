/**
 * A figure's SVG as a PDF of the same size (a pixel is a point): vector graphics, and text that can
 * be searched, in an embedded font.
 */
import { createRequire } from 'node:module';
import { codePoints } from '../format.ts';
import {
  bounds,
  childElements,
  clipShapes,
  collectText,
  definitionsIn,
  type Element,
  findEnd,
  inheritStyle,
  INITIAL_STYLE,
  isElement,
  numbersIn,
  type Style,
} from './svg-tree.ts';

/** Consecutive characters that are set alike. */
interface Run {
  readonly text: string;
  /** The size of the characters, as a share of the font's size. */
  readonly scale: number;
  /** How far the characters are raised, in units of the font's size; negative if lowered. */
  readonly rise: number;
  /** Whether the font lacks the character. It is then drawn as an empty box. */
  readonly lacks: boolean;
}

const SUBSCRIPT = /[\u2080-\u209c\u1d62-\u1d6a\u2c7c]/;

/**
 * Returns how a character is set. One that the font lacks, such as `₀`, becomes a small plain one
 * (its NFKC form), raised or lowered, if the font has that.
 */
function chooseRun(character: string, hasGlyphFor: (character: string) => boolean): Run {
  if (hasGlyphFor(character)) return { text: character, scale: 1, rise: 0, lacks: false };
  const plain = character.normalize('NFKC');
  if (plain === character || !codePoints(plain).every(hasGlyphFor))
    return { text: character, scale: 1, rise: 0, lacks: true };
  return { text: plain, scale: 0.65, rise: SUBSCRIPT.test(character) ? -0.15 : 0.35, lacks: false };
}

function splitRuns(words: string, hasGlyphFor: (character: string) => boolean): readonly Run[] {
  const runs: Run[] = [];
  for (const character of words) {
    const run = chooseRun(character, hasGlyphFor),
      last = runs.at(-1);
    if (last && !last.lacks && !run.lacks && last.rise === run.rise)
      runs[runs.length - 1] = { ...last, text: last.text + run.text };
    else runs.push(run);
  }
  return runs;
}

/** The PDF that is being written. PDFKit's typings lack its field for the font in use. */
type Doc = PDFKit.PDFDocument & {
  readonly _font: { readonly font: { hasGlyphForCodePoint(code: number): boolean } };
};

/** Parses a length; a percentage is a share of `whole`, and no text is 0. */
function parseLength(text: string | undefined, whole: number): number {
  if (text === undefined) return 0;
  const value = Number.parseFloat(text);
  return text.endsWith('%') ? (value / 100) * whole : value;
}

/** Returns a colour in a form that PDFKit does not silently ignore: `#rrggbb`, `#rgb` or a name. */
function parseColour(text: string): string {
  if (/^#(?:[0-9a-f]{3}){1,2}$|^[a-z]+$/i.test(text)) return text;
  const parts = /^rgb\(([^)]*)\)$/.exec(text)?.[1],
    values = parts === undefined ? [] : numbersIn(parts);
  if (values.length !== 3)
    throw new TypeError(`the figure has the colour ${text}, which cannot be painted`);
  return `#${values.map((value) => Math.round(value).toString(16).padStart(2, '0')).join('')}`;
}

/**
 * Paints elements of an SVG on the page of a PDF. `missing` collects the characters that the font
 * lacks.
 */
class Painter {
  readonly missing = new Set<string>();

  /** @param definitions the elements that `url(#ID)` can refer to, by id */
  constructor(
    private readonly doc: Doc,
    private readonly page: { readonly width: number; readonly height: number },
    private readonly definitions: ReadonlyMap<string, Element>,
  ) {}

  /**
   * Paints an element with its children, in the style that it inherits. A TypeError is thrown for
   * anything that can't be painted.
   */
  paint(node: Element, inherited: Style): void {
    if (node.attribs['display'] === 'none') return;
    const style = inheritStyle(node, inherited);
    this.doc.save();
    this.#transform(node.attribs['transform'] ?? '');
    const clip = node.attribs['clip-path'];
    if (clip !== undefined) {
      for (const shape of clipShapes(childElements(this.#referred(clip)))) this.doc.path(shape);
      this.doc.clip();
    }
    this.#content(node, style);
    this.doc.restore();
  }

  /** Returns the element to which `url(#ID)` refers. Throws a TypeError if there is none. */
  #referred(url: string): Element {
    const found = this.definitions.get(/^url\(#(.*)\)$/.exec(url)?.[1] ?? '');
    if (found === undefined) throw new TypeError(`${url} refers to nothing`);
    return found;
  }

  /** Parse lengths; a percentage is one of the page's width or of its height. */
  #across = (text: string | undefined): number => parseLength(text, this.page.width);
  #down = (text: string | undefined): number => parseLength(text, this.page.height);

  #transform(text: string): void {
    for (const [, name = '', list = ''] of text.matchAll(/(\w+)\(([^)]*)\)/g)) {
      const [a = 0, b] = numbersIn(list);
      if (name === 'translate') this.doc.translate(a, b ?? 0);
      else if (name === 'rotate') this.doc.rotate(a);
      else if (name === 'scale') this.doc.scale(a, b ?? a);
      else throw new TypeError(`the figure has the transform ${name}, which cannot be painted`);
    }
  }

  #content(node: Element, style: Style): void {
    switch (node.name) {
      case 'svg':
      case 'g':
        for (const child of childElements(node)) this.paint(child, style);
        break;
      case 'title':
      case 'defs':
        break;
      case 'path':
        this.#path(node, style);
        break;
      case 'line':
        this.#line(node, style);
        break;
      case 'rect':
        this.#rectangle(node, style);
        break;
      case 'circle':
        this.#circle(node, style);
        break;
      case 'image':
        this.#image(node);
        break;
      case 'text':
        this.#text(node, style);
        break;
      default:
        throw new TypeError(`the figure has an element <${node.name}>, which cannot be painted`);
    }
  }

  #path({ attribs }: Element, style: Style): void {
    const d = attribs['d'] ?? '';
    this.#shape(() => this.doc.path(d), d, style);
    const marker = attribs['marker-end'];
    if (marker !== undefined) this.#marker(this.#referred(marker), findEnd(d), style);
  }

  #line({ attribs }: Element, style: Style): void {
    const at = (name: string): number => parseLength(attribs[name], 0);
    const d = `M${at('x1')},${at('y1')}L${at('x2')},${at('y2')}`;
    this.#shape(() => this.doc.path(d), d, { ...style, fill: 'none' });
  }

  /** Paints a rectangle; nothing if it has no area. */
  #rectangle({ attribs }: Element, style: Style): void {
    const [x, y] = [this.#across(attribs['x']), this.#down(attribs['y'])];
    const [width, height] = [this.#across(attribs['width']), this.#down(attribs['height'])];
    if (width <= 0 || height <= 0) return;
    const radius = Math.min(this.#across(attribs['rx']), width / 2, height / 2);
    const trace = () =>
      radius > 0
        ? this.doc.roundedRect(x, y, width, height, radius)
        : this.doc.rect(x, y, width, height);
    this.#shape(trace, `M${x},${y}h${width}v${height}h${-width}Z`, style);
  }

  /** Paints a circle; nothing if it has no area. */
  #circle({ attribs }: Element, style: Style): void {
    const [x, y] = [this.#across(attribs['cx']), this.#down(attribs['cy'])];
    const radius = this.#across(attribs['r']);
    if (radius <= 0) return;
    const box = `M${x - radius},${y - radius}h${2 * radius}v${2 * radius}h${-2 * radius}Z`;
    this.#shape(() => this.doc.circle(x, y, radius), box, style);
  }

  /**
   * Fills and strokes the path that `trace` adds to the page. `d` is a path with the same bounds.
   */
  #shape(trace: () => unknown, d: string, style: Style): void {
    const doc = this.doc;
    const width = Number.parseFloat(style['stroke-width']);
    const fills = style.fill !== 'none' && style.fill !== 'transparent',
      strokes = style.stroke !== 'none' && style.stroke !== 'transparent' && width > 0;
    if (d === '' || (!fills && !strokes)) return;
    doc.fillOpacity(style.opacity).strokeOpacity(style.opacity);
    if (fills)
      doc.fillColor(
        style.fill.startsWith('url(') ? this.#gradient(style.fill, d) : parseColour(style.fill),
      );
    if (strokes) {
      doc.strokeColor(parseColour(style.stroke)).lineWidth(width);
      doc.lineJoin(style['stroke-linejoin']);
      const dashes = numbersIn(style['stroke-dasharray']);
      const [dash, space = dash] = dashes;
      // [1, 0] is how Vega writes a solid line.
      if (dash !== undefined && space !== undefined && dashes.every((one) => one > 0))
        doc.dash(dash, { space });
      else doc.undash();
    }
    trace();
    if (fills && strokes) doc.fillAndStroke();
    else if (fills) doc.fill();
    else doc.stroke();
  }

  /** Returns a gradient over the bounding box of a path, which is SVG's default. */
  #gradient(url: string, d: string): PDFKit.Mixins.ColorValue {
    const node = this.#referred(url),
      { x, y, width, height } = bounds(d);
    if (node.name !== 'linearGradient')
      throw new TypeError(`the figure is filled with <${node.name}>, which cannot be painted`);
    const at = (name: string, otherwise: string): number =>
      parseLength(node.attribs[name] ?? otherwise, 1);
    const made = this.doc.linearGradient(
      x + at('x1', '0') * width,
      y + at('y1', '0') * height,
      x + at('x2', '1') * width,
      y + at('y2', '0') * height,
    );
    for (const { attribs } of childElements(node))
      made.stop(parseLength(attribs['offset'], 1), parseColour(attribs['stop-color'] ?? 'black'));
    return made;
  }

  /**
   * Draws a marker at the end of a line, in the line's direction and in units of the line's width.
   */
  #marker(node: Element, end: ReturnType<typeof findEnd>, style: Style): void {
    const doc = this.doc,
      { attribs } = node;
    const [, , boxWidth = 1] = numbersIn(attribs['viewBox'] ?? '');
    const scale =
      (Number(style['stroke-width']) * parseLength(attribs['markerWidth'] ?? '3', 0)) / boxWidth;
    doc.save();
    doc
      .translate(end.x, end.y)
      .rotate((end.angle * 180) / Math.PI)
      .scale(scale);
    doc.translate(-parseLength(attribs['refX'], 0), -parseLength(attribs['refY'], 0));
    for (const child of childElements(node))
      this.paint(child, { ...INITIAL_STYLE, opacity: style.opacity });
    doc.restore();
  }

  /** Paints an embedded PNG. Throws a TypeError for any other picture. */
  #image({ attribs }: Element): void {
    const data = /^data:image\/png;base64,(.*)$/.exec(attribs['href'] ?? '')?.[1];
    if (data === undefined) throw new TypeError('a picture in a figure is not an embedded PNG');
    this.doc.image(
      Buffer.from(data, 'base64'),
      this.#across(attribs['x']),
      this.#down(attribs['y']),
      { width: this.#across(attribs['width']), height: this.#down(attribs['height']) },
    );
  }

  /** Paints a text; nothing if it is empty. */
  #text(node: Element, style: Style): void {
    const doc = this.doc;
    const words = collectText(node);
    if (words === '' || style.fill === 'none') return;
    const size = Number.parseFloat(style['font-size']),
      weight = style['font-weight'];
    doc.font(weight === 'bold' || Number(weight) >= 600 ? 'bold' : 'regular');
    const runs = splitRuns(words, (character) =>
      doc._font.font.hasGlyphForCodePoint(character.codePointAt(0) ?? 0),
    );
    /** Returns the width of a run. Also sets the font's size. */
    const measure = (run: Run): number => doc.fontSize(size * run.scale).widthOfString(run.text);
    const anchor = { start: 0, middle: 0.5, end: 1 }[style['text-anchor']] ?? 0;
    const whole = runs.reduce((sum, run) => sum + measure(run), 0);
    let x = this.#across(node.attribs['x']) - anchor * whole;
    const y = this.#down(node.attribs['y']);
    doc.fillOpacity(style.opacity).fillColor(parseColour(style.fill));
    for (const run of runs) {
      if (run.lacks) this.missing.add(run.text);
      const width = measure(run);
      doc.text(run.text, x, y - run.rise * size, { lineBreak: false, baseline: 'alphabetic' });
      x += width;
    }
  }
}

const fonts = createRequire(import.meta.url);
/** Inter, regular and semi-bold. */
export const FONTS = [
  '@expo-google-fonts/inter/400Regular/Inter_400Regular.ttf',
  '@expo-google-fonts/inter/600SemiBold/Inter_600SemiBold.ttf',
] as const;
const [REGULAR, BOLD] = FONTS;

/**
 * Returns the PDF, and the characters that the font lacks, which are drawn as empty boxes. The same
 * SVG gives the same bytes.
 * @throws TypeError if the SVG contains something that can't be painted
 */
export async function paintPdf(
  svg: string,
): Promise<{ readonly pdf: Buffer; readonly missing: readonly string[] }> {
  const [{ default: PDFDocument }, { parseDocument }] = await Promise.all([
    import('pdfkit'),
    import('htmlparser2'),
  ]);
  const root = parseDocument(svg, { xmlMode: true }).children.find(isElement);
  if (root?.name !== 'svg') throw new TypeError('the figure is not an <svg>');
  const [, , width, height] = numbersIn(root.attribs['viewBox'] ?? '');
  if (width === undefined || height === undefined)
    throw new TypeError('the <svg> of a figure has no viewBox');
  const title = childElements(root).find(({ name }) => name === 'title');
  const doc = new PDFDocument({
    size: [width, height],
    margin: 0,
    font: fonts.resolve(REGULAR),
    info: {
      Title: title === undefined ? '' : collectText(title),
      Creator: 'dosimeter',
      CreationDate: new Date(0),
    },
  });
  doc.registerFont('regular', fonts.resolve(REGULAR)).registerFont('bold', fonts.resolve(BOLD));
  const chunks: Buffer[] = [];
  doc.on('data', (chunk: Buffer) => chunks.push(chunk));
  const ended = new Promise((resolve) => doc.once('end', resolve));
  const painter = new Painter(doc as Doc, { width, height }, definitionsIn(root));
  painter.paint(root, INITIAL_STYLE);
  doc.end();
  await ended;
  return { pdf: Buffer.concat(chunks), missing: [...painter.missing] };
}
