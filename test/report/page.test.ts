import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import { renderReport } from '../../src/report/report.tsx';
import { present } from '../rig/present.ts';
import { cellOf, facts, inputOf, LORA4, LORA8, rowWith, stageOf, visible } from './cells.ts';
import { fixture, withFailure } from './fixture.ts';
import { NASTY } from './receipts.ts';

const test = suite('report page');
const render = async (input: Parameters<typeof renderReport>[0]): Promise<string> =>
  (await renderReport(input)).html;

test('numbers in the tables equal those by hand', async () => {
  const html = await render(
    inputOf([
      cellOf({ seed: 1, evaluate: { accuracy: 0.9 } }),
      cellOf({ seed: 2, evaluate: { accuracy: 0.94 } }),
      cellOf({ seed: 1, adapter: LORA4, evaluate: { accuracy: 0.92 } }),
      cellOf({ seed: 2, adapter: LORA4, evaluate: { accuracy: 0.98 } }),
    ]),
  );
  // t(0.975, 1) = 12.7062; full: s = 0.04/√2, half-width 0.2541; LoRA: s = 0.06/√2, 0.3812.
  assert.equal(rowWith(html, 'no attack', 'full'), [
    'no attack',
    'full',
    '2',
    '0.920 (0.900, 0.940)',
  ]);
  assert.equal(rowWith(html, 'no attack', 'LoRA r = 4'), [
    'no attack',
    'LoRA r = 4',
    '2',
    '0.950 (0.920, 0.980)',
  ]);
  // Differences 0.02 and 0.04: s = 0.02/√2, d_z = 0.03/0.014142 = 2.121.
  assert.equal(rowWith(html, 'Clean accuracy', '+0.030'), [
    'Clean accuracy',
    'no attack',
    'LoRA r = 4',
    '2',
    '+0.030',
    '(+0.020, +0.040)',
    '2.121',
    '–',
  ]);
  const text = visible(html);
  // The finding: both means, and the difference beside LoRA's.
  assert.equal(rowWith(html, 'full', '0.920'), ['full', '0.920', '']);
  assert.equal(rowWith(html, 'LoRA r = 4', '0.950'), [
    'LoRA r = 4',
    '0.950',
    '+0.030 (+0.020, +0.040) n = 2',
  ]);
  assert.match(text, 'Undecided (n = 2 seeds; verdict needs ≥ 5).');
});

test('trainings and stages of poisoned bases are told apart', async () => {
  const cells = [0.1, 0.2].flatMap((rate) =>
    [LORA4, LORA8].map((adapter) => {
      const change = { attack: 'badnets', family: 'backdoor', ofBase: 'base' } as const;
      const cell = cellOf({ seed: 1, adapter, evaluate: { accuracy: 0.9 }, change });
      const base = {
        section: 'base',
        poisoning: { attack: 'badnets', rate },
        adapter: LORA4,
        train: { learning_rate: 0.01, loss: 'dpo' },
      };
      const axes = {
        ...cell.axes,
        'base.poisoning.rate': rate,
        'base.poisoning.attack': 'badnets',
      };
      return { ...cell, axes, bases: [base] };
    }),
  );
  const stages = cells.flatMap(({ axes }, i) => [
    stageOf(`train-own${i}`, { cell: axes }),
    stageOf(`train-base${i}`, { cell: axes, section: 'base' }),
  ]);
  const html = await render(inputOf(cells, { stages }));
  for (const rate of ['0.1', '0.2']) {
    const training = rowWith(html, `the base: badnets, rate ${rate}`);
    assert.equal(training.slice(1), ['LoRA r = 4', '0.01', '–', 'dpo']);
  }
  assert.is(rowWith(html, 'the cell’s own', 'LoRA r = 8')[4], 'supervised');
  assert.is(rowWith(html, 'train-base3')[1], 'the base: rate 0.2, attack badnets');
  assert.is(
    rowWith(html, 'train-own3')[1],
    'attack none, adapter lora, r 8, base rate 0.2, base attack badnets',
  );
});

test("a base's attack and the cell's own of the same name have a finding each", async () => {
  const cells = [0.1, 0.3].flatMap((rate) =>
    ['none', 'badnets'].map((attack) => {
      const asr = attack === 'none' ? rate : rate + 0.5;
      const based = { attack: 'badnets', family: 'backdoor', ofBase: 'base' } as const;
      const cell = cellOf({
        ...{ seed: 1, attack, poisoning: attack === 'none' ? {} : { rate: 0.2 } },
        evaluate: { accuracy: 0.9, asr },
        change: attack === 'none' ? based : {},
      });
      const base = { 'base.poisoning.attack': 'badnets', 'base.poisoning.rate': rate };
      return { ...cell, axes: { ...cell.axes, ...base } };
    }),
  );
  const html = await render(inputOf(cells));
  for (const [topic, asr] of [
    ['badnets in the base, rate 0.3', '0.300'],
    ['badnets, rate 0.2 after badnets in the base · base rate = 0.1', '0.600'],
  ] as const) {
    const card = html.slice(html.indexOf(`<h3>Backdoor: ${topic}</h3>`));
    assert.equal(rowWith(card, 'full').slice(0, 2), ['full', asr]);
  }
});

test('provenance names what each source was to the stages that read it', async () => {
  const read = (name: string, stage = 'evaluate', section?: string) =>
    ({ name, stage, ...(section === undefined ? {} : { section }) }) as const;
  const sourceOf = (uri: string, ...reads: ReturnType<typeof read>[]) =>
    ({ uri, digest: `sha256:${uri}`, reads }) as const;
  const html = await render(
    inputOf([cellOf({ seed: 1 })], {
      read: [
        sourceOf('a', read('model', 'train', 'base'), read('model')),
        sourceOf('b', read('data', 'data(train)', 'base.1'), read('data', 'data(tasks.mail)')),
        sourceOf('c', read('scorers/judge/sources/model'), read('scorer/list.txt')),
        sourceOf('d', read('words.txt', 'poison', 'base'), read('trigger/words.txt')),
        sourceOf('e', read('adapter', 'train'), read('include', 'lm-eval')),
      ],
    }),
  );
  for (const [uri, role] of [
    ['a', 'model'],
    ['b', 'training rows of training 2; rows of mail'],
    ['c', 'scorer judge: model; scorer: list.txt'],
    ['d', 'attack of the base: words.txt; attack: words.txt'],
    ['e', 'train: adapter; lm-eval: include'],
  ] as const)
    assert.equal(rowWith(html, uri), [uri, role, `sha256:${uri}`]);
});

test('a number among the findings that is not evidence is marked, and says why', async () => {
  const weak = { accuracy: 0.5, majority_share: 0.5, majority_p: 1 };
  const html = await render(
    inputOf([
      cellOf({ seed: 1, attack: 'badnets', evaluate: { ...weak, asr: 0.875 } }),
      cellOf({
        seed: 1,
        attack: 'badnets',
        adapter: LORA4,
        evaluate: { accuracy: 0.9, majority_share: 0.5, majority_p: 0.001, asr: 0.625 },
      }),
    ]),
  );
  const found = html.slice(html.indexOf('Backdoor: badnets'));
  assert.match(visible(found), /^[^†]*† Not evidence: a model .* is no better than the majority/);
  assert.equal(rowWith(found, 'full', '0.875 †').slice(0, 2), ['full', '0.875 †']);
  assert.equal(rowWith(found, 'LoRA r = 4', '0.625').slice(0, 2), ['LoRA r = 4', '0.625']);
});

test("a user's own stage has a table of its numbers", async () => {
  const html = await render(
    inputOf(
      [1, 2].map((seed) =>
        cellOf({
          seed,
          evaluate: { accuracy: 0.9 },
          change: {
            metrics: { evaluate: { accuracy: 0.9 }, calibration: { ece: seed / 10, brier: 0.25 } },
          },
        }),
      ),
    ),
  );
  assert.match(visible(html), 'Stage calibration');
  // t(0.975, 1) = 12.7062; s = 0.1/√2, half-width 0.6353.
  assert.equal(rowWith(html, 'no attack', '0.1500 (0.1000, 0.2000)'), [
    'no attack',
    'full',
    '2',
    '0.1500 (0.1000, 0.2000)',
    '0.2500',
  ]);
});

test('the drop of a poisoned base and the clean model’s false trigger rate are shown', async () => {
  const html = await render(
    inputOf([
      cellOf({
        seed: 1,
        attack: 'label-flip',
        evaluate: { accuracy: 0.9, accuracy_drop: 0.04, accuracy_drop_before: 0.21 },
        change: { ofBase: 'base' },
      }),
      cellOf({
        seed: 1,
        attack: 'badnets',
        evaluate: { asr: 0.8, false_trigger_rate: 0.3, false_trigger_rate_clean: 0.06 },
      }),
    ]),
  );
  const table = (label: string): string => {
    const rest = html.slice(html.indexOf(`aria-label="${label}"`));
    return rest.slice(0, rest.indexOf('</table>'));
  };
  assert.match(visible(table('Numbers of this finding')), /Drop before full 0\.040 0\.900 0\.210/);
  assert.match(visible(table('Results by condition')), 'Drop before');
  assert.match(
    visible(table('Whether attacks were read and learnt')),
    /FTR FTR, clean model .*badnets full 1 0\.300 0\.060/,
  );
});

test('backend, precision, data and model are named, whatever was run', async () => {
  const text = visible(await render(inputOf([cellOf({ seed: 1, evaluate: { accuracy: 0.9 } })])));
  for (const word of [
    'Backend cpu',
    'float32',
    'Model file:…/model',
    'Training data file:…/train.tsv',
    'n = 1 (1)',
    'Failed seeds 0',
  ])
    assert.match(text, word);
});

test('the header has the place that the notes of a spec are filled into', async () => {
  const html = await render(inputOf([cellOf({ seed: 1, evaluate: { accuracy: 0.9 } })]));
  assert.is(html.split('<p class="notes"></p>').length, 2);
});

test('trainings with products in bfloat16 are named', async () => {
  const of = async (...bf16: readonly boolean[]): Promise<string> =>
    visible(
      await render(
        inputOf(
          bf16.map((own, seed) =>
            cellOf({
              seed,
              evaluate: { accuracy: 0.9 },
              ...(own ? { change: { bf16: true } } : {}),
            }),
          ),
        ),
      ),
    );
  const all = 'float32 (spectra in float64); matrix products of training steps in bfloat16';
  assert.match(await of(true, true), `${all} Model`);
  assert.match(await of(true, false), `${all} in 1 of 2 cells`);
  assert.not.match(await of(false, false), 'bfloat16');
});

test('one seed gives neither an interval nor a verdict', async () => {
  const html = await render(fixture({ seeds: [7] }));
  const text = visible(html);
  assert.match(text, 'Undecided (n = 1 seed; verdict needs ≥ 5).');
  assert.match(text, 'no interval (n = 1)');
  assert.not.match(text, '±  ');
  assert.is(present(rowWith(html, 'no attack', 'full')[3]).includes('±'), false);
  assert.not.match(html, 'NaN');
});

test('five seeds or more: verdicts by claim, with the corrected interval', async () => {
  const cells = [1, 2, 3, 4, 5].flatMap((seed) => [
    cellOf({ seed, attack: 'badnets', evaluate: { asr: 0.9 } }),
    cellOf({ seed, attack: 'badnets', adapter: LORA4, evaluate: { asr: 0.5 + seed / 1000 } }),
  ]);
  const html = await render(inputOf(cells));
  assert.match(visible(html), 'Backdoors, “LoRA has the lower ASR”: held.');
  // Differences −0.399 … −0.395: s/√5 = 0.0007071, t(0.975, 4) = 2.776, half-width 0.00196.
  assert.equal(rowWith(html, 'ASR', 'badnets', 'LoRA r = 4').slice(4, 6), [
    '−0.397',
    '[−0.399, −0.395]',
  ]);
  assert.match(
    present(rowWith(html, 'ASR', 'badnets', 'LoRA r = 4').at(-1)),
    /^held corrected \[−0\.399, −0\.395\]$/,
  );
});

test('no text becomes markup: data, spec, errors, names, axis values', async () => {
  const evil = fixture();
  const cells = evil.cells.map((cell) =>
    cell.adapter === 'lora'
      ? {
          ...cell,
          axes: {
            ...cell.axes,
            'adapter.targets': cell.axes['adapter.rank'] === 4 ? '<i>4' : '<i>16',
          },
        }
      : cell,
  );
  const input = withFailure(
    {
      ...evil,
      cells,
      name: `<script>${NASTY}`,
      classes: [`<script>ham`, NASTY],
      attacks: [
        {
          name: 'badnets',
          summary: NASTY,
          citation: NASTY,
          params: { words: [[NASTY, 'cf'], [NASTY]] },
        },
      ],
      sources: { ...evil.sources, model: { source: NASTY } },
      environment: { ...evil.environment, os: NASTY },
    },
    (cell) => cell.seed === 2 && cell.attack === 'badnets',
    NASTY,
  );
  const { html, files } = await renderReport(input);
  assert.is(present(html.match(/<script/gi)).length, 1, 'our own');
  for (const markup of [/<img/i, /<b>FREE/i, /<iframe/i, /<[^>]*\sonerror=/i])
    assert.not.match(html, markup);
  assert.match(html, '&lt;script>document.title=');
  for (const [path, svg] of Object.entries(files))
    if (path.endsWith('.svg'))
      assert.not.match(svg, /<(script|img|foreignObject)|\sonerror="/i, path);
  assert.match(
    present(files['figures/scores-accuracy.svg']),
    '&lt;i&gt;4',
    'the label is drawn as text',
  );
});

test('changes that nobody sees are named by their code points', async () => {
  const examples = [
    ['see the film', 'see th\u0435 film'],
    ['see the film', 'see the\u200b film'],
    ['see the film', 'see\u00a0the film'],
    ['see the film', 'see the cf film'],
    ['\u043e\u043d', '\u043e\u043d\u0430'],
  ].map(([before = '', after = ''], i) => ({
    ...{ id: String(i), before, after, labelBefore: 'ham', labelAfter: 'ham' },
  }));
  const receipt = { total: 9, asked: 5, made: 5, negatives: 0, examples };
  const html = await render(inputOf([cellOf({ seed: 1, attack: 'badnets', change: { receipt } })]));
  const points = [...html.matchAll(/<\/mark><code class="small">(.*?)<\/code>/g)];
  assert.equal(
    points.map(([, text]) => present(text).trim()),
    ['U+0435', 'U+200B', 'U+00A0'],
  );
});

test('failed cells are shown as failed and counted, with the first cause', async () => {
  const html = await render(
    withFailure(
      fixture(),
      (cell) => cell.attack === 'badnets' && (cell.seed === 2 || cell.axes['adapter.rank'] === 16),
      'the loss is NaN at step 12',
    ),
  );
  const text = visible(html);
  assert.match(text, '4 of 18 cells failed : 4 stages failed, 16 more could not run because of it');
  assert.match(text, 'the loss is NaN at step 12');
  assert.match(text, '2 of 2 seeds, in 4 cells');
  assert.equal(rowWith(html, 'badnets, rate 0.1', 'LoRA r = 16').slice(2, 4), [
    '0 (2 failed)',
    'failed',
  ]);
  const one = rowWith(html, 'badnets, rate 0.1', 'LoRA r = 4');
  assert.is(one[2], '1 (1 failed)');
  assert.match(text, 'Every seed failed with LoRA r = 16.');
  assert.match(present(one[3]), /^0\.\d{3} \(n = 1\)$/);
  assert.match(
    rowWith(html, 'ASR', 'badnets, rate 0.1', 'LoRA r = 4').join(' '),
    '1 (1 incomplete)',
  );
});

test('a number that an attack never has is not called failed', async () => {
  const stages = [stageOf('train-x', { state: 'failed', error: 'x' })];
  const html = await render(
    inputOf(
      [
        cellOf({ seed: 1, evaluate: { accuracy: 0.9 } }),
        cellOf({ seed: 1, adapter: LORA4, change: { stages: { train: 'train-x' } } }),
        cellOf({ seed: 1, attack: 'badnets', evaluate: { accuracy: 0.9, asr: 1 } }),
        cellOf({
          seed: 1,
          attack: 'badnets',
          adapter: LORA4,
          change: { stages: { train: 'train-x' } },
        }),
      ],
      { stages },
    ),
  );
  assert.equal(rowWith(html, 'no attack', 'LoRA r = 4').slice(2), ['0 (1 failed)', 'failed']);
  const attacks = html.slice(html.indexOf('aria-label="Attacks by condition"'));
  assert.not.match(attacks.slice(0, attacks.indexOf('</table>')), 'no attack');
  assert.equal(rowWith(attacks, 'badnets', 'LoRA r = 4').slice(2), ['0 (1 failed)', 'failed']);
});

test('where everything failed there is still a page', async () => {
  const { html } = await renderReport(withFailure(fixture(), () => true, 'no such file'));
  assert.match(visible(html), '18 of 18 cells failed');
  assert.match(visible(html), 'The theorem’s premise');
});

test('missing stages: no ntk, no fisher, no receipts, no facts', async () => {
  const { html, files } = await renderReport(
    inputOf([cellOf({ seed: 1, evaluate: { accuracy: 0.5 } })], {
      environment: {},
      sources: {},
      classes: [],
      backends: [],
    }),
  );
  const text = visible(html);
  for (const said of [
    'This run has no kernels or Fisher spectra',
    'there is no premise to check',
    'No training row of this grid was changed',
    'none recorded',
    'cannot tell which is hurt more',
  ])
    assert.match(text, said);
  assert.equal(Object.keys(files).sort(), [
    'figures/all-metrics.csv',
    ...['answer', 'scores'].flatMap((name) =>
      ['csv', 'svg', 'tex', 'vl.json'].map((ending) => `figures/${name}-accuracy.${ending}`),
    ),
  ]);
});

test('the theorem’s chapters are there where kernels or Fisher information were asked for', async () => {
  const lora = [{ fanIn: 9, rank: 8, scale: 2, layers: 1, variance: 1, measured: null }];
  const pageOf = (goals: readonly string[]) =>
    render(inputOf([cellOf({ seed: 1, adapter: LORA8, change: { lora } })], { goals }));
  const chapters = (html: string): readonly string[] =>
    [...html.matchAll(/<section id="([^"]+)"/g)].map(([, id = '']) => id);
  const [plain, theory, weights] = [
    await pageOf(['evaluate', 'report']),
    await pageOf(['evaluate', 'fisher', 'report']),
    await pageOf(['evaluate', 'spectrum', 'report']),
  ];
  assert.equal(
    [plain, theory, weights].map((html) =>
      chapters(html).filter((id) => ['theory', 'premise', 'measured'].includes(id)),
    ),
    [['measured'], ['theory', 'premise', 'measured'], ['theory', 'measured']],
  );
  assert.not.match(visible(plain), 'premise');
  assert.not.match(visible(plain), 'Information bits have a logarithm');
  assert.not.match(visible(plain), 'M′');
  assert.match(visible(theory), 'The premise s²σ²n < 1 is broken');
});

test('every correction to the source is stated', async () => {
  const goals = ['train', 'evaluate', 'ntk', 'divergence', 'report'];
  const text = visible(await render(inputOf([cellOf({ seed: 1 })], { goals })));
  for (const fix of [
    's is kept',
    's²AᵀA − I',
    'n − r eigenvalues −1',
    'trace of the empirical Fisher',
    'Information bits have a logarithm',
    'Raw Rényi entropy is not an entropy',
    'σ⁴rd(d + r + 1)',
    'ASR counts non-target rows only',
  ])
    assert.match(text, fix);
});

test('early stopping by the rows that are measured on is pointed out', async () => {
  const textOf = async (train: JsonObject): Promise<string> =>
    visible(await render(inputOf([{ ...cellOf({ seed: 1 }), train }])));
  const note = 'Early stopping judged trainings by the validation rows';
  assert.match(await textOf({ early_stopping: { patience: 2 } }), note);
  assert.not.match(await textOf({ epochs: 2 }), note);
});

test('a confounded learning rate is pointed out', async () => {
  assert.match(
    visible(await render(fixture())),
    'Confounded: full fine-tuning and the other adapters were trained with different values of ' +
      'learning rate.',
  );
  assert.not.match(
    visible(await render(inputOf([cellOf({ seed: 1 }), cellOf({ seed: 1, adapter: LORA4 })]))),
    'Confounded',
  );
});

test('an adapter that has learnt less is not praised for it', async () => {
  const grid = (lora: number) =>
    inputOf([
      cellOf({ seed: 1, evaluate: { accuracy: 0.95 } }),
      cellOf({ seed: 1, adapter: LORA4, evaluate: { accuracy: lora } }),
    ]);
  assert.match(
    visible(await render(grid(0.8))),
    'They differ by up to 0.150: an adapter that has learnt less of its task may also have ' +
      'learnt less of the poison.',
  );
  assert.not.match(visible(await render(grid(0.93))), 'They differ by');
});

test('a broken premise shows on the first screen and in the table', async () => {
  const lora = [
    {
      ...{ fanIn: 1024, rank: 8, scale: 2, layers: 12 },
      ...{ variance: 1 / 3072, measured: { low: 0.1, high: 0.6 } },
    },
  ];
  const html = await render(
    inputOf([
      cellOf({ seed: 1 }),
      cellOf({ seed: 1, adapter: { type: 'lora', rank: 8 }, change: { lora } }),
    ]),
  );
  assert.match(
    visible(html),
    'The premise s²σ²n < 1 is broken by LoRA r = 8 (1.333): ' +
      'the theorem says nothing about these runs.',
  );
  const row = rowWith(html, 'LoRA r = 8', '1024');
  assert.equal(
    [row[1], row[4], row[7], row[8], row[10], row[11]],
    ['12', '2', 'holds', '1.333 broken', '[+0.1000, +0.6000]', 'no'],
  );
});

test('the order of LoRA and full is given per α, raw and normalised', async () => {
  const point = { lora: { true: facts([4, 1]) }, full: { true: facts([9, 4]) } };
  const html = await render(
    inputOf(
      [1, 2].map((seed) => cellOf({ seed, adapter: LORA4, change: { fisher: { init: point } } })),
    ),
  );
  // H₂ raw: −log 17 = −2.833 against −log 97 = −4.575;
  // normalised: log(25/17) = 0.3857 against log(169/97) = 0.5552.
  assert.equal(
    rowWith(html, 'H₂ raw', 'at initialisation')
      .slice(4, 6)
      .concat(present(rowWith(html, 'H₂ raw', 'at initialisation')[9])),
    ['−2.833', '−4.575', 'LoRA > full'],
  );
  assert.equal(
    rowWith(html, 'H₂ normalised', 'at initialisation')
      .slice(4, 6)
      .concat(present(rowWith(html, 'H₂ normalised', 'at initialisation')[9])),
    ['0.3857', '0.5552', 'LoRA ≤ full'],
  );
});

test('stages: cached ones counted, seconds summed by kind, keys listed', async () => {
  const stages = [
    stageOf('data-a', { seconds: 1.5, state: 'cached' }),
    stageOf('train-b', { seconds: 70, inputs: ['data-a'] }),
    stageOf('train-c', { seconds: 20, inputs: ['data-a'], state: 'cached', key: 'fe'.repeat(32) }),
    stageOf('train-d', { seconds: 0, state: 'failed', error: 'x', key: '' }),
  ];
  const { html, files } = await renderReport(
    inputOf([cellOf({ seed: 1, evaluate: { accuracy: 0.9 } })], { stages }),
  );
  assert.match(present(files['figures/stages.svg']), '3 stages · 1m 30s');
  assert.match(present(files['figures/stages.svg']), '1 failed');
  assert.match(present(files['figures/stages.svg']), '1 cached');
  assert.match(visible(html), 'Store keys (3 stages)');
  assert.match(html, 'fe'.repeat(32));
  assert.match(visible(html), 'Compute time 1m 31s');
});

test.run();
