/** `results --markdown`: the grid of `--latex` as a table for documents. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { layOut, markdownTable } from '../../src/report/grid.ts';
import { latexTable } from '../../src/report/latex.ts';
import { createProject, writeToys } from '../rig/project.ts';
import { judged, type PlainRow } from './rows.ts';

const test = suite('markdown');

const asr = { stage: 'evaluate', metric: 'asr' },
  accuracy = { stage: 'evaluate', metric: 'accuracy' },
  predicted = { stage: 'evaluate', metric: 'predicted_share' };

/** Two attacks, with no defence and with one, under full fine-tuning; badnets under LoRA too. */
const rows = judged(
  [
    ['badnets', undefined, 'full', 1],
    ['badnets', 'onion', 'full', 0.25],
    ['bite', undefined, 'full', 0.875],
    ['bite', 'onion', 'full', 0.5],
    ['badnets', undefined, 'lora', 0.75],
  ].flatMap(([attack, defence, adapter, value]): PlainRow[] => {
    const cell = {
      'poisoning.attack': String(attack),
      'adapter.type': String(adapter),
      ...(defence === undefined ? {} : { 'defence.defence': String(defence) }),
    };
    return [
      { cell, seed: 1, ...asr, value: Number(value) },
      { cell, seed: 1, ...accuracy, value: 0.5 },
      { cell, seed: 1, ...predicted, value: attack === 'bite' ? 1 : 0.5 },
    ];
  }),
);

const table = (
  metrics: readonly (typeof asr)[],
  rowAxes: string[],
  columnAxes: string[],
  { of = rows, against = 'none' }: Partial<{ of: typeof rows; against: 'none' | 'full' }> = {},
): string => {
  const grid = layOut({ rows: of, metrics, rowAxes, columnAxes, against });
  if ('clash' in grid) throw new Error(grid.clash.join());
  return markdownTable({
    grid,
    rowAxes,
    columnAxes,
    axisName: (path) => path.split('.')[0] ?? path,
    caveats: [],
    against,
  });
};

test('a metric of a further scorer has the name that LaTeX gives it', () => {
  const refusal = { ...asr, metric: 'asr.refusal' };
  const text = table([refusal], ['adapter.type'], [], {
    of: judged([{ cell: { 'adapter.type': 'lora' }, seed: 1, ...refusal, value: 0.5 }]),
  });
  assert.is(
    text.split('\n').slice(0, 3).join('\n'),
    `| adapter | ASR, refusal |
|---|---:|
| LoRA | 0.500 |`,
  );
});

test('a line for each row of the grid, a column for each attack and adapter', () => {
  assert.is(
    table([asr], ['defence.defence'], ['poisoning.attack', 'adapter.type']),
    `| defence | badnets, full | badnets, LoRA | bite, full |
|---|---:|---:|---:|
| no defence | 1.000 | 0.750 | 0.875 † |
| onion | 0.250 | – | 0.500 † |

Metric: ASR. One seed: no interval. † Not evidence: a model behind the number predicts one class only.`,
  );
});

test('several metrics each have a column, under the names that the report has for them', () => {
  const [head = '', , first = ''] = table(
    [asr, accuracy],
    ['poisoning.attack', 'defence.defence', 'adapter.type'],
    [],
  ).split('\n');
  assert.match(head, /^\| poisoning \| defence \| adapter \| [^|]+ \| [^|]+ \|$/);
  assert.is(first, '| badnets | no defence | full | 1.000 | 0.500 |');
});

test('a column of cells that lack the axis is headed so', () => {
  const [head] = table([asr], ['poisoning.attack', 'adapter.type'], ['defence.defence']).split(
    '\n',
  );
  assert.is(head, '| poisoning | adapter | no defence | onion |');
  const ranks = judged(
    [{}, { 'adapter.rank': 4 }].map((rank) => ({
      ...{ cell: { 'poisoning.attack': 'badnets', ...rank }, seed: 1, ...asr, value: 0.5 },
    })),
  );
  const [byRank] = table([asr], ['poisoning.attack'], ['adapter.rank'], { of: ranks }).split('\n');
  assert.is(byRank, '| poisoning | adapter – | adapter 4 |');
});

test('text that Markdown would act on is escaped, and a file is shown without its folder', () => {
  const cell = {
    'poisoning.attack': 'a|b *c* <d>',
    'poisoning.files': ['file:/home/me/a_file.jsonl'],
    'adapter.type': 'full',
  };
  const grid = layOut({
    rows: judged([{ cell, seed: 1, ...asr, value: 1 }]),
    metrics: [asr],
    rowAxes: ['poisoning.attack', 'poisoning.files'],
    columnAxes: [],
    against: 'none',
  });
  if ('clash' in grid) throw new Error(grid.clash.join());
  const text = markdownTable({
    grid,
    rowAxes: ['poisoning.attack', 'poisoning.files'],
    columnAxes: [],
    axisName: () => 'attack',
    caveats: [],
    against: 'none',
  });
  assert.match(text, '| a\\|b \\*c\\* \\<d\\> | \\["file:…/a\\_file.jsonl"\\] | 1.000 |');
});

test('files of one name are told apart by their folders, in Markdown and LaTeX', () => {
  const path = 'data.train.source';
  const rows = ['/home/u/a/train.tsv', '/home/u/b/train.tsv', '/home/u/dev.tsv'].map((file) => ({
    cell: { [path]: `file:${file}` },
    seed: 1,
    stage: 'evaluate',
    metric: 'asr',
    value: 1,
  }));
  const axes = { rowAxes: [path], columnAxes: [], against: 'none' } as const;
  const grid = layOut({ rows: judged(rows), metrics: [asr], ...axes });
  if ('clash' in grid) throw new Error(grid.clash.join());
  const shown = { grid, ...axes, axisName: () => 'data', caveats: [] };
  const files = ['file:…/a/train.tsv', 'file:…/b/train.tsv', 'file:…/dev.tsv'];
  const markdown = markdownTable(shown),
    latex = latexTable({
      ...shown,
      name: 'n',
      notes: 'below',
      ofAnswers: false,
      facts: [],
      comments: [],
    });
  for (const file of files) {
    assert.ok(markdown.includes(`| ${file} |`), markdown);
    assert.ok(latex.includes(`    ${file.replace('…', '\\dots{}')} &`), latex);
  }
});

test('a difference of fewer seeds than its number says so, and what it leaves out', () => {
  const of = (adapter: string, seed: number, value: number): PlainRow[] => {
    const cell = { 'adapter.type': adapter };
    // With one seed, LoRA predicts one class only, so that its pair is not evidence.
    const share = adapter === 'lora' && seed === 3 ? 1 : 0.5;
    return [
      { cell, seed, ...asr, value },
      { cell, seed, stage: 'evaluate', metric: 'predicted_share', value: share },
    ];
  };
  const text = table([asr], ['adapter.type'], [], {
    of: judged(
      [1, 2, 3].flatMap((seed) => [...of('full', seed, 1), ...of('lora', seed, seed / 4)]),
    ),
    against: 'full',
  });
  // Of two pairs, both differences: t(0.975; 1) would make the interval 25 times as wide.
  assert.match(text, '| LoRA | 0.500 ± 0.621 † | -0.625 (-0.750, -0.500) (n = 2) |');
  assert.match(text, 'Mean of two seeds, with both values where they differ.');
  assert.match(text, 'leave out 1 of 3 pairs that are not evidence: a model of the pair predicts');
});

test('a mean over seeds stands beside its interval, or beside the range of its values', () => {
  const cell = { 'poisoning.attack': 'badnets' };
  const several = [0.5, 0.75, 0.625].map((value, i) => ({ cell, seed: i + 1, ...asr, value }));
  const grid = layOut({
    rows: judged([...several, ...several.map((row) => ({ ...row, ...accuracy, value: 0.9 }))]),
    metrics: [asr, accuracy],
    rowAxes: ['poisoning.attack'],
    columnAxes: [],
    against: 'none',
  });
  if ('clash' in grid) throw new Error(grid.clash.join());
  const request = {
    grid,
    rowAxes: ['poisoning.attack'],
    columnAxes: [],
    axisName: () => 'attack',
    caveats: [],
    against: 'none' as const,
  };
  // t(0.975; 2) = 4.303 times the standard error, 0.125/√3
  assert.match(markdownTable(request), '| badnets | 0.625 ± 0.311 | 0.900 |');
  const ranges = markdownTable({ ...request, spread: 'range' });
  assert.match(ranges, '| badnets | 0.625 (0.50–0.75) | 0.900 |');
  // What is below a table says what stands in it.
  assert.match(
    markdownTable(request),
    '(at most 3) ± half of its 95% Student t interval, alone where all are equal.',
  );
  assert.match(ranges, '(at most 3), with the least and the largest value where they differ.');
  assert.not.match(ranges, '±');
  const deviations = markdownTable({ ...request, spread: 'std' });
  assert.match(deviations, '| badnets | 0.625 ± 0.125 | 0.900 |');
  assert.match(deviations, '± the sample standard deviation (n − 1), alone where all are equal.');
});

test('a number of fewer seeds than planned says so, and caveats stand below the table', () => {
  const cell = { 'poisoning.attack': 'badnets' };
  const planned = [2, 3, 4, 5].map((seed) => ({ cell, seed }));
  const grid = layOut({
    rows: judged([{ cell, seed: 1, ...asr, value: 1 }], planned),
    metrics: [asr],
    rowAxes: ['poisoning.attack'],
    columnAxes: [],
    against: 'none',
  });
  if ('clash' in grid) throw new Error(grid.clash.join());
  const text = markdownTable({
    grid,
    rowAxes: ['poisoning.attack'],
    columnAxes: [],
    axisName: () => 'attack',
    caveats: ['nothing is poisoned', 'no row of <b>\n| *ham*'],
    against: 'none',
  });
  assert.match(text, '| badnets | 1.000 (n = 1 of 5) |\n\nOne seed: no interval.\n\nnothing is');
  assert.ok(text.endsWith('poisoned\n\nno row of \\<b\\> \\| \\*ham\\*'), text);
});

test('results --markdown prints it, and axes shape no other form', async () => {
  const project = createProject();
  writeToys(project);
  await project.succeeds('run', 'spec.yaml');
  const { stdout } = await project.succeeds(
    ...['results', 'spec.yaml', '--markdown', '--metric', 'accuracy', '--rows', 'poisoning,rate'],
  );
  assert.match(stdout, '| label-flip | 0.1 | 0.885 (0.88, 0.89) |\n');
  const { code, stderr } = await project.dosimeter('results', 'spec.yaml', '--rows', 'attack');
  assert.is(code, 2);
  assert.match(stderr, 'shape the table that --latex or --markdown prints');
});

test.run();
