import { inflateSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { chooseKernels, classTrace, kernelFigures } from '../../src/report/figures/kernels.ts';
import { present } from '../rig/present.ts';
import { cellOf, LORA4 } from './cells.ts';
import { fixture } from './fixture.ts';
import { kernelPoint } from './trainings.ts';

const test = suite('kernel figures');

test('trace over classes: Σ_c K[i, c, j, c] by hand, N = 2, C = 2', () => {
  // K[i, c, j, d] at ((i·2 + c)·2 + j)·2 + d = 0 … 15: K[0,0,1,0] = 2 and K[0,1,1,1] = 7.
  assert.equal(
    [...classTrace({ rows: 2, classes: 2, data: Array.from({ length: 16 }, (_, i) => i) })],
    [0 + 5, 2 + 7, 8 + 13, 10 + 15],
  );
});

test('a projected kernel is drawn as the estimate that it is', () => {
  const kernel = { rows: 1, classes: 2, data: [2, 0, 0, 1] };
  const cell = cellOf({
    seed: 1,
    adapter: LORA4,
    change: {
      metrics: { ntk: { 'init.lora.error': 0.125 } },
      kernels: { init: { labels: [0], kernels: { lora: kernel, full: kernel } } },
    },
  });
  const [figure] = kernelFigures([{ id: 'k', cell, checkpoint: 'init', title: 'x' }], ['a']);
  assert.match(
    present(figure).caption,
    'Estimates from projected gradients, with a standard error of 12.50% of its norm (LoRA).',
  );
  assert.match(present(figure).svg, 'LoRA (A and B), estimate');
  assert.not.match(present(figure).svg, 'full (same layers), estimate');
  const exact = { ...cell, metrics: {} };
  const [plain] = kernelFigures([{ id: 'k', cell: exact, checkpoint: 'init', title: 'x' }], ['a']);
  assert.not.match(present(plain).caption + present(plain).svg, /[Ee]stimate/);
});

test('a kernel of log p(answer) is drawn without classes, and says what it is of', () => {
  const kernel = { rows: 2, classes: 1, data: [2, 0, 0, 1] };
  const outputs = 'log p(answer)';
  const cell = cellOf({
    seed: 1,
    change: { kernels: { init: { outputs, labels: [], kernels: { full: kernel } } } },
  });
  const [figure] = kernelFigures([{ id: 'k', cell, checkpoint: 'init', title: 'x' }], ['ham']);
  const { caption, svg } = present(figure);
  assert.match(caption, 'K[i, j] of log p(answer) for 2 rows, in the order of rows.json.');
  assert.not.match(caption, 'class');
  assert.not.match(svg, 'ham');
});

test('kernels are drawn of one LoRA and seed: at its start, and after each attack', () => {
  const { cells } = fixture();
  const chosen = chooseKernels(cells, (cell) => cell.seed === 2);
  assert.equal(
    chosen.map(({ cell, checkpoint }) => [
      cell.attack,
      cell.axes['adapter.rank'],
      cell.seed,
      checkpoint,
    ]),
    [
      ['none', 4, 2, 'init'],
      ['none', 4, 2, 'final'],
      ['label-flip', 4, 2, 'final'],
      ['badnets', 4, 2, 'final'],
    ],
  );
  assert.is(chooseKernels(cells, () => false).length, 0);
  const settings = [4, 8].map((rows) => ({ ...chosen[0]!.cell, axes: { 'ntk.rows': rows } }));
  assert.equal(
    chooseKernels(settings, () => true).map(({ title }) => title),
    [
      'LoRA · rows = 4, at initialisation',
      'LoRA, after training, no attack · rows = 4',
      'LoRA, after training, no attack · rows = 8',
    ],
  );
  assert.equal(
    chooseKernels(settings, () => true).map(({ id }) => id),
    ['kernel-init', 'kernel-final-no-attack-rows-4', 'kernel-final-no-attack-rows-8'],
  );
  assert.is(
    present(
      chooseKernels(
        cells.filter(({ adapter }) => adapter === 'full'),
        () => true,
      )[0],
    ).cell.adapter,
    'full',
  );
});

test('the heat map orders rows by class and draws the boundary', () => {
  const point = kernelPoint(1, 4, { full: 1 }); // labels 0 1 0 1
  const cell = cellOf({ seed: 1, change: { kernels: { init: point } } });
  const [figure] = kernelFigures(
    [{ id: 'k', cell, checkpoint: 'init', title: 'x' }],
    ['ham', 'spam'],
  );
  assert.is(present(figure!.csv).split('\r\n')[0], 'kernel,row,label,to_0,to_2,to_1,to_3');
  assert.equal(
    present(figure!.csv)
      .split('\r\n')
      .slice(1, 5)
      .map((line) => line.split(',').slice(1, 3).join(' ')),
    ['0 0', '2 0', '1 1', '3 1'],
  );
  assert.is(present(present(figure).svg.match(/stroke-dasharray/g)).length, 1);
  assert.match(present(figure).svg, '>ham</text>');
  const png = Buffer.from(
    present(/data:image\/png;base64,([^"]+)/.exec(present(figure).svg)![1]),
    'base64',
  );
  const at = png.indexOf('IDAT', 0, 'latin1');
  const pixels = inflateSync(png.subarray(at + 4, at + 4 + png.readUInt32BE(at - 4)));
  assert.is(pixels.length, 4 * 5);
  assert.ok(
    present(pixels[1]) > 127 && present(pixels[1 + 5 + 1]) > 127,
    'the diagonal of a PSD kernel is positive',
  );
  assert.equal([pixels[2], pixels[3]], [pixels[1 + 5], pixels[1 + 10]], 'symmetric');
});

test.run();
