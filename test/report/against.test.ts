/** `results --against`: p-values of the differences, in every form of output. */
import { readFileSync } from 'node:fs';
import Ajv from 'ajv';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { differences } from '../../src/cli/result-tables.ts';
import { compareRows, TEST_NOTE } from '../../src/report/against.ts';
import { differenceRows, summariseDifferences } from '../../src/report/diff.ts';
import { layOut, markdownTable } from '../../src/report/grid.ts';
import { latexTable } from '../../src/report/latex.ts';
import { METRICS } from '../../src/report/metrics.ts';
import { present } from '../rig/present.ts';
import { createProject, writeToys } from '../rig/project.ts';
import { judged, type PlainRow } from './rows.ts';

const test = suite('against');
const accuracy = { stage: 'evaluate', metric: 'accuracy' };

/** Full fine-tuning and LoRA of two ranks, whose accuracies differ by .1 to .3 and .2 to .4. */
const cells = [0, 4, 8].map((rank) => ({
  cell: rank === 0 ? { 'adapter.type': 'full' } : { 'adapter.type': 'lora', 'adapter.rank': rank },
  by: rank === 0 ? 0 : rank === 4 ? 0.1 : 0.2,
}));
const plainRows = (seeds: readonly number[]): PlainRow[] =>
  cells.flatMap(({ cell, by }) =>
    seeds.map((seed) => ({
      cell,
      seed,
      ...accuracy,
      value: 0.5 + (by === 0 ? 0 : by + (seed - 1) / 10),
    })),
  );
const rows = judged(plainRows([1, 2, 3]));

/** Student's two-sided p with two degrees of freedom has a closed form: 1 − t/√(2 + t²). */
const student2 = (mean: number, std: number): number => {
  const t = mean / (std / Math.sqrt(3));
  return 1 - t / Math.sqrt(2 + t * t);
};
const P4 = student2(0.2, 0.1),
  P8 = student2(0.3, 0.1);
const near = (actual: number | null | undefined, expected: number): void =>
  assert.ok(Math.abs(present(actual) - expected) < 1e-9, `${String(actual)} is not ${expected}`);

test('each row has the paired p-value, corrected over the cells, as diff has it', () => {
  const compared = compareRows(rows, 'full');
  assert.is(
    compared.filter(({ against }) => against !== undefined).length,
    6,
    'full fine-tuning is compared with nothing',
  );
  const of = (rank: number) =>
    present(compared.find(({ cell }) => cell['adapter.rank'] === rank)?.against);
  near(of(4).p, P4);
  near(of(8).p, P8);
  near(of(8).p_holm, 2 * P8);
  near(of(4).p_holm, Math.max(P4, 2 * P8));
  near(of(8).difference, 0.2);
  assert.is(of(8).value, 0.5);
  assert.is(of(8).pairs, 3);
  const asSide = (rank: number | null) =>
    [4, 8].flatMap((own) =>
      rows
        .filter(({ cell }) => cell['adapter.rank'] === (rank === null ? own : undefined))
        .map(({ seed, value }) => ({
          names: [{ axes: { 'adapter.rank': own }, config: {} }],
          seed,
          metrics: { evaluate: { accuracy: value } },
        })),
    );
  const summaries = summariseDifferences(differenceRows(asSide(0), asSide(null)));
  assert.equal(
    summaries.map(({ p }) => p),
    [of(4).p_holm, of(8).p_holm],
  );
});

test('no metric is called what a column of differences is called', () => {
  const named = METRICS.filter(({ label }) => / − (?:clean|full)$/.test(label));
  assert.equal(named, []);
});

test('the rows are of the form of the schema, those without --against unchanged', () => {
  const validate = new Ajv({ strict: true, strictTypes: false }).compile(
    JSON.parse(readFileSync(new URL('../../schemas/results.schema.json', import.meta.url), 'utf8')),
  );
  assert.ok(validate(JSON.parse(JSON.stringify(compareRows(rows, 'full')))));
  assert.is(compareRows(rows, 'none'), rows);
});

test('fewer than three pairs have no p-value, and pairs that are no evidence do not count', () => {
  const two = compareRows(judged(plainRows([1, 2])), 'full');
  assert.ok(two.every(({ against }) => against === undefined || against.p === null));
  const collapsed = rows
    .filter(({ seed, cell }) => seed === 3 && cell['adapter.rank'] === 4)
    .map((row): PlainRow => ({ ...row, metric: 'predicted_share', value: 1 }));
  const found = compareRows(judged([...rows, ...collapsed]), 'full').find(
    ({ seed, cell, metric }) =>
      seed === 3 && cell['adapter.rank'] === 4 && metric === accuracy.metric,
  );
  assert.equal(present(found?.against), {
    value: 0.5,
    difference: null,
    excluded: 'predicts one class only',
    pairs: 2,
    p: null,
    p_holm: null,
  });
});

test('tables have a column for it where there is one', () => {
  const request = {
    rowAxes: ['adapter.type', 'adapter.rank'],
    columnAxes: [],
    against: 'full',
  } as const;
  const shown = (of: typeof rows) => {
    const grid = layOut({ ...request, rows: of, metrics: [accuracy], against: 'full' });
    if ('clash' in grid) throw new Error(grid.clash.join());
    return { ...request, grid, axisName: (path: string) => path, caveats: [] };
  };
  const markdown = markdownTable(shown(rows));
  assert.match(markdown, /accuracy \| [^|]+ − full \| p \(Holm\) \|\n/);
  assert.match(markdown, '| +0.200 ± 0.248 | 0.074 (0.074) |');
  assert.match(markdown, '| +0.300 ± 0.248 | 0.035 (0.070) |');
  assert.match(markdown, '| full | – | 0.500 | – | – |');
  assert.match(markdown, TEST_NOTE);
  assert.not.match(markdownTable(shown(judged(plainRows([1, 2])))), 'Holm');
  const latex = latexTable({
    ...shown(rows),
    name: 'n',
    against: 'full',
    notes: 'below',
    ofAnswers: false,
    facts: [],
    comments: [],
  });
  assert.match(latex, '\\begin{tabular}{@{}llrrr@{}}');
  assert.match(latex, '\\multicolumn{1}{c}{p (Holm)}');
  assert.match(latex, ' & $0.035$ ($0.070$) \\\\');
  assert.match(latex, 'from three pairs on; in parentheses');
});

test('the terminal has a line for each comparison within 80 columns', () => {
  const { text, tested } = differences(rows, [accuracy], 'full', 80);
  assert.ok(tested);
  assert.equal(present(text).split('\n'), [
    'type  rank  metric    − full          p (Holm)       pairs',
    'lora  4     accuracy  +0.200 ± 0.248  0.074 (0.074)  3',
    'lora  8     accuracy  +0.300 ± 0.248  0.035 (0.070)  3',
  ]);
  const two = differences(judged(plainRows([1, 2])), [accuracy], 'full', 80);
  assert.not.ok(two.tested);
  assert.not.match(present(two.text), 'Holm');
  assert.is(differences(rows, [accuracy], 'clean', 80).text, null);
});

test('results --against of the command line, in the terminal, as CSV and as JSON', async () => {
  const project = createProject();
  writeToys(project);
  await project.succeeds('run', 'spec.yaml');
  const plain = await project.succeeds('results', 'spec.yaml', '--against', 'full');
  assert.match(plain.stderr, 'no number has a full fine-tuning to compare with');
  const csv = await project.succeeds('results', 'spec.yaml', '--csv', '--against', 'full');
  assert.match(csv.stdout, /,value,against,difference,excluded,pairs,p,p_holm,evidence,/);
  const without = await project.succeeds('results', 'spec.yaml', '--csv');
  assert.not.match(without.stdout, 'p_holm');
  await project.succeeds('results', 'spec.yaml', '--json', '--against', 'clean');
});

test.run();
