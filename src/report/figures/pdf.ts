/**
 * A figure's SVG as a PDF of the same size (a pixel is a point): vectors, and text that can be searched, in a font that is
 * embedded. It paints what Vega and our own figures write, and throws at any other element rather than leave it out.
 */
import { createRequire } from 'node:module';
import type { parseDocument as Parse } from 'htmlparser2';
import { bounds, clipShapes, endOf, numbersIn } from './shapes.ts';

type Doc = PDFKit.PDFDocument;
type ChildNode = ReturnType<typeof Parse>['children'][number];
type Element = Extract<ChildNode, { readonly attribs: object }>;

export interface PdfFigure {
  readonly pdf: Buffer;
  /** Characters that the font lacks: they are drawn as empty boxes. */
  readonly missing: readonly string[];
}

/** Presentation attributes that a child has from its parent unless it has its own. */
interface Style {
  readonly fill: string;
  readonly stroke: string;
  readonly 'stroke-width': string;
  readonly 'stroke-dasharray': string;
  readonly 'stroke-linejoin': string;
  readonly 'font-size': string;
  readonly 'font-weight': string;
  readonly 'text-anchor': string;
  /** Multiplied down the tree. */
  readonly opacity: number;
}
const START: Style = {
  fill: 'black',
  stroke: 'none',
  'stroke-width': '1',
  'stroke-dasharray': 'none',
  'stroke-linejoin': 'miter',
  'font-size': '12',
  'font-weight': 'normal',
  'text-anchor': 'start',
  opacity: 1,
};

const fonts = createRequire(import.meta.url);
const REGULAR = '@expo-google-fonts/inter/400Regular/Inter_400Regular.ttf',
  BOLD = '@expo-google-fonts/inter/600SemiBold/Inter_600SemiBold.ttf';

/** The same SVG gives the same bytes. */
export async function pdfOf(svg: string): Promise<PdfFigure> {
  const [{ default: PDFDocument }, { parseDocument }] = await Promise.all([
    import('pdfkit'),
    import('htmlparser2'),
  ]);
  const root = parseDocument(svg, { xmlMode: true }).children.find(isElement);
  if (root?.name !== 'svg') throw new TypeError('a figure is an <svg>');
  const [, , width, height] = numbersIn(root.attribs['viewBox'] ?? '');
  if (width === undefined || height === undefined)
    throw new TypeError('the <svg> of a figure has no viewBox');
  const title = elements(root).find(({ name }) => name === 'title');
  const doc = new PDFDocument({
    size: [width, height],
    margin: 0,
    font: fonts.resolve(REGULAR),
    info: {
      Title: title === undefined ? '' : textOf(title),
      Creator: 'dosimeter',
      CreationDate: new Date(0),
    },
  });
  doc.registerFont('regular', fonts.resolve(REGULAR)).registerFont('bold', fonts.resolve(BOLD));
  const chunks: Buffer[] = [];
  doc.on('data', (chunk: Buffer) => chunks.push(chunk));
  const ended = new Promise((resolve) => doc.once('end', resolve));
  const painter = createPainter(doc, { width, height }, definitionsIn(root));
  painter.paint(root, START);
  doc.end();
  await ended;
  return { pdf: Buffer.concat(chunks), missing: [...painter.missing] };
}

const isElement = (node: ChildNode): node is Element => node.type === 'tag';
const elements = (node: Element): Element[] => node.children.filter(isElement);
const textOf = (node: Element): string =>
  node.children
    .map((child) => (child.type === 'text' ? child.data : isElement(child) ? textOf(child) : ''))
    .join('');

/** What is referred to by `url(#id)`. */
function definitionsIn(node: Element, into = new Map<string, Element>()): Map<string, Element> {
  for (const child of elements(node)) {
    if (child.attribs['id'] !== undefined) into.set(child.attribs['id'], child);
    definitionsIn(child, into);
  }
  return into;
}

function createPainter(
  doc: Doc,
  page: { readonly width: number; readonly height: number },
  definitions: ReadonlyMap<string, Element>,
) {
  const missing = new Set<string>();
  const referred = (url: string): Element => {
    const found = definitions.get(/^url\(#(.*)\)$/.exec(url)?.[1] ?? '');
    if (found === undefined) throw new TypeError(`${url} leads to nothing`);
    return found;
  };
  /** A length of the page's own where it is a share. */
  const length = (text: string | undefined, whole: number): number =>
    text === undefined
      ? 0
      : text.endsWith('%')
        ? (Number.parseFloat(text) / 100) * whole
        : Number.parseFloat(text);

  function paint(node: Element, inherited: Style): void {
    if (node.attribs['display'] === 'none') return;
    const style = styleOf(node, inherited);
    doc.save();
    transform(doc, node.attribs['transform']);
    const clip = node.attribs['clip-path'];
    if (clip !== undefined) {
      for (const shape of clipShapes(elements(referred(clip)))) doc.path(shape);
      doc.clip();
    }
    content(node, style);
    doc.restore();
  }

  function content(node: Element, style: Style): void {
    const { attribs } = node;
    switch (node.name) {
      case 'svg':
      case 'g':
        for (const child of elements(node)) paint(child, style);
        break;
      case 'title':
      case 'defs':
        break;
      case 'path':
        shape(() => doc.path(attribs['d'] ?? ''), attribs['d'] ?? '', style);
        if (attribs['marker-end'] !== undefined)
          marker(referred(attribs['marker-end']), endOf(attribs['d'] ?? ''), style);
        break;
      case 'line': {
        const [x1, y1, x2, y2] = ['x1', 'y1', 'x2', 'y2'].map((name) => length(attribs[name], 0));
        const d = `M${x1!},${y1!}L${x2!},${y2!}`;
        shape(() => doc.path(d), d, { ...style, fill: 'none' });
        break;
      }
      case 'rect': {
        const [x, y] = [length(attribs['x'], page.width), length(attribs['y'], page.height)];
        const width = length(attribs['width'], page.width),
          height = length(attribs['height'], page.height);
        const rx = Math.min(length(attribs['rx'], page.width), width / 2, height / 2);
        if (width <= 0 || height <= 0) break;
        shape(
          () => (rx > 0 ? doc.roundedRect(x, y, width, height, rx) : doc.rect(x, y, width, height)),
          `M${x},${y}h${width}v${height}h${-width}Z`,
          style,
        );
        break;
      }
      case 'circle': {
        const [x, y] = [length(attribs['cx'], page.width), length(attribs['cy'], page.height)];
        const radius = length(attribs['r'], page.width);
        const box = `M${x - radius},${y - radius}h${2 * radius}v${2 * radius}h${-2 * radius}Z`;
        if (radius > 0) shape(() => doc.circle(x, y, radius), box, style);
        break;
      }
      case 'image':
        picture(attribs);
        break;
      case 'text':
        text(node, style);
        break;
      default:
        throw new TypeError(`a figure has an element <${node.name}>, which is not painted`);
    }
  }

  function shape(trace: () => unknown, d: string, style: Style): void {
    const width = Number.parseFloat(style['stroke-width']);
    const fills = style.fill !== 'none' && style.fill !== 'transparent',
      strokes = style.stroke !== 'none' && style.stroke !== 'transparent' && width > 0;
    if (d === '' || (!fills && !strokes)) return;
    doc.fillOpacity(style.opacity).strokeOpacity(style.opacity);
    if (fills)
      doc.fillColor(style.fill.startsWith('url(') ? gradient(style.fill, d) : colour(style.fill));
    if (strokes) {
      doc.strokeColor(colour(style.stroke)).lineWidth(width);
      doc.lineJoin(style['stroke-linejoin']);
      const dashes = numbersIn(style['stroke-dasharray']);
      // [1, 0] is how Vega writes a whole line.
      if (dashes.length > 0 && dashes.every((dash) => dash > 0))
        doc.dash(dashes[0]!, { space: dashes[1] ?? dashes[0]! });
      else doc.undash();
    }
    trace();
    if (fills && strokes) doc.fillAndStroke();
    else if (fills) doc.fill();
    else doc.stroke();
  }

  /** Over the box of what it fills, as SVG has it unless told otherwise. */
  function gradient(url: string, d: string): PDFKit.Mixins.ColorValue {
    const node = referred(url),
      { x, y, width, height } = bounds(d);
    if (node.name !== 'linearGradient')
      throw new TypeError(`a figure is filled with <${node.name}>, which is not painted`);
    const at = (name: string, otherwise: string): number =>
      length(node.attribs[name] ?? otherwise, 1);
    const made = doc.linearGradient(
      x + at('x1', '0') * width,
      y + at('y1', '0') * height,
      x + at('x2', '1') * width,
      y + at('y2', '0') * height,
    );
    for (const { attribs } of elements(node))
      made.stop(length(attribs['offset'], 1), colour(attribs['stop-color'] ?? 'black'));
    return made;
  }

  /** At the end of a line and along it, in units of the line's width. */
  function marker(node: Element, end: ReturnType<typeof endOf>, style: Style): void {
    const { attribs } = node;
    const [, , boxWidth = 1] = numbersIn(attribs['viewBox'] ?? '');
    const scale =
      (Number(style['stroke-width']) * length(attribs['markerWidth'] ?? '3', 0)) / boxWidth;
    doc.save();
    doc
      .translate(end.x, end.y)
      .rotate((end.angle * 180) / Math.PI)
      .scale(scale);
    doc.translate(-length(attribs['refX'], 0), -length(attribs['refY'], 0));
    for (const child of elements(node)) paint(child, { ...START, opacity: style.opacity });
    doc.restore();
  }

  function picture(attribs: Element['attribs']): void {
    const data = /^data:image\/png;base64,(.*)$/.exec(attribs['href'] ?? '')?.[1];
    if (data === undefined) throw new TypeError('a picture in a figure is a PNG of its own');
    doc.image(
      Buffer.from(data, 'base64'),
      length(attribs['x'], page.width),
      length(attribs['y'], page.height),
      {
        width: length(attribs['width'], page.width),
        height: length(attribs['height'], page.height),
      },
    );
  }

  function text(node: Element, style: Style): void {
    const words = textOf(node);
    if (words === '' || style.fill === 'none') return;
    const size = Number.parseFloat(style['font-size']),
      weight = style['font-weight'];
    doc.font(weight === 'bold' || Number(weight) >= 600 ? 'bold' : 'regular');
    const runs = runsOf(words, (character) => hasGlyph(doc, character));
    const width = (run: Run): number => doc.fontSize(size * run.scale).widthOfString(run.text);
    const anchor = { start: 0, middle: 0.5, end: 1 }[style['text-anchor']] ?? 0;
    let x =
      length(node.attribs['x'], page.width) -
      anchor * runs.reduce((sum, run) => sum + width(run), 0);
    const y = length(node.attribs['y'], page.height);
    doc.fillOpacity(style.opacity).fillColor(colour(style.fill));
    for (const run of runs) {
      if (run.lacks) missing.add(run.text);
      const taken = width(run); // sets the size, too
      doc.text(run.text, x, y - run.rise * size, { lineBreak: false, baseline: 'alphabetic' });
      x += taken;
    }
  }

  return { paint, missing };
}

/** Characters that are set alike: those of the font as they are, a raised or lowered letter that it lacks as a small one. */
interface Run {
  text: string;
  readonly scale: number;
  /** In units of the font's size, upwards. */
  readonly rise: number;
  readonly lacks: boolean;
}
const SUBSCRIPT = /[\u2080-\u209c\u1d62-\u1d6a\u2c7c]/;

function runsOf(words: string, has: (character: string) => boolean): readonly Run[] {
  const runs: Run[] = [];
  for (const character of words) {
    const plain = character.normalize('NFKC'),
      known = has(character);
    const small = !known && plain !== character && [...plain].every(has);
    const run: Run = {
      text: small ? plain : character,
      scale: small ? 0.65 : 1,
      rise: !small ? 0 : SUBSCRIPT.test(character) ? -0.15 : 0.35,
      lacks: !known && !small,
    };
    const last = runs.at(-1);
    if (last && !last.lacks && !run.lacks && last.rise === run.rise) last.text += run.text;
    else runs.push(run);
  }
  return runs;
}

/** As PDFKit takes it, which passes over what it does not know: `#rrggbb`, `#rgb` or a name of CSS. */
function colour(text: string): string {
  if (/^#(?:[0-9a-f]{3}){1,2}$|^[a-z]+$/i.test(text)) return text;
  const parts = /^rgb\(([^)]*)\)$/.exec(text)?.[1],
    values = parts === undefined ? [] : numbersIn(parts);
  if (values.length !== 3)
    throw new TypeError(`a figure has a colour ${text}, which is not painted`);
  return `#${values.map((value) => Math.round(value).toString(16).padStart(2, '0')).join('')}`;
}

const hasGlyph = (doc: Doc, character: string): boolean =>
  (
    doc as unknown as {
      readonly _font: {
        readonly font: { readonly hasGlyphForCodePoint: (code: number) => boolean };
      };
    }
  )._font.font.hasGlyphForCodePoint(character.codePointAt(0)!);

function styleOf({ attribs }: Element, inherited: Style): Style {
  const style: { [name: string]: string | number } = { ...inherited };
  for (const name of Object.keys(START))
    if (name !== 'opacity' && attribs[name] !== undefined) style[name] = attribs[name];
  style['opacity'] = inherited.opacity * Number(attribs['opacity'] ?? 1);
  return style as unknown as Style;
}

function transform(doc: Doc, text: string | undefined): void {
  for (const [, name, list] of (text ?? '').matchAll(/(\w+)\(([^)]*)\)/g)) {
    const [a = 0, b = 0] = numbersIn(list!);
    if (name === 'translate') doc.translate(a, b);
    else if (name === 'rotate') doc.rotate(a);
    else if (name === 'scale') doc.scale(a, numbersIn(list!)[1] ?? a);
    else throw new TypeError(`a figure has a transform ${name!}, which is not painted`);
  }
}
