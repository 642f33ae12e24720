/** What the report says of the metrics by which a named data set is scored. */
import { parse } from 'csv-parse/sync';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { allMetricsCsv } from '../../src/report/analysis.ts';
import { conditionsOf } from '../../src/report/conditions.ts';
import { COMPARED } from '../../src/report/metrics.ts';
import { renderReport } from '../../src/report/report.tsx';
import type { ReportCell, ReportInput, TaskFacts } from '../../src/report/types.ts';
import { rowWith } from './cells.ts';
import { fixture } from './fixture.ts';

const test = suite('report of a named data set');

/** The made-up run, evaluated on a data set. Null for one without a name. */
function evaluatedOn(task: TaskFacts | null): ReportInput {
  const input = fixture({ seeds: [1], rows: 8 });
  const cells = input.cells.map((cell) => ({
    ...cell,
    ...(task === null ? {} : { tasks: [task] }),
    metrics: { ...cell.metrics, evaluate: { ...cell.metrics['evaluate'], mcc: 0.25 } },
  }));
  return { ...input, cells };
}
const COLA = { dataset: 'cola', metrics: ['mcc'] };

test('the metric has a column, and the caption says whose it is', async () => {
  const { html } = await renderReport(evaluatedOn(COLA));
  assert.match(html, />MCC</);
  assert.match(html, 'cola is scored by mcc.');
  const plain = await renderReport(evaluatedOn(null));
  assert.not.match(plain.html, />MCC</);
  assert.not.match(plain.html, 'is scored by');
});

test('the CSV of all metrics has a column for it, if any metric is marked', () => {
  const rowsOf = (task: TaskFacts | null): Record<string, string>[] => {
    const { cells, stages } = evaluatedOn(task);
    return parse(allMetricsCsv(conditionsOf(cells, stages)).csv ?? '', { columns: true });
  };
  const marked = rowsOf(COLA).filter(({ task }) => task !== '');
  assert.ok(marked.length > 0);
  assert.ok(marked.every(({ metric, task }) => metric === 'mcc' && task === 'cola'));
  assert.not.ok('task' in (rowsOf(null)[0] ?? {}));
});

test('the CSV of all metrics has a column of the rows, if a number is on fewer', () => {
  const { cells, stages } = fixture({ seeds: [1], rows: 4 });
  const counted = cells.map((cell, i) => ({
    ...cell,
    metrics: { evaluate: { accuracy: 0.5, examples: i === 0 ? 30 : 50 } },
  }));
  const rowsOf = (some: readonly ReportCell[]): Record<string, string>[] =>
    parse(allMetricsCsv(conditionsOf(some, stages)).csv ?? '', { columns: true });
  const fewer = rowsOf(counted).filter(({ fewer_rows: text }) => text !== '');
  assert.equal(
    fewer.map((row) => [row['metric'], row['fewer_rows']]),
    [['accuracy', '30 of 50']],
  );
  assert.not.ok('fewer_rows' in (rowsOf(counted.slice(1))[0] ?? {}));
});

test('scorers that decide no row in common are said to have none', async () => {
  const input = fixture({ seeds: [1], rows: 4 });
  const pair = (a: string, b: string, both: number) => ({
    of: [a, b] as const,
    counts: [
      [both, 0],
      [0, both],
    ] as const,
  });
  const agreement = {
    scorers: ['a', 'b', 'c'],
    pairs: [pair('a', 'b', 0), pair('a', 'c', 2), pair('b', 'c', 0)],
    counts: [0, 0, 0, 0],
  };
  const cells = input.cells.map((cell) => ({ ...cell, agreement }));
  const { html } = await renderReport({ ...input, cells });
  const table = html.slice(html.indexOf('How the scorers agree'));
  assert.equal(rowWith(table, 'a, b').slice(1), ['0', '0', '0', 'no row that both decided', '–']);
  assert.equal(rowWith(table, 'a, c').slice(4), ['1.000', '1.000']);
  assert.equal(rowWith(table, 'all 3').slice(4), ['no row that all decided', '–']);
  assert.not.match(table, 'not a number');
});

test('metrics of test rows have a table of their own, and are no claim', async () => {
  const input = fixture({ seeds: [1], rows: 8 });
  const cells = input.cells.map((cell) => ({
    ...cell,
    metrics: {
      ...cell.metrics,
      evaluate: { ...cell.metrics['evaluate'], test_accuracy: 0.125, test_examples: 8 },
    },
  }));
  const { html } = await renderReport({ ...input, cells });
  assert.match(html, 'The same on the test rows');
  assert.match(html, 'share of untouched test rows that are classified correctly');
  assert.not.match((await renderReport(input)).html, 'The same on the test rows');
  assert.ok(COMPARED.every(({ metric }) => !metric.startsWith('test_')));
});

test.run();
