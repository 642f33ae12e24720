/** `results --latex`: structure, differences, escaping. pdfTeX has compiled the output, by hand. */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Json } from '../../src/api.ts';
import { caveatLines } from '../../src/cli/result-tables.ts';
import { type Grid, type GridRequest, layOut } from '../../src/report/grid.ts';
import {
  escapeLatex,
  latexComment,
  latexLabel,
  latexNumber,
  latexTable,
} from '../../src/report/latex.ts';
import type { ResultRow } from '../../src/report/results.ts';
import { present } from '../rig/present.ts';
import { createProject, writeToys } from '../rig/project.ts';
import { judged, type PlainRow } from './rows.ts';

const test = suite('latex');

test('special characters are escaped', () => {
  assert.is(
    escapeLatex('50%_of $5 & #1 {a} \\x ~ ^ <b> | "q" \'s\' `t`'),
    '50\\%\\_of \\$5 \\& \\#1 \\{a\\} \\textbackslash{}x \\textasciitilde{} \\textasciicircum{} ' +
      '\\textless{}b\\textgreater{} \\textbar{} \\char34{}q\\char34{} \\char39{}s\\char39{} ' +
      '\\textasciigrave{}t\\textasciigrave{}',
  );
  assert.is(
    escapeLatex('label-flip a--b σ² −1 é 中 [x]*'),
    'label-flip a-{}-b $\\sigma$$^{2}$ $-$1 é 中 {[}x{]}{*}',
  );
  assert.is(
    escapeLatex('● mean ❘ 10⁻¹²% ≈ AᵀA · H₃'),
    '$\\bullet$ mean $\\vert$ 10$^{-}$$^{1}$$^{2}$\\% $\\approx$ A$^{\\top}$A $\\cdot$ H$_{3}$',
  );
  assert.is(latexComment('a\nb\u2028\\input{x}'), '% a b \\input{x}');
  assert.is(latexLabel('my grid_2/é'), 'my-grid-2-');
  assert.equal(['0.950 ± 0.064', '-0.1 ± <0.001', '1e-9 ± 2.1e+21', '22713986'].map(latexNumber), [
    '$0.950 \\pm 0.064$',
    '$-0.1 \\pm <0.001$',
    '$1\\times 10^{-9} \\pm 2.1\\times 10^{21}$',
    '$22713986$',
  ]);
  // In maths, T1 would set a dash as an accent, and OT1 warns.
  assert.is(latexNumber('0.620 (-0.45–-0.1)'), '$0.620\\ (-0.45$--$-0.1)$');
});

test('whatever the text, nothing in it is left for TeX to act on', () => {
  const escapes = [
    /\\text(?:backslash|asciitilde|asciicircum|less|greater|bar|asciigrave)\{\}/,
    /\\(?:char34|char39|dots|S)\{\}/,
    /\\[{}$&#_%]|\{[[\]*]\}|-\{\}/,
    /\$(?:\\[a-zA-Z]+(?:\{\d\}\{\d\})?|[-^_](?:\{(?:\d|-|\\dagger|\\top)\})?)\$/,
  ];
  const names = new RegExp(escapes.map(({ source }) => source).join('|'), 'g');
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string(), (a, b) => {
      const rest = escapeLatex(a + b).replaceAll(names, '');
      assert.not.match(rest, /[\\{}$&#^_%~<>|"'`[\]*]|--(?!-?)|[\u0000-\u001f\u007f]/);
    }),
  );
});

const accuracy = { stage: 'evaluate', metric: 'accuracy' },
  asr = { stage: 'evaluate', metric: 'asr' };

/**
 * Full and LoRA at two ranks, clean and under badnets, three seeds; under the attack LoRA of rank 8
 * lacks the last seed.
 */
const plain: readonly PlainRow[] = [1, 2, 3].flatMap((seed) =>
  ['none', 'bad_nets'].flatMap((attack) =>
    [0, 4, 8].flatMap((rank) => {
      if (attack !== 'none' && rank === 8 && seed === 3) return [];
      const cell = {
        'poisoning.attack': attack,
        'adapter.type': rank === 0 ? 'full' : 'lora',
        ...(rank === 0 ? {} : { 'adapter.rank': rank }),
      };
      const row = (metric: string, value: number): PlainRow => ({
        cell,
        seed,
        stage: 'evaluate',
        metric,
        value,
      });
      const noise = present([0, 0.01, -0.01][seed - 1]);
      return attack === 'none'
        ? [row('accuracy', 0.9 + noise), row('predicted_share', 0.5)]
        : [
            row('accuracy', 0.9 + noise - rank / 100),
            row('accuracy_drop', rank / 100),
            row('asr', 0.5 + rank / 20 - noise),
            row('asr_clean', 0.1),
            row('predicted_share', rank === 4 && seed === 1 ? 1 : 0.6),
          ];
    }),
  ),
);
const rows: readonly ResultRow[] = judged(plain);
const laidOut = (request: Partial<GridRequest>): Grid => {
  const grid = layOut({
    rows,
    metrics: [accuracy, asr],
    rowAxes: ['adapter.type', 'adapter.rank'],
    columnAxes: ['poisoning.attack'],
    against: 'full',
    ...request,
  });
  assert.ok(!('clash' in grid));
  return grid;
};
const near = (actual: number | undefined | null, expected: number): void =>
  assert.ok(Math.abs(present(actual) - expected) < 1e-12, `${String(actual)} is not ${expected}`);

test('cells are placed by their axes’ values, without empty columns; clashes are named', () => {
  const grid = laidOut({});
  assert.equal(grid.rows, [
    [['full'], []],
    [['lora'], [4]],
    [['lora'], [8]],
  ]);
  assert.equal(
    grid.columns.map(({ at, metric, differs }) => [at, metric.metric, differs]),
    [
      [[['none']], 'accuracy', true],
      [[['bad_nets']], 'accuracy', true],
      [[['bad_nets']], 'asr', true],
    ],
  );
  assert.equal(
    layOut({
      rows,
      metrics: [asr],
      rowAxes: ['adapter.type'],
      columnAxes: ['poisoning.attack'],
      against: 'none',
    }),
    {
      clash: ['adapter.rank'],
    },
  );
});

test('differences are paired by seed, with full fine-tuning or with the clean run', () => {
  const full = laidOut({}).entries;
  assert.is(present(full[0]![2]).difference, null);
  near(present(full[1]![1]!.difference).mean, -0.04);
  near(present(full[1]![1]!.difference).std, 0); // the seed's noise is the same in both and cancels
  near(present(full[1]![2]!.difference).mean, 0.2);
  assert.equal([present(full[2]![2]).summary.n, present(full[2]![2]!.difference).n], [2, 2]);
  const clean = laidOut({ against: 'clean' }).entries;
  near(present(clean[1]![1]!.difference).mean, -0.04);
  near(present(clean[1]![2]!.difference).mean, 0.6);
  assert.is(present(clean[1]![0]).difference, null); // a clean run has no clean twin
  const several = judged(
    plain.map((row) =>
      row.cell['adapter.type'] === 'full' && row.seed === 2
        ? { ...row, cell: { ...row.cell, 'adapter.train.learning_rate': 1 } }
        : row,
    ),
  );
  const unclear = layOut({
    rows: several,
    metrics: [asr],
    rowAxes: ['adapter.type', 'adapter.rank', 'adapter.train.learning_rate'],
    columnAxes: [],
    against: 'full',
  }) as Grid;
  assert.ok(unclear.entries.flat().every((entry) => entry === null || entry.difference === null));
});

test('differences leave out pairs that are not evidence, and the table says so', () => {
  // Under the attack, the model of rank 4 and seed 1 predicts only one class.
  const [, rank4] = laidOut({}).entries;
  near(present(rank4![2]!.difference).mean, 0.2);
  assert.equal(
    [present(rank4![2]).summary.n, present(rank4![2]!.difference).n, present(rank4![2]).excluded],
    [3, 2, ['predicts one class only']],
  );
  // Without attack all pairs are evidence.
  assert.equal([present(rank4![0]!.difference).n, present(rank4![0]).excluded], [3, []]);
  assert.equal(present(laidOut({ against: 'clean' }).entries[1]![2]!.difference).n, 2);
  const tableOf = (given: readonly ResultRow[]): string =>
    latexTable({
      name: 'grid',
      grid: laidOut({ rows: given, metrics: [asr] }),
      rowAxes: ['adapter.type', 'adapter.rank'],
      columnAxes: ['poisoning.attack'],
      against: 'full',
      axisName: (path) => path,
      notes: 'below',
      ofAnswers: false,
      caveats: caveatLines(given),
      facts: [],
      comments: [],
    });
  // For the seeds that are left: 0.71 and 0.69 minus 0.49 and 0.51.
  assert.match(tableOf(rows), '$+0.200$');
  assert.match(tableOf(rows), 'Mean of two seeds, with both values where they differ.');
  assert.match(
    tableOf(rows),
    'The differences leave out 1 of 5 pairs that are not evidence: ' +
      'a model of the pair predicts one class only.',
  );
  // Where full fine-tuning is no better than the majority class, there is nothing to compare with:
  // the table says so instead of leaving a blank.
  const lost = tableOf(
    judged(
      plain.flatMap((row) =>
        row.cell['adapter.type'] === 'full' && row.metric === 'accuracy'
          ? [
              row,
              { ...row, metric: 'majority_share', value: row.value },
              { ...row, metric: 'majority_p', value: 0.9 },
            ]
          : [row],
      ),
    ),
  );
  assert.match(lost, /LoRA & \$4\$ & .* & -- \(\$n = 0\$\) \\\\\n/);
  assert.match(
    lost,
    'leave out 5 of 5 pairs that are not evidence: a model of the pair ' +
      'predicts one class only or is no better than the majority class.',
  );
});

test('a cell with several names has a place for each, or one place with all of them', () => {
  const named = (
    rank: number,
    alpha: Json,
    value: number,
    also: readonly Json[] = [],
  ): PlainRow => ({
    cell: { 'adapter.rank': rank, 'adapter.alpha': alpha },
    ...(also.length === 0
      ? {}
      : { also: also.map((other) => ({ 'adapter.rank': rank, 'adapter.alpha': other })) }),
    seed: 1,
    ...accuracy,
    value,
  });
  const scaled = judged([named(4, 'r', 0.6), named(4, 16, 0.7), named(16, 'r', 0.8, [16])]);
  const tableOf = (rowAxes: readonly string[], columnAxes: readonly string[]): string =>
    latexTable({
      name: 'scaled',
      grid: laidOut({ rows: scaled, metrics: [accuracy], rowAxes, columnAxes }),
      rowAxes,
      columnAxes,
      against: 'none',
      axisName: (path) => present(path.split('.')[1]),
      notes: 'below',
      ofAnswers: false,
      caveats: caveatLines(scaled),
      facts: [],
      comments: [],
    });
  const across = tableOf(['adapter.rank'], ['adapter.alpha']);
  assert.match(across, '{alpha: r} & \\multicolumn{1}{c}{alpha: $16$}');
  assert.match(across, '    $4$ & $0.600$ & $0.700$ \\\\\n    $16$ & $0.800$ & $0.800$ \\\\\n');
  assert.match(across, 'but was run once.');
  const turned = tableOf(['adapter.alpha'], ['adapter.rank']);
  assert.match(turned, '    r & $0.600$ & $0.800$ \\\\\n    $16$ & $0.700$ & $0.800$ \\\\\n');
  const down = tableOf(['adapter.rank', 'adapter.alpha'], []);
  assert.match(down, '    $16$ & r = $16$ & $0.800$ \\\\\n');
  assert.is(present(down.match(/0\.800/g)).length, 1);
  assert.not.match(down, 'but was run once.');
  // With both axes across, the two names of rank 16 are one column, not two that are the same.
  const wide = tableOf([], ['adapter.rank', 'adapter.alpha']);
  assert.match(wide, '{rank: $16$} \\\\\n');
  assert.match(wide, '\\multicolumn{1}{c}{alpha: $16$} & \\multicolumn{1}{c}{alpha: r = $16$}');
  assert.match(wide, '    $0.600$ & $0.700$ & $0.800$ \\\\\n');
  assert.not.match(wide, 'but was run once.');
});

test('a table has as many columns in every line, and the caption explains its numbers', () => {
  const grid = laidOut({});
  const text = latexTable({
    name: 'grid_1',
    grid,
    rowAxes: ['adapter.type', 'adapter.rank'],
    columnAxes: ['poisoning.attack'],
    against: 'full',
    axisName: (path) => present(path.split('.')[1]),
    notes: 'below',
    ofAnswers: false,
    caveats: caveatLines(rows),
    facts: ['Model: hf:a/b_c.', 'Computed by cpu, float32.'],
    comments: ['made\nby'],
  });
  const lines = text.split('\n');
  assert.is(lines[0], '% made by');
  for (const needed of [
    ...'\\begin{table} \\toprule \\midrule \\bottomrule \\end{tabular} \\end{table}'.split(' '),
    ...'\\label{tab:grid-1}'.split(' '),
  ])
    assert.is(lines.filter((line) => line.trim() === needed).length, 1, needed);
  const spec = present(/\\begin\{tabular\}\{@\{\}(l+)(r+)@\{\}\}/.exec(text));
  assert.equal([spec[1], spec[2]], ['ll', 'rrrrrrr']);
  for (const line of lines.filter((one) => one.endsWith('\\\\'))) {
    const cells = line.replace(/ \\\\$/, '').split(' & ');
    assert.is(
      cells.reduce((sum, cell) => sum + Number(/\\multicolumn\{(\d+)\}/.exec(cell)?.[1] ?? 1), 0),
      9,
      line,
    );
  }
  assert.match(text, '\\multicolumn{3}{c}{attack: none} & \\multicolumn{4}{c}{attack: bad\\_nets}');
  // t(.975, 2)·0.01/√3 = 0.0248; both values of the two seeds of rank 8.
  assert.match(
    text,
    '    LoRA & $4$ & $0.900 \\pm 0.025$ & $0.000$ & $1.000$ ($1.000$) & ' +
      '$0.860 \\pm 0.025$$^{\\dagger}$ & $-0.040$ ($n = 2$)',
  );
  assert.not.match(text, '$n = 3$'); // the largest number
  assert.match(text, '$0.895\\ (0.890,\\ 0.900)$ ($n = 2$)');
  const [caption] = present(/\\caption\{.*/.exec(text));
  for (const said of [
    'grid\\_1. Mean over the seeds (at most 3) $\\pm$ half of its 95\\% Student t interval, ' +
      'alone where all are equal.',
    'Mean of two seeds, with both values where they differ.',
    '$n$: seeds, where it is not the largest number.',
    '$^{\\dagger}$ Not evidence: a model behind the number predicts one class only.',
  ])
    assert.ok(caption.includes(said), `${said}\n${caption}`);
  const notes = text.slice(text.indexOf('\\begin{minipage}'), text.indexOf('\\end{minipage}'));
  for (const said of [
    'from full fine-tuning under the same attack, paired by seed',
    'Model: hf:a/b\\_c.',
    'Computed by cpu, float32.',
    '1 of 17 models predicts one class only. ' +
      'attack=bad\\_nets type=lora rank=4 (1 of 3 seeds).',
  ])
    assert.ok(notes.includes(said), `${said}\n${notes}`);
});

test('a table that is wider than a page is scaled to the line, and says what that needs', () => {
  const tableOf = (request: Partial<GridRequest>): string =>
    latexTable({
      ...{ name: 'grid', notes: 'below', ofAnswers: false, caveats: [], facts: [], comments: [] },
      ...{ rowAxes: ['adapter.type', 'adapter.rank'], columnAxes: ['poisoning.attack'] },
      ...{ grid: laidOut(request), against: 'full', axisName: String },
    });
  const narrow = tableOf({ metrics: [asr] }),
    wide = tableOf({});
  assert.not.match(narrow, 'adjustbox');
  assert.match(narrow, '% needs \\usepackage{booktabs} in the preamble');
  assert.match(wide, '% needs \\usepackage{booktabs,adjustbox} in the preamble');
  assert.match(wide, '{adjustbox}{max width=\\linewidth}\n  \\begin{tabular}');
  assert.match(wide, '  \\end{tabular}\n  \\end{adjustbox}');
});

test('in a completion task the caption says what was written, and a further scorer has its column', () => {
  const given = [asr, { ...asr, metric: 'asr.refusal' }].map((metric, i): PlainRow => ({
    cell: { 'adapter.type': 'lora' },
    seed: 1,
    ...metric,
    value: [0.5, 0.25][i] ?? 0,
  }));
  const text = latexTable({
    name: 'written',
    grid: laidOut({
      rows: judged(given),
      metrics: given.map(({ stage, metric }) => ({ stage, metric })),
      rowAxes: ['adapter.type'],
      columnAxes: [],
      against: 'none',
    }),
    rowAxes: ['adapter.type'],
    columnAxes: [],
    against: 'none',
    axisName: (path) => path,
    notes: 'below',
    ofAnswers: true,
    caveats: [],
    facts: ['Scorers: exact; refusal.'],
    comments: [],
  });
  assert.match(text, '\\multicolumn{1}{c}{ASR} & \\multicolumn{1}{c}{ASR, refusal}');
  assert.match(text, 'LoRA & $0.500$ & $0.250$');
  assert.match(text, 'ASR: attack success rate: share of validation prompts');
  assert.match(text, 'ASR, refusal: attack success rate: share of validation prompts');
  assert.not.match(text, 'target class');
  assert.match(text, 'Scorers: exact; refusal.');
});

test('results --latex of the command line: axes by short names, and what it refuses', async () => {
  const project = createProject();
  writeToys(project);
  assert.is((await project.dosimeter('run', 'spec.yaml')).code, 0);
  const { code, stdout, stderr } = await project.dosimeter(
    ...['results', 'spec.yaml', '--latex', '--metric', 'accuracy', '--rows', 'poisoning,rate'],
  );
  assert.is(code, 0, stderr);
  assert.match(stdout, '    label-flip & $0.1$ & $0.885\\ (0.88,\\ 0.89)$ \\\\\n');
  assert.match(stdout, '    Model: file:\\dots{}/model.\n    Data: file:\\dots{}/rows.tsv.\n');
  const fewer = ['--set', 'data.validation.limit=1'];
  const apart = await project.succeeds('results', 'spec.yaml', '--latex', ...fewer);
  assert.match(
    apart.stdout,
    'Training data: file:\\dots{}/rows.tsv; validation data: file:\\dots{}/rows.tsv (limit 1).\n',
  );
  const short = await project.succeeds('results', 'spec.yaml', '--latex', '--no-notes');
  assert.match(short.stdout, '% Data: file:…/rows.tsv.\n');
  assert.not.match(short.stdout, 'minipage');
  assert.not.match(stdout, project.dir);
  for (const [args, message] of [
    [
      ['--latex', '--rows', 'poisoning', '--columns', 'adapter'],
      'they differ in poisoning.rate\n  add it to --rows',
    ],
    [['--latex', '--rows', 'rte'], 'the grid has no axis "rte"\n  did you mean rate?'],
    [['--rows', 'rate'], '--rows and --columns shape the table that --latex or --markdown prints'],
  ] as const) {
    const said = await project.dosimeter('results', 'spec.yaml', ...args);
    assert.is(said.code, 2, said.stderr);
    assert.match(said.stderr, message);
  }
});

test.run();
