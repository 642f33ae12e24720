/** `report`: the figures and tables that a spec asks for, as they reach the report. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createRig, minimal, type Rig } from './rig.ts';

const test = suite<{ rig: Rig }>('report');
test.before.each(async (context) => {
  context.rig = await createRig();
});

const grid = `${minimal}seeds: [1, 2]
poisoning: [{ attack: none }, { attack: badnets, rate: [0.1, 0.2] }]
adapter: [{ type: full }, { type: lora, rank: [4, 8] }]
`;

test('names are completed, and what is left out stays left out', async ({ rig }) => {
  const { report, warnings } = await rig.expand(`${grid}report:
  defaults: false
  figures:
    - name: rate
      x: { field: rate, scale: log, title: Poison rate, domain: [0.05, 0.4] }
      y: [asr, evaluate.own_metric, { field: accuracy, title: Clean }]
      color: [adapter, rank]
      facet: attack
      cells: { attack: badnets, rate: { min: 0.1 }, train.warmup: 0 }
      against: full
      references: majority_share
    - { name: steps, x: step, y: evaluate.asr, facet: { row: adapter.type, column: setting } }
    - { name: map, x: rank, y: attack, color: asr, seeds: false, statistic: median, size: page }
  tables:
    - { name: main, rows: adapter, columns: [attack, rate], metrics: [asr], spread: std }
`);
  assert.equal(warnings, []);
  assert.equal(report, {
    defaults: false,
    figures: [
      {
        name: 'rate',
        x: { field: 'poisoning.rate', title: 'Poison rate', scale: 'log', domain: [0.05, 0.4] },
        y: [
          { field: 'evaluate.asr' },
          { field: 'evaluate.own_metric' },
          { field: 'evaluate.accuracy', title: 'Clean' },
        ],
        color: { fields: ['adapter', 'adapter.rank'] },
        facet: { column: ['attack'] },
        cells: [{ 'poisoning.attack': ['badnets'], 'poisoning.rate': { min: 0.1 } }],
        against: 'full',
        references: ['evaluate.majority_share'],
      },
      {
        name: 'steps',
        x: { field: 'step' },
        y: [{ field: 'evaluate.asr' }],
        facet: { row: ['adapter.type'], column: ['setting'] },
      },
      {
        name: 'map',
        x: { field: 'adapter.rank' },
        y: [{ field: 'attack' }],
        color: { fields: ['evaluate.asr'] },
        statistic: 'median',
        seeds: false,
        size: 'page',
      },
    ],
    tables: [
      {
        name: 'main',
        rows: ['adapter'],
        columns: ['attack', 'poisoning.rate'],
        metrics: ['evaluate.asr'],
        spread: 'std',
      },
    ],
  });
});

test('an envelope has full names, and its bounds and seeds', async ({ rig }) => {
  const tested = grid.replace('data: {', 'data: { test: { source: "npm:test" },');
  const { report, warnings } = await rig.expand(`${tested}report:
  figures:
    - name: worst
      x: adapter
      y: asr
      envelope: { over: [rate, rank], highest: asr, where: { evaluate.accuracy_drop: { max: 0.02 } } }
  tables:
    - name: best
      rows: attack
      metrics: asr
      envelope: { over: adapter, lowest: asr, selection_seeds: [1] }
`);
  assert.equal(warnings, []);
  assert.equal(report?.figures[0]?.envelope, {
    over: ['poisoning.rate', 'adapter.rank'],
    choose: 'highest',
    by: 'evaluate.asr',
    where: { 'evaluate.accuracy_drop': { max: 0.02 } },
  });
  assert.equal(report?.tables[0]?.envelope, {
    ...{ over: ['adapter'], choose: 'lowest', by: 'evaluate.asr', selectionSeeds: [1] },
  });
});

test('a spec without the section has no entries, and one with it has the defaults', async ({
  rig,
}) => {
  const { report, resolved } = await rig.expand(minimal);
  assert.is(report, undefined);
  assert.not.ok('report' in (resolved as object));
  const empty = await rig.expand(`${minimal}report: {}\n`);
  assert.equal(empty.report, { defaults: true, figures: [], tables: [] });
});

test('a part of the grid has the entries of the whole', async ({ rig }) => {
  const text = `${grid}report: { figures: [{ name: a, x: rank, y: asr, cells: { type: lora } }] }\n`;
  const whole = await rig.expand(text);
  const part = await rig.expand(text, { only: ['adapter=full'] });
  assert.equal(part.report, whole.report);
  assert.equal(part.warnings, []);
});

test('a name or a pattern that fits no cell is warned of', async ({ rig }) => {
  const { report, warnings } = await rig.expand(
    `${grid}report: { figures: [{ name: a, x: train.steps, y: asr, cells: [{ rank: 5 }] }] }\n`,
  );
  assert.equal(
    warnings.map(({ code, message, warning, range }) => [code, message, warning, range?.column]),
    [
      ['matches-nothing', '"train.steps" is no axis of this grid', true, 35],
      ['matches-nothing', 'this matches no cell of the grid', true, 64],
    ],
  );
  assert.equal(report?.figures[0]?.cells, [{ 'adapter.rank': [5] }]);
});

test('published numbers: the rows that are chosen, with the columns that are named', async ({
  rig,
}) => {
  await rig.write({
    'published/asr.csv': `task,series,n,mean,low,high
sst2,lora:flip,4,0.91,.9,.92
sst2,full,4,0.5,0.4,0.6
agnews,full,4,n/a,,
`,
  });
  const { report, resolved } = await rig.expand(`${grid}report:
  figures:
    - name: published
      x: rank
      y: asr
      color: adapter
      overlay:
        file: published/asr.csv
        citation: "arXiv 2505.12871, Figure 1"
        where: { task: sst2, n: [4, 8] }
        x: n
        y: mean
        spread: [low, high]
        color: series
        names: { "lora:flip": LoRA r = 4 }
`);
  assert.equal(report?.figures[0]?.overlays, [
    {
      rows: [
        { n: '4', mean: '0.91', low: '.9', high: '.92', series: 'lora:flip' },
        { n: '4', mean: '0.5', low: '0.4', high: '0.6', series: 'full' },
      ],
      citation: 'arXiv 2505.12871, Figure 1',
      x: 'n',
      y: 'mean',
      names: { 'lora:flip': 'LoRA r = 4' },
      label: 'published',
      color: 'series',
      spread: ['low', 'high'],
    },
  ]);
  assert.match(JSON.stringify(resolved), `"file":"${rig.dir}/published/asr.csv"`);
});

test.run();
