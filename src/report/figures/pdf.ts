/**
 * A figure's SVG as a PDF of the same size (a pixel is a point): vector graphics, and text that can
 * be searched, in an embedded font.
 */
import { createRequire } from 'node:module';
import { Painter } from './painter.ts';
import { numbersIn } from './shapes.ts';
import { definitionsIn, elements, INITIAL_STYLE, isElement, textOf } from './svg-tree.ts';

export interface PdfFigure {
  readonly pdf: Buffer;
  /** Characters that the font lacks. They are drawn as empty boxes. */
  readonly missing: readonly string[];
}

const fonts = createRequire(import.meta.url);
const REGULAR = '@expo-google-fonts/inter/400Regular/Inter_400Regular.ttf',
  BOLD = '@expo-google-fonts/inter/600SemiBold/Inter_600SemiBold.ttf';

/**
 * Converts a figure. The same SVG gives the same bytes. Throws a TypeError if the SVG contains
 * something that can't be painted.
 */
export async function pdfOf(svg: string): Promise<PdfFigure> {
  const [{ default: PDFDocument }, { parseDocument }] = await Promise.all([
    import('pdfkit'),
    import('htmlparser2'),
  ]);
  const root = parseDocument(svg, { xmlMode: true }).children.find(isElement);
  if (root?.name !== 'svg') throw new TypeError('the figure is not an <svg>');
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
  const painter = new Painter(doc, { width, height }, definitionsIn(root));
  painter.paint(root, INITIAL_STYLE);
  doc.end();
  await ended;
  return { pdf: Buffer.concat(chunks), missing: [...painter.missing] };
}
