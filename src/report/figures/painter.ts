/**
 * Paints an SVG onto a PDF page. It knows the elements that Vega and this program's own figures
 * write, and throws a TypeError at any other rather than leave it out.
 */
import { bounds, clipShapes, endOf, numbersIn } from './shapes.ts';
import { type Element, elements, INITIAL_STYLE, type Style, styleOf, textOf } from './svg-tree.ts';
import { hasGlyph, type Run, runsOf } from './text-runs.ts';

type Doc = PDFKit.PDFDocument;

interface Page {
  readonly width: number;
  readonly height: number;
}

/** Parses a length. A percentage is a share of `whole`. */
function length(text: string | undefined, whole: number): number {
  if (text === undefined) return 0;
  const value = Number.parseFloat(text);
  return text.endsWith('%') ? (value / 100) * whole : value;
}

/**
 * Returns a colour in a form that PDFKit accepts: `#rrggbb`, `#rgb` or a CSS name. PDFKit silently
 * ignores other forms.
 */
function colour(text: string): string {
  if (/^#(?:[0-9a-f]{3}){1,2}$|^[a-z]+$/i.test(text)) return text;
  const parts = /^rgb\(([^)]*)\)$/.exec(text)?.[1],
    values = parts === undefined ? [] : numbersIn(parts);
  if (values.length !== 3)
    throw new TypeError(`the figure has the colour ${text}, which cannot be painted`);
  return `#${values.map((value) => Math.round(value).toString(16).padStart(2, '0')).join('')}`;
}

export class Painter {
  /** Characters that the font lacks. */
  readonly missing = new Set<string>();
  readonly #doc: Doc;
  readonly #page: Page;
  readonly #definitions: ReadonlyMap<string, Element>;

  /** @param definitions the elements that can be referred to, by id */
  constructor(doc: Doc, page: Page, definitions: ReadonlyMap<string, Element>) {
    this.#doc = doc;
    this.#page = page;
    this.#definitions = definitions;
  }

  paint(node: Element, inherited: Style): void {
    if (node.attribs['display'] === 'none') return;
    const style = styleOf(node, inherited);
    this.#doc.save();
    this.#transform(node.attribs['transform'] ?? '');
    const clip = node.attribs['clip-path'];
    if (clip !== undefined) {
      for (const shape of clipShapes(elements(this.#referred(clip)))) this.#doc.path(shape);
      this.#doc.clip();
    }
    this.#content(node, style);
    this.#doc.restore();
  }

  #referred(url: string): Element {
    const found = this.#definitions.get(/^url\(#(.*)\)$/.exec(url)?.[1] ?? '');
    if (found === undefined) throw new TypeError(`${url} refers to nothing`);
    return found;
  }

  /** A length along the page's width. */
  #across = (text: string | undefined): number => length(text, this.#page.width);
  /** A length along the page's height. */
  #down = (text: string | undefined): number => length(text, this.#page.height);

  #transform(text: string): void {
    for (const [, name = '', list = ''] of text.matchAll(/(\w+)\(([^)]*)\)/g)) {
      const [a = 0, b] = numbersIn(list);
      if (name === 'translate') this.#doc.translate(a, b ?? 0);
      else if (name === 'rotate') this.#doc.rotate(a);
      else if (name === 'scale') this.#doc.scale(a, b ?? a);
      else throw new TypeError(`the figure has the transform ${name}, which cannot be painted`);
    }
  }

  #content(node: Element, style: Style): void {
    switch (node.name) {
      case 'svg':
      case 'g':
        for (const child of elements(node)) this.paint(child, style);
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
    this.#shape(() => this.#doc.path(d), d, style);
    const marker = attribs['marker-end'];
    if (marker !== undefined) this.#marker(this.#referred(marker), endOf(d), style);
  }

  #line({ attribs }: Element, style: Style): void {
    const at = (name: string): number => length(attribs[name], 0);
    const d = `M${at('x1')},${at('y1')}L${at('x2')},${at('y2')}`;
    this.#shape(() => this.#doc.path(d), d, { ...style, fill: 'none' });
  }

  #rectangle({ attribs }: Element, style: Style): void {
    const [x, y] = [this.#across(attribs['x']), this.#down(attribs['y'])];
    const [width, height] = [this.#across(attribs['width']), this.#down(attribs['height'])];
    if (width <= 0 || height <= 0) return;
    const radius = Math.min(this.#across(attribs['rx']), width / 2, height / 2);
    const trace = (): Doc =>
      radius > 0
        ? this.#doc.roundedRect(x, y, width, height, radius)
        : this.#doc.rect(x, y, width, height);
    this.#shape(trace, `M${x},${y}h${width}v${height}h${-width}Z`, style);
  }

  #circle({ attribs }: Element, style: Style): void {
    const [x, y] = [this.#across(attribs['cx']), this.#down(attribs['cy'])];
    const radius = this.#across(attribs['r']);
    if (radius <= 0) return;
    const box = `M${x - radius},${y - radius}h${2 * radius}v${2 * radius}h${-2 * radius}Z`;
    this.#shape(() => this.#doc.circle(x, y, radius), box, style);
  }

  /**
   * Fills and strokes a shape.
   * @param trace adds the shape to the page as its current path
   * @param d a path with the same bounding box
   */
  #shape(trace: () => unknown, d: string, style: Style): void {
    const doc = this.#doc;
    const width = Number.parseFloat(style['stroke-width']);
    const fills = style.fill !== 'none' && style.fill !== 'transparent',
      strokes = style.stroke !== 'none' && style.stroke !== 'transparent' && width > 0;
    if (d === '' || (!fills && !strokes)) return;
    doc.fillOpacity(style.opacity).strokeOpacity(style.opacity);
    if (fills)
      doc.fillColor(
        style.fill.startsWith('url(') ? this.#gradient(style.fill, d) : colour(style.fill),
      );
    if (strokes) {
      doc.strokeColor(colour(style.stroke)).lineWidth(width);
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

  /**
   * Returns a gradient over the bounding box of the shape that it fills, which is SVG's default.
   */
  #gradient(url: string, d: string): PDFKit.Mixins.ColorValue {
    const node = this.#referred(url),
      { x, y, width, height } = bounds(d);
    if (node.name !== 'linearGradient')
      throw new TypeError(`the figure is filled with <${node.name}>, which cannot be painted`);
    const at = (name: string, otherwise: string): number =>
      length(node.attribs[name] ?? otherwise, 1);
    const made = this.#doc.linearGradient(
      x + at('x1', '0') * width,
      y + at('y1', '0') * height,
      x + at('x2', '1') * width,
      y + at('y2', '0') * height,
    );
    for (const { attribs } of elements(node))
      made.stop(length(attribs['offset'], 1), colour(attribs['stop-color'] ?? 'black'));
    return made;
  }

  /**
   * Draws a marker at the end of a line, in the line's direction. Its units are the line's width.
   */
  #marker(node: Element, end: ReturnType<typeof endOf>, style: Style): void {
    const doc = this.#doc,
      { attribs } = node;
    const [, , boxWidth = 1] = numbersIn(attribs['viewBox'] ?? '');
    const scale =
      (Number(style['stroke-width']) * length(attribs['markerWidth'] ?? '3', 0)) / boxWidth;
    doc.save();
    doc
      .translate(end.x, end.y)
      .rotate((end.angle * 180) / Math.PI)
      .scale(scale);
    doc.translate(-length(attribs['refX'], 0), -length(attribs['refY'], 0));
    for (const child of elements(node))
      this.paint(child, { ...INITIAL_STYLE, opacity: style.opacity });
    doc.restore();
  }

  #image({ attribs }: Element): void {
    const data = /^data:image\/png;base64,(.*)$/.exec(attribs['href'] ?? '')?.[1];
    if (data === undefined) throw new TypeError('a picture in a figure is not an embedded PNG');
    this.#doc.image(
      Buffer.from(data, 'base64'),
      this.#across(attribs['x']),
      this.#down(attribs['y']),
      { width: this.#across(attribs['width']), height: this.#down(attribs['height']) },
    );
  }

  #text(node: Element, style: Style): void {
    const doc = this.#doc;
    const words = textOf(node);
    if (words === '' || style.fill === 'none') return;
    const size = Number.parseFloat(style['font-size']),
      weight = style['font-weight'];
    doc.font(weight === 'bold' || Number(weight) >= 600 ? 'bold' : 'regular');
    const runs = runsOf(words, (character) => hasGlyph(doc, character));
    /** Returns the width of a run. Also sets the font size. */
    const measure = (run: Run): number => doc.fontSize(size * run.scale).widthOfString(run.text);
    const anchor = { start: 0, middle: 0.5, end: 1 }[style['text-anchor']] ?? 0;
    const whole = runs.reduce((sum, run) => sum + measure(run), 0);
    let x = this.#across(node.attribs['x']) - anchor * whole;
    const y = this.#down(node.attribs['y']);
    doc.fillOpacity(style.opacity).fillColor(colour(style.fill));
    for (const run of runs) {
      if (run.lacks) this.missing.add(run.text);
      const width = measure(run);
      doc.text(run.text, x, y - run.rise * size, { lineBreak: false, baseline: 'alphabetic' });
      x += width;
    }
  }
}
