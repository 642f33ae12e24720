import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { analyse } from '../../src/report/analysis.ts';
import { conditionsOf, headlineBlocks, labelsLeftOut } from '../../src/report/conditions.ts';
import { labelSvg } from '../../src/report/figures/encode.ts';
import { drawFigures, type FigureSection } from '../../src/report/figures/index.ts';
import { kindEdges, stageKinds } from '../../src/report/figures/stages.ts';
import { adapterPalette, legendLayout, nameLines } from '../../src/report/figures/theme.ts';
import { binHistory } from '../../src/report/inputs.ts';
import { escapeLatex } from '../../src/report/latex.ts';
import { renderReport } from '../../src/report/report.tsx';
import type { ReportCell } from '../../src/report/types.ts';
import { present } from '../rig/present.ts';
import { cellOf, facts, inputOf, LORA4, LORA8, rowsOf, stageOf } from './cells.ts';
import { fixture } from './fixture.ts';
import { QUICK_ADAPTERS, QUICK_ATTACKS } from './trainings.ts';

const test = suite('figures');
const conditions = (options: Parameters<typeof fixture>[0]) =>
  conditionsOf(fixture(options).cells, []);
/** The figures of one section of the report. */
const sectionOf = async (section: FigureSection, cells: readonly ReportCell[]) =>
  (await drawFigures(analyse(inputOf(cells))))[section];
/** A small grid like the quickstart's, with kernels of four rows. */
const small = () => fixture({ rows: 4 }).cells;

test('the quickstart has every figure, each with a title, and ids are unique', async () => {
  const { html, files } = await renderReport(fixture());
  for (const name of [
    ...'scores-accuracy scores-asr differences-asr information-bits-init'.split(' '),
    ...'loss-no-attack loss-label-flip-rate-0-3 kernel-final-badnets-rate-0-1'.split(' '),
    ...'information-bits-normalised-final renyi-raw-init renyi-normalised-final'.split(' '),
    ...'spectrum-init spectrum-final-no-attack kernel-spectrum-init kernel-init stages'.split(' '),
    ...'rank-information-bits'.split(' '),
  ])
    assert.ok(files[`figures/${name}.svg`]?.startsWith('<svg'), name);
  const found = [...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => present(id));
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
    assert.ok(found.includes(present(id)), `url(#${id}) refers to nothing`);
});

test('LaTeX can set every caption: beside ASCII, letters alone are left', async () => {
  const sections = Object.values(await drawFigures(analyse(fixture())));
  const captions = sections.flat().flatMap((one) => ('caption' in one ? [one.caption] : []));
  assert.ok(captions.some((caption) => caption.includes('●')));
  for (const caption of captions)
    assert.not.match(escapeLatex(caption), /[^\p{ASCII}\p{L}]/u, caption);
});

test('every seed is a point, and the CSV holds what is drawn', async () => {
  const cells = [0.91, 0.95].map((accuracy, i) => cellOf({ seed: i + 1, evaluate: { accuracy } }));
  const [figure] = await sectionOf('scores', cells);
  assert.is(
    present(figure).csv,
    'attack,adapter,setting,seed,evaluate.accuracy,not_evidence\r\n' +
      'no attack,full,,1,0.91,\r\nno attack,full,,2,0.95,\r\n',
  );
  assert.is(present(present(figure).svg.match(/fill="#0072b2"[^>]*stroke="#1b2430"/g)).length, 2);
});

test("a loss that is the attack's own is not called cross-entropy", async () => {
  const cells = small().map((cell) =>
    cell.attack === 'badnets' ? { ...cell, attacksLoss: true as const } : cell,
  );
  for (const { title, svg, caption } of await sectionOf('losses', cells)) {
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

test('the caption of a loss says of how many steps a point is the mean, in each figure', async () => {
  const historyOf = (steps: number) =>
    binHistory(Array.from({ length: steps }, (_, i) => ({ step: i + 1, loss: 1 / (i + 1) })));
  const trained = (attack: string, steps: number): ReportCell => {
    const cell = cellOf({ seed: 1, attack, change: { history: historyOf(steps) } });
    return { ...cell, axes: { ...cell.axes, 'train.steps': steps } };
  };
  const captions = (
    await sectionOf('losses', [
      trained('none', 30),
      trained('none', 400),
      trained('badnets', 400),
      trained('label-flip', 30),
    ])
  ).map(({ caption }) => /^Each point is the mean of [^.]*\./.exec(caption)?.[0]);
  assert.equal(captions, [
    'Each point is the mean of 1 to 10 steps, more in longer trainings.',
    'Each point is the mean of 10 steps.',
    undefined,
  ]);
});

test('evaluations during training are drawn over steps, a figure for each attack', async () => {
  const cells = small();
  assert.equal(await sectionOf('steps', cells), [], 'none where nothing was evaluated');
  const evaluated = cells.map((cell) => ({
    ...cell,
    curves: [0, 10, 20].map((step) => ({
      step,
      accuracy: 0.5 + step / 50,
      ...(cell.family === 'backdoor' ? { asr: step / 20, poisoned_accuracy: step / 40 } : {}),
    })),
  }));
  const figures = await sectionOf('steps', evaluated);
  const backdoor = present(figures.find(({ title }) => title.includes('badnets'))),
    clean = present(
      figures.find(({ title }) => title.includes('no attack') || title.includes('none')),
    );
  assert.ok(
    ['clean accuracy', 'ASR', 'accuracy on poisoned rows'].every((panel) =>
      backdoor.svg.includes(panel),
    ),
  );
  assert.ok(clean.svg.includes('clean accuracy') && !clean.svg.includes('ASR'));
  assert.is(rowsOf(backdoor).length, QUICK_ADAPTERS.length * 2 * 3 * 3);
  const captionsSay = async (train: { readonly [metric: string]: number }) => {
    const keeps = evaluated.map((cell) => ({ ...cell, metrics: { ...cell.metrics, train } }));
    return (await sectionOf('steps', keeps)).map(({ caption }) =>
      caption.includes('Early stopping keeps the model of the best evaluation after the start'),
    );
  };
  const inEach = (isSaid: boolean): readonly boolean[] => figures.map(() => isSaid);
  assert.equal(await captionsSay({ steps: 20, kept_step: 10 }), inEach(true));
  assert.equal(await captionsSay({ steps: 20, kept_step: 20 }), inEach(false));
  assert.equal(await captionsSay({ steps: 20 }), inEach(false), 'it may not stop early');
});

test("long names share a legend's rows, so that no figure shrinks under it", async () => {
  assert.equal(
    [['full', 'LoRA r = 4'], ['LoRA r = 32, α = 16, σ² = 1/(3d)']].map(
      (names) => legendLayout(names).columns,
    ),
    [4, 1],
  );
  const adapters = [4, 8, 16, 32].map((rank) => ({
    type: 'lora',
    rank,
    alpha: 16,
    'init.variance': '1/(3d)',
    'init.distribution': rank === 4 ? 'normal' : 'uniform',
  }));
  const names = ['adapter', 'attack'];
  const narrow = {
    ...{ name: 'narrow', x: { field: 'step' }, y: [{ field: 'train.loss' }] },
    ...{ color: { fields: names }, facet: { row: names } },
    size: 'column',
  } as const;
  const { files } = await renderReport({
    ...fixture({ adapters: [{ type: 'full' }, ...adapters], rows: 4 }),
    entries: { figures: [narrow], tables: [], defaults: true },
  });
  const broken = present(files['figures/narrow.svg']);
  assert.match(broken, ' width="234pt"');
  const head = 'LoRA r = 8, init = uniform ·';
  for (const [look, first, second] of [
    ['', head, 'label-flip, rate 0.3'],
    ['font-weight="bold" ', `${head} label-flip,`, 'rate 0.3'],
  ]) {
    const lines = `y="0">${first}</text><text [^>]*y="(\\d+)">${second}</text>`;
    const [, y] = new RegExp(`<text [^>]*${look}[^>]* ${lines}`).exec(broken) ?? [];
    assert.ok(Number(y) > 10, look);
  }
  for (const name of ['renyi-raw-final', 'spectrum-final-no-attack', 'loss-no-attack']) {
    const width = Number(
      present(/ width="([\d.]+)"/.exec(present(files[`figures/${name}.svg`])))[1],
    );
    assert.ok(width < 600, `${name} is ${width} wide`);
  }
});

test('a figure that is too long ends between two panels, and names what it leaves out', async () => {
  const rates = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
    adapters = [1, 2, 4, 8, 16, 32].map((rank) => ({ type: 'lora', rank }));
  const cells = rates.flatMap((rate) =>
    adapters.map((adapter) =>
      cellOf({
        ...{ seed: 1, attack: 'badnets', poisoning: { rate } },
        adapter,
        evaluate: { asr: 1 },
      }),
    ),
  );
  const [asr] = await sectionOf('scores', cells);
  assert.equal(
    rowsOf(asr).map(({ attack }) => attack),
    rates.slice(0, 6).flatMap((rate) => adapters.map(() => `badnets, rate ${rate}`)),
  );
  assert.match(
    present(asr).caption,
    ` 6 more conditions are left out of this figure: ${adapters
      .map(({ rank }) => `LoRA r = ${rank} under badnets, rate 0.7`)
      .join('; ')}. An entry of`,
  );
});

test('the first figures name the doses and settings that they leave out', async () => {
  const of = (rate: number, defence?: string) => {
    const evaluate = { accuracy: 0.9, asr: 1 };
    const cell = cellOf({ seed: 1, attack: 'badnets', poisoning: { rate }, evaluate });
    return defence === undefined
      ? cell
      : { ...cell, axes: { ...cell.axes, 'defence.defence': defence } };
  };
  const figures = await sectionOf('answer', [of(0.1), of(0.2), of(0.2, 'onion')]);
  const left =
    '2 more conditions are left out of this figure: ' +
    'badnets, rate 0.1 · no defence; badnets, rate 0.2 · onion.';
  assert.equal(
    figures.map(({ caption }) => caption.includes(left)),
    [true, true],
  );
});

test('rates of an attack on a base are places on one line', async () => {
  const cells = [0.1, 0.2].map((rate) => ({
    ...cellOf({ seed: 1, attack: 'badnets', evaluate: { asr: rate } }),
    ofBase: 'base',
    axes: { 'poisoning.attack': 'none', 'base.poisoning.rate': rate, 'adapter.type': 'full' },
  }));
  const dose = {
    name: 'dose',
    x: { field: 'base.poisoning.rate' },
    y: [{ field: 'evaluate.asr' }],
  };
  const { files } = await renderReport({
    ...inputOf(cells),
    entries: { figures: [dose], tables: [], defaults: false },
  });
  const [, ...lines] = present(files['figures/dose.csv']).trim().split('\r\n');
  assert.equal(
    lines.map((line) => line.split(',').slice(0, 3)),
    [
      ['full', '0.1', '1'],
      ['full', '0.2', '1'],
    ],
  );
});

test('every line of a legend has a symbol that can be seen', async () => {
  const cells = [1, 2, 4, 8, 16, 32, 64, 128, 256].flatMap((rank) =>
    [0.1, 0.2].map((rate) =>
      cellOf({
        ...{ seed: 1, attack: 'badnets', poisoning: { rate } },
        ...{ adapter: { type: 'lora', rank }, evaluate: { asr: 1 } },
      }),
    ),
  );
  const lines = {
    ...{ name: 'lines', x: { field: 'poisoning.rate' }, y: [{ field: 'evaluate.asr' }] },
    color: { fields: ['adapter'] },
  };
  const { files } = await renderReport({
    ...inputOf(cells),
    entries: { figures: [lines], tables: [], defaults: false },
  });
  const symbols = [
    ...present(files['figures/lines.svg']).matchAll(
      /role-legend-symbol"><path [^>]*d="([^"]+)" fill="(#\w+)"/g,
    ),
  ];
  assert.is(symbols.length, 9);
  // A circle, or a closed shape: a mere stroke has no area to fill.
  for (const [, d = '', fill] of symbols) assert.match(d, /A|Z/, fill);
});

test('the answer shows each attack at its highest dose, beside what it is compared with', async () => {
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
  const every = [...cells, cellOf({ seed: 1, evaluate: { accuracy: 0.95 } })];
  const all = conditionsOf(every, []);
  const [accuracy, asr] = await sectionOf('answer', every);
  assert.equal(
    [...present(accuracy).svg.matchAll(/font-weight="bold"[^>]*>([^<]+)</g)].map(
      ([, text]) => text,
    ),
    ['no attack', 'badnets, rate 0.2'],
  );
  assert.equal(
    rowsOf(asr).map(({ attack, adapter, metric, value, not_evidence: reason }) => [
      attack,
      adapter,
      metric,
      value,
      reason,
    ]),
    [
      ['badnets, rate 0.2', 'full', 'evaluate.asr', '0.8', ''],
      ['badnets, rate 0.2', 'LoRA r = 4', 'evaluate.asr', '1', 'predicts one class only'],
      ['badnets, rate 0.2', 'full', 'evaluate.asr_clean', '0.1', ''],
      ['badnets, rate 0.2', 'LoRA r = 4', 'evaluate.asr_clean', '0.1', ''],
      [
        'badnets, rate 0.2',
        'LoRA r = 4',
        'evaluate.asr_untriggered',
        '1',
        'predicts one class only',
      ],
    ],
  );
  assert.match(
    present(asr).caption,
    'Hollow points are not evidence: a model behind them predicts one class only.',
  );
  const { svg } = present(asr);
  const [, place, radius] = present(
    /<path transform="translate\(([\d.]+),[^"]+" d="M([\d.]+),0A[^>]*fill-opacity="0"/.exec(svg),
  );
  const [, text] = present(/<text[^>]*translate\(([\d.]+),[^>]*>1\.000</.exec(svg));
  assert.ok(Number(text) > Number(place) + Number(radius) + 1, 'numbers keep clear of points');
  assert.match(
    present(asr).caption,
    '× the clean model under the trigger · ❘ the same model without',
  );
  assert.equal(labelsLeftOut(all, 'backdoor'), [['badnets, rate 0.1']]);
  assert.equal(labelsLeftOut(all, 'none'), [[]]);
});

test('rates and counts of one attack are compared by the rows that were poisoned', () => {
  const made = [
    [{ rate: 0.1 }, 20],
    [{ rate: 0.5 }, 100],
    [{ count: 3 }, 3],
  ] as const;
  const cells = made.flatMap(([poisoning, rows]) =>
    [1, 2].map((seed) => {
      const receipt = { total: 200, asked: rows, made: rows, negatives: 0, examples: [] };
      // The report has each receipt once.
      const change = { receipt: seed === 1 ? receipt : null };
      return cellOf({ seed, attack: 'badnets', poisoning, change });
    }),
  );
  assert.equal(
    headlineBlocks(conditionsOf(cells, []), 'backdoor').map(([{ attackLabel }]) => attackLabel),
    ['badnets, rate 0.5'],
  );
});

test('a hollow point shows around a filled one, and † marks the mean that counts it', async () => {
  const cells = [1, 0, 1].flatMap((asr, i) =>
    ['badnets', 'addsent'].map((attack) =>
      cellOf({
        ...{ seed: i + 1, attack },
        evaluate: {
          ...{ accuracy: 0.7, accuracy_drop: 0, asr, asr_clean: 0.1 },
          predicted_share: i === 0 && attack === 'badnets' ? 1 : 0.5,
        },
      }),
    ),
  );
  const { svg, caption } = present(
    (await sectionOf('scores', cells)).find((figure) => figure.id === 'scores-asr'),
  );
  const points = [
    ...svg.matchAll(/<path transform="translate\(([^"]+)\)" d="M-?([\d.]+)[^>]*>/g),
  ].filter(([path]) => path.includes('stroke="#1b2430"') && path.includes('fill-opacity'));
  const hollow = points.filter(([path]) => path.includes('fill-opacity="0"'));
  assert.is(hollow.length, 1);
  const [, place, radius] = present(hollow[0]);
  const [, , covering] = present(
    points.find((point) => point[1] === place && !hollow.includes(point)),
  );
  assert.ok(Number(radius) > 1.4 * Number(covering), `${radius} beside ${covering}`);
  assert.is([...svg.matchAll(/>†<\/text>/g)].length, 1);
  assert.match(caption, 'predicts one class only. † marks a mean that counts one.');
});

test('a name is not broken within r = 4, and numbers of an axis keep apart', async () => {
  assert.equal(nameLines('LoRA r = 2', 9), ['LoRA', 'r = 2']);
  assert.equal(nameLines('LoRA, learning rate = 0.001', 12), ['LoRA,', 'learning', 'rate = 0.001']);
  const cells = [1, 2, 3].flatMap((seed) =>
    [{ type: 'full' }, LORA4].map((adapter, i) =>
      cellOf({
        seed,
        attack: 'badnets',
        adapter,
        evaluate: { accuracy: 0.9, asr: 1 - 0.3 * i * seed },
      }),
    ),
  );
  const figures = await sectionOf('scores', cells);
  const { svg } = present(figures.find((figure) => figure.id === 'differences-asr'));
  const labels = [...svg.matchAll(/ opacity="1">([−\d.]+)<\/text>/g)].map(([, label]) => label);
  assert.equal(labels, ['−1.2', '−0.8', '−0.4', '0.0', '0.4', '0.8', '1.2']);
});

test('the line of two seeds ends at both values, as in tables, and is that of t for three', async () => {
  const endsOf = async (...accuracies: number[]) => {
    const cells = accuracies.map((accuracy, i) => cellOf({ seed: i + 1, evaluate: { accuracy } }));
    const [figure] = await sectionOf('answer', cells);
    const { caption, spec } = present(figure);
    assert.match(caption, 'of two seeds, from one value to the other');
    const { data } = spec as { data: { values: { part: string; low: number; high: number }[] } };
    return data.values
      .filter(({ part }) => part === 'mean')
      .map(({ low, high }) => [low, high].map((end) => end.toFixed(4)));
  };
  // t(.975, 2)/√3 = 2.4841.
  assert.equal(await endsOf(0.5, 0.6), [['0.5000', '0.6000']]);
  assert.equal(await endsOf(0.5, 0.55, 0.6), [['0.4258', '0.6742']]);
});

test('names that are too long to stand beside the answer stand above it, in full', async () => {
  const inits = ['1/d', '1/(3d)'].map((variance) => ({ ...LORA4, 'init.variance': variance }));
  const cells = [{ type: 'full' }, ...inits].map((adapter) =>
    cellOf({ seed: 1, adapter, evaluate: { accuracy: 0.9 } }),
  );
  const [figure] = await sectionOf('answer', cells);
  const { svg } = present(figure);
  const names = conditionsOf(cells, []).map(({ adapterLabel }) => adapterLabel);
  assert.is(new Set(names).size, 3);
  const drawn = [...svg.matchAll(/<text text-anchor="start"[^>]*>([^<]+)</g)]
    .map(([, text]) => present(text))
    .filter((text) => text === 'full' || text.startsWith('LoRA'));
  assert.equal(drawn, names);
  assert.ok(Math.abs(Number(/ width="([\d.]+)"/.exec(svg)?.[1]) - 366) < 1, 'fits a phone');
});

test('full is blue everywhere, and adapters keep their colours', () => {
  const palette = adapterPalette(conditions({}));
  assert.equal([palette.domain[0], palette.range[0]], ['full', '#0072b2']);
  assert.is(new Set(palette.range).size, 3);
});

/** Cells that differ in `ntk.rows` alone. */
const ofSettings = (cell: ReportCell): ReportCell[] =>
  [4, 8].map((rows) => ({ ...cell, axes: { ...cell.axes, 'ntk.rows': rows } }));

test('spectra of several settings are lines of their own; each adapter keeps its colour', async () => {
  const spectrum = [2, 1];
  const cells = [LORA4, LORA8].map((adapter) =>
    cellOf({
      seed: 1,
      adapter,
      change: {
        fisher: { init: { lora: { true: facts(spectrum) }, full: { true: facts([4, 2]) } } },
        kernelSpectra: { init: { lora: spectrum, full: [4, 2] } },
      },
    }),
  );
  const linesOf = async (some: readonly ReportCell[]) =>
    (await sectionOf('spectra', some)).map(({ id, svg, csv, spec }) => {
      const { encoding } = spec as { encoding: { color: { scale: { domain: string[] } } } };
      const { domain } = encoding.color.scale;
      assert.ok(
        domain.every((line) => svg.includes(`>${line}<`)),
        'every line is in the legend',
      );
      const colours = [...svg.matchAll(/ stroke="(#\w+)" stroke-width="1.8"/g)];
      return {
        id,
        lines: domain,
        colours: new Set(colours.map(([, colour]) => colour)).size,
        csv: present(csv).split('\r\n').slice(0, 2),
        rows: present(csv).split('\r\n').length - 2,
      };
    });
  const head = 'adapter,setting,kernel,seed,index,eigenvalue';
  const ids = ['spectrum-init', 'kernel-spectrum-init'];
  assert.equal(
    await linesOf(cells),
    ids.map((id) => ({
      id,
      lines: ['LoRA r = 4', 'LoRA r = 8'],
      colours: 2,
      csv: [head, 'LoRA r = 4,,full kernel,1,1,4'],
      rows: 8,
    })),
  );
  assert.equal(
    await linesOf(cells.flatMap(ofSettings)),
    ids.map((id) => ({
      id,
      lines: [4, 8].flatMap((r) => [4, 8].map((rows) => `LoRA r = ${r} · rows = ${rows}`)),
      colours: 4,
      csv: [head, 'LoRA r = 4,rows = 4,full kernel,1,1,4'],
      rows: 16,
    })),
  );
  const [, , ...entropies] = await sectionOf('information', cells.flatMap(ofSettings));
  assert.ok(entropies.every(({ caption }) => caption.includes('Shown: rows = 4.')));
});

test('a limit that varies is not given as one number, nor is a seed', async () => {
  const captionOf = async (tolerances: readonly number[]): Promise<string> => {
    const cells = tolerances.map((tolerance, i) =>
      cellOf({
        seed: i + 1,
        adapter: LORA4,
        change: {
          axes: { 'adapter.type': 'lora', 'fisher.tolerance': tolerance },
          fisher: {
            init: { lora: { true: facts([2]) }, full: { true: { ...facts([2]), tolerance } } },
          },
        },
      }),
    );
    return present((await sectionOf('spectra', cells))[0]).caption;
  };
  assert.match(await captionOf([0.01]), 'at or below 0.01000·λmax count as zero');
  assert.match(await captionOf([0.01]), ' Seed 1. ');
  assert.match(await captionOf([0.01, 0.1]), 'at or below tolerance·λmax count as zero');
  assert.match(await captionOf([0.01, 0.1]), ' Seeds 1 and 2. ');
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
    { from: 'data', to: 'train' },
    { from: 'train', to: 'report' },
  ]);
});

test('ids of one SVG are not those of another, and titles are escaped', () => {
  assert.is(
    labelSvg(
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
