/** What results, explain, plan and status print for people: what they ask for, first and short. */
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { sha256 } from '../../src/base/sha256.ts';
import { summarise } from '../../src/base/stats.ts';
import { causesOf, type Explained } from '../../src/cli/explain.ts';
import { laidOut, markdownResults } from '../../src/cli/paper-tables.ts';
import { caveatLines, cellTable, firstMetrics, metricTable } from '../../src/cli/result-tables.ts';
import { shortPath, table, wrap, wrapLines } from '../../src/cli/terminal.ts';
import type { PlannedStage, StageId } from '../../src/plan/types.ts';
import { distinctMetrics, selectMetrics } from '../../src/report/metric-lookup.ts';
import { plainDifference, plainSpread, plainValue } from '../../src/report/numbers.ts';
import { asResults, readSteps } from '../../src/run/facts.ts';
import type { Prepared } from '../../src/run/prepare.ts';
import { judged, type PlainRow } from '../report/rows.ts';
import { inLines } from '../rig/in-lines.ts';
import { present } from '../rig/present.ts';
import { createProject, writeToys } from '../rig/project.ts';
import { standIn } from '../rig/stand-in.ts';

const test = suite('output');

test('a warning is wrapped between words on a terminal, and stays whole elsewhere', () => {
  const warning = 'a.yaml:1:2: rows have an empty text\n  Fill them in or leave them out.';
  const { isTTY, columns } = process.stdout;
  try {
    Object.assign(process.stdout, { isTTY: true, columns: 20 });
    assert.is(
      wrapLines(warning),
      'a.yaml:1:2: rows\nhave an empty text\n  Fill them in or\n  leave them out.',
    );
    Object.assign(process.stdout, { isTTY: false });
    assert.is(wrapLines(warning), warning);
  } finally {
    Object.assign(process.stdout, { isTTY, columns });
  }
});

test('counts are never rounded, and means have the digits that their interval justifies', () => {
  assert.equal(
    [22713986, 0, -3, 22713986.5, 1234.5, 0.123456, 1e-9, 1e20].map((x) => plainValue(x)),
    '22713986 0 -3 22713987 1235 0.1235 1e-9 100000000000000000000'.split(' '),
  );
  const of = (values: readonly number[], proportion = false): string =>
    plainSpread(values, 'interval', proportion);
  assert.is(of([22713986, 22713986]), '22713986');
  assert.is(of([0.9], true), '0.900');
  assert.is(of([0.5, 0.5, 0.5], true), '0.500');
  // t(.975, 2) = 4.3027: half = 4.3027 × 0.1 / √3.
  assert.is(of([0.8, 0.9, 1], true), '0.900 ± 0.248');
  assert.is(of([0.8, 0.9, 1]), '0.90 ± 0.25');
  assert.is(of([1000, 1100, 1200]), '1100 ± 248');
  assert.is(of([0.5, 0.5000002], true), '0.5000001 (0.5000000, 0.5000002)');
  // Of two seeds, both values stand in place of an interval of one degree of freedom.
  assert.is(of([0.9, 0.6], true), '0.750 (0.600, 0.900)');
  assert.is(of([5, 4]), '4.5 (4, 5)');
  assert.is(of([0.12345, 0.12347]), '0.12346 (0.12345, 0.12347)');
  assert.is(of([22713986, 22713990]), '22713988 (22713986, 22713990)');
  // A number that rounds to 0 has no sign, and one that does not keeps it.
  assert.is(of([-0.0001], true), '0.000');
  assert.is(of([-0.0009, 0.0001], true), '-0.0004 (-0.0009, 0.0001)');
  assert.is(plainDifference(summarise([0.0001, 0.0003, 0.0002]), true), '0.000 ± <0.001');
  assert.is(of([-0.0002, -0.0001, -0.0003], true), '0.000 ± <0.001');
  assert.is(of([-30, 0, 29]), '0 ± 73');
  assert.is(plainSpread([-0.0006, -0.0001], 'std', true), '0.000 ± <0.001');
  assert.is(plainSpread([-0.006, -0.0001], 'range', true), '-0.003 (-0.01–0.00)');
});

test('values that differ are written differently, and no share as a 0 or 1 that it is not', () => {
  const of = (values: readonly number[], spread: 'interval' | 'std' | 'range' = 'interval') =>
    plainSpread(values, spread, true);
  assert.is(of([143 / 144, 142 / 144], 'range'), '0.990 (0.986–0.993)');
  assert.is(of([0.996, 1], 'range'), '0.998 (0.996–1.000)');
  assert.is(of([0.5, 0.996], 'range'), '0.748 (0.500–0.996)');
  assert.is(of([0.5, 0.75, 1], 'range'), '0.750 (0.50–1.00)');
  assert.is(of([0.9996, 1]), '0.9998 (0.9996, 1.0000)');
  assert.is(of([0.9998, 0.9999, 0.9998], 'std'), '>0.999 ± <0.001');
  assert.is(of([0.9996]), '>0.999');
  assert.is(of([0.0004]), '<0.001');
  assert.is(plainSpread([0.49, 120], 'interval'), '60.24 (0.49, 120)');
  assert.is(plainSpread([1.3, 90], 'interval'), '45.65 (1.3, 90)');
  assert.is(plainSpread([1234.1, 1234.3], 'interval'), '1234.2 (1234.1, 1234.3)');
  assert.is(plainSpread([0.12347, 0.2, 0.25], 'range'), '0.1912 (0.1235–0.25)');
  // .9 − .8 and .8 − .7 are two doubles.
  for (const spread of ['interval', 'std', 'range'] as const)
    for (const drops of [
      [0.9 - 0.8, 0.8 - 0.7],
      [0.9 - 0.8, 0.8 - 0.7, 0.7 - 0.6],
    ])
      assert.is(of(drops, spread), '0.100', spread);
  // Nothing tells 0.1 + 0.2 − 0.3 from 0 in any number of digits.
  for (const spread of ['interval', 'range'] as const)
    assert.is(of([0.1 + 0.2 - 0.3, 0], spread), '0.000', spread);
});

test('a table that is too wide is cut into several, each with the columns that name a row', () => {
  const rows = [
    ['attack', 'n', 'accuracy', 'asr'],
    ['badnets', '3', '0.950 ± 0.010', '1.000 ± 0'],
  ];
  assert.is(
    table(rows, { width: 26, names: 1 }),
    'attack   n  accuracy\nbadnets  3  0.950 ± 0.010\n\nattack   asr\nbadnets  1.000 ± 0',
  );
  assert.is(
    table([...rows, ['none', '3', '0.950', '–']], { width: 26, names: 1, nothing: '–' }).split(
      '\n\n',
    )[1],
    'attack   asr\nbadnets  1.000 ± 0',
  );
  assert.is(table(rows).split('\n').length, 2);
  assert.is(wrap('one two three four', 9, '  '), 'one two\n  three\n  four');
});

test("a path that is too long is cut to the file's name, not within it", () => {
  const file = 'a/folder/with-defence2.yaml';
  for (const [width, shown] of [
    [27, file],
    [26, '…/with-defence2.yaml'],
    [19, 'with-defence2.yaml'],
    [17, 'with-defence2.ya…'],
    [-3, 'with-de…'],
  ] as const)
    assert.is(shortPath(file, width), shown);
});

test('in a terminal of 80 columns, lines end between words and the squiggle is below', async () => {
  const project = createProject();
  project.write(
    'a-rather-long-name-of-a-spec.yaml',
    `name: a\nmodel: { source: "file:${'x'.repeat(40)}", architecture: bert, surce: bert }\n`,
  );
  const terminal = ['bash', '-c', 'script -qec "stty cols 80; $*" /dev/null', 'bash'];
  const linesOf = async (...args: readonly string[]): Promise<string[]> =>
    (
      await project.startWith({ under: terminal, env: { NO_COLOR: '1' } }, ...args).ended
    ).stdout.split(/\r?\n/);
  const plugins = await linesOf('plugins');
  assert.ok(plugins.includes('  bite  plugins/attacks/bite.ts'));
  const wrong = await linesOf('plan', 'a-rather-long-name-of-a-spec.yaml');
  const at = wrong.findIndex((line) => line.includes('surce: bert'));
  assert.match(wrong[at] ?? '', /^2 \| …x+", architecture: bert, surce: bert }$/);
  assert.is(wrong[at + 1]?.trimEnd(), `  |${' '.repeat(64)}^^^^^`);
  for (const line of [...plugins, wrong[at] ?? '']) assert.ok(line.length <= 80, line);
});

const explained = (
  id: string,
  state: Explained['state'],
  inputs: readonly string[],
  why: readonly string[] = [],
): readonly [StageId, Explained] => [
  id as StageId,
  {
    stage: standIn<PlannedStage>({
      id,
      kind: id.replace(/\d+$/, ''),
      inputs: Object.fromEntries(inputs.entries()),
    }),
    state,
    why: () => why,
  },
];

test('stages are grouped by cause; those that wait have the causes of what they wait for', () => {
  const all = new Map([
    explained('data1', 'cached', []),
    explained('train1', 'ready', ['data1'], ['rank 4 → 8', 'alpha 4 → 8']),
    explained('train2', 'ready', ['data1'], ['rank 4 → 8']),
    explained('train3', 'cached', ['data1']),
    explained('train4', 'pending', ['data1'], ['hf:some/model is not fetched yet']),
    explained('evaluate1', 'pending', ['train1', 'data1'], ['waits for train1']),
    explained('evaluate2', 'pending', ['train2', 'data1'], ['waits for train2']),
    explained('report', 'pending', ['evaluate1', 'evaluate2', 'train3'], ['waits for evaluate1']),
  ]);
  const chosen = [...all.values()].filter(({ state }) => state !== 'cached');
  const ids = (stages: readonly PlannedStage[]): string => stages.map(({ id }) => id).join(' ');
  assert.equal(
    causesOf(
      chosen.map(({ stage }) => stage),
      all,
    ).map(({ text, stages, waiting }) => [text, ids(stages), ids(waiting)]),
    [
      ['rank 4 → 8', 'train1 train2', 'evaluate1 evaluate2 report'],
      ['alpha 4 → 8', 'train1', 'evaluate1 report'],
      ['hf:some/model is not fetched yet', 'train4', ''],
    ],
  );
});

const plainRows: readonly PlainRow[] = [
  ...[1, 2].flatMap((seed) =>
    [0.1, 0.3].flatMap((rate) => {
      const cell = {
        'poisoning.attack': 'badnets',
        'poisoning.rate': rate,
        'adapter.type': 'full',
      };
      const row = (stage: string, metric: string, value: number): PlainRow => ({
        cell,
        seed,
        stage,
        metric,
        value,
      });
      return [
        row('train', 'trainable_parameters', 22713986),
        row('train', 'seconds', 3 + seed),
        row('evaluate', 'accuracy', 1 - rate - seed / 100),
        row('evaluate', 'seconds', 1),
        ...(seed === 1 || rate === 0.1 ? [row('evaluate', 'asr', rate * seed)] : []),
      ];
    }),
  ),
];

test('the metric by which a named data set is scored comes first', () => {
  const cell = { 'adapter.type': 'full' };
  const rows = judged(
    ['rejected_share', 'accuracy', 'undecided_share', 'asr', 'mcc', 'test_mcc'].map((metric) => ({
      ...{ cell, seed: 1, stage: 'evaluate', metric, value: 0.5 },
      ...(metric.endsWith('mcc') ? { task: 'cola' } : {}),
    })),
  );
  // Rows that a defence rejects are left out of mcc, and count as wrong in the accuracy.
  assert.equal(
    firstMetrics(rows).map(({ metric }) => metric),
    ['mcc', 'accuracy', 'rejected_share', 'asr', 'undecided_share'],
  );
  assert.equal(
    laidOut(rows, null, {}).metrics.map(({ metric }) => metric),
    ['mcc', 'accuracy', 'asr'],
  );
});

const resultRows = judged(plainRows);

test('results shows the first metrics in columns, and says how many seeds have one', () => {
  assert.is(
    cellTable(resultRows, firstMetrics(resultRows), Number.POSITIVE_INFINITY, 'interval'),
    `rate  n  accuracy              asr
0.1   2  0.885 (0.880, 0.890)  0.150 (0.100, 0.200)
0.3   2  0.685 (0.680, 0.690)  0.300 (n = 1 of 2)`,
  );
  const collapsed = judged(
    plainRows.flatMap((row) => [
      row,
      ...(row.metric === 'accuracy'
        ? [{ ...row, metric: 'predicted_share', value: row.value > 0.8 ? 1 : 0.7 }]
        : []),
    ]),
  );
  assert.match(
    cellTable(collapsed, firstMetrics(collapsed), Number.POSITIVE_INFINITY, 'interval'),
    /^0\.1 +2 +0\.885 \(0\.880, 0\.890\) † +0\.150 \(0\.100, 0\.200\) †\n0\.3 +2 +0\.685 \(0\.680, 0\.690\) +0\.300/m,
  );
  assert.match(
    caveatLines(collapsed).join(),
    /^2 of 4 models predict one class only\. rate=0\.1\./,
  );
  const ofOneCell = collapsed.filter(({ cell }) => cell['poisoning.rate'] === 0.1);
  assert.match(
    caveatLines(ofOneCell).join(),
    /^2 of 2 models predict one class only\. Equal numbers among them are not agreement,/,
  );
  assert.equal(caveatLines(resultRows), []);
  const unseen = judged(
    plainRows.map((row) =>
      row.metric === 'asr' ? { ...row, metric: 'trigger_seen', value: 0.75 } : row,
    ),
  );
  assert.match(
    caveatLines(unseen).join(),
    /reads the whole trigger in 75% of triggered validation rows \(the lowest: rate=0\.1\)/,
  );
  const inGrid = collapsed.map((row) => {
    const isDefended = row.cell['poisoning.rate'] !== 0.1;
    const cell = {
      ...(isDefended && { 'defence.defence': 'cube' }),
      ...{ 'poisoning.attack': 'none', 'base.poisoning.attack': 'badnets' },
    };
    return { ...row, cell };
  });
  assert.match(caveatLines(inGrid).join(), /^2 of 4 models predict one class only\. no defence\./);
  assert.match(
    cellTable(inGrid, firstMetrics(inGrid), Number.POSITIVE_INFINITY, 'interval'),
    /^no defence +2 +0\.885/m,
  );
  const based = inGrid.map(({ cell, ...row }) => ({
    ...row,
    cell: { ...cell, 'poisoning.attack': 'defence.defence' in cell ? 'addsent' : 'none' },
  }));
  assert.match(caveatLines(based).join(), / class only\. attack=none after badnets in the base\. /);
  // A share just below 1 is not rounded up to it, and a cell has all its names.
  const oneRow = unseen
    .filter(({ metric }) => metric === 'trigger_seen')
    .map((row) => ({ ...row, also: [{ ...row.cell, 'poisoning.rate': 'all' }], value: 0.99999 }));
  assert.match(
    caveatLines(oneRow).join(),
    /in 99\.9% of triggered validation rows \(the lowest: rate=0\.1=all\)/,
  );
  const named = selectMetrics(resultRows, ['trainable_parameters', 'seconds']);
  assert.is(
    cellTable(resultRows, named.metrics, 40, 'interval'),
    `rate  n  trainable_parameters
0.1   2  22713986
0.3   2  22713986

rate  n  train.seconds  evaluate.seconds
0.1   2  4.5 (4, 5)     1
0.3   2  4.5 (4, 5)     1`,
  );
  assert.is(metricTable(resultRows, Number.POSITIVE_INFINITY).split('\n').length, 1 + 2 * 5);
  assert.match(
    metricTable(resultRows, Number.POSITIVE_INFINITY),
    /^0\.3 +train +trainable_parameters +22713986 +0 +0 +2$/m,
  );
  const close = plainRows.map((row) => ({ ...row, value: row.seed === 1 ? 0.99999 : 0.99998 }));
  assert.match(
    metricTable(judged(close), Number.POSITIVE_INFINITY),
    /^0\.3 +train +trainable_parameters .* \(0\.99998, 0\.99999\) +2$/m,
  );
});

test('a metric is named by itself, with its stage, or by a pattern', () => {
  const names = (...patterns: string[]): string =>
    selectMetrics(resultRows, patterns)
      .metrics.map(({ stage, metric }) => `${stage}.${metric}`)
      .join(' ');
  assert.is(names('asr'), 'evaluate.asr');
  assert.is(names('evaluate.seconds', 'asr'), 'evaluate.seconds evaluate.asr');
  assert.is(
    names('seconds', 'train.*'),
    'train.seconds evaluate.seconds train.trainable_parameters',
  );
  assert.equal(selectMetrics(resultRows, ['a.r', 'asr?', '(', 'asr']).unknown, [
    'a.r',
    'asr?',
    '(',
  ]);
});

test('results takes --metric, --all and --json', async () => {
  const project = createProject();
  writeToys(project);
  assert.is((await project.dosimeter('run', 'spec.yaml')).code, 0);
  const named = await project.dosimeter('results', 'spec.yaml', '--metric', 'accuracy');
  assert.is(
    named.stdout,
    `attack      rate  n  accuracy
none              2  0.985 (0.980, 0.990)
label-flip  0.1   2  0.885 (0.880, 0.890)
label-flip  0.3   2  0.685 (0.680, 0.690)
`,
  );
  const all = await project.dosimeter('results', 'spec.yaml', '--all');
  assert.is(all.stdout.split('\n').length, 1 + 3 * 2 + 1);
  assert.match(all.stdout, /none .*accuracy +0\.985 +0\.007071 +\(0\.98, 0\.99\) +2$/m);
  const wrong = await project.dosimeter('results', 'spec.yaml', '--metric', 'acuracy');
  assert.equal([wrong.code, wrong.stdout], [2, '']);
  assert.match(
    wrong.stderr,
    /no finished stage has a metric "acuracy"\n {2}did you mean accuracy\?/,
  );
  const rows = await project.json<readonly PlainRow[]>('results', 'spec.yaml', '--json');
  assert.is(rows.length, 3 * 2 * 2);
  assert.equal(
    await project.json('results', 'spec.yaml', '--json', '--metric', 'toy-evaluate.accuracy'),
    rows.filter(({ metric }) => metric === 'accuracy'),
  );
});

test('report --pdf writes the figures to a folder, without those that were damaged', async () => {
  const project = createProject();
  writeToys(project);
  project.write(
    'toy-report.mjs',
    project
      .read('toy-report.mjs')
      .replace(
        'async run(ctx) {',
        `async run(ctx) {
  const figures = ctx.outDir + '/figures/', path = '<path d="M0,0h1v1Z" fill="red"/>';
  const svg = (name) => '<svg viewBox="0 0 20 10"><title>' + name + '</title>' + path + '</svg>';
  mkdirSync(figures);
  for (const name of ['a', 'b']) writeFileSync(figures + name + '.svg', svg(name));
  writeFileSync(figures + 'a.csv', 'x\\r\\n');`,
      )
      .replace('import { writeFileSync }', 'import { mkdirSync, writeFileSync }'),
  );
  assert.is((await project.dosimeter('run', 'spec.yaml')).code, 0);
  assert.not.ok(project.exists('.dosimeter/reports/toys-figures'));
  project.write('.dosimeter/reports/toys-figures/old.pdf', 'of an earlier report');
  const said = await project.dosimeter('report', 'spec.yaml', '--pdf');
  assert.equal([said.code, said.stdout.trim().split('\n').length], [0, 1], said.stderr);
  assert.match(said.stderr, '2 figures as PDF, SVG and CSV: .dosimeter/reports/toys-figures\n');
  const at = (dir: string): string[] => readdirSync(path.join(project.dir, dir)).sort();
  assert.equal(at('.dosimeter/reports/toys-figures'), [
    'a.csv',
    'a.pdf',
    'a.svg',
    'b.pdf',
    'b.svg',
  ]);

  const stages = await project.stages('spec.yaml');
  const report = present(stages.find(({ kind }) => kind === 'toy-report'));
  const figure = path.join(present(report.outputs), 'figures/b.svg');
  chmodSync(figure, 0o644);
  writeFileSync(figure, readFileSync(figure, 'utf8').replace('red', 'tan'));
  project.write('paper/mine.tex', '');
  const { figures } = await project.json<{ readonly figures: string }>(
    ...['report', 'spec.yaml', '--pdf', 'paper', '--json'],
  );
  assert.is(figures, path.join(project.dir, 'paper'));
  assert.equal(
    at('paper').filter((name) => !name.startsWith('b.')),
    ['a.csv', 'a.pdf', 'a.svg', 'mine.tex'],
  );
  for (const name of at('paper').filter((one) => one === 'b.svg'))
    assert.match(project.read(`paper/${name}`), 'red');
});

test('results along the training have a row for each step, without damaged files', async () => {
  const project = createProject();
  const entries = new Map(
    [1, 2].map((seed) => {
      const text = [0, 10]
        .map(
          (step) =>
            `${JSON.stringify({ step, accuracy: 0.5 + step / 100 + seed / 500, loss: 1 })}\n`,
        )
        .join('');
      project.write(`${seed}/curves.jsonl`, text);
      const file = { path: 'curves.jsonl', size: text.length, sha256: sha256(text) };
      return [
        `train-${seed}`,
        { key: `k${seed}`, dir: path.join(project.dir, String(seed)), file },
      ];
    }),
  );
  const prepared = standIn<Prepared>({
    plan: {
      cellStages: [
        ...[1, 2].map((seed) => ({
          cell: { axes: { 'adapter.type': 'full' }, config: { seed } },
          stages: { train: `train-${seed}` },
        })),
        // A defence of inputs comes after the training's steps, so they are not its own.
        {
          cell: { axes: { 'defence.defence': 'onion' }, config: { seed: 1, defence: {} } },
          stages: { train: 'train-1' },
        },
      ],
    },
    statuses: [...entries].map(([id, entry]) => ({ stage: { id }, entry })),
    store: {
      manifest: (key: string) => ({
        files: [...entries.values()].flatMap((entry) => (entry.key === key ? [entry.file] : [])),
      }),
    },
  });
  const { rows } = await readSteps(prepared);
  assert.equal(rows[2], {
    cell: { 'adapter.type': 'full' },
    seed: 1,
    step: 10,
    metric: 'accuracy',
    value: 0.602,
  });
  const results = asResults(rows, prepared.plan);
  assert.is(
    cellTable(results, distinctMetrics(results), 80, 'interval'),
    `step  n  accuracy              loss
0     2  0.503 (0.502, 0.504)  1
10    2  0.603 (0.602, 0.604)  1`,
  );
  // The other seed stopped early: what is left is no mean over both.
  const stopped = asResults(
    rows.filter(({ seed, step }) => seed === 1 || step === 0),
    prepared.plan,
  );
  const asked = [{ stage: 'train', metric: 'accuracy' }];
  assert.is(
    cellTable(stopped, asked, 80, 'interval'),
    `step  n       accuracy
0     2       0.503 (0.502, 0.504)
10    1 of 2  0.602`,
  );
  assert.match(
    markdownResults({ rows: stopped }, asked, {}, []),
    /^\| 10 \| 0\.602 \(n = 1 of 2\) \|$/m,
  );
  const cell = { 'adapter.type': 'lora' };
  const both = asResults(
    [...rows, ...rows.map((row) => ({ ...row, cell, value: 1 - row.value }))],
    standIn<Prepared['plan']>({
      cellStages: [
        ...prepared.plan.cellStages,
        ...[1, 2].map((seed) => ({ cell: { axes: cell, config: { seed } } })),
      ],
    }),
  );
  assert.is(
    cellTable(both, asked, 80, 'interval'),
    `type  step  n  accuracy
full  0     2  0.503 (0.502, 0.504)
full  10    2  0.603 (0.602, 0.604)
lora  0     2  0.497 (0.496, 0.498)
lora  10    2  0.397 (0.396, 0.398)`,
  );
  project.write('2/curves.jsonl', project.read('2/curves.jsonl').replace('0.504', '0.904'));
  const { rows: whole, damaged } = await readSteps(prepared);
  assert.equal([...new Set(whole.map(({ seed }) => seed))], [1]);
  assert.equal(damaged, [path.join(project.dir, '2/curves.jsonl')]);
});

test('status lists the latest runs, and plan explains its words', async () => {
  const project = createProject();
  writeToys(project);
  const plan = await project.dosimeter('plan', 'spec.yaml');
  assert.match(
    plan.stdout,
    'toys: 6 cells (3 conditions × 2 seeds), 13 stages (a stage that cells share counts once)\n' +
      '0 cached, 13 to run: no estimate yet',
  );
  assert.match(plan.stdout, /cached: its result is in the store; ready: .*; pending: /s);
  const part = ['--set', 'exclude=[{ seed: 2, rate: 0.3 }]'];
  assert.match(
    (await project.dosimeter('plan', 'spec.yaml', ...part)).stdout,
    /^toys: 5 cells \(3 conditions, 2 seeds\), /,
  );
  project.write('toy.json', JSON.stringify({ '2/0.3': 'fault' }));
  assert.is((await project.dosimeter('run', 'spec.yaml')).code, 1);
  project.write('toy.json', '{}');
  assert.match(
    (await project.dosimeter('plan', 'spec.yaml')).stdout,
    /cached, 3 to run: about .* at the pace of earlier runs/,
  );
  assert.is((await project.dosimeter('run', 'spec.yaml')).code, 0);
  const { stdout, stderr } = await project.dosimeter('status');
  assert.match(
    stdout,
    inLines(
      /^run +state +began \(UTC\) +done +failed +blocked +spec/,
      /\S+ +done +\d\d-\d\d \d\d:\d\d +3\/3 +0 +0 +spec\.yaml/,
      /\S+ +failed +\S+ \S+ +11\/13 +1 +1 +spec\.yaml/,
      /$/,
    ),
  );
  const runs = await project.json<readonly { readonly run: string }[]>('status', '--all', '--json');
  const [latest, before] = [present(runs[0]), present(runs[1])];
  assert.match(stderr, `dosimeter status ${latest.run} says more about one\n`);
  assert.equal(await project.json('status', '--json'), latest);
  assert.match(
    (await project.dosimeter('status', before.run)).stdout,
    /failed\n?.*spec\.yaml\n13 to run, .*\n {2}failed toy-train-\S+: the loss is NaN/,
  );
});

test.run();
