/** Models that are not evidence: the first screen names them, and no claim counts them. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Warning } from '../../src/base/fault.ts';
import { caveatGroups, caveatsOf } from '../../src/report/caveats.ts';
import { compareAdapters, compareKernels } from '../../src/report/comparisons.ts';
import { conditionsOf } from '../../src/report/conditions.ts';
import {
  afterTraining,
  daggerText,
  unlearntReason,
  voidReason,
} from '../../src/report/evidence.ts';
import { chainNotes, taskNotes } from '../../src/report/metric-lookup.ts';
import { isSuccessRate } from '../../src/report/metrics.ts';
import { renderReport } from '../../src/report/report.tsx';
import { collectResults } from '../../src/report/results.ts';
import { relationsOf } from '../../src/report/theory.ts';
import type { FisherPoint, ReportCell } from '../../src/report/types.ts';
import { warnOfUnseen } from '../../src/science/text/encoder.ts';
import { present } from '../rig/present.ts';
import {
  cellOf,
  facts,
  inputOf,
  LORA4,
  LORA8,
  rowWith,
  type Small,
  stageOf,
  visible,
} from './cells.ts';

const test = suite('evidence');
test('the sentence after † has one clause for each reason', () => {
  const one = 'predicts one class only',
    two = 'is no better than the majority class',
    three = 'has a clean run that predicts one class only';
  const start = 'Not evidence: a model behind the number';
  assert.is(daggerText([]), null);
  assert.is(daggerText([one, one]), `${start} ${one}.`);
  assert.is(daggerText([one, two]), `${start} ${one} or ${two}.`);
  assert.is(daggerText([one, two, one, three]), `${start} ${one}, ${two}, or ${three}.`);
});

test('a number along a chain is judged by the model that it is of', () => {
  const evaluate = {
    ...{ accuracy: 0.9, majority_share: 0.5, majority_p: 1e-6, predicted_share: 0.5, asr: 0.2 },
    ...{ accuracy_after_1: 0.5, predicted_share_after_1: 1, majority_p_after_1: 1 },
    ...{ trigger_rate_after_1: 1, accuracy_after_2: 0.9, predicted_share_after_2: 0.5 },
    ...{ test_trigger_rate_after_1: 0.9, test_asr_after_2: 0.8 },
    ...{ majority_p_after_2: 1e-6, asr_after_2: 1, 'asr_after_2.refusal': 0.7 },
  };
  const reason = (metric: string) => voidReason({ metrics: { evaluate } }, { metric });
  assert.is(reason('accuracy_after_1'), 'predicts one class only');
  assert.is(reason('trigger_rate_after_1'), 'predicts one class only');
  for (const metric of ['asr', 'asr_after_2', 'asr_after_2.refusal', 'accuracy_after_2'])
    assert.is(reason(metric), null, metric);
  assert.is(reason('asr_before'), null, 'after training 2');
  const worn = { ...evaluate, predicted_share_after_2: 1, asr_before: 1, test_asr_before: 1 };
  for (const metric of ['asr_before', 'test_asr_before', 'asr_before.refusal', 'asr_after_2'])
    assert.is(voidReason({ metrics: { evaluate: worn } }, { metric }), 'predicts one class only');
  const ofOneBase = { asr: 1, asr_before: 1, predicted_share: 1 };
  assert.is(voidReason({ metrics: { evaluate: ofOneBase } }, { metric: 'asr_before' }), null);
  const { metrics } = afterTraining({ metrics: { evaluate } }, 1);
  assert.equal(metrics['evaluate']?.['asr'], 1, 'before the attack: the rate of its trigger');
  assert.equal(metrics['evaluate']?.['test_asr'], 0.9, 'also on test rows');
  // A defence of the cell that rejects rows changes the majority's share of the accepted ones.
  const defended = { ...evaluate, majority_share: 0.95, majority_share_after_2: 0.5 };
  assert.is(voidReason({ metrics: { evaluate: defended } }, { metric: 'asr_after_2' }), null);
});

test('the table along a chain has the rates before the attack, and none of other triggers', () => {
  const measured = ['accuracy', 'accuracy_after_1', 'accuracy_after_2', 'asr', 'asr_after_2'];
  const further = ['asr_after_2.refusal', 'trigger_rate_after_1.refusal', 'asr.refusal'];
  const notes = chainNotes([
    ...measured,
    ...['trigger_rate_after_1', 'asr_after_2.trigger.rare', 'asr_clean_after_2', 'asr_clean'],
    ...[...further, 'asr.trigger.rare'],
  ]);
  assert.equal(
    notes.map(({ metric }) => metric),
    [
      ...['accuracy_after_1', 'accuracy_after_2', 'accuracy'],
      ...['trigger_rate_after_1', 'asr_after_2', 'asr'],
      ...['trigger_rate_after_1.refusal', 'asr_after_2.refusal', 'asr.refusal'],
      ...['asr_clean_after_2', 'asr_clean'],
    ],
  );
});

test('a rate that counts rewards is judged by what the model prefers, whatever it writes', () => {
  const evaluate = {
    ...{ accuracy: 0, exact_match: 0, majority_share: 0.1, majority_p: 1, predicted_share: 1 },
    ...{ asr: 0.9, asr_clean: 0.1, asr_minus_clean: 0.8, 'asr.contains': 0, asr_after_1: 0.9 },
    ...{ 'asr.trigger.end': 0.9, reward_accuracy: 0.9, reward_accuracy_p: 1e-6 },
    ...{ reward_accuracy_clean: 0.5, reward_accuracy_p_clean: 1, predicted_share_after_1: 1 },
    ...{ reward_accuracy_after_1: 0.5, reward_accuracy_p_after_1: 1 },
  };
  const cell = { metrics: { evaluate } };
  const reason = (metric: string) => voidReason(cell, { metric });
  const none = 'rewards the chosen answer of no more than half of the pairs';
  for (const metric of ['asr', 'asr.trigger.end', 'test_asr']) assert.is(reason(metric), null);
  assert.is(reason('asr_minus_clean'), `has a clean run that ${none}`);
  assert.is(reason('asr_clean'), `has a clean run that ${none}`);
  assert.is(reason('asr_after_1'), none);
  for (const metric of ['asr.contains', 'accuracy'])
    assert.is(reason(metric), 'writes one text only');
  const caveats = (change: object) =>
    caveatsOf([{ label: '', cells: [{ metrics: { evaluate: { ...evaluate, ...change } } }] }]);
  const rubbish = 'The model writes mostly empty or incoherent outputs, or one text only';
  const [told, ...others] = caveats({ empty_share: 0.25, incoherent_share: 0.5 });
  assert.equal([told?.title, told?.severe, others], [rubbish, false, []]);
  assert.is(
    told?.text,
    'commonest output 1.000, empty 0.250, incoherent 0.500. Rates that count rewards do not tell it.',
  );
  for (const share of ['empty_share', 'incoherent_share'])
    assert.is(caveats({ predicted_share: 0.3, [share]: 0.51 })[0]?.title, rubbish);
  assert.equal(caveats({ predicted_share: 0.3, empty_share: 0.5, incoherent_share: 0.5 }), []);
  const [caveat] = caveats({ reward_accuracy: 0.5, reward_accuracy_p: 1 });
  assert.is(caveat?.title, `The model ${none}`);
});

test('a further scorer may be called as a metric is, and a task nearly so', () => {
  const own = { accuracy: 0.5, exact_match: 0.5, majority_share: 0.5, predicted_share: 1, asr: 1 };
  const reason = (metric: string, scorer: string) =>
    voidReason({ metrics: { evaluate: { ...own, ...rates(scorer) } } }, { metric });
  const rates = (scorer: string) => ({
    ...{ [`asr.${scorer}`]: 1, [`judge_recall.${scorer}`]: 1, [`test_asr.${scorer}`]: 1 },
    ...{ 'asr_after_1.refusal': 1, predicted_share_after_1: 1, [`asr_after_1.${scorer}`]: 1 },
  });
  for (const scorer of ['lost', 'loss', 'examples', 'accuracy'])
    for (const metric of ['asr', 'asr.refusal', `asr.${scorer}`, `test_asr.${scorer}`])
      assert.is(reason(metric, scorer), 'writes one text only', metric);
  assert.is(reason('asr_after_1.refusal', 'loss'), 'writes one text only');
  assert.equal(taskNotes(['asr.loss', 'asr.accuracy', 'mail.loss', 'mail.accuracy'], []).length, 1);
  const task = { 'asr-mail.loss': 1, 'asr-mail.accuracy': 0.9, 'asr-mail.predicted_share': 0.6 };
  const cell = { metrics: { evaluate: { ...own, ...task } } };
  assert.is(voidReason(cell, { metric: 'asr-mail.accuracy' }), null);
  const collapsed = { evaluate: { ...task, 'asr-mail.predicted_share': 1 } };
  assert.is(
    voidReason({ metrics: collapsed }, { metric: 'asr-mail.accuracy' }),
    'predicts one class only',
  );
  assert.not.ok(isSuccessRate({ stage: 'evaluate', metric: 'asr-mail.accuracy' }));
  assert.ok(isSuccessRate({ stage: 'evaluate', metric: 'test_asr_clean.loss' }));
});

const seeds = [1, 2, 3, 4, 5];
const SURE = 1e-6;

/** A model that has learnt its task, and what a backdoor did to it. */
const healthy = (asr: number, untriggered: number) => ({
  accuracy: 0.95,
  accuracy_drop: 0,
  majority_share: 0.5,
  predicted_share: 0.52,
  majority_p: SURE,
  predicted_share_clean: 0.51,
  majority_p_clean: SURE,
  asr,
  asr_clean: 0,
  asr_untriggered: untriggered,
  asr_minus_untriggered: asr - untriggered,
  asr_untriggered_p: asr - untriggered > 0.05 ? SURE : 0.5,
});
/** A model that predicts the target class for every row. */
const collapsed = {
  ...healthy(1, 1),
  accuracy: 0.5,
  predicted_share: 1,
  majority_p: 1,
};
const grid = (
  of: (seed: number) => { readonly full: object; readonly lora: object },
  attack: Small['attack'] = 'badnets',
): ReportCell[] =>
  seeds.flatMap((seed) => {
    const { full, lora } = of(seed);
    return [
      cellOf({ seed, attack, evaluate: { ...full } }),
      cellOf({ seed, attack, adapter: LORA4, evaluate: { ...lora } }),
    ];
  });
const compared = (cells: readonly ReportCell[], metric: string) =>
  present(compareAdapters(conditionsOf(cells, [])).find((one) => one.metric.metric === metric));
/** Seeds differ a little, so that there is a spread. */
const noise = (seed: number): number => seed / 1000;

test('a healthy model that resists is evidence, though the trigger shows no effect', () => {
  const cells = grid((seed) => ({
    full: healthy(0.97 - noise(seed), 0.03),
    lora: healthy(0.05, 0.05),
  }));
  const { verdict, excluded } = compared(cells, 'asr');
  assert.equal([present(verdict).state, excluded], ['held', 0]);
});

test('no claim counts a model that predicts one class; its pairs are listed as excluded', () => {
  const cells = grid((seed) => ({ full: healthy(0.5 - noise(seed), 0.03), lora: collapsed }));
  for (const metric of ['accuracy', 'accuracy_drop', 'asr']) {
    const { difference, excluded, reasons, verdict } = compared(cells, metric);
    assert.equal(
      [difference, excluded, reasons],
      [null, 5, ['LoRA r = 4 predicts one class only']],
      metric,
    );
    assert.is.not(verdict?.state, 'refuted');
  }
});

test('one collapsed seed of six leaves five pairs', () => {
  const cells = [
    ...grid((seed) => ({ full: healthy(0.97 - noise(seed), 0.03), lora: healthy(0.3, 0.05) })),
    cellOf({ seed: 6, attack: 'badnets', evaluate: healthy(0.97, 0.03) }),
    cellOf({ seed: 6, attack: 'badnets', adapter: LORA4, evaluate: collapsed }),
  ];
  const { seeds: used, excluded, verdict } = compared(cells, 'asr');
  assert.equal([used, excluded, present(verdict).state], [seeds, 1, 'held']);
});

test('a higher ASR that goes with a higher rate without the trigger is left undecided', () => {
  // A model that has nearly collapsed: it is better than the majority class, yet predicts the
  // target class for most rows.
  const cells = grid((seed) => ({
    full: healthy(0.06 + noise(seed), 0.05 + noise(seed)),
    lora: healthy(0.4, 0.39),
  }));
  const { difference, verdict } = compared(cells, 'asr');
  assert.ok(present(difference!.low) > 0.3, 'the rates themselves differ');
  assert.equal(
    [present(verdict).state, present(verdict).reason],
    ['undecided', 'the same is not shown for what the trigger adds to the untriggered rate'],
  );
});

test('a model no better than the majority class has no ASR that counts', () => {
  const cells = grid((seed) => ({
    full: healthy(0.97 - noise(seed), 0.03),
    lora: { ...healthy(0.02, 0.02), accuracy: 0.52, majority_p: 0.3 },
  }));
  assert.equal(
    [compared(cells, 'asr').excluded, compared(cells, 'asr').reasons],
    [5, ['LoRA r = 4 is no better than the majority class']],
  );
  assert.is(compared(cells, 'accuracy').excluded, 0, 'its accuracy still counts');
});

test('significantly worse than the majority is no better than it', () => {
  const cells = grid((seed) => ({
    full: healthy(0.97 - noise(seed), 0.03),
    lora: { ...healthy(0.02, 0.02), accuracy: 0.2, majority_p: SURE },
  }));
  assert.is(compared(cells, 'asr').excluded, 5);
});

test('an accuracy drop against a clean run that has learnt nothing is not counted', () => {
  const drop = (amount: number, clean: object = {}) => ({
    ...healthy(0, 0),
    accuracy_drop: amount,
    ...clean,
  });
  const against = (clean: object) =>
    compared(
      grid((seed) => ({ full: drop(0.2 + noise(seed)), lora: drop(0, clean) }), 'label-flip'),
      'accuracy_drop',
    );
  assert.is(present(against({}).verdict).state, 'refuted');
  assert.equal(against({ predicted_share_clean: 1 }).reasons, [
    'LoRA r = 4 has a clean run that predicts one class only',
  ]);
  assert.equal(against({ majority_p_clean: 0.4 }).reasons, [
    'LoRA r = 4 has a clean run that is no better than the majority class',
  ]);
});

test('rank correlations leave out models that are not evidence', () => {
  const withBits = (seed: number, adapter: Small['adapter'], scale: number, evaluate: object) => {
    const fisher: FisherPoint = {
      lora: { true: facts([4 * scale, scale]) },
      full: { true: facts([4 * scale, scale]) },
    };
    return cellOf({
      seed,
      attack: 'badnets',
      ...(adapter === undefined ? {} : { adapter }),
      evaluate: { ...evaluate },
      change: { fisher: { final: fisher } },
    });
  };
  // Correlations that are all 1 are judged by their signs, which takes more than five seeds.
  const ten = Array.from({ length: 10 }, (_, i) => i + 1);
  const rhos = (lora8: object, full: object = healthy(0.9, 0.03)) =>
    relationsOf(
      conditionsOf(
        ten.flatMap((seed) => [
          withBits(seed, undefined, 4, full),
          withBits(seed, LORA4, 1, healthy(0.3, 0.03)),
          withBits(seed, LORA8, 2, lora8),
        ]),
        [],
      ),
    );
  const [sound] = rhos(healthy(0.6, 0.03));
  assert.equal(
    [present(sound).rhos, present(sound).excluded, present(sound).verdict.state],
    [ten.map(() => 1), 0, 'held'],
  );
  assert.equal(rhos(collapsed), [], 'two adapters have no rank correlation');
  // ASR is as large, but none of it is due to the trigger: what the trigger adds falls as bits
  // rise.
  const [untold] = rhos(healthy(0.6, 0.6), healthy(0.9, 0.9));
  assert.equal(
    [present(untold).rhos, present(untold).verdict.state],
    [ten.map(() => 1), 'undecided'],
  );
});

test('Fisher information of a model that predicts one class counts only at its start', async () => {
  const cells = seeds.map((seed) => {
    const point: FisherPoint = {
      lora: { true: facts([4, 1]) },
      full: { true: facts([9 + seed / 10, 4]) },
    };
    return cellOf({
      seed,
      adapter: LORA4,
      evaluate: collapsed,
      change: { fisher: { init: point, final: point } },
    });
  });
  assert.equal(
    compareKernels(conditionsOf(cells, []))
      .filter(({ quantity }) => quantity.id === 'information_bits')
      .map(({ checkpoint, seeds: { length }, excluded, difference, verdict }) => [
        checkpoint,
        length,
        excluded,
        difference === null,
        present(verdict).state,
      ]),
    [
      ['init', 5, 0, false, 'held'],
      ['final', 0, 5, true, 'undecided'],
    ],
  );
  const html = (await renderReport(inputOf(cells))).html;
  // The finding is about the end of training, as its sentence says, and not about the start.
  assert.match(visible(html), 'Information bits of the Fisher information after training');
  assert.match(
    visible(html),
    /LoRA r = 4, IB – – 5 excluded: the model predicts one class only LoRA/,
  );
  assert.match(
    visible(html),
    'IB: full ≥ LoRA after training undecided 0 0 1 0 (5 pairs excluded) ' +
      'the model predicts one class only',
  );
  assert.equal(rowWith(html, 'after training', 'IB').slice(6), [
    '0 (5 excluded)',
    '–',
    '–',
    '–',
    'undecided (n = 0 seeds; verdict needs ≥ 5)',
  ]);
});

test('caveats name collapsed models, no better ones, triggers without effect or cut off', () => {
  const of = (evaluate: object, train: { readonly [metric: string]: number } = {}) => ({
    metrics: { evaluate: { ...evaluate } as { [metric: string]: number }, train },
  });
  const found = caveatsOf([
    { label: 'full under a', cells: [of(healthy(0.9, 0.03)), of(healthy(0.9, 0.03))] },
    { label: 'LoRA under a', cells: [of(collapsed), of(healthy(0.9, 0.03))] },
    { label: 'LoRA under b', cells: [of({ ...healthy(0.9, 0.03), majority_p: 0.2 })] },
    {
      label: 'LoRA under c',
      cells: [
        of(
          {
            ...{ ...healthy(0.05, 0.04), trigger_seen: 0.6249, test_trigger_seen: 0.75 },
            'trigger_seen.trigger.end': 0.5,
          },
          { trigger_seen: 0.9999 },
        ),
      ],
    },
  ]);
  assert.equal(
    found.map(({ title }) => title),
    [
      '1 of 6 models predicts one class only',
      '1 of 6 models is no better than the majority class',
      'The trigger does not reach the model in some rows',
      'No effect of the trigger can be shown in 1 model',
    ],
  );
  assert.match(present(found[0]).text, 'LoRA under a (1 of 2 seeds).');
  assert.match(present(found[3]).text, 'LoRA under c: ASR 0.050, without the trigger 0.040.');
  assert.match(
    present(found[2]).text,
    'the whole trigger in 62.5% of triggered validation rows, 75% of triggered test rows, 99.9% ' +
      'of poisoned training rows and 50% of validation rows under the trigger “end”',
  );
  assert.match(
    present(found[2]).text,
    ': such evaluated rows count as attacks that failed, and such training rows do not teach it.',
  );
  assert.equal(caveatsOf([{ label: 'a', cells: [of({ accuracy: 0.9 })] }]), [], 'not measured');
  const only = caveatsOf([{ label: '', cells: [of({ ...healthy(0.9, 0.03), majority_p: 0.2 })] }]);
  assert.equal(
    only.map(({ title, text }) => `${title}. ${text}`),
    [
      'The model is no better than the majority class. ' +
        'No verdict on attack success counts it.',
    ],
  );
});

test('a regression no better than the mean of the labels has no correlation that counts', () => {
  const of = (r2: number) => ({
    metrics: { evaluate: { pearson: 0.13, spearman: 0.2, loss: 6, r2 } },
  });
  const reasons = (r2: number) =>
    ['pearson', 'spearman', 'test_pearson', 'loss', 'r2'].map((metric) =>
      voidReason(of(r2), { metric }),
    );
  const why = 'is no better than the mean of the labels';
  for (const r2 of [0, -1.5]) assert.equal(reasons(r2), [why, why, why, null, null]);
  assert.equal(reasons(0.01), [null, null, null, null, null]);
  assert.equal(
    [0, 0.01].map((r2) => unlearntReason(of(r2))),
    [why, null],
  );
  const found = caveatsOf([{ label: 'full', cells: [of(-1.5), of(0.5)] }]);
  assert.equal(
    found.map(({ title, text }) => `${title}. ${text}`),
    [
      `1 of 2 models ${why}. full (1 of 2 seeds). ` +
        'The mean squared error is not below the labels’ variance.',
    ],
  );
});

test('the trigger that few rows show after a filter is no caveat beside cells without one', () => {
  const of = (seen: number, more: object = {}) => ({
    metrics: { evaluate: { ...healthy(0.9, 0.03), ...more }, train: { trigger_seen: seen } },
  });
  const filtered = { label: 'cube', cells: [of(0, { rows_judged: 176 })] };
  assert.equal(caveatsOf([{ label: 'full', cells: [of(1)] }, filtered]), []);
  const [cut] = caveatsOf([{ label: 'full', cells: [of(0.962)] }, filtered]);
  assert.match(present(cut).text, '96.2% of poisoned training rows (the lowest: full).');
  assert.match(present(caveatsOf([filtered])[0]).text, 'in 0% of poisoned training rows');
  const evaluated = { label: 'cube', cells: [of(0, { rows_judged: 176, trigger_seen: 0.5 })] };
  assert.match(
    present(caveatsOf([{ label: 'full', cells: [of(1)] }, evaluated])[0]).text,
    'in 50% of triggered validation rows (the lowest: cube).',
  );
});

test('training rows whose change is not read are no attacks that failed', () => {
  const caveatOf = (evaluated: number, trained: number) =>
    present(
      caveatsOf([
        {
          label: '',
          cells: [
            {
              metrics: {
                evaluate: { ...healthy(0.9, 0.03), trigger_seen: evaluated },
                train: { trigger_seen: trained },
              },
            },
          ],
        },
      ])[0],
    );
  const textOf = (evaluated: number, trained: number): string => caveatOf(evaluated, trained).text;
  const { title, says } = caveatOf(1, 25 / 26);
  assert.is(title, 'The trigger does not reach the model in some rows');
  // An attack without a trigger, such as `char-swap`, has no success rate.
  const cells = [{ metrics: { evaluate: { accuracy: 0.9 }, train: { trigger_seen: 25 / 26 } } }];
  const noise = present(caveatsOf([{ label: 'noise', cells }])[0]);
  assert.is(noise.title, 'What the attack changes does not reach the model in some rows');
  assert.match(noise.text, 'reads all that the attack changes in 96.2% of poisoned training rows');
  const told: Warning[] = [];
  for (const what of ['the trigger', 'what the attack changes'])
    warnOfUnseen((one) => told.push(one), 25 / 26, 'the poisoned rows', {
      ...{ path: [], maxLength: 48, what },
    });
  assert.equal(
    told.map(({ message }) => says?.(message)),
    [true, true],
  );
  assert.match(textOf(1, 25 / 26), 'in 96.2% of poisoned training rows');
  assert.match(textOf(1, 25 / 26), ': such training rows do not teach it.');
  assert.match(textOf(0.99999, 1), 'in 99.9% of triggered validation rows');
  assert.match(textOf(0.00001, 1), 'in 0.1% of triggered validation rows');
  assert.match(textOf(0.5, 1), ': such evaluated rows count as attacks that failed.');
});

test('a defence that drops most clean rows is named beside the numbers', async () => {
  const cellsWith = (dropped: number, frr: number) =>
    [0.2, 0.25].map((asr, i) =>
      cellOf({
        seed: i + 1,
        attack: 'badnets',
        evaluate: {
          ...{ ...healthy(asr, 0.03), rows_judged: 100, rows_dropped: dropped, filter_frr: frr },
        },
        change: {
          axes: {
            ...{ 'poisoning.attack': 'badnets', 'adapter.type': 'full' },
            'defence.defence': 'cube',
          },
        },
      }),
    );
  const titleOf = (dropped: number, frr: number) =>
    caveatsOf([{ label: 'cube', cells: cellsWith(dropped, frr) }]).map(({ title, text }) =>
      [title, text].join('. '),
    );
  for (const [dropped, frr] of [
    [50, 0.74],
    [76, 0.5],
  ] as const)
    assert.equal(titleOf(dropped, frr), []);
  assert.equal(titleOf(0, 0.9), [], 'rows that are cleaned stay');
  assert.equal(titleOf(76, 0.74), [
    'The defence dropped more than half of the clean training rows of 2 models. ' +
      'cube: FRR 0.740. A lower ASR there may come from the rows that are missing, not from the ' +
      'poison’s removal.',
  ]);
  const said =
    'For some models behind these numbers, cube dropped more than half of the clean training';
  const metrics = ['evaluate.asr'];
  const { files, html } = await renderReport({
    ...inputOf([...cellsWith(76, 0.74).slice(0, 1), ...cellsWith(50, 0.2).slice(1)]),
    entries: {
      defaults: false,
      figures: [{ name: 'own', x: { field: 'defence' }, y: [{ field: 'evaluate.asr' }] }],
      tables: [{ name: 'main', rows: ['defence'], columns: [], metrics }],
    },
  });
  assert.match(html, `${said} rows.</`);
  for (const file of ['tables/main.md', 'tables/main.tex'])
    assert.match(
      present(files[file]),
      'The defence dropped more than half of the clean training rows',
    );
});

test('what is measured against an undefended model that predicts one class is not evidence', () => {
  const evaluate = {
    ...healthy(0.9, 0.03),
    asr: 0.1,
    asr_undefended: 1,
    asr_removed: 0.9,
    accuracy_undefended: 0.5,
    predicted_share_undefended: 1,
  };
  const of = (metric: string): string | null => voidReason({ metrics: { evaluate } }, { metric });
  const reason = 'has an undefended run that predicts one class only';
  assert.equal(
    ['asr_removed', 'accuracy_cost', 'asr_undefended', 'accuracy_undefended', 'asr'].map(of),
    [reason, reason, reason, reason, null],
  );
});

test('another model’s accuracy needs to beat the majority no more than the cell’s own', () => {
  const evaluate = {
    ...{ ...healthy(0.9, 0.03), accuracy: 0.66, majority_share: 0.65, majority_p: 1 },
    ...{ accuracy_undefended: 0.66, majority_p_undefended: 1, accuracy_cost: 0 },
    ...{ trigger_accuracy: 0.6, trigger_accuracy_clean: 0.6, majority_p_clean: 1 },
  };
  const of = (metric: string): string | null => voidReason({ metrics: { evaluate } }, { metric });
  for (const metric of ['accuracy', 'accuracy_undefended', 'trigger_accuracy_clean'])
    assert.is(of(metric), null, metric);
  for (const metric of ['accuracy_cost', 'asr_undefended'])
    assert.is(of(metric), 'has an undefended run that is no better than the majority class');
});

test('a model whose rejected rows are wrong is judged by the rows that are accepted', () => {
  const evaluate = {
    ...healthy(0.9, 0.03),
    ...{ accuracy: 0.65, accuracy_accepted: 1, accuracy_drop: 0, accuracy_accepted_drop: -0.4 },
    ...{ majority_share: 0.7, majority_share_clean: 0.55, majority_share_undefended: 0.5 },
    ...{ accuracy_undefended: 0.6, majority_p_undefended: SURE },
  };
  const of = (metric: string): string | null => voidReason({ metrics: { evaluate } }, { metric });
  assert.equal(['asr', 'asr_minus_clean', 'asr_undefended'].map(of), [null, null, null]);
  assert.is(
    voidReason(
      { metrics: { evaluate: { ...evaluate, accuracy_accepted_drop: -0.5 } } },
      { metric: 'asr_minus_clean' },
    ),
    'has a clean run that is no better than the majority class',
  );
});

test('‡ counts the rows that a number stands on: triggered, or accepted by the defence', () => {
  const of = (attack: string, defence: string, evaluate: { readonly [name: string]: number }) => ({
    cell: { 'poisoning.attack': attack, ...(defence && { 'defence.defence': defence }) },
    seed: 1,
    metrics: { evaluate: { ...healthy(0.9, 0.03), f1: 0.5, loss: 1, ...evaluate } },
  });
  const onAll = { examples: 50, triggered_rows: 25 },
    onSome = { examples: 30, triggered_rows: 14, false_trigger_rows: 28, false_trigger_rate: 0 },
    onTest = { test_examples: 40, test_mcc: 0.1, test_rejected_share: 0.3 };
  const rows = collectResults([
    of('badnets', '', { ...onAll, false_trigger_rows: 50, false_trigger_rate: 0 }),
    of('badnets', 'cube', { ...onSome, 'triggered_rows.trigger.end': 14, 'asr.trigger.end': 0.5 }),
    of('badnets', 'strip', {
      ...{ ...onSome, accuracy_accepted: 0.9, rejected_share: 1 / 3, asr_removed: 0.1 },
      ...{ ...onTest, test_accuracy_accepted: 0.9, test_accuracy: 0.6 },
    }),
    of('addsent', '', { ...onAll, triggered_rows: 27 }),
  ]);
  const fewer = (attack: string, defence: string | undefined, metric: string) => {
    const row = rows.find(
      ({ cell, metric: name }) =>
        name === metric &&
        cell['poisoning.attack'] === attack &&
        cell['defence.defence'] === defence,
    );
    return Object.values(present(row).evidence.fewer_rows ?? {}).join(' of ');
  };
  const counts = (defence: string, ...metrics: readonly string[]) =>
    metrics.map((metric) => fewer('badnets', defence, metric));
  assert.equal(counts('cube', 'accuracy', 'f1', 'asr', 'asr_clean', 'false_trigger_rate'), [
    ...['30 of 50', '30 of 50', '14 of 25', '14 of 25', '28 of 50'],
  ]);
  assert.equal(counts('cube', 'majority_share', 'predicted_share', 'loss', 'asr.trigger.end'), [
    ...['30 of 50', '30 of 50', '30 of 50', ''],
  ]);
  assert.equal(counts('strip', 'accuracy', 'accuracy_drop', 'asr', 'asr_removed'), [
    ...['30 of 50', '30 of 50', '14 of 25', ''],
  ]);
  const accepted = ['f1', 'loss', 'accuracy_accepted', 'majority_share', 'predicted_share'];
  assert.equal(
    counts('strip', ...accepted),
    accepted.map(() => '20 of 50'),
  );
  assert.equal(counts('strip', 'test_accuracy', 'test_mcc'), ['', '28 of 40']);
  for (const attack of ['badnets', 'addsent'])
    assert.is(fewer(attack, undefined, 'asr'), '', 'another target, other rows');
});

test('rows of results are grouped by their cells', () => {
  const rows = collectResults(
    [1, 2].map((seed) => ({
      cell: { 'adapter.type': 'lora' },
      seed,
      metrics: { evaluate: seed === 1 ? { ...collapsed } : healthy(0.9, 0.03) },
    })),
  );
  const groups = caveatGroups(rows, (cell) => `type=${JSON.stringify(cell['adapter.type'])}`);
  assert.equal(
    groups.map(({ label, cells }) => [label, cells.length]),
    [['type="lora"', 2]],
  );
  assert.match(present(caveatsOf(groups)[0]).text, 'type="lora" (1 of 2 seeds).');
});

test('two models that predict the majority class do not look equal', async () => {
  const both = grid(() => ({ full: collapsed, lora: collapsed }));
  const { html } = await renderReport(inputOf(both));
  const header = visible(html.slice(html.indexOf('<header'), html.indexOf('</header>')));
  assert.match(header, 'No evidence: every attacked model predicts one class only.');
  assert.match(header, '10 of 10 models predict one class only.');
  assert.not.match(visible(html), '[0.000, 0.000]');
  const row = rowWith(html, 'ASR', 'badnets', 'LoRA r = 4');
  assert.equal(row.slice(3, 6), ['0 (5 excluded)', '–', '–']);
  assert.match(present(row.at(-1)), /^undecided .*excluded: LoRA r = 4 predicts one class only$/);
  const cutOff = await renderReport(
    inputOf([
      cellOf({ seed: 1, attack: 'badnets', evaluate: { ...healthy(0.5, 0), trigger_seen: 0.5 } }),
    ]),
  );
  assert.match(
    visible(cutOff.html.slice(0, cutOff.html.indexOf('</header>'))),
    'The trigger does not reach the model in some rows. ' +
      'The model reads the whole trigger in 50% of triggered validation rows',
  );
});

test('the share of rows whose trigger is read is said once, with the way out', async () => {
  const told: Warning[] = [];
  const warn = (share: number, unchanged = 0, which = 'the triggered validation rows'): void =>
    warnOfUnseen((one) => told.push(one), share, which, {
      path: [],
      maxLength: 48,
      unchanged,
    });
  warn(0.5);
  warn(0.75);
  const page = async (): Promise<string> => {
    const evaluate = { ...healthy(0.5, 0), trigger_seen: 0.5 };
    const stages = [stageOf('train-a', { warnings: told })];
    const input = inputOf([cellOf({ seed: 1, attack: 'badnets', evaluate })], { stages });
    const { html } = await renderReport(input);
    return visible(html.slice(0, html.indexOf('</header>')));
  };
  const once = await page();
  assert.match(once, 'count as attacks that failed. Raise max_length, or shorten the texts');
  assert.not.match(once, 'Warning.');
  warn(0.5, 0.5);
  assert.match(await page(), 'in 50% the attack leaves the texts as they are', 'another cause');
  warn(0.25);
  assert.match(await page(), 'in 25% of the triggered validation rows; in the', 'a base, say');
  warn(0.75, 0, 'the poisoned rows');
  assert.match(await page(), 'in 75% of the poisoned rows; in the others', 'other rows');
});

test('the page says where one warning stands for others with other numbers', async () => {
  const warned = (id: string, message: string) =>
    stageOf(id, { warnings: [{ path: [], message, hint: 'Look at it.' }] });
  const stages = [
    warned('train-a', 'it reads 99% of the rows'),
    warned('train-b', 'it reads 0% of the rows'),
    warned('evaluate-a', 'all rows are of one class'),
    warned('evaluate-b', 'all rows are of one class'),
    warned('data-a', 'name every class in `data.classes`'),
  ];
  const { html } = await renderReport(inputOf([cellOf({ seed: 1 })], { stages }));
  assert.match(
    visible(html),
    /Warning of 2 stages\. It reads 99% of the rows \(and 1 more with other numbers\)\. Look at it\./,
  );
  assert.match(visible(html), 'Warning of 2 stages. All rows are of one class. Look at it.');
  assert.match(html, 'Name every class in <code>data.classes</code>. Look at it.');
});

test.run();
