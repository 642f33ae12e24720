/**
 * Figures as PNG, for slides and for text processors without PDF. resvg draws them with the font of
 * the PDFs, so that a figure looks the same on every machine.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { once } from '../../base/memoized.ts';
import { FONTS } from './pdf.ts';

const DPI = 300;
const POINTS_PER_INCH = 72;

/**
 * The chunk pHYs for 300 dpi: length, name, 11,811 pixels per metre both ways, the unit, CRC. It
 * tells LaTeX and text processors how large the picture is.
 */
const RESOLUTION = Buffer.from('000000097048597300002e2300002e230178a53f76', 'hex');
/** The offset after the signature (8 bytes) and the header (25 bytes). */
const AFTER_HEADER = 33;

const resolve = createRequire(import.meta.url).resolve;

const load = once(async () => {
  const { initWasm, Resvg } = await import('@resvg/resvg-wasm');
  await initWasm(await readFile(resolve('@resvg/resvg-wasm/index_bg.wasm')));
  const fonts = await Promise.all(FONTS.map((file) => readFile(resolve(file))));
  return { Resvg, fonts };
});

/** Converts a figure in points to 300 pixels to the inch. The same SVG gives the same bytes. */
export async function paintPng(svg: string): Promise<Buffer> {
  const { Resvg, fonts } = await load();
  const width = Number(/viewBox="[\d.-]+ [\d.-]+ ([\d.]+)/.exec(svg)?.[1]);
  const drawing = new Resvg(svg, {
    background: 'white',
    fitTo: { mode: 'width', value: Math.round((width * DPI) / POINTS_PER_INCH) },
    font: { fontBuffers: fonts, defaultFontFamily: 'Inter', sansSerifFamily: 'Inter' },
  });
  try {
    const image = drawing.render();
    const png = Buffer.from(image.asPng());
    image.free();
    return Buffer.concat([png.subarray(0, AFTER_HEADER), RESOLUTION, png.subarray(AFTER_HEADER)]);
  } finally {
    drawing.free();
  }
}
