/**
 * Envelopes on made-up results: what is chosen, what is shown, and that the choice makes no effect.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import type { Envelope, FigureEntry, TableEntry } from '../../src/api/report.ts';
import { randomStream } from '../../src/base/random.ts';
import { summarise } from '../../src/base/stats.ts';
import { analyse } from '../../src/report/analysis.ts';
import { claimsOf } from '../../src/report/claims.tsx';
import { type DrawnEntry, drawSpecEntries } from '../../src/report/entries.ts';
import { renderReport } from '../../src/report/report.tsx';
import type { ReportCell } from '../../src/report/types.ts';
import { present } from '../rig/present.ts';
import { cellOf, inputOf, LORA4 } from './cells.ts';

const test = suite('envelopes');

type Scores = { readonly [metric: string]: number };

/** Models that are evidence: two classes are predicted, more than the majority of them right. */
const EVIDENCE: Scores = {
  ...{ predicted_share: 0.5, majority_share: 0.5, majority_p: 0, accuracy: 0.9 },
  ...{ predicted_share_clean: 0.5, majority_p_clean: 0, examples: 100, test_examples: 200 },
  ...{ triggered_rows: 50, test_triggered_rows: 90 },
};

interface Made {
  readonly rate?: number;
  readonly learningRate?: number;
  readonly full?: boolean;
  readonly attack?: string;
  readonly seed?: number;
}

function made(
  { rate = 0.1, learningRate, full = false, attack = 'badnets', seed = 1 }: Made,
  scores: Scores,
): ReportCell {
  const adapter = full ? { type: 'full' } : LORA4;
  const poisoning: JsonObject = attack === 'none' ? {} : { rate };
  const cell = cellOf({ seed, attack, poisoning, adapter, evaluate: { ...EVIDENCE, ...scores } });
  return learningRate === undefined
    ? cell
    : {
        ...cell,
        axes: { ...cell.axes, 'train.learning_rate': learningRate },
        train: { learning_rate: learningRate },
      };
}

/** The rates .1, .2 and .4 of LoRA and full fine-tuning, whose test rows differ by .01. */
const DOSES = [1, 2].flatMap((seed) => [
  ...(
    [
      [0.1, 0.3, 0],
      [0.2, 0.6, 0.02],
      [0.4, 0.9, 0.05],
    ] as const
  ).flatMap(([rate, asr, drop]) => [
    made({ rate, seed }, { asr: asr + seed / 100, accuracy_drop: drop, test_asr: asr - 0.01 }),
    made(
      { rate, seed, full: true },
      { asr: asr / 2, accuracy_drop: 0.03 + drop, test_asr: asr / 2 - 0.01 },
    ),
  ]),
  made({ attack: 'none', seed }, { accuracy: 0.9, test_accuracy: 0.9 }),
]);

const OVER_RATE: Envelope = { over: ['poisoning.rate'], choose: 'highest', by: 'evaluate.asr' };
const TABLE: TableEntry = {
  ...{ name: 'worst', rows: ['adapter.type'], columns: [], metrics: ['evaluate.asr'] },
  envelope: OVER_RATE,
};
const bounded = (max: number): TableEntry => ({
  ...TABLE,
  envelope: { ...OVER_RATE, where: { 'evaluate.accuracy_drop': { max } } },
});

async function drawn(
  cells: readonly ReportCell[],
  entries: { readonly figures?: readonly FigureEntry[]; readonly tables?: readonly TableEntry[] },
): Promise<DrawnEntry> {
  const input = inputOf(cells, {
    entries: { defaults: false, figures: [], tables: [], ...entries },
  });
  return present((await drawSpecEntries(analyse(input)))[0]);
}

/** The CSV of a table, as records. */
async function tableOf(cells: readonly ReportCell[], table: TableEntry) {
  const { csv } = present((await drawn(cells, { tables: [table] })).table);
  const [head = [], ...rows] = csv
    .trim()
    .split('\r\n')
    .map((line) => line.split(/,(?=(?:[^"]*"[^"]*")*[^"]*$)/));
  return rows.map((row) => Object.fromEntries(head.map((name, i) => [name, row[i] ?? ''])));
}

test('the highest mean over an axis is chosen by validation rows, and test rows are shown', async () => {
  const rows = await tableOf(DOSES, TABLE);
  assert.equal(
    rows.map((row) => [row['adapter.type'], row['metric'], row['chosen'], row['mean']]),
    [
      ['LoRA', 'evaluate.test_asr', 'rate 0.4', '0.89'],
      ['full', 'evaluate.test_asr', 'rate 0.4', '0.44'],
    ],
  );
  const { table } = await drawn(DOSES, { tables: [TABLE] });
  const notes = present(table).notes.join('\n');
  assert.match(
    notes,
    'The highest ASR over rate, chosen by the mean over the seeds on 50 triggered validation ' +
      'rows; the numbers are of 90 triggered test rows.',
  );
  assert.match(notes, 'Chosen: LoRA r = 4, badnets: rate 0.4 (of 3 points); full, badnets: rate');
  assert.match(notes, 'a lucky training still counts');
});

test('for an attack on a base, its axes are chosen over by either name', async () => {
  for (const [section, over, chosen] of [
    ['base', 'base.poisoning.rate', 'base rate 0.4'],
    ['base', 'poisoning.rate', 'base rate 0.4'],
    ['base.0', 'base.0.poisoning.rate', 'training 1 rate 0.4'],
    ['base', 'attack', '"badnets in the base, rate 0.4"'],
    ['base.0', 'attack', '"badnets in training 1, rate 0.4"'],
  ] as const) {
    const cells = DOSES.map((cell): ReportCell => {
      const moved = Object.entries(cell.axes).map(
        ([path, value]) =>
          [path.startsWith('poisoning.') ? `${section}.${path}` : path, value] as const,
      );
      const axes: JsonObject = Object.fromEntries(moved);
      return {
        ...cell,
        axes: { ...axes, 'poisoning.attack': 'none' },
        ...(cell.attack !== 'none' && { ofBase: section }),
      };
    });
    const rows = await tableOf(cells, { ...TABLE, envelope: { ...OVER_RATE, over: [over] } });
    assert.equal(
      rows.map((row) => [row['adapter.type'], row['chosen'], row['mean']]),
      [
        ['LoRA', chosen, '0.89'],
        ['full', chosen, '0.44'],
      ],
    );
  }
});

test('a caption counts the rows that a metric is of', async () => {
  for (const [metric, chosenOn, shownOn] of [
    ['trigger_rate', '50 triggered validation rows', '90 triggered test rows'],
    ['asr_low', '50 triggered validation rows', '90 triggered test rows'],
    ['asr.trigger.end', '48 triggered validation rows', '85 triggered test rows'],
    [
      'trigger_accuracy',
      '100 validation rows under the trigger',
      '200 test rows under the trigger',
    ],
    [
      'false_trigger_rate',
      '40 to 60 validation rows with part of the trigger',
      '1 test row with part of the trigger',
    ],
    ['accuracy', '100 validation rows', '200 test rows'],
    [
      'inputs_frr',
      '100 validation rows and 50 triggered validation rows',
      '200 test rows and 90 triggered test rows',
    ],
  ] as const) {
    const cells = [0.1, 0.2].map((rate) =>
      made(
        { rate },
        {
          ...{ [metric]: rate, [`test_${metric}`]: rate, asr: rate },
          ...{ false_trigger_rows: rate === 0.1 ? 40 : 60, test_false_trigger_rows: 1 },
          ...{ 'triggered_rows.trigger.end': 48, 'test_triggered_rows.trigger.end': 85 },
        },
      ),
    );
    const by = `evaluate.${metric}`;
    const { table } = await drawn(cells, {
      tables: [{ ...TABLE, metrics: [by], envelope: { ...OVER_RATE, by } }],
    });
    const notes = present(table).notes.join('\n');
    assert.match(notes, `the seeds on ${chosenOn}; the numbers are of ${shownOn}.`);
  }
  const rejecting = [null, 'strip'].map((defence, i) => {
    const scores = { macro_f1: i, test_macro_f1: 0.5, test_asr: 0.5 };
    if (defence === null) return made({}, scores);
    const accepted = { accuracy_accepted: 1, test_accuracy_accepted: 1 };
    const rejected = { rejected_share: 0.25, test_rejected_share: 0.4 };
    const cell = made({}, { ...scores, ...accepted, ...rejected });
    return { ...cell, axes: { ...cell.axes, 'defence.defence': defence } };
  });
  for (const [metric, shownOn] of [
    ['macro_f1', '120 to 200 accepted test rows'],
    ['asr', '90 triggered test rows'],
  ] as const) {
    const { table } = await drawn(rejecting, {
      tables: [
        {
          ...{ ...TABLE, metrics: [`evaluate.${metric}`] },
          envelope: { over: ['defence'], choose: 'highest', by: 'evaluate.macro_f1' },
        },
      ],
    });
    const notes = present(table).notes.join('\n');
    assert.match(
      notes,
      `the seeds on 75 to 100 accepted validation rows; the numbers are of ${shownOn}.`,
    );
  }
  const ofTask = DOSES.map(({ metrics, ...cell }) => ({
    ...cell,
    metrics: {
      evaluate: { ...metrics['evaluate'], 'qa.accuracy': 0.5, 'qa.examples': 30, 'qa.loss': 1 },
    },
  }));
  const envelope: Envelope = { ...OVER_RATE, by: 'evaluate.qa.accuracy' };
  const { table } = await drawn(ofTask, {
    tables: [{ ...TABLE, cells: [{ 'poisoning.attack': ['badnets'] }], envelope }],
  });
  assert.match(present(table).notes.join('\n'), 'the seeds on 30 qa rows; the numbers are of 90');
});

test('a bound leaves out what lies beyond it, and a group without a point is said to have none', async () => {
  const rows = await tableOf(DOSES, bounded(0.02));
  assert.equal(
    rows.map((row) => [row['adapter.type'], row['chosen'], row['mean'], row['n']]),
    [
      ['LoRA', 'rate 0.2', '0.59', '2'],
      ['full', '"none of 3 points, 3 beyond the bound"', '', '0'],
    ],
    '.02 itself is within the bound',
  );
  const { table } = await drawn(DOSES, { tables: [bounded(0.02)] });
  assert.match(present(table).notes.join('\n'), 'with Accuracy drop ≤ 0.02 over rate');
  assert.match(
    present(table).notes.join('\n'),
    'No point can be chosen: full, badnets: of 3 points, 3 beyond the bound.',
  );
  const none = await drawn(DOSES, { tables: [bounded(-1)] });
  assert.is(none.table, null);
  assert.equal(none.lacks, ['its envelope has no point: of 3 points, 3 beyond the bound']);
});

test('a bound is met by means that only rounding puts beyond it', async () => {
  const cells = [0.96 - 0.94, 0.02].map((drop, i) =>
    made({ rate: i }, { asr: 1 - i / 10, test_asr: 0.5, accuracy_drop: drop }),
  );
  assert.ok(0.96 - 0.94 > 0.02);
  assert.is(present((await tableOf(cells, bounded(0.02)))[0])['chosen'], 'rate 0');
});

test('of equal means the first of the grid is chosen, and they are counted', async () => {
  const cells = [0.1, 0.2, 0.4].map((rate) =>
    made({ rate }, { asr: Math.min(1, 5 * rate), test_asr: rate }),
  );
  const [row] = await tableOf(cells, TABLE);
  assert.is(present(row)['chosen'], 'rate 0.2');
  const { table } = await drawn(cells, { tables: [TABLE] });
  assert.match(
    present(table).notes.join('\n'),
    'rate 0.2 (of 3 points, the first of 2 that are equal)',
  );
});

test('what is not evidence, or lacks a seed, is not chosen', async () => {
  const cells = [1, 2].flatMap((seed) => [
    made({ rate: 0.1, seed }, { asr: 0.2, test_asr: 0.2 }),
    made({ rate: 0.2, seed }, { asr: 1, test_asr: 1, ...(seed === 2 && { predicted_share: 1 }) }),
    seed === 1
      ? made({ rate: 0.4, seed }, { asr: 0.9, test_asr: 0.9 })
      : { ...made({ rate: 0.4, seed }, {}), metrics: {} },
  ]);
  assert.is(present((await tableOf(cells, TABLE))[0])['chosen'], 'rate 0.1');
  const { table } = await drawn(cells, { tables: [TABLE] });
  assert.match(
    present(table).notes.join('\n'),
    'rate 0.1 (of 3 points, 1 without a number at some seed, 1 not evidence at some seed (higher: ' +
      'rate 0.2))',
  );
});

test('`cells` says which points are chosen from, and the defender has the lowest', async () => {
  const cells = { 'poisoning.rate': { max: 0.2 } };
  const [most] = await tableOf(DOSES, { ...TABLE, cells: [cells] });
  assert.is(present(most)['chosen'], 'rate 0.2');
  const defended = [null, 'onion', 'cube'].map((defence, i) => {
    const asr = 0.9 - i / 10;
    if (defence === null) return made({}, { asr, test_asr: asr });
    const cell = made({}, { asr, accuracy_cost: i / 10, test_asr: asr });
    return { ...cell, axes: { ...cell.axes, 'defence.defence': defence, 'defence.q': i } };
  });
  for (const [max, chosen] of [
    [1, 'cube'],
    [0.1, 'onion'],
    [0.02, 'no defence'],
  ] as const) {
    const where = { 'evaluate.accuracy_cost': { max } };
    const [best] = await tableOf(defended, {
      ...{ ...TABLE, rows: ['poisoning.attack'] },
      envelope: { over: ['defence'], choose: 'lowest', by: 'evaluate.asr', where },
    });
    assert.is(present(best)['chosen'], chosen);
  }
});

/** LoRA learns best at 1e-3, full fine-tuning at 1e-4. */
const RATES = [1, 2, 3, 4, 5].flatMap((seed) =>
  [1e-3, 1e-4].flatMap((learningRate, i) =>
    [false, true].map((full) => {
      const isBest = full === (i === 1),
        rate = (full ? 0.8 : 0.5) + seed / 100 + (full ? 0 : seed % 2) / 50;
      const asr = isBest ? rate : 1 - rate;
      return made(
        { full, learningRate, seed },
        {
          ...{ accuracy: isBest ? 0.9 : 0.7, test_accuracy: isBest ? 0.88 : 0.7 },
          ...{ asr, test_asr: asr - 0.1, asr_minus_untriggered: asr },
          ...{ test_asr_minus_untriggered: asr - 0.1, test_asr_clean: 0.05 },
        },
      );
    }),
  ),
);
const BEST_RATE: Envelope = {
  ...{ over: ['train.learning_rate'], choose: 'highest', by: 'evaluate.accuracy' },
};

test('LoRA and full fine-tuning are compared each at its own learning rate', async () => {
  const table = { ...TABLE, envelope: BEST_RATE, against: 'full' } as const;
  const [lora] = await tableOf(RATES, table);
  assert.is(present(lora)['chosen'], 'learning rate 0.001');
  // Of seeds 1, 3 and 5, LoRA has .02 more than .5 + seed / 100.
  assert.is(Number(present(lora)['difference']).toFixed(3), '-0.288');
  const { table: written } = await drawn(RATES, { tables: [table] });
  assert.match(
    present(written).notes.join('\n'),
    'Each adapter at its own choice: Backdoors, “LoRA has the lower ASR”: held.',
  );
  const input = inputOf(RATES, {
    entries: { defaults: false, figures: [], tables: [{ ...TABLE, envelope: BEST_RATE }] },
  });
  const analysis = analyse(input),
    entries = await drawSpecEntries(analysis);
  const [claim] = claimsOf(analysis.conditions, analysis.comparisons, entries);
  const ofEnvelope = present(claim?.rows.at(-1));
  assert.is(
    ofEnvelope.label,
    'ASR on test rows, each at its own choice in worst: LoRA r = 4 − full, badnets, rate 0.1',
  );
  assert.equal(
    [ofEnvelope.difference?.mean.toFixed(3), ofEnvelope.verdict?.state],
    ['-0.288', 'held'],
  );
  assert.match((await renderReport(input)).html, 'each at its own choice in worst');
  const onTestAlone = RATES.map((cell) => {
    const {
      asr: _asr,
      asr_minus_untriggered: _added,
      ...evaluate
    } = present(cell.metrics['evaluate']);
    return { ...cell, metrics: { evaluate } };
  });
  const { conditions, comparisons } = analyse({ ...input, cells: onTestAlone });
  assert.equal(claimsOf(conditions, comparisons), []);
  const { html } = await renderReport({ ...input, cells: onTestAlone });
  assert.match(html, 'each at its own choice in worst', 'the claims are of the envelope alone');
  const alone = { ...table, cells: [{ 'adapter.type': ['lora'] }] };
  const shown = await tableOf(RATES, alone);
  assert.is(shown.length, 1, 'full fine-tuning is compared with, and not shown');
  assert.is(present(shown[0])['difference'], present(lora)['difference']);
  const { table: part } = await drawn(RATES, { tables: [alone] });
  assert.match(present(part).notes.join('\n'), 'full, badnets, rate 0.1: learning rate 1e−4 (of 2');
  const apart = await drawn(RATES, {
    tables: [{ ...TABLE, rows: ['adapter.type', 'train.learning_rate'], against: 'full' }],
  });
  assert.ok(apart.table, 'without an envelope, equal learning rates are compared');
});

test('a figure of what was chosen: differences, clean runs, and the point in its CSV', async () => {
  const figure: FigureEntry = {
    ...{ name: 'best', x: { field: 'adapter' }, y: [{ field: 'evaluate.asr' }] },
    envelope: BEST_RATE,
  };
  const { figures, lacks } = await drawn(RATES, { figures: [{ ...figure, against: 'clean' }] });
  assert.equal(lacks, []);
  const { csv, caption } = present(figures[0]);
  const [head, first] = present(csv).split('\r\n');
  assert.is(head, 'attack,adapter,setting,seed,chosen,evaluate.test_asr,against,of,not_evidence');
  assert.match(present(first), /LoRA r = 4,,1,learning rate 0.001,0\.38\d*,clean run,0\.05,/);
  assert.match(caption, 'The highest Clean accuracy over learning rate');
  const full = await drawn(RATES, { figures: [{ ...figure, against: 'full' }] });
  assert.match(present(full.figures[0]).caption, '“LoRA has the lower ASR”: held.');
});

test('two adapters under different attacks get no verdict', async () => {
  const notesWith = async (ofFull: number): Promise<string> => {
    const cells = [1, 2, 3, 4, 5].flatMap((seed) =>
      [
        { attack: 'badnets', asr: 0.5 },
        { attack: 'addsent', asr: 0.3 },
        { full: true, attack: 'badnets', asr: 0.8 },
        { full: true, attack: 'addsent', asr: ofFull },
      ].map(({ asr, ...at }) => made({ ...at, seed }, { asr, test_asr: asr - (asr * seed) / 100 })),
    );
    const envelope = { ...OVER_RATE, over: ['attack'] };
    const { table } = await drawn(cells, { tables: [{ ...TABLE, envelope, against: 'full' }] });
    return present(table).notes.join('\n');
  };
  assert.match(await notesWith(0.7), '“LoRA has the lower ASR”: held.');
  assert.not.match(await notesWith(0.9), 'LoRA has the lower ASR');
});

test('doses at different choices have no common dose 0', async () => {
  const csvOf = async (bestAt: (rate: number) => number): Promise<string> => {
    const cells = [0.1, 0.2].flatMap((rate) =>
      [1e-3, 1e-4].map((learningRate) => {
        const accuracy = learningRate === bestAt(rate) ? 0.9 : 0.7;
        return made(
          { rate, learningRate },
          { accuracy, asr: 0.5, test_asr: 0.5, asr_clean: 0.05, test_asr_clean: 0.05 },
        );
      }),
    );
    const { figures } = await drawn(cells, {
      figures: [
        {
          ...{ name: 'doses', x: { field: 'poisoning.rate' }, y: [{ field: 'evaluate.asr' }] },
          envelope: BEST_RATE,
        },
      ],
    });
    return present(present(figures[0]).csv);
  };
  assert.match(await csvOf(() => 1e-3), '0.05');
  assert.not.match(await csvOf((rate) => (rate === 0.1 ? 1e-3 : 1e-4)), '0.05');
});

test('published numbers stay with the metric that they are of', async () => {
  const overlay = {
    ...{ rows: [{ at: 'LoRA r = 4', value: '0.77' }], x: 'at', y: 'value', citation: 'made up' },
    ...{ metric: 'evaluate.accuracy', names: {}, label: 'published' },
  };
  const { figures } = await drawn(RATES, {
    figures: [
      {
        ...{ name: 'best', x: { field: 'adapter' }, envelope: BEST_RATE, overlays: [overlay] },
        y: [{ field: 'evaluate.asr' }, { field: 'evaluate.accuracy' }],
      },
    ],
  });
  const last = present(present(figures[0]).csv).trim().split('\r\n').at(-1);
  assert.match(present(last), 'evaluate.test_accuracy,0.77');
});

test('some seeds choose, and the others are shown', async () => {
  const asr: Readonly<Record<number, readonly number[]>> = {
    0.1: [0.9, 0.2, 0.3],
    0.2: [0.5, 0.6, 0.6],
  };
  const cells = [1, 2, 3].flatMap((seed) =>
    [0.1, 0.2].map((rate) => {
      const own = present(asr[rate]?.[seed - 1]);
      return made({ rate, seed }, { asr: own, test_asr: own });
    }),
  );
  const table = { ...TABLE, envelope: { ...OVER_RATE, selectionSeeds: [1] } };
  const [row] = await tableOf(cells, table);
  assert.equal([present(row)['chosen'], present(row)['n']], ['rate 0.1', '2']);
  assert.is(Number(present(row)['mean']).toFixed(4), '0.2500');
  const notes = present((await drawn(cells, { tables: [table] })).table).notes.join('\n');
  assert.match(notes, 'chosen by the mean over seed 1 alone on 50 triggered validation rows');
  assert.not.match(notes, 'lucky');
});

test('a metric that no test row has is asked for in vain if it chose', async () => {
  const cells = DOSES.map(({ metrics, ...cell }) => ({
    ...cell,
    metrics: { evaluate: { ...metrics['evaluate'], 'qa.accuracy': 0.5 } },
  }));
  const [utility] = await tableOf(cells, { ...TABLE, metrics: ['evaluate.qa.accuracy'] });
  assert.equal(
    [present(utility)['metric'], present(utility)['mean']],
    ['evaluate.qa.accuracy', '0.5'],
  );
  const { table } = await drawn(cells, {
    tables: [{ ...bounded(1), metrics: ['evaluate.qa.accuracy', 'evaluate.asr'] }],
  });
  const notes = present(table).notes.join('\n');
  assert.match(notes, 'on 50 triggered validation rows and 100 validation rows; the numbers are');
  assert.match(notes, 'of 90 triggered test rows.\nNot of test rows: Clean accuracy, qa.');
  const { lacks } = await drawn(cells, {
    tables: [{ ...bounded(1), metrics: ['evaluate.asr', 'evaluate.accuracy_drop'] }],
  });
  assert.equal(lacks, [
    'no finished cell has a metric "evaluate.test_accuracy_drop": did you mean ' +
      'evaluate.accuracy_drop?',
  ]);
});

test('a number that test rows do not measure anew is not shown if it chose', async () => {
  const cells = [1, 2].flatMap((seed) =>
    [0.1, 0.2].map((rate) => {
      const own = { filter_recall: rate, test_filter_recall: rate, asr: 0.5, test_asr: 0.4 };
      const { metrics, ...cell } = made({ rate, seed }, own);
      return { ...cell, metrics: { ...metrics, train: { poisoned_accuracy: rate } } };
    }),
  );
  for (const by of ['evaluate.filter_recall', 'train.poisoned_accuracy']) {
    const asked = { ...TABLE, envelope: { ...OVER_RATE, by } };
    for (const metric of [by, by.replace('evaluate.', 'evaluate.test_')]) {
      const { table, lacks } = await drawn(cells, { tables: [{ ...asked, metrics: [metric] }] });
      assert.is(table, null);
      assert.match(present(lacks[0]), `its envelope chooses by ${by}, which test rows do not`);
    }
    const apart = { ...asked, metrics: [by], envelope: { ...asked.envelope, selectionSeeds: [1] } };
    const [row] = await tableOf(cells, apart);
    assert.equal(
      [present(row)['metric'], present(row)['mean'], present(row)['n']],
      [by, '0.2', '1'],
    );
    const [other] = await tableOf(cells, asked);
    assert.equal([present(other)['chosen'], present(other)['mean']], ['rate 0.2', '0.4']);
  }
  const { table } = await drawn(cells, {
    tables: [{ ...TABLE, metrics: ['evaluate.asr', 'evaluate.filter_recall'] }],
  });
  assert.match(present(table).notes.join('\n'), 'Not of test rows: Recall.');
});

// ---- what a choice does to its number ----------------------------------------------------------

/**
 * Draws 8 points of 5 seeds without any difference between points: each counts 100 validation and
 * 100 test rows, of which a share of .5 turns, and more or less by the luck of a training.
 * @param luck the standard deviation of the trainings' own shares
 * @param naive whether the rows that choose are shown
 */
function nullAttack(draw: number, luck: number, naive: boolean): readonly ReportCell[] {
  const random = randomStream(draw, 'null-attack');
  return [1, 2, 3, 4, 5].flatMap((seed) =>
    [1, 2, 3, 4, 5, 6, 7, 8].map((rate) => {
      const share = 0.5 + luck * random.normal();
      const count = (): number =>
        Array.from({ length: 100 }, () => random.uniform()).filter((u) => u < share).length / 100;
      const asr = count(),
        cell = made({ rate, seed }, { asr, test_asr: naive ? asr : count() });
      return { ...cell, axes: { ...cell.axes, 'data.draw': draw } };
    }),
  );
}

/** In how many of 200 draws the interval holds .5, and by how much their mean exceeds it. */
async function coverage(luck: number, naive: boolean, change?: Partial<Envelope>) {
  const draws = Array.from({ length: 200 }, (_, draw) => nullAttack(draw, luck, naive));
  const table = { ...TABLE, rows: ['data.draw'], envelope: { ...OVER_RATE, ...change } };
  const rows = (await tableOf(draws.flat(), table)).map((row) => ({
    ...{ mean: Number(row['mean']), low: Number(row['low']), high: Number(row['high']) },
  }));
  assert.is(rows.length, 200);
  const { mean, std } = summarise(rows.map((row) => row.mean));
  return {
    covered: rows.filter(({ low, high }) => low <= 0.5 && 0.5 <= high).length,
    bias: mean - 0.5,
    error: (std ?? NaN) / Math.sqrt(200),
  };
}

// Of 200 intervals of 95%, 190 hold the truth, with a standard deviation of 3. A simulation of
// 20,000 draws gives .949 for test rows and .855, with a bias of .032, for the rows that chose.
test('a null attack has no winner’s bias on test rows, and has one on the rows that chose', async () => {
  const shown = await coverage(0, false),
    naive = await coverage(0, true);
  assert.ok(shown.covered >= 184, `${shown.covered} of 200`);
  assert.ok(Math.abs(shown.bias) < 3 * shown.error, `${shown.bias} ± ${shown.error}`);
  assert.ok(naive.covered < 180, `${naive.covered} of 200`);
  assert.ok(Math.abs(naive.bias - 0.032) < 3 * naive.error, `${naive.bias} ± ${naive.error}`);
});

// With trainings that differ, the simulation gives .886 and a bias of .057 if all seeds choose.
test('the luck of trainings biases a choice by all seeds, and not one by other seeds', async () => {
  const all = await coverage(0.1, false),
    apart = await coverage(0.1, false, { selectionSeeds: [1, 2] });
  assert.ok(Math.abs(all.bias - 0.057) < 3 * all.error, `${all.bias} ± ${all.error}`);
  assert.ok(apart.covered >= 184, `${apart.covered} of 200`);
  assert.ok(Math.abs(apart.bias) < 3 * apart.error, `${apart.bias} ± ${apart.error}`);
});

test.run();
