import { inflateSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import { conditionsOf } from '../../src/report/conditions.ts';
import { rankFigures, varianceFigures } from '../../src/report/figures/adapter-axes.ts';
import { answerFigures } from '../../src/report/figures/answer.ts';
import { doseFigures } from '../../src/report/figures/doses.ts';
import { classTrace, kernelFigures } from '../../src/report/figures/kernels.ts';
import { lossFigures } from '../../src/report/figures/losses.ts';
import { scoreFigure } from '../../src/report/figures/scores.ts';
import { kindEdges, stageKinds } from '../../src/report/figures/stages.ts';
import { stepFigures } from '../../src/report/figures/steps.ts';
import { label } from '../../src/report/figures/svg.ts';
import { adapterPalette, legendColumns } from '../../src/report/figures/theme.ts';
import { chooseKernels } from '../../src/report/kernel-choice.ts';
import { ACCURACY } from '../../src/report/metrics.ts';
import { renderReport } from '../../src/report/report.ts';
import type { Figure, ReportCell } from '../../src/report/types.ts';
import { cellOf, LORA4, stageOf } from './cells.ts';
import { fixture, kernelPoint, QUICK_ADAPTERS, QUICK_ATTACKS } from './fixture.ts';

const test = suite('figures');
const ids = (figures: readonly { readonly id: string }[]): string[] => figures.map(({ id }) => id);
const conditions = (options: Parameters<typeof fixture>[0]) =>
  conditionsOf(fixture(options).cells, []);
/** The lines of a figure's CSV. */
const linesOf = (figure: Figure | undefined): readonly string[] =>
  figure?.csv?.trim().split('\r\n') ?? [];
/** A small grid: the quickstart's with kernels of four rows. */
const small = () => fixture({ rows: 4 }).cells;
/** LoRA with two layers of different fan-in; what the spec says of σ², and what σ² is by layer. */
const withVariance = (written: string | number, variance: (fanIn: number) => number) => {
  const groups = [64, 256].map((fanIn) => ({
    fanIn,
    layers: 1,
    variance: variance(fanIn),
    measured: null,
  }));
  return cellOf({
    seed: 1,
    adapter: { type: 'lora', rank: 4, 'init.variance': written },
    evaluate: { accuracy: 0.9 },
    change: { lora: { rank: 4, scale: 1, groups } },
  });
};

test('the quickstart has every figure, each with a title, and ids are unique', async () => {
  const { html, files } = await renderReport(fixture());
  for (const name of [
    'scores-accuracy',
    'scores-asr',
    'differences',
    'loss-0',
    'loss-2',
    'information-bits-init',
    'information-bits-normalised-final',
    'renyi-raw-init',
    'renyi-normalised-final',
    'spectrum-init',
    'spectrum-final-2',
    'kernel-spectrum-init',
    'kernel-0',
    'kernel-3',
    'stages',
    'rank-information-bits',
  ])
    assert.ok(files[`figures/${name}.svg`]?.startsWith('<svg'), name);
  const found = [...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id!);
  assert.equal(
    found.filter((id, i) => found.indexOf(id) !== i),
    [],
  );
  for (const [path, svg] of Object.entries(files))
    if (path.endsWith('.svg'))
      assert.match(
        svg,
        /^<svg[^>]* role="img" aria-labelledby="([^"]+)"><title id="\1">[^<]+<\/title>/,
        path,
      );
  for (const [, id] of html.matchAll(/url\(#([^)]+)\)/g))
    assert.ok(found.includes(id!), `url(#${id}) leads to nothing`);
});

test('every seed is a point, and the CSV holds what is drawn', async () => {
  const cells = [0.91, 0.95].map((accuracy, i) => cellOf({ seed: i + 1, evaluate: { accuracy } }));
  const figure = await scoreFigure(ACCURACY, conditionsOf(cells, []));
  assert.is(
    figure!.csv,
    'attack,adapter,setting,seed,accuracy\r\nno attack,full,,1,0.91\r\nno attack,full,,2,0.95\r\n',
  );
  assert.is(figure!.svg.match(/fill="#0072b2"[^>]*stroke="#1b2430"/g)!.length, 2);
});

test("a loss that is the attack's own is not called cross-entropy", async () => {
  const cells = small().map((cell) =>
    cell.attack === 'badnets' ? { ...cell, attacksLoss: true as const } : cell,
  );
  for (const { title, svg, caption } of await lossFigures(conditionsOf(cells, []))) {
    const own = title.includes('badnets');
    assert.equal(
      [
        svg.includes('training loss (the attack’s own)'),
        svg.includes('cross-entropy'),
        caption.includes('on another scale'),
      ],
      [own, !own, own],
      title,
    );
  }
});

test('evaluations during training are drawn over steps, a figure for each attack', async () => {
  const cells = small();
  assert.equal(await stepFigures(conditionsOf(cells, [])), [], 'none where nothing was evaluated');
  const evaluated = cells.map((cell) => ({
    ...cell,
    curves: [0, 10, 20].map((step) => ({
      step,
      accuracy: 0.5 + step / 50,
      ...(cell.family === 'backdoor' ? { asr: step / 20, poisoned_accuracy: step / 40 } : {}),
    })),
  }));
  const figures = await stepFigures(conditionsOf(evaluated, []));
  const backdoor = figures.find(({ title }) => title.includes('badnets'))!,
    clean = figures.find(({ title }) => title.includes('no attack') || title.includes('none'))!;
  assert.ok(
    ['clean accuracy', 'ASR', 'accuracy on poisoned rows'].every((panel) =>
      backdoor.svg.includes(panel),
    ),
  );
  assert.ok(clean.svg.includes('clean accuracy') && !clean.svg.includes('ASR'));
  assert.is(backdoor.csv!.trim().split('\n').length, 1 + QUICK_ADAPTERS.length * 2 * 3 * 3);
});

test('curves come with the axes of the grid and not without', async () => {
  const quick = conditions({});
  assert.equal([ids(await doseFigures(quick)), ids(await varianceFigures(quick))], [[], []]);
  const doses = conditions({
    attacks: [
      { attack: 'none' },
      ...[0.01, 0.1].map((rate) => ({ attack: 'badnets', rate })),
      { attack: 'label-flip', rate: 0.3 },
    ],
  });
  assert.equal(ids(await doseFigures(doses)), [
    'dose-badnets-poisoning-rate-accuracy',
    'dose-badnets-poisoning-rate-asr',
  ]);
  const one = conditions({ adapters: QUICK_ADAPTERS.slice(0, 2) });
  assert.equal([ids(await rankFigures(one)), ids(await varianceFigures(one))], [[], []]);
  assert.equal(ids(await rankFigures(quick)).slice(0, 4), [
    'rank-accuracy',
    'rank-accuracy-drop',
    'rank-asr',
    'rank-information-bits',
  ]);
});

test('adapters at a single place of an axis draw no line; full has one of its own', async () => {
  const lora = (rank: number, alpha: string | number, accuracy: number) =>
    cellOf({ seed: 1, adapter: { type: 'lora', rank, alpha }, evaluate: { accuracy } });
  const [figure] = await rankFigures(
    conditionsOf(
      [
        cellOf({ seed: 1, evaluate: { accuracy: 0.95 } }),
        lora(4, 'r', 0.5),
        lora(8, 'r', 0.6),
        lora(4, 16, 0.7),
        lora(8, 16, 0.8),
        lora(8, 64, 0.9),
      ],
      [],
    ),
  );
  assert.equal(linesOf(figure), [
    'line,x,seed,value',
    '"no attack · LoRA, α = r",4,1,0.5',
    '"no attack · LoRA, α = r",8,1,0.6',
    '"no attack · LoRA, α = 16",4,1,0.7',
    '"no attack · LoRA, α = 16",8,1,0.8',
    'no attack · full,,1,0.95',
  ]);
});

test('a condition of two names is a point on each name’s line, once for each place', async () => {
  const cellsOf = (rank: number, alpha: number | string, also?: JsonObject): ReportCell[] =>
    [1, 2].map((seed) => {
      const cell = cellOf({
        seed,
        adapter: { type: 'lora', rank, alpha },
        evaluate: { accuracy: 0.9 + rank / 1000 },
      });
      return also === undefined ? cell : { ...cell, also: [{ ...cell.axes, ...also }] };
    });
  const [figure] = await rankFigures(
    conditionsOf(
      [
        ...cellsOf(8, 'r'),
        ...cellsOf(8, 16),
        ...cellsOf(16, 'r', { 'adapter.alpha': 16 }),
        ...cellsOf(32, 'r', { 'adapter.rank': 32 }),
      ],
      [],
    ),
  );
  const points = [
    ['r', 8, 0.908],
    ['16', 8, 0.908],
    ['r', 16, 0.916],
    ['16', 16, 0.916],
    ['r', 32, 0.932],
  ].flatMap(([alpha, rank, value]) =>
    [1, 2].map((seed) => `"no attack · LoRA, α = ${alpha}",${rank},${seed},${value}`),
  );
  assert.equal(linesOf(figure), ['line,x,seed,value', ...points]);
});

test('the axis of a theory figure has a title that fits beside it', async () => {
  const bits = (await rankFigures(conditions({}))).find(
    ({ id }) => id === 'rank-information-bits',
  )!;
  assert.match(bits.title, 'IB of LoRA’s kernel after training, against rank');
  assert.match(bits.svg, />IB \(nats\)</);
});

test("long names share a legend's rows, so that no figure shrinks under it", async () => {
  assert.equal(
    [legendColumns(['full', 'LoRA r = 4']), legendColumns(['LoRA r = 32, α = 16, σ² = 1/(3d)'])],
    [4, 1],
  );
  const adapters = [4, 8, 16, 32].map((rank) => ({
    type: 'lora',
    rank,
    alpha: 16,
    'init.variance': '1/(3d)',
    'init.distribution': rank === 4 ? 'normal' : 'uniform',
  }));
  const { files } = await renderReport(
    fixture({ adapters: [{ type: 'full' }, ...adapters], rows: 4 }),
  );
  for (const name of ['renyi-raw-final', 'spectrum-final-0', 'loss-0']) {
    const width = Number(/ width="([\d.]+)"/.exec(files[`figures/${name}.svg`]!)![1]);
    assert.ok(width < 600, `${name} is ${width} wide`);
  }
});

test('dose 0 is the run without attack, or the clean model’s trigger rate', async () => {
  const cells = [
    cellOf({ seed: 1, evaluate: { accuracy: 0.95 } }),
    ...[0.1, 0.2].map((rate) =>
      cellOf({
        seed: 1,
        attack: 'badnets',
        poisoning: { rate },
        evaluate: { accuracy: 0.9 - rate, asr: rate * 4, asr_clean: 0.07 },
      }),
    ),
  ];
  const [accuracy, asr] = await doseFigures(conditionsOf(cells, []));
  assert.equal(linesOf(accuracy), [
    'line,x,seed,value',
    'full,0,1,0.95',
    'full,0.1,1,0.8',
    'full,0.2,1,0.7',
  ]);
  assert.is(linesOf(asr)[1], 'full,0,1,0.07');
});

test('the variance axis is σ²n where every layer has the same, as k/d gives it', async () => {
  const cells = [
    withVariance('1/d', (fanIn) => 1 / fanIn),
    withVariance('1/(3d)', (fanIn) => 1 / (3 * fanIn)),
  ];
  const [figure] = await varianceFigures(conditionsOf(cells, []));
  assert.equal(linesOf(figure), [
    'line,x,seed,value',
    'no attack,1,1,0.9',
    'no attack,0.333333333,1,0.9',
  ]);
  assert.match(figure!.svg, 'σ²·n');
});

test('the variance axis is σ² where more conditions have one; others are named', async () => {
  const cells = [
    withVariance('1/d', (fanIn) => 1 / fanIn),
    withVariance(0.01, () => 0.01),
    withVariance(0.02, () => 0.02),
  ];
  const [figure] = await varianceFigures(conditionsOf(cells, []));
  assert.equal(linesOf(figure), [
    'line,x,seed,value',
    'no attack,0.01,1,0.9',
    'no attack,0.02,1,0.9',
  ]);
  assert.match(figure!.svg, 'variance σ² of A');
  assert.not.match(figure!.svg, 'σ²·n');
  assert.match(figure!.caption, 'Left out, without a single value on this axis: σ² = 1/d.');
});

test('a figure has five lines at most: more are shared out evenly, and none is lost', async () => {
  const figures = await rankFigures(
    conditionsOf(
      Array.from({ length: 8 }, (_, i) => (i + 1) / 10).flatMap((rate) =>
        [4, 8].map((rank) =>
          cellOf({
            seed: 1,
            attack: 'badnets',
            poisoning: { rate },
            adapter: { type: 'lora', rank },
            evaluate: { accuracy: 0.9 },
          }),
        ),
      ),
      [],
    ),
  );
  assert.equal(
    figures.map(({ id, title }) => [id, title]),
    [
      ['rank-accuracy', 'Clean accuracy, against rank (1 of 2)'],
      ['rank-accuracy-2', 'Clean accuracy, against rank (2 of 2)'],
    ],
  );
  const lines = figures.map(
    ({ csv }) =>
      new Set(
        csv!
          .trim()
          .split('\r\n')
          .slice(1)
          .map((row) => row.replace(/,[^,]*,[^,]*,[^,]*$/, '')),
      ).size,
  );
  assert.equal(lines, [4, 4]);
});

test('values that differ by rounding at most have an axis with readable ticks', async () => {
  const drop = (values: readonly number[]) =>
    rankFigures(
      conditionsOf(
        [4, 8].map((rank, i) =>
          cellOf({
            seed: 1,
            attack: 'label-flip',
            adapter: { type: 'lora', rank },
            evaluate: { accuracy_drop: values[i]! },
          }),
        ),
        [],
      ),
    );
  for (const values of [
    [0, 0],
    [0, 1e-17],
  ]) {
    const [figure] = await drop(values);
    const ticks = [...figure!.svg.matchAll(/>([−-]?0\.\d+)</g)].map(([, text]) => text!);
    assert.ok(ticks.length > 0 && ticks.every((text) => text.length <= 6), ticks.join(' '));
    assert.not.match(figure!.svg, /e-\d+</);
  }
});

test('the answer shows each attack at its highest dose, beside what it is compared with', () => {
  const evaluate = { accuracy: 0.9, majority_share: 0.5, asr: 0.8, asr_clean: 0.1 };
  const cells = [0.1, 0.2].flatMap((rate) => [
    cellOf({ seed: 1, attack: 'badnets', poisoning: { rate }, evaluate: { ...evaluate } }),
    cellOf({
      seed: 1,
      attack: 'badnets',
      poisoning: { rate },
      adapter: LORA4,
      evaluate: { ...evaluate, asr: 1, asr_untriggered: 1, predicted_share: 1 },
    }),
  ]);
  const all = conditionsOf([...cells, cellOf({ seed: 1, evaluate: { accuracy: 0.95 } })], []);
  const [accuracy, asr] = answerFigures(all);
  assert.equal(
    [...accuracy!.svg.matchAll(/font-weight="600">([^<]+)</g)].map(([, text]) => text),
    ['no attack', 'badnets, rate 0.2'],
  );
  assert.is(
    asr!.csv,
    [
      'attack,adapter,setting,seed,metric,value',
      '"badnets, rate 0.2",full,,1,asr,0.8',
      '"badnets, rate 0.2",full,,1,asr_clean,0.1',
      '"badnets, rate 0.2",LoRA r = 4,,1,asr,1',
      '"badnets, rate 0.2",LoRA r = 4,,1,asr_clean,0.1',
      '"badnets, rate 0.2",LoRA r = 4,,1,asr_untriggered,1',
      '',
    ].join('\r\n'),
  );
  assert.match(asr!.caption, 'Hollow points: models that predict one class only.');
  assert.match(asr!.caption, '○ the clean model under the trigger · ❘ the same model without');
});

test('full is blue everywhere, and adapters keep their colours', () => {
  const palette = adapterPalette(conditions({}));
  assert.equal([palette.domain[0], palette.range[0]], ['full', '#0072b2']);
  assert.is(new Set(palette.range).size, 3);
});

test('trace over classes: Σ_c K[i, c, j, c] by hand, N = 2, C = 2', () => {
  // K[i, c, j, d] at ((i·2 + c)·2 + j)·2 + d = 0 … 15: K[0,0,1,0] = 2 and K[0,1,1,1] = 7.
  assert.equal(
    [...classTrace({ rows: 2, classes: 2, data: Array.from({ length: 16 }, (_, i) => i) })],
    [0 + 5, 2 + 7, 8 + 13, 10 + 15],
  );
});

test('a projected kernel is drawn as the estimate that it is', () => {
  const kernel = { rows: 1, classes: 2, data: [2, 0, 0, 1] };
  const cell = cellOf({
    seed: 1,
    adapter: LORA4,
    change: {
      metrics: { ntk: { 'init.lora.error': 0.125 } },
      kernels: { init: { labels: [0], kernels: { lora: kernel, full: kernel } } },
    },
  });
  const [figure] = kernelFigures([{ cell, checkpoint: 'init', title: 'x' }], ['a']);
  assert.match(
    figure!.caption,
    'Estimates from projected gradients, with a standard error of 12.50% of its norm (LoRA).',
  );
  assert.match(figure!.svg, 'LoRA (A and B), estimate');
  assert.not.match(figure!.svg, 'full (same layers), estimate');
  const exact = { ...cell, metrics: {} };
  const [plain] = kernelFigures([{ cell: exact, checkpoint: 'init', title: 'x' }], ['a']);
  assert.not.match(plain!.caption + plain!.svg, /[Ee]stimate/);
});

test('one LoRA and seed is chosen for kernels: its start, and the end under each attack', () => {
  const { cells } = fixture();
  const chosen = chooseKernels(cells, (cell) => cell.seed === 2);
  assert.equal(
    chosen.map(({ cell, checkpoint }) => [
      cell.attack,
      cell.axes['adapter.rank'],
      cell.seed,
      checkpoint,
    ]),
    [
      ['none', 4, 2, 'init'],
      ['none', 4, 2, 'final'],
      ['label-flip', 4, 2, 'final'],
      ['badnets', 4, 2, 'final'],
    ],
  );
  assert.is(chooseKernels(cells, () => false).length, 0);
  assert.is(
    chooseKernels(
      cells.filter(({ adapter }) => adapter === 'full'),
      () => true,
    )[0]!.cell.adapter,
    'full',
  );
});

test('the heat map orders rows by class and draws the boundary', () => {
  const point = kernelPoint(1, 4, { full: 1 }); // labels 0 1 0 1
  const cell = cellOf({ seed: 1, change: { kernels: { init: point } } });
  const [figure] = kernelFigures([{ cell, checkpoint: 'init', title: 'x' }], ['ham', 'spam']);
  assert.is(figure!.csv!.split('\r\n')[0], 'kernel,row,label,to_0,to_2,to_1,to_3');
  assert.equal(
    figure!
      .csv!.split('\r\n')
      .slice(1, 5)
      .map((line) => line.split(',').slice(1, 3).join(' ')),
    ['0 0', '2 0', '1 1', '3 1'],
  );
  assert.is(figure!.svg.match(/stroke-dasharray/g)!.length, 1);
  assert.match(figure!.svg, '>ham</text>');
  const png = Buffer.from(/data:image\/png;base64,([^"]+)/.exec(figure!.svg)![1]!, 'base64');
  const at = png.indexOf('IDAT', 0, 'latin1');
  const pixels = inflateSync(png.subarray(at + 4, at + 4 + png.readUInt32BE(at - 4)));
  assert.is(pixels.length, 4 * 5);
  assert.ok(
    pixels[1]! > 127 && pixels[1 + 5 + 1]! > 127,
    'the diagonal of a PSD kernel is positive',
  );
  assert.equal([pixels[2], pixels[3]], [pixels[1 + 5], pixels[1 + 10]], 'symmetric');
});

test('the DAG is drawn by kind', () => {
  const stages = [
    stageOf('data-a'),
    stageOf('train-b', { inputs: ['data-a'], seconds: 3 }),
    stageOf('train-c', { inputs: ['data-a'], seconds: NaN, state: 'cached' }),
    stageOf('report-d', { inputs: ['train-b', 'train-c', 'gone'] }),
  ];
  assert.equal(stageKinds(stages)[1], {
    kind: 'train',
    count: 2,
    seconds: 3,
    cached: 1,
    failed: 0,
    blocked: 0,
  });
  assert.equal(kindEdges(stages), [
    { from: 'data', to: 'train', count: 2 },
    { from: 'train', to: 'report', count: 2 },
  ]);
});

test('ids of one SVG are not those of another, and titles are escaped', () => {
  assert.is(
    label(
      '<svg width="1"><clipPath id="a"/><g clip-path="url(#a)"/><text>="url(#b)</text></svg>',
      'f',
      '<b>',
    ),
    '<svg width="1" role="img" aria-labelledby="f-title"><title id="f-title">&lt;b&gt;</title>' +
      '<clipPath id="f-a"/><g clip-path="url(#f-a)"/><text>="url(#b)</text></svg>',
  );
});

test('the same input gives the same page', async () => {
  const options = { seeds: [1], attacks: QUICK_ATTACKS.slice(0, 1), rows: 4 };
  const [one, other] = [await renderReport(fixture(options)), await renderReport(fixture(options))];
  assert.equal(
    Object.keys(one.files).filter((path) => one.files[path] !== other.files[path]),
    [],
  );
  assert.ok(one.html === other.html);
});

test.run();
