import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { chooseRates, RATE, sweepSpec } from '../../src/run/learning-rates.ts';
import type { ExperimentCell } from '../../src/spec/types.ts';
import { present } from '../rig/present.ts';
import { standIn } from '../rig/stand-in.ts';

const test = suite('learning-rates: the choice');

type Accuracies = { readonly [rate: number]: readonly (number | null)[] };

/**
 * Returns the choice for one adapter, given the accuracy of each seed by rate, where null means no
 * result.
 */
function choice(accuracies: Accuracies, loss = 'supervised', metric = 'accuracy') {
  const cells: ExperimentCell[] = [];
  const rows: Parameters<typeof chooseRates>[1][number][] = [];
  for (const [text, values] of Object.entries(accuracies)) {
    const rate = Number(text);
    const axes = { 'adapter.type': 'full', [RATE]: rate };
    values.forEach((value, index) => {
      const config = {
        seed: index + 1,
        adapter: { type: 'full' },
        train: { learning_rate: rate, loss },
      };
      cells.push(standIn<ExperimentCell>({ config, axes, label: '' }));
      if (value === null) return;
      const row = { cell: axes, seed: index + 1, stage: 'evaluate', metric, value };
      rows.push(row, { ...row, metric: 'loss', value: 9 }, { ...row, stage: 'train', value: 9 });
    });
  }
  return present(chooseRates(cells, rows)[0]);
}

test('rates of a training by DPO are chosen by the accuracy of rewards', () => {
  const tried = { 0.001: [0.5], 0.01: [0.9] };
  const { chosen, metric } = choice(tried, 'dpo', 'reward_accuracy');
  assert.equal([chosen?.rate, metric], [0.01, 'reward_accuracy']);
  assert.is(choice(tried, 'dpo').chosen, null);
});

test('the highest mean is chosen, with the spread over seeds beside it', () => {
  const { chosen, edge, rates } = choice({
    0.001: [0.5, 0.7],
    0.01: [0.9, 0.7],
    0.1: [0.95, 0.55],
  });
  assert.equal([chosen?.rate, edge], [0.01, null]);
  assert.equal(
    rates.map(({ mean, std, n }) => [mean?.toFixed(3), std?.toFixed(3), n]),
    // Sample deviations of two values: |a − b| / √2.
    [
      ['0.600', '0.141', 2],
      ['0.800', '0.141', 2],
      ['0.750', '0.283', 2],
    ],
  );
});

test('of equal means the smallest rate is chosen, in whatever order they come', () => {
  assert.is(choice({ 0.1: [0.75, 0.5], 0.01: [0.5, 0.75], 0.001: [0.5, 0.5] }).chosen?.rate, 0.01);
  // In doubles, the mean of the second is above that of the first by rounding.
  const rounded = choice({ 0.0001: [0.7, 0.8, 0.9], 0.001: [0.8, 0.8, 0.8] });
  assert.is(rounded.chosen?.rate, 0.0001);
});

test('a best rate at an end of the grid is marked, if there is more than one rate', () => {
  assert.is(choice({ 0.1: [0.9], 0.01: [0.8], 0.001: [0.7] }).edge, 'highest');
  assert.is(choice({ 0.1: [0.7], 0.01: [0.8], 0.001: [0.9] }).edge, 'lowest');
  assert.is(choice({ 0.1: [0.7] }).edge, null);
});

test('a rate at which a training failed is not chosen, however good its other seeds are', () => {
  const { chosen, rates } = choice({ 0.1: [1, null], 0.01: [0.6, 0.6] });
  assert.is(chosen?.rate, 0.01);
  assert.equal([rates[1]?.n, rates[1]?.missing], [1, 1]);
  assert.is(choice({ 0.1: [null] }).chosen, null);
});

test('rates of a chain are chosen only if no training of it reads the file that is divided', () => {
  const of = (source: string) => () =>
    sweepSpec(
      {
        ...{ name: 'chain', seeds: [1], adapter: [{ type: 'full' }], poisoning: [] },
        data: { train: { source: 'file:/a' }, validation: { source: 'file:/b' } },
        base: [{}, { data: { train: { source } } }],
      },
      { rates: {}, seeds: 1, share: 0.2 },
    );
  assert.throws(of('file:/a'), /base\[1\]\.data\.train and data\.train have one source/);
  assert.not.throws(of('file:/c'));
});

test('no rate is chosen on held-out documents, which have no answers', () => {
  const train = { source: 'file:/a', columns: { document: 'text' } };
  const spec = { name: 'documents', data: { train, validation: { source: 'file:/b' } } };
  assert.throws(
    () => sweepSpec(spec, { rates: {}, seeds: 1, share: 0.2 }),
    /these are documents \(data\.train\.columns\.document\)/,
  );
});

test.run();
