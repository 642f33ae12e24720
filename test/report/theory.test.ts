/** The theory chapter, from cells whose numbers are worked out by hand. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compareAdapters, compareKernels } from '../../src/report/comparisons.ts';
import { conditionsOf } from '../../src/report/conditions.ts';
import { predictionsOf } from '../../src/report/html/kernel-tables.tsx';
import { renderReport } from '../../src/report/report.tsx';
import { relationsOf } from '../../src/report/theory.ts';
import type { FisherPoint, ReportCell } from '../../src/report/types.ts';
import { present } from '../rig/present.ts';
import { cellOf, facts, inputOf, LORA4, LORA8, MOVED, rowWith, visible } from './cells.ts';

const test = suite('report: theory');
const SEEDS = [1, 2, 3, 4, 5];
const jitter = (seed: number): number => seed / 1e4;
const point = (lora: number | null, full: number): FisherPoint => ({
  full: { true: facts([full, full]) },
  ...(lora === null ? {} : { lora: { true: facts([lora, lora]) } }),
});

/** ASR rises with the size of the spectrum, and so with raw information bits. */
const grid = SEEDS.flatMap((seed) =>
  (
    [
      [{ type: 'full' }, null, 8, 0.9],
      [LORA4, 1, 8, 0.2],
      [LORA8, 2, 8, 0.5],
    ] as const
  ).flatMap(([adapter, lora, full, asr]): ReportCell[] => {
    const fisher = {
      init: point(lora === null ? null : lora + jitter(seed), full),
      final: point(lora === null ? null : lora * (1 + jitter(seed)), full * (1 + jitter(seed) / 2)),
    };
    const stagesOf = (attack: string) => ({
      'kernel(init)': `kernel-init-${JSON.stringify(adapter)}-${seed}`,
      'kernel(final)': `kernel-${attack}-${JSON.stringify(adapter)}-${seed}`,
    });
    return [
      cellOf({ seed, adapter, change: { fisher, stages: stagesOf('none') } }),
      cellOf({
        seed,
        adapter,
        attack: 'badnets',
        evaluate: { asr: asr + jitter(seed) },
        change: { fisher, stages: stagesOf('badnets') },
      }),
    ];
  }),
);

test('a prediction is held if all its comparisons are; at the start, adapters count once', () => {
  const conditions = conditionsOf(grid, []);
  const kernels = compareKernels(conditions);
  const of = (checkpoint: string, id: string) =>
    present(
      predictionsOf(
        kernels.filter((kernel) => kernel.checkpoint === checkpoint && kernel.quantity.id === id),
      )[0],
    );
  assert.equal(of('init', 'information_bits').comparisons.length, 2, 'the attack plays no part');
  assert.equal(of('final', 'information_bits').comparisons.length, 4);
  const bits = of('final', 'information_bits');
  assert.equal([bits.state, bits.held, bits.refuted, bits.undecided], ['held', 4, 0, 0]);
  // The smaller spectrum has the larger raw H₂, −log Σλ².
  assert.equal(
    [of('final', 'renyi_raw_2').state, of('final', 'renyi_raw_2').refuted],
    ['refuted', 4],
  );
  // Each spectrum has two equal eigenvalues, so that both are the same when normalised.
  assert.equal(
    [of('final', 'renyi_normalised_2').state, of('final', 'renyi_normalised_2').undecided],
    ['undecided', 4],
  );
});

test('a kernel that a defence leaves as it is counts once, and Holm’s m has no copies', () => {
  const defended = grid.map((cell): ReportCell => ({
    ...cell,
    axes: { ...cell.axes, 'defence.defence': 'onion' },
  }));
  const shown = (cells: readonly ReportCell[]) =>
    compareKernels(conditionsOf(cells, [])).map(
      ({ quantity, checkpoint, condition, verdict }) =>
        [quantity.id, checkpoint, condition.attack, condition.adapterLabel, verdict] as const,
    );
  const alone = shown(grid);
  assert.equal(shown([...grid, ...defended]), alone);
  const ofFewerSeeds = defended.filter(({ seed }) => seed > 2);
  assert.equal(shown([...grid, ...ofFewerSeeds]), alone, 'under a defence at some seeds');
  assert.equal(shown([...ofFewerSeeds, ...grid]), alone, 'the kernel of more seeds is kept');
  const levels = alone.flatMap(([id, at, , , verdict]) =>
    id === 'information_bits' && at === 'final' ? [present(present(verdict).interval).level] : [],
  );
  assert.equal(
    levels.sort((a, b) => b - a).map((level) => Number((1 - level).toFixed(6))),
    [0.0125, 0.016667, 0.025, 0.05],
    'four comparisons',
  );
  // A pruned model has kernels of its own.
  const pruned = defended.map((cell): ReportCell => ({
    ...cell,
    stages: { ...cell.stages, 'kernel(final)': `${cell.stages['kernel(final)'] ?? ''}-pruned` },
  }));
  const final = shown([...grid, ...pruned]).filter(([, at]) => at === 'final');
  assert.is(final.length, 2 * alone.filter(([, at]) => at === 'final').length);
});

test('at the start, each base has its own kernel', async () => {
  const based = grid
    .filter(({ attack }) => attack === 'none')
    .map((cell): ReportCell => ({
      ...cell,
      ...{ attack: 'badnets', family: 'backdoor', ofBase: 'base' },
      axes: { ...cell.axes, 'base.poisoning.attack': 'badnets' },
      stages: { 'kernel(init)': `${cell.stages['kernel(init)'] ?? ''}-base` },
    }));
  const cells = [...grid, ...based];
  const start = compareKernels(conditionsOf(cells, [])).filter(
    ({ checkpoint, quantity }) => checkpoint === 'init' && quantity.id === 'information_bits',
  );
  assert.equal(
    start.map(({ condition }) => [condition.attackLabel, condition.adapterLabel]),
    ['no attack', 'badnets in the base'].flatMap((attack) =>
      ['LoRA r = 4', 'LoRA r = 8'].map((adapter) => [attack, adapter]),
    ),
  );
  const html = await render(cells);
  assert.match(html, 'LoRA r = 4 · badnets in the base');
});

test('a kept step is a checkpoint of its own, between start and end', async () => {
  const stepped = grid.map((cell): ReportCell => ({
    ...cell,
    fisher: {
      final: present(cell.fisher.final),
      'step-20': present(cell.fisher.init),
      'step-3': present(cell.fisher.init),
      init: present(cell.fisher.init),
    },
  }));
  const kernels = compareKernels(conditionsOf(stepped, []));
  assert.equal(
    [...new Set(kernels.map(({ checkpoint }) => checkpoint))],
    ['init', 'step-3', 'step-20', 'final'],
  );
  assert.match(visible(await render(stepped)), /IB: full ≥ LoRA\s+at step 20/);
});

test('each seed has a rank correlation over adapters, by the kernel over what each trained', async () => {
  const relations = relationsOf(conditionsOf(grid, []));
  const bits = present(
    relations.find(
      ({ quantity, checkpoint }) => quantity.id === 'information_bits' && checkpoint === 'final',
    ),
  );
  assert.equal(
    [bits.block, bits.adapters, bits.rhos, bits.claimed, bits.verdict.state],
    // Five correlations that are all 1 say nothing of their spread.
    ['badnets', 3, [1, 1, 1, 1, 1], 1, 'undecided'],
  );
  assert.is(bits.seeds, 5);
  const tied = grid.map((cell) =>
    cell.seed > 2
      ? cell
      : {
          ...cell,
          metrics: { ...cell.metrics, evaluate: { ...cell.metrics['evaluate'], asr: 0.9 } },
        },
  );
  const [some] = relationsOf(conditionsOf(tied, []));
  assert.equal([present(some).rhos.length, present(some).seeds], [3, 5]);
  assert.match(visible(await render(tied)), / 3 of 5 /);
  assert.not.ok(
    relations.some(
      ({ quantity, checkpoint }) =>
        quantity.id === 'information_bits_normalised' && checkpoint === 'init',
    ),
    'values that are all equal have no ranks',
  );
  assert.ok(
    relations.every(({ score }) => score.metric === 'asr'),
    'nothing untargeted was run',
  );
  const fewer = relationsOf(
    conditionsOf(
      grid.filter(({ adapter, axes }) => adapter === 'full' || axes['adapter.rank'] === 4),
      [],
    ),
  );
  assert.equal(fewer, [], 'two adapters have no rank correlation');
});

/** The metrics that the theory stages write for a cell. */
const STAGE_METRICS = {
  delta: {
    residual: 3e-7,
    trace_full: 12,
    trace_lora: 4,
    trace_delta: -8,
    relative_delta: 0.75,
    largest_eigenvalue: -0.5,
    semidefinite_layers: 1,
    scaled_premise_layers: 1,
  },
  spectrum: {
    effective_rank: 2.5,
    effective_rank_largest: 7,
    stable_rank: 1.75,
    relative_change: 0.0625,
    intruder_dimensions: 11,
    vectors: 370,
    masked_tokens: 83,
    masked_lm_loss_start: 2.25,
    masked_lm_loss: 3.5,
    forgetting: 1.25,
  },
  regime: {
    'step-5.lora.drift': 0.125,
    'step-5.linear.relative_error': 0.0625,
    'step-5.linear.agreement': 1,
    'lora.drift': 1.5,
    'full.drift': 0.5,
    'lora.rotation': 0.25,
    'linear.relative_error': 0.875,
    'linear.cosine': 0.625,
    'linear.agreement': 0.75,
    'linear.agreement_start': 0.5,
  },
};

test('in a completion task the chapter says what is measured, and compares no classes', async () => {
  const regime = { 'full.drift': 0.5, 'linear.relative_error': 0.875, 'linear.cosine': 0.625 };
  const of = (outputs: Pick<ReportCell, 'outputs'>): Promise<string> =>
    render([
      cellOf({ seed: 1, adapter: { type: 'full' }, change: { metrics: { regime }, ...outputs } }),
    ]);
  const answers = visible(await of({ outputs: 'log p(answer)' }));
  assert.match(answers, 'of log p(answer | prompt), one number a row');
  assert.match(answers, 'error of the linear prediction');
  assert.not.match(answers, 'same class as f_T');
  const classes = visible(await of({}));
  assert.not.match(classes, 'log p(answer | prompt)');
  assert.match(classes, 'same class as f_T');
});

test('the chapter has a table for each stage that was run', async () => {
  const cells = [
    ...grid,
    ...MOVED,
    ...[1, 2].map((seed) =>
      cellOf({
        seed,
        adapter: { type: 'lora', rank: 16 },
        change: {
          metrics: STAGE_METRICS,
        },
      }),
    ),
  ];
  const html = await render(cells);
  const text = visible(html);
  for (const heading of [
    'What the paper predicts, and what was seen',
    'Do they correlate with what attacks achieved?',
    'Δ r where training starts',
    'Does the tangent kernel’s regime hold?',
    'How far poisoned data carry the weights',
    'What training did to the weights',
  ])
    assert.match(text, heading);
  assert.equal(rowWith(html, 'IB: full ≥ LoRA', 'after training').slice(2, 7), [
    'held',
    '4',
    '0',
    '0',
    '5',
  ]);
  const evidence = present(rowWith(html, 'IB: full ≥ LoRA', 'after training')[7]);
  assert.match(
    evidence,
    /^from .*LoRA r = 4, (no attack|badnets) ?to .*LoRA r = 8, (no attack|badnets)$/,
  );
  assert.equal(rowWith(html, 'no attack', 'LoRA r = 16', 'step 5').slice(4, 7), [
    '0.1250',
    '–',
    '0.06250',
  ]);
  assert.match(
    text,
    'its mean error is 0.8750 to 0.8750 over these conditions, ' +
      'and the kernel has moved by 1.500 to 1.500 of its norm',
  );
  assert.not.match(text, 'Stage regime');
  assert.equal(rowWith(html, 'no attack', 'LoRA r = 16', 'the end').slice(4), [
    '1.500',
    '0.2500',
    '0.8750',
    '0.6250',
    '0.750',
    '0.500',
  ]);
  assert.equal(rowWith(html, 'LoRA r = 16', '12', '1.000').slice(1, 6), [
    '12',
    '4',
    '−8',
    '0.7500',
    '−0.5000',
  ]);
  assert.equal(rowWith(html, 'LoRA r = 16', '83').slice(2), ['2.250', '3.500', '1.250', '83']);
  // As `spectrum` writes them: norms pooled, ranks averaged (and the largest), vectors summed.
  assert.equal(rowWith(html, 'LoRA r = 16', '11').slice(2), [
    '0.06250',
    '2.500',
    '7',
    '1.750',
    '11',
    '370',
  ]);
  assert.not.match(text, 'Each value is a mean over layers');
  for (const each of [
    '‖ΔW‖/‖W₀‖ is that of all changed layers together.',
    'The effective and the stable rank are means over layers, the largest effective rank is that ' +
      'of one layer.',
    'Intruder dimensions and vectors are counted over all layers.',
  ])
    assert.match(text, each);
  assert.match(text, 'not the corpus of pretraining');
  assert.match(text, 'M′ can’t see this attack');
  assert.not.match(html, 'NaN');
});

test('what is measured where training starts is named by its setting', async () => {
  const html = await render(
    ['a', 'b'].flatMap((source) =>
      SEEDS.map((seed) => {
        const cell = cellOf({
          seed,
          adapter: LORA4,
          change: { fisher: { init: point(seed, 8) }, metrics: STAGE_METRICS },
        });
        return { ...cell, axes: { ...cell.axes, 'model.source': source } };
      }),
    ),
  );
  const table = html.slice(html.indexOf('aria-label="Delta"'));
  assert.equal(
    ['source = a', 'source = b'].map((setting) => rowWith(table, setting).slice(0, 3)),
    [
      ['LoRA r = 4', 'source = a', '12'],
      ['LoRA r = 4', 'source = b', '12'],
    ],
  );
  const evidence = present(rowWith(html, 'IB: full ≥ LoRA', 'at initialisation')[7]);
  assert.match(evidence, /^from .* LoRA r = 4, source = a to .* LoRA r = 4, source = b$/);
});

test('a run without those stages has none of their tables', async () => {
  const bare = visible(await render([cellOf({ seed: 1, evaluate: { accuracy: 0.5 } })]));
  for (const heading of [
    'What the paper predicts',
    'Do they go with',
    'where training starts M',
    'regime hold',
    'carry the weights',
    'What training did',
    'Forgetting is',
  ])
    assert.not.match(bare, heading);
});

test('how information bits change with the tolerance and with N', async () => {
  const sensitivity = {
    tolerances: [
      { tolerance: 1e-4, count: 3, information_bits: -1.5 },
      { tolerance: 1e-6, count: 5, information_bits: -6.25 },
    ],
    rows: [
      { rows: 8, count: 2, information_bits: -0.5, information_bits_normalised: -2.5 },
      { rows: 16, count: 5, information_bits: -6.25, information_bits_normalised: -7.5 },
    ],
  };
  const html = await render(
    [1, 2].map((seed) =>
      cellOf({
        seed,
        adapter: LORA4,
        change: { fisher: { final: { lora: { true: facts([2, 1]), sensitivity } } } },
      }),
    ),
  );
  assert.equal(rowWith(html, 'LoRA r = 4', '−1.500 (3)'), [
    'LoRA r = 4',
    'LoRA',
    '−1.500 (3)',
    '−6.250 (5)',
  ]);
  assert.equal(rowWith(html, 'LoRA r = 4', '−0.5000 (2)'), [
    'LoRA r = 4',
    'LoRA',
    '−0.5000 (2)',
    '−2.500',
    '−6.250 (5)',
    '−7.500',
  ]);
});

test('the text counts conditions where the order changes with the tolerance or N', async () => {
  const reading = (bits: readonly number[]) => ({
    tolerances: bits.map((information_bits, k) => ({
      tolerance: 10 ** -(4 + k),
      count: 3,
      information_bits,
    })),
    rows: [
      { rows: 8, count: 2, information_bits: present(bits[0]), information_bits_normalised: 1 },
    ],
  });
  const cell = (adapter: typeof LORA4 | typeof LORA8, lora: readonly number[]) =>
    cellOf({
      seed: 1,
      adapter,
      change: {
        fisher: {
          final: {
            lora: { true: facts([2, 1]), sensitivity: reading(lora) },
            full: { true: facts([2, 1]), sensitivity: reading([0, 0]) },
          },
        },
      },
    });
  assert.match(
    visible(await render([cell(LORA4, [-1, -2]), cell(LORA8, [-1, 1])])),
    'have the same order at every tolerance for IB in 1 of 2 conditions.',
  );
});

test('intervals of rank correlations are cut at ±1', async () => {
  // Three seeds that disagree: ρ = 1, ½ and 1, whose t-interval runs from .116 to 1.55.
  const few = grid
    .filter(({ seed }) => seed < 4)
    .map((cell): ReportCell =>
      cell.seed === 2 && cell.axes['adapter.rank'] === 4 && cell.metrics['evaluate'] !== undefined
        ? { ...cell, metrics: { evaluate: { asr: 0.7 } } }
        : cell,
    );
  assert.equal(rowWith(await render(few), 'IB', 'after training', 'ASR').slice(5, 8), [
    '3',
    '0.833',
    '[+0.116, +1.000]',
  ]);
});

test('the claims about LoRA are judged from LoRA alone', () => {
  const other = grid.map((cell): ReportCell =>
    cell.axes['adapter.rank'] === 8
      ? { ...cell, adapter: 'bitfit', axes: { ...cell.axes, 'adapter.type': 'bitfit' } }
      : cell,
  );
  const conditions = conditionsOf(other, []);
  const kernels = compareKernels(conditions);
  const judged = (adapter: string): boolean[] =>
    kernels
      .filter(({ condition }) => condition.adapter === adapter)
      .map(({ verdict }) => verdict !== null);
  assert.ok(judged('lora').length > 0 && judged('lora').every(Boolean));
  assert.ok(judged('bitfit').length > 0 && !judged('bitfit').some(Boolean));
  for (const { comparisons } of predictionsOf(kernels))
    assert.ok(comparisons.every(({ condition }) => condition.adapter === 'lora'));
  const scores = compareAdapters(conditions).filter(({ verdict }) => verdict !== null);
  assert.ok(scores.length > 0);
  assert.ok(scores.every(({ adapter }) => adapter.adapter === 'lora'));
});

test('nothing is related to an adapter whose own kernel was not computed', () => {
  const plain = grid.map((cell): ReportCell =>
    cell.adapter === 'full'
      ? { ...cell, adapter: 'bitfit', axes: { ...cell.axes, 'adapter.type': 'bitfit' } }
      : cell,
  );
  assert.equal(
    relationsOf(conditionsOf(plain, [])),
    [],
    'two adapters are left, which have no rank correlation',
  );
});

test('accuracy drops of as many rows tie, whatever their doubles are', () => {
  const equal = [0.95 - 0.9, 0.9 - 0.85, 0.85 - 0.8];
  assert.is(new Set(equal).size, 2);
  const dropping = (drops: readonly number[]): ReportCell[] =>
    SEEDS.flatMap((seed) =>
      ([{ type: 'full' }, LORA4, LORA8] as const).map((adapter, i) => {
        const fisher = { final: point(i === 0 ? null : i, 8) };
        const evaluate = { accuracy_drop: present(drops[i]) };
        return cellOf({ seed, adapter, attack: 'label-flip', evaluate, change: { fisher } });
      }),
    );
  assert.ok(relationsOf(conditionsOf(dropping([0.05, 0.06, 0.07]), [])).length > 0);
  assert.equal(relationsOf(conditionsOf(dropping(equal), [])), []);
});

const render = async (cells: readonly ReportCell[]): Promise<string> =>
  (await renderReport(inputOf(cells))).html;

test.run();
