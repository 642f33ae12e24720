/** What two or three splits of the stage `data` must have in common, and what they must not. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Cell, ResolvedSplit } from '../../../src/api.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import { present } from '../../rig/present.ts';
import { splitOf } from '../datasets/reading.ts';
import { cellOf, dataSuite, define, planFault, run, sst, writeSplits } from './data-rig.ts';

const test = dataSuite('data stage, splits');

test('hold_out: splits that could have a row in common are a fault at its place', ({ dir }) => {
  writeSplits(dir);
  const one = (hold_out: object | null, more: object = {}): Partial<ResolvedSplit> =>
    ({
      source: `file:${join(dir, 'train.tsv')}`,
      ...more,
      ...(hold_out && { hold_out }),
    }) as Partial<ResolvedSplit>;
  const rest = { share: 0.2, take: 'rest' },
    held = { share: 0.2, take: 'held' };
  const fault = (
    train: Partial<ResolvedSplit>,
    validation: Partial<ResolvedSplit>,
  ): readonly [string, string] | null => {
    const cell = cellOf(dir, train, validation);
    define(cell, 'train');
    const found = planFault(() => define(cell, 'validation'));
    if (found === null) return null;
    assert.match(found.message, /validation rows could be training rows/);
    return [found.path, found.message];
  };
  assert.is(fault(one(rest), one(held)), null);
  assert.is(fault(one(held, { limit: 2 }), one(rest, { limit: 2 })), null);
  assert.is(fault(one(null), one(null)), null);
  assert.is(fault(one(rest), {}), null, 'two sources have no row in common to begin with');
  for (const [train, validation, place, message] of [
    [one(rest), one(rest), 'data.validation.hold_out.take', /both take the same part/],
    [one(held), one(held), 'data.train.hold_out.take', /both take the same part/],
    [one(rest), one(null), 'data.validation', /only data\.train has a hold_out/],
    [one(null), one(held), 'data.train', /only data\.validation has a hold_out/],
    [
      one(rest),
      one({ ...held, share: 0.3 }),
      'data.validation.hold_out.share',
      /differs \(0\.2 and 0\.3\)/,
    ],
    [one(rest), one(held, { limit: 2 }), 'data.validation.limit', /data\.validation\.limit differ/],
    [
      one(rest, { offset: 1 }),
      one(held),
      'data.validation.offset',
      /data\.validation\.offset differ/,
    ],
    [
      one(rest),
      one(held, { balance: true }),
      'data.validation.balance',
      /data\.validation\.balance differ/,
    ],
    [
      one(rest),
      one(held, { sample: { rows: 2, seed: 0 } }),
      'data.validation.sample',
      /data\.validation\.sample differ/,
    ],
    [
      one(rest),
      one(held, { header: false }),
      'data.validation.header',
      /data\.validation\.header differ/,
    ],
    [
      one(rest),
      one(held, { format: 'csv' }),
      'data.validation.format',
      /data\.validation\.format differ/,
    ],
    [
      one(rest),
      one(held, { columns: { text: 'label', label: 'sentence' } }),
      'data.validation.columns',
      /data\.validation\.columns differ/,
    ],
  ] as const) {
    const found = fault(train, validation);
    assert.is(found?.[0], place);
    assert.match(present(found)[1], message);
  }
});

test('pairs in one split and single texts in the other', ({ dir }) => {
  const pairs: Partial<ResolvedSplit> = { columns: { ...sst, text_pair: 'premise' } };
  const fault = (cell: Cell) => planFault(() => define(cell, 'validation'));
  assert.equal(fault(cellOf(dir, pairs)), {
    message: 'data.train has pairs of texts (columns.text_pair), data.validation has single texts',
    hint: 'Write columns.text_pair for data.validation too, or for neither.',
    path: 'data.validation.columns',
  });
  assert.is(fault(cellOf(dir, {}, pairs))?.path, 'data.train.columns');
  assert.is(fault(cellOf(dir, pairs, pairs)), null);
  assert.is(fault(cellOf(dir)), null);
});

test('the test rows are a split of their own, checked like the validation rows', async ({
  dir,
}) => {
  writeSplits(dir);
  writeFileSync(join(dir, 'test.tsv'), 'sentence\tlabel\nfine\tpos\n');
  const withTest = (change: Partial<ResolvedSplit> = {}): Cell => {
    const cell = cellOf(dir);
    const split = splitOf({ source: `file:${join(dir, 'test.tsv')}`, columns: sst, ...change });
    return { ...cell, data: { ...cell.data, test: split } };
  };
  assert.equal(await readRows(await run(dir, withTest(), 'test')), [
    { id: 'test-000000', text: 'fine', label: 2 },
  ]);
  const faultOf = (cell: Cell): readonly [string, string] => {
    const { path, message } = present(planFault(() => define(cell, 'test')));
    return [path, message];
  };
  assert.equal(faultOf(cellOf(dir)), ['data', 'the spec has no data.test']);
  const pairs = withTest({ columns: { ...sst, text_pair: 'label' } });
  assert.match(faultOf(pairs)[1], 'data.test has pairs of texts');
  const part = { share: 0.2, take: 'held' } as const;
  const same = withTest({ source: `file:${join(dir, 'train.tsv')}`, hold_out: part });
  assert.match(faultOf(same)[1], 'test rows could be training rows');
});

test.run();
