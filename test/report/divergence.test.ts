/** M beside its noise floor and M′, and numbers of projected kernels. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { conditionsOf } from '../../src/report/conditions.ts';
import { renderReport } from '../../src/report/report.tsx';
import { divergenceRelations } from '../../src/report/theory.ts';
import type { ReportCell } from '../../src/report/types.ts';
import { cellOf, inputOf, MOVED, rowWith, visible } from './cells.ts';

const test = suite('report: divergence');

test('M is related to M′ by the kernel over what was trained; M′ is blind to labels', () => {
  assert.equal(divergenceRelations(conditionsOf(MOVED, [])), [
    { block: 'badnets', cells: 4, blind: false, absolute: 1, relative: -1 },
    { block: 'label-flip', cells: 4, blind: true, absolute: -1, relative: null },
  ]);
});

test('M is shown beside its noise floor, and marked where it does not exceed it', async () => {
  const ran = (adapter: string, attack: string, divergence: Record<string, number>) =>
    cellOf({
      seed: 1,
      attack,
      adapter: { type: adapter },
      change: { metrics: { divergence } },
    });
  const html = await render([
    ran('full', 'badnets', {
      'total.l2': 3,
      'trained.l2': 5,
      'embeddings.l2': 4,
      'head.l2': 1,
      'floor.total.l2': 0.25,
      'floor.trained.l2': 0.5,
      'floor.embeddings.l2': 0.125,
      'trained.over_floor': 10,
    }),
    ran('bitfit', 'badnets', {
      'trained.l2': 0.75,
      'biases.l2': 0.75,
      'head.l2': 1,
      'floor.trained.l2': 0.5,
      'floor.biases.l2': 0.5,
      'trained.over_floor': 1.5,
    }),
    ran('head-only', 'badnets', { 'head.l2': 2 }),
  ]);
  // Attack, adapter, M of the weights (largest, L2, relative, floor), M of all trained (L2,
  // relative, floor), the head's (likewise), M over its floor, M′, M′ as a cosine.
  const table = html.slice(html.indexOf('aria-label="Divergence"'));
  const cells = (adapter: string): string[] => rowWith(table, 'badnets', adapter);
  assert.equal(cells('full').slice(2), '– 3 – 0.2500 5 – 0.5000 1 – – 10 – –'.split(' '));
  assert.equal(cells('bitfit').slice(2, 9), ['–', '–', '–', '–', '0.7500', '–', '0.5000']);
  assert.is(cells('bitfit')[12], '1.500 no more than rounding');
  assert.is(cells('head-only')[12], 'not measured');
  const text = visible(html);
  assert.match(text, 'M is within 2 times its floor, and so not evidence, in 1 condition.');
  assert.match(text, 'No floor was measured for 1 condition');
  assert.match(text, 'M of the trained parameters that are not weights of layers, by kind.');
});

test('numbers of projected kernels are marked wherever they are shown', async () => {
  const measured = (error: object) =>
    cellOf({
      seed: 1,
      adapter: { type: 'lora', rank: 16 },
      change: {
        kernels: {
          init: { labels: [0], kernels: { lora: { rows: 1, classes: 2, data: [2, 0, 0, 1] } } },
        },
        metrics: {
          ntk: { 'init.alignment': 0.75, 'lora.drift': 0.5, 'full.drift': 0.25, ...error },
          regime: { 'lora.drift': 0.5, 'lora.rotation': 0.125, 'linear.agreement': 1, ...error },
        },
      },
    });
  const about = await render([measured({ 'lora.error': 0.1 })]);
  assert.equal(
    rowWith(about, 'LoRA r = 16', '≈ 0.7500').filter((text) => text.startsWith('≈')).length,
    4,
  );
  assert.equal(
    rowWith(about, 'LoRA r = 16', '≈ 0.1250').filter((text) => text.startsWith('≈')).length,
    2,
  );
  assert.match(visible(about), '≈: from projected kernels, whose standard error is in results');
  assert.not.match(visible(await render([measured({})])), '≈');
});

const render = async (cells: readonly ReportCell[]): Promise<string> =>
  (await renderReport(inputOf(cells))).html;

test.run();
