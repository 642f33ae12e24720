import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { renderReport } from '../../src/report/report.tsx';
import { visible } from './cells.ts';
import { fixture } from './fixture.ts';

const test = suite('report of a large grid');

test('a thousand cells take linear time and a few megabytes; omissions are stated', async () => {
  const rates = Array.from({ length: 20 }, (_, i) => ({
    attack: 'badnets',
    rate: (i + 1) / 100,
    target: 'ham',
  }));
  const ranks = Array.from({ length: 9 }, (_, i) => ({ type: 'lora', rank: 4 + i }));
  const input = fixture({
    seeds: [1, 2, 3, 4, 5],
    attacks: [{ attack: 'none' }, ...rates],
    adapters: [{ type: 'full' }, ...ranks],
    rows: 4,
  });
  assert.is(input.cells.length, 1050);
  const { html } = await renderReport(input);
  assert.ok(html.length < 4e6, `${html.length} bytes`);
  for (const said of [
    /more conditions are left out of this figure/,
    /The kernels of [\d,]+ other cells are not drawn/,
    /dosimeter results SPEC --csv/,
    /more rows are left out here/,
  ])
    assert.match(visible(html), said);
});

test.run();
