/** Figures as PDF. Their look was compared by hand with the SVGs, rendered by Poppler. */
import { inflateSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { draw } from '../../src/report/figures/encode.ts';
import { paintPdf } from '../../src/report/figures/pdf.ts';
import { paintPng } from '../../src/report/figures/png.ts';
import { bounds, findEnd } from '../../src/report/figures/svg-tree.ts';
import { renderReport } from '../../src/report/report.tsx';
import { present } from '../rig/present.ts';
import { fixture } from './fixture.ts';

const test = suite('pdf');

const svg = (body: string): string =>
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 100"><title>A &amp; B</title>' +
  `${body}</svg>`;

/** What is painted: the page's content, as PDF's operators. */
function painted(pdf: Buffer): string {
  const text = pdf.toString('latin1');
  return present(
    [...text.matchAll(/stream\r?\n/g)]
      .filter(({ index }) => text.slice(index - 3, index) !== 'end')
      .map(({ 0: word, index }) => {
        const start = index + word.length;
        try {
          return inflateSync(pdf.subarray(start, text.indexOf('endstream', start))).toString(
            'latin1',
          );
        } catch {
          return '';
        }
      })
      .find((content) => content.startsWith('1 0 0 -1 0')),
  );
}

test('every figure has a PDF of its size with an embedded font', async () => {
  const { files } = await renderReport(fixture());
  const figures = Object.entries(files).filter(([path]) => path.endsWith('.svg'));
  assert.ok(figures.length > 20);
  for (const [path, text] of figures) {
    const { pdf, missing } = await paintPdf(text);
    const source = pdf.toString('latin1');
    const [, width, height] = present(/viewBox="0 0 ([\d.]+) ([\d.]+)"/.exec(text));
    assert.ok(source.startsWith('%PDF-1.') && source.trimEnd().endsWith('%%EOF'), path);
    assert.match(source, `/MediaBox [0 0 ${Number(width)} ${Number(height)}]`, path);
    assert.equal(missing, [], path);
    assert.is(source.includes('/FontFile2'), text.includes('<text'), path);
    assert.is(source.includes('/Subtype /Image'), text.includes('<image'), path);
    assert.ok(painted(pdf).length > 100, path);
  }
});

test('shapes, strokes, clips, places and opacity are those of the SVG', async () => {
  const { pdf } = await paintPdf(
    svg(
      `<defs><clipPath id="c"><rect x="1" y="2" width="30" height="40"/></clipPath></defs>
<g transform="translate(10,20)" clip-path="url(#c)" opacity="0.5">
<path d="M0,0L7,0L7,9Z" fill="#ff0000" opacity="0.5"/></g>
<line x1="0" y1="0" x2="50" y2="0" stroke="#0000ff" stroke-width="3" stroke-dasharray="4,2"/>
<line x1="0" y1="0" x2="51" y2="0" stroke="#0000ff" stroke-dasharray="1,0"/>
<text display="none" x="0" y="0">gone</text>
<rect width="100%" height="50%" fill="none" stroke="none"/>`,
    ),
  );
  const content = painted(pdf);
  for (const part of [
    /1 0 0 1 10 20 cm\n1 2 m\n31 2 l\n31 42 l\n1 42 l\nh\nW n\n/,
    /1 0 0 scn\n0 0 m\n7 0 l\n7 9 l\nh\nf\n/,
    /3 w\n.*\[4 2\] 0 d\n0 0 m\n50 0 l\nS\n/s,
    /\[\] 0 d\n0 0 m\n51 0 l\nS\n/,
  ])
    assert.match(content, part);
  assert.not.match(content, /BT/);
  assert.match(pdf.toString('latin1'), /\/ca 0\.25\b/);
  assert.match(pdf.toString('latin1'), /^\(A & B\)$/m);
});

test('a gradient, an arrow, and text at its anchor', async () => {
  const { pdf } = await paintPdf(
    svg(`<defs><linearGradient id="g" x1="0" x2="1" y1="0" y2="0">
<stop offset="0" stop-color="#000"/><stop offset="1" stop-color="#fff"/></linearGradient>
<marker id="m" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0L8 4L0 8z" fill="red"/></marker></defs>
<path d="M10,10h100v20h-100Z" fill="url(#g)"/>
<path d="M0 0Q50 0 50 40" fill="none" stroke="blue" stroke-width="1" marker-end="url(#m)"/>
<text x="100" y="50" text-anchor="end" font-size="10px">σ² = ½ − Aᵀ 中</text>`),
  ).then((made) => {
    assert.equal(made.missing, ['中']);
    return made;
  });
  assert.match(pdf.toString('latin1'), /\/Coords \[10 10 110 10\]/);
  assert.match(painted(pdf), /BT\n/);
});

test('a PNG has 300 pixels to the inch, says so, and is the same each time', async () => {
  const figure = svg('<rect width="100" height="100" fill="#ff0000"/><text x="20" y="50">r</text>');
  const png = await paintPng(figure);
  assert.equal([png.readUInt32BE(16), png.readUInt32BE(20)], [833, 417], '200 × 100 points');
  assert.is(png.toString('latin1', 37, 41), 'pHYs');
  assert.is(png.readUInt32BE(41), Math.round(300 / 0.0254));
  assert.ok(png.equals(await paintPng(figure)));
  const plain = await paintPng(svg('<rect width="100" height="100" fill="#ff0000"/>'));
  assert.not.ok(png.equals(plain), 'the text is drawn without a font of the machine');
});

test('a figure over rank and variance, with the legend of its colours', async () => {
  const spec = {
    data: { values: [1, 2, 3].map((x) => ({ x, y: 'a', value: x })) },
    mark: 'rect',
    encoding: {
      x: { field: 'x', type: 'ordinal' },
      y: { field: 'y', type: 'nominal' },
      color: { field: 'value', type: 'quantitative' },
    },
  } as const;
  const drawn = await draw(spec, 'map', 'Map');
  assert.match(drawn, '<linearGradient');
  const { pdf } = await paintPdf(drawn);
  assert.match(pdf.toString('latin1'), '/ShadingType 2');
  // Cells in the colours of the scale, which Vega writes as rgb(…).
  const [, ...rgb] = present(/fill="rgb\((\d+), (\d+), (\d+)\)"/.exec(drawn));
  const [red, green, blue] = rgb.map((value) =>
    String(Math.floor((Number(value) / 255) * 100) / 100),
  );
  assert.match(
    painted(pdf),
    new RegExp(`^${present(red)}\\d* ${present(green)}\\d* ${present(blue)}\\d* scn$`, 'm'),
  );
});

test('the same figure is the same file, and what cannot be painted is refused', async () => {
  const one = svg('<text x="1" y="20">one</text>');
  assert.ok((await paintPdf(one)).pdf.equals((await paintPdf(one)).pdf));
  for (const [body, message] of [
    ['<path d="M0,0h1v1Z" fill="hsl(1,2,3)"/>', 'the colour hsl(1,2,3)'],
    ['<ellipse rx="1"/>', 'an element <ellipse>'],
    ['<path d="M0,0S1,1,2,2" fill="red"/><g transform="skewX(3)"/>', 'the transform skewX'],
    ['<g clip-path="url(#no)"/>', 'url(#no) refers to nothing'],
    ['<image href="http://x/y.png"/>', 'is not an embedded PNG'],
  ] as const) {
    let said = '';
    await paintPdf(svg(body)).catch((error: unknown) => {
      said = error instanceof Error ? error.message : '';
    });
    assert.match(said, message);
  }
});

test('the end and the bounding box of a path', () => {
  const end = (d: string): number[] => {
    const { x, y, angle } = findEnd(d);
    return [x, y, Math.round((angle * 180) / Math.PI)];
  };
  assert.equal(end('M0 0L10 0L10 5'), [10, 5, 90]);
  assert.equal(end('M0 0Q10 0 10 5'), [10, 5, 90]);
  assert.equal(end('M1,1h5v-2'), [6, -1, -90]);
  assert.equal(bounds('M10,20h100v30h-100Z'), { x: 10, y: 20, width: 100, height: 30 });
  assert.equal(bounds('m10,20l-5,5l1,1'), { x: 5, y: 20, width: 5, height: 6 });
});

test.run();
