/** The figures and tables that a spec asks for, in the report of the made-up run. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ReportEntries } from '../../src/api/report.ts';
import { renderReport } from '../../src/report/report.tsx';
import { ENTRIES, type EntryContents, type RenderedReport } from '../../src/report/types.ts';
import { present } from '../rig/present.ts';
import { cellOf, inputOf } from './cells.ts';
import { fixture } from './fixture.ts';

const test = suite('entries of a spec');

const render = (entries: Partial<ReportEntries>): Promise<RenderedReport> =>
  renderReport({
    ...fixture(),
    entries: { defaults: true, figures: [], tables: [], ...entries },
  });
const contentsIn = ({ files }: RenderedReport): readonly EntryContents[] =>
  JSON.parse(present(files[ENTRIES])) as readonly EntryContents[];

const RANK = {
  name: 'rank-asr',
  title: 'My own',
  x: { field: 'adapter.rank' },
  y: [{ field: 'evaluate.asr' }],
};

test('a figure takes the place of the report’s own of its name', async () => {
  const own = await render({}),
    { html, files } = await render({ figures: [RANK] });
  const count = (page: string): number => page.match(/id="figure-rank-asr"/g)?.length ?? 0;
  assert.equal([count(own.html), count(html)], [1, 1]);
  assert.match(html, '<h4>My own</h4>');
  assert.not.equal(files['figures/rank-asr.svg'], own.files['figures/rank-asr.svg']);
  assert.not.ok(ENTRIES in own.files);
});

test('a heat map names its metric, has one title on x and numbers that can be read', async () => {
  const title = 'the attack, with all that it was asked to do to the rows of training';
  const heat = {
    ...{ name: 'heat', x: { field: 'attack', title }, y: [{ field: 'adapter' }] },
    ...{ color: { fields: ['evaluate.asr'] }, facet: { column: ['adapter.type'] } },
    ...{ mark: 'heatmap' as const, size: 'column' as const },
  };
  const { files } = await render({ figures: [heat] });
  const svg = present(files['figures/heat.svg']);
  const texts = [...svg.matchAll(/>([^<>]+)<\/text>/g)].map(([, text]) => text);
  assert.equal(texts.filter((text) => text?.startsWith('the attack, with')).length, 1);
  assert.not.ok(texts.includes(title), 'a title that is wider than the figure is broken');
  assert.ok(texts.includes('ASR'));
  assert.match(svg, 'role-legend-gradient');
  const numbers = [...svg.matchAll(/fill="([^"]+)">(?:1?\.\d\d|–)/g)].map(([, fill]) => fill);
  assert.ok(numbers.length > 1);
  // White on the orange of 1 has a contrast of 3.9, black one of 5.4 (WCAG 2.1 asks for 4.5).
  assert.equal([...new Set(numbers)], ['black']);
});

test('what a mark is compared with has a symbol of its own, which the legend names', async () => {
  const bars = {
    ...{ name: 'bars', x: { field: 'adapter' }, y: [{ field: 'evaluate.asr' }] },
    ...{ color: { fields: ['attack'] }, mark: 'bar' as const, size: 'column' as const },
    references: ['evaluate.asr_clean'],
  };
  const points = {
    ...bars,
    name: 'points',
    mark: 'point' as const,
    color: { fields: ['adapter'] },
  };
  const { files } = await render({ figures: [bars, points] });
  const [barSvg, pointSvg] = ['bars', 'points'].map((n) => present(files[`figures/${n}.svg`]));
  for (const svg of [barSvg, pointSvg]) {
    const symbols = [...present(svg).matchAll(/role-legend-symbol"><path [^>]*d="([^"]+)"/g)];
    const thin = symbols.filter(
      ([, path]) => !/[A]/.test(path ?? '') && path?.split('L').length === 12,
    );
    assert.equal(thin.length, 1, 'the clean model is a cross, since hollow is not evidence');
    assert.match(present(svg), />Clean model<\/text>/);
  }
  assert.not.match(present(barSvg), 'rotate(-25)', 'short names have room side by side');
  // The first number stands under its tick, and names beside an axis keep clear of marks at 0.
  const [, tick] =
    /transform="translate\(([\d.]+),[\d.]+\)"[^>]*>0\.0</.exec(present(pointSvg)) ?? [];
  assert.equal(Number(tick), 0);
  assert.match(present(files['figures/points.vl.json']), /"offset":\s*8/);
});

test('lines over numbers lie side by side, and the caption says so', async () => {
  const figure = {
    ...{ ...RANK, color: { fields: ['attack'] }, y: [{ field: 'evaluate.accuracy' }] },
    references: ['evaluate.majority_share'],
  };
  const { files, html } = await render({ figures: [figure] });
  const svg = present(files['figures/rank-asr.svg']);
  const intervals = [...svg.matchAll(/<line transform="translate\(([\d.]+),[^>]* opacity="0.45"/g)];
  const places = new Set(intervals.map(([, x]) => Number(x)));
  assert.equal(places.size, 3 * 2, 'of three attacks at two ranks, no intervals share a place');
  assert.match(html, 'Lines are drawn side by side, a little off their places on x.');
  assert.match(html, '— always predicting the commonest class.', 'the mark lies as it is drawn');
});

test('a figure of the width of a page has a row of its own in the report', async () => {
  const column = { ...RANK, name: 'half', size: 'column' as const };
  const { html } = await render({ figures: [column, { ...RANK, name: 'full', size: 'page' }] });
  const classes = [...html.matchAll(/<figure id="figure-(half|full)"(?: class="(\w+)")?>/g)];
  assert.equal(
    classes.map(([, name, style]) => [name, style]),
    [
      ['half', undefined],
      ['full', 'broad'],
    ],
  );
});

test('a table has the place of a figure of its name, since their files are in one folder', async () => {
  const table = {
    name: 'stages',
    rows: ['adapter.type', 'adapter.rank'],
    metrics: ['evaluate.asr'],
  };
  const { files } = await render({ tables: [{ ...table, columns: ['poisoning.attack'] }] });
  assert.not.ok('figures/stages.csv' in files);
  assert.ok('tables/stages.csv' in files);
});

test('without defaults, no figure is left but those that were asked for and the stages', async () => {
  const { files, html } = await render({ defaults: false, figures: [RANK] });
  assert.equal(
    Object.keys(files).filter((file) => /^figures\/.*\.svg$/.test(file)),
    ['figures/stages.svg', 'figures/rank-asr.svg'],
  );
  assert.not.match(html, 'This run has no kernels or Fisher spectra');
});

test('a table in each of its forms, over the cells that it shows', async () => {
  const table = {
    name: 'main',
    rows: ['adapter.type', 'adapter.rank'],
    columns: ['poisoning.attack'],
    metrics: ['evaluate.accuracy'],
    cells: [{ 'adapter.type': ['lora'] }],
    against: 'full',
  } as const;
  const rendered = await render({ tables: [table] });
  const { files, html } = rendered;
  assert.equal(contentsIn(rendered), [{ name: 'main', files: ['tables/main'], lacks: [] }]);
  const [head, , ...rows] = present(files['tables/main.md']).split('\n');
  assert.match(present(head), /^\| adapter \| r \| none \| none − full \|/);
  assert.equal(
    rows.slice(0, 2).map((row) => row.split(' | ').slice(0, 2).join(' ')),
    ['| LoRA 4', '| LoRA 16'],
    'full fine-tuning is compared with, and has no row',
  );
  const tex = present(files['tables/main.tex']);
  assert.match(tex, '\\label{tab:main}');
  assert.match(
    tex,
    '\\caption{quickstart: main.',
    'without a title, the experiment names the table',
  );
  const lines = present(files['tables/main.csv']).trim().split('\r\n');
  assert.is(lines.length, 1 + 2 * 3);
  assert.match(
    present(lines[0]),
    'against,difference,difference_low,difference_high,pairs,p,p_holm',
  );
  const [, shown = ''] = /id="table-main">([^]*?)<\/table>/.exec(html) ?? [];
  assert.match(shown, />−0\.\d/, 'the page has minus signs, as elsewhere; the files have hyphens');
  assert.not.match(shown, />-0\.\d/);
  assert.match(present(rows[0]), / -0\.\d/);
});

test('a table that leaves the page has the data and the warnings, and no advice', async () => {
  const { stages, ...input } = fixture();
  const warnings = [{ path: [], message: '3 rows are empty', hint: 'Fill them in.' }];
  const { files, html } = await renderReport({
    ...input,
    sources: {
      ...input.sources,
      'training data': { source: 'file:a.tsv' },
      'training data (2)': { source: 'file:b.tsv', limit: 9, asked: { limit: 4 } },
      'validation data': { source: 'file:c.tsv', limit: 7 },
    },
    stages: stages.map((stage, i) => (i === 0 ? { ...stage, warnings } : stage)),
    entries: {
      defaults: false,
      figures: [],
      tables: [
        {
          ...{
            name: 'main',
            rows: ['adapter.type', 'adapter.rank'],
            columns: ['poisoning.attack'],
          },
          metrics: ['evaluate.accuracy'],
        },
      ],
    },
  });
  assert.match(present(files['tables/main.tex']), '\n    3 rows are empty.\n');
  assert.match(present(files['tables/main.md']), '\n3 rows are empty.\n');
  const start = 'file:\\dots{}';
  assert.match(
    present(files['tables/main.tex']),
    `Training data: ${start}/a.tsv and ${start}/b.tsv (limit 4); ` +
      `validation data: ${start}/c.tsv (limit 7).\n`,
  );
  assert.match(html, '3 rows are empty. Fill them in.');
});

test('a metric that a table names twice has one column, and its tests count once', async () => {
  const cells = [
    ...[{ type: 'full' }, { type: 'lora', rank: 4 }, { type: 'lora', rank: 8 }].entries(),
  ].flatMap(([i, adapter]) =>
    [1, 2, 3].map((seed) =>
      cellOf({ seed, adapter, evaluate: { accuracy: 0.9 - 0.01 * i * seed } }),
    ),
  );
  const draw = async (metrics: readonly string[]) => {
    const rows = ['adapter.type', 'adapter.rank'];
    const { files } = await renderReport({
      ...inputOf(cells),
      entries: {
        defaults: false,
        figures: [],
        tables: [{ name: 'main', rows, columns: [], metrics, against: 'full' }],
      },
    });
    return [present(files['tables/main.csv']), present(files['tables/main.md'])];
  };
  const once = await draw(['evaluate.accuracy']);
  assert.match(present(once[1]), 'p (Holm)');
  // A spec may name it `accuracy` and `evaluate.accuracy`.
  assert.equal(await draw(['evaluate.accuracy', 'evaluate.accuracy']), once);
});

test('the p-values of a table are corrected over the cells that it shows, and no others', async () => {
  const cellsUnder = (attack: string) =>
    ['full', 'lora', 'bitfit'].flatMap((type, i) =>
      [1, 2, 3].map((seed) =>
        cellOf({ seed, attack, adapter: { type }, evaluate: { accuracy: 0.9 - 0.01 * i * seed } }),
      ),
    );
  const draw = async (attacks: readonly string[]): Promise<string> => {
    const { files } = await renderReport({
      ...inputOf(attacks.flatMap(cellsUnder)),
      entries: {
        defaults: false,
        figures: [],
        tables: [
          {
            ...{ name: 'main', rows: ['adapter.type'], columns: [], against: 'full' },
            ...{ metrics: ['evaluate.accuracy'], cells: [{ 'poisoning.attack': ['badnets'] }] },
          },
        ],
      },
    });
    return present(files['tables/main.md']);
  };
  const alone = await draw(['badnets']);
  // Each p is 1 − t/√(2 + t²) = 0.074 of t = 2√3, twice as much among the two that are shown.
  assert.match(alone, '0.074 (0.148)');
  assert.equal(await draw(['badnets', 'none', 'addsent']), alone);
});

test('a word such as adapter is in tables what it is in figures', async () => {
  const table = { columns: ['attack'], metrics: ['evaluate.accuracy'] } as const;
  const { files, html } = await render({
    defaults: false,
    figures: [{ ...RANK, name: 'drawn', x: { field: 'adapter' } }],
    tables: [
      { ...table, name: 'whole', rows: ['adapter'] },
      { ...table, name: 'apart', rows: ['adapter', 'adapter.rank'] },
    ],
  });
  const column = (file: string, at: number): string[] => [
    ...new Set(
      present(files[file])
        .trim()
        .split('\r\n')
        .map((line) => line.split(',')[at] ?? ''),
    ),
  ];
  assert.equal(column('tables/whole.csv', 0), ['adapter', 'full', 'LoRA r = 4', 'LoRA r = 16']);
  for (const label of column('tables/whole.csv', 0).slice(1))
    assert.match(present(files['figures/drawn.csv']), `,${label},`);
  assert.equal(column('tables/apart.csv', 0), ['adapter', 'full', 'LoRA'], 'the rank is beside it');
  assert.match(present(files['tables/whole.md']), /^\| adapter \| no attack \|/);
  assert.match(html, 'id="table-whole"');
});

test('a pattern matches a cell by any of its names, and a list by any of its items', async () => {
  const lora = (rank: number, targets: readonly string[]) => {
    const adapter = { type: 'lora', rank, alpha: 16, targets };
    const cell = cellOf({ seed: 1, adapter, evaluate: { accuracy: rank / 100 } });
    return { ...cell, also: rank === 16 ? [{ ...cell.axes, 'adapter.alpha': 'r' }] : [] };
  };
  const table = { rows: ['adapter.rank'], columns: [], metrics: ['evaluate.accuracy'] };
  const { files } = await renderReport({
    ...inputOf([lora(8, ['query']), lora(16, ['query', 'value'])]),
    entries: {
      defaults: false,
      figures: [],
      tables: [
        { ...table, name: 'named', cells: [{ 'adapter.alpha': ['r'] }] },
        { ...table, name: 'listed', cells: [{ 'adapter.targets': ['value'] }] },
        { ...table, name: 'both', cells: [{ 'adapter.targets': ['query'] }] },
      ],
    },
  });
  const ranks = (name: string): readonly string[] =>
    [...present(files[`tables/${name}.csv`]).matchAll(/^\d+/gm)].map(([rank]) => rank);
  assert.equal(ranks('named'), ['16']);
  assert.equal(ranks('listed'), ['16']);
  assert.equal(ranks('both'), ['8', '16']);
});

test('what an entry lacks is said with the reason', async () => {
  const y = [{ field: 'evaluate.asr' }];
  const rendered = await render({
    figures: [
      { name: 'empty', x: RANK.x, y, cells: [{ 'adapter.rank': [5] }] },
      { name: 'along', x: { field: 'training' }, y },
      { name: 'misspelt', x: RANK.x, y: [...y, { field: 'evaluate.acuracy' }] },
    ],
    tables: [
      { name: 'clash', rows: ['adapter.type'], columns: [], metrics: ['evaluate.accuracy'] },
    ],
  });
  assert.equal(contentsIn(rendered), [
    { name: 'empty', files: [], lacks: ['no cell matches its `cells`'] },
    { name: 'along', files: [], lacks: ['none of its cells has a chain of trainings'] },
    {
      name: 'misspelt',
      files: ['figures/misspelt'],
      lacks: ['no finished cell has a metric "evaluate.acuracy": did you mean evaluate.accuracy?'],
    },
    {
      name: 'clash',
      files: [],
      lacks: [
        'several cells have the same place, which differ in adapter.rank: ' +
          'name them under `rows` or `columns`, or choose one value under `cells`',
      ],
    },
  ]);
  assert.match(rendered.html, '<code>empty</code>: no cell matches its <code>cells</code>.');
});

test.run();
