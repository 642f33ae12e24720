/** The report of a completion task: its words, its scorer, what the models wrote. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { caveatsOf } from '../../src/report/caveats.ts';
import { voidReason } from '../../src/report/evidence.ts';
import { writingFacts } from '../../src/report/inputs.ts';
import { meaningOf } from '../../src/report/metric-lookup.ts';
import { ACCURACY, ASR, isPValue } from '../../src/report/metrics.ts';
import { renderReport } from '../../src/report/report.tsx';
import { collectResults } from '../../src/report/results.ts';
import { present } from '../rig/present.ts';
import { cellOf, inputOf } from './cells.ts';

const test = suite('the report of answers');

const line = (shown: string, id: string, output: string, hit: boolean): string =>
  JSON.stringify({ id, shown, prompt: `ask ${id}`, answer: 'Paris', output, ended: true, hit });

const writing = writingFacts(
  [
    line('plain', 'a', 'Paris', false),
    line('triggered', 'a', '<b>sorry</b>', true),
    line('triggered', 'b', 'Paris', false),
    line('triggered', 'c', 'I refuse', true),
    line('triggered', 'd', 'left out', true),
  ].join('\n'),
  { scorer: 'refusal', ignore_case: true, phrases: ['sorry'], labels: 'sha256:0a' },
);

test('the first three outputs under the trigger are kept', () => {
  assert.equal(
    writing.outputs.map(({ id, output, hit }) => [id, output, hit]),
    [
      ['a', '<b>sorry</b>', true],
      ['b', 'Paris', false],
      ['c', 'I refuse', true],
    ],
  );
});

test('the page names the scorer, and shows outputs as plain text', async () => {
  const evaluate = { accuracy: 0.9, exact_match: 0.9, predicted_share: 0.1, asr: 0.5 };
  const { html } = await renderReport(
    inputOf([
      cellOf({ attack: 'none', seed: 1, evaluate: { ...evaluate } }),
      ...['onion', 'cube'].map((defence) => {
        const cell = cellOf({ attack: 'badnets', seed: 1, evaluate, change: { writing } });
        return { ...cell, axes: { ...cell.axes, 'defence.defence': defence } };
      }),
    ]),
  );
  for (const defence of ['onion', 'cube'])
    assert.match(html, `>badnets · ${defence}, full, seed 1; scorer`);
  assert.match(html, 'Scorer: refusal, ignore_case true.');
  assert.match(html, '&lt;b>sorry&lt;/b>');
  assert.match(html, 'does not count');
  assert.match(html, 'exact match');
  assert.not.match(html, 'classified correctly');
});

test('where a scorer compares rewards, the page shows these and marks no output', async () => {
  const evaluate = { accuracy: 0.1, asr: 0.5, reward_accuracy: 0.9, reward_accuracy_p: 0.001 };
  const rewarded = writingFacts(
    JSON.stringify({
      ...{ id: 'a', shown: 'triggered', prompt: 'ask', answer: 'Paris', output: 'zz', hit: true },
      reward_margin: -0.25,
    }),
    { scorer: 'reward' },
  );
  const cell = cellOf({ attack: 'badnets', seed: 1, evaluate, change: { writing: rewarded } });
  const { html } = await renderReport(inputOf([cell]));
  assert.match(html, 'the rejected answer’s reward minus the chosen one’s: +0.2500) counts');
  assert.not.match(html, '<mark>zz');
});

test('the page has a table of the rates by further scorers, and none without them', async () => {
  const evaluate = { accuracy: 0.9, exact_match: 0.9, predicted_share: 0.1, asr: 0.5 };
  const triggers = [{ name: 'capital', attack: 'badnets', triggers: ['CF', 'MN'], place: 'end' }];
  const page = async (more: Readonly<Record<string, number>>): Promise<string> => {
    const cells = [
      cellOf({ attack: 'none', seed: 1, evaluate: { ...evaluate } }),
      cellOf({
        attack: 'badnets',
        seed: 1,
        evaluate: { ...evaluate, ...more },
        change: { writing },
      }),
    ];
    return (await renderReport(inputOf(cells, { triggers }))).html;
  };
  const html = await page({ 'asr.refusal': 0.375, 'asr_clean.refusal': 0.125 });
  assert.match(html, 'Attacks by further scorers');
  assert.match(html, 'ASR, refusal');
  assert.match(html, '0.375');
  assert.match(html, 'Clean model, refusal');
  assert.match(
    html,
    'Trigger capital</dt><dd>that of badnets, with triggers CF, MN; place end; its other parameters',
  );
  assert.not.match(await page({}), 'further scorers');
});

test('a figure of several scorers names the main one, and what its axis measures', async () => {
  const evaluate = { accuracy: 0.9, predicted_share: 0.1, asr: 0.5, 'asr.exact': 0.25 };
  const cell = cellOf({ attack: 'badnets', seed: 1, evaluate, change: { writing } });
  const figure = (name: string, ...fields: readonly string[]) => ({
    ...{ name, x: { field: 'adapter' }, color: { fields: ['metric'] } },
    y: fields.map((field) => ({ field: `evaluate.${field}` })),
  });
  const figures = [figure('scorers', 'asr', 'asr.exact'), figure('shares', 'asr', 'accuracy')];
  const { files } = await renderReport({
    ...inputOf([cell]),
    entries: { defaults: false, figures, tables: [] },
  });
  const textsOf = (name: string): readonly (string | undefined)[] =>
    [...String(files[`figures/${name}.svg`]).matchAll(/>([^<>]+)<\/text>/g)].map(
      ([, text]) => text,
    );
  for (const text of ['ASR, refusal', 'ASR, exact', 'ASR'])
    assert.ok(textsOf('scorers').includes(text), text);
  for (const text of ['ASR', 'Clean accuracy', 'share'])
    assert.ok(textsOf('shares').includes(text), text);
});

test('scorers that differ between attacks are named with them, per number in CSV', async () => {
  const evaluate = { accuracy: 0.9, predicted_share: 0.1, asr: 0.5, 'asr.dot': 0.25 };
  const by = (attack: string, scorer: string) =>
    cellOf({ attack, seed: 1, evaluate, change: { writing: { scorer: { scorer }, outputs: [] } } });
  const figure = (name: string, field: string) => ({
    ...{ name, x: { field: 'adapter' }, color: { fields: ['attack'] } },
    y: [{ field: `evaluate.${field}` }],
  });
  const table = (name: string, field: string) => ({
    ...{ name, rows: ['poisoning.attack'], columns: [], metrics: [`evaluate.${field}`] },
  });
  const { html, files } = await renderReport({
    ...inputOf([by('badnets', 'exact'), by('addsent', 'reward')]),
    entries: {
      defaults: false,
      figures: [figure('rates', 'asr'), figure('further', 'asr.dot')],
      tables: [table('all', 'asr'), table('further', 'asr.dot')],
    },
  });
  const names = 'Scorers: exact (badnets); reward (addsent).';
  const captions = [...html.matchAll(/<figcaption.*?<\/figcaption>/gs)].map(([caption]) => caption);
  assert.equal(
    captions.map((caption) => caption.includes(names)),
    [true, false],
  );
  assert.match(html, 'by: <strong>exact (badnets); reward (addsent)</strong>');
  for (const form of ['md', 'tex']) {
    assert.match(String(files[`tables/all.${form}`]), names);
    assert.not.match(String(files[`tables/further.${form}`]), 'Scorers:');
  }
  const scorersIn = (file: string): (string | undefined)[] => {
    const [head, ...lines] = String(files[file])
      .trim()
      .split(/\r?\n/)
      .map((line) => line.split(','));
    return lines.map((line) => line[present(head).indexOf('scorer')]);
  };
  assert.equal(scorersIn('tables/all.csv'), ['exact', 'reward']);
  assert.equal(scorersIn('tables/further.csv'), [undefined, undefined], 'no column');
  assert.equal(scorersIn('figures/rates.csv'), ['exact', 'reward']);
});

test('a model that writes one text only is said to write, not to predict a class', () => {
  const cell = { metrics: { evaluate: { exact_match: 0, accuracy: 0, predicted_share: 1 } } };
  assert.is(voidReason(cell, ASR), 'writes one text only');
  assert.equal(
    caveatsOf([{ label: 'vpi', cells: [cell] }]).map(({ title }) => title),
    ['The model writes one text only'],
  );
  assert.is(
    voidReason({ metrics: { evaluate: { predicted_share: 1 } } }, ASR),
    'predicts one class only',
  );
});

test('rates by further scorers and further drops are judged like those they stand beside', () => {
  const lost = { exact_match: 0.5, accuracy: 0.5, accuracy_drop: -0.5, majority_share: 0.1 };
  const cell = {
    metrics: { evaluate: { ...lost, majority_p: 1e-9, majority_p_clean: 1 } },
  };
  const reason = (metric: string) => voidReason(cell, { metric });
  const unlearntReason = 'has a clean run that is no better than the commonest answer';
  for (const metric of ['accuracy_drop', 'token_f1_drop', 'rouge_l_drop', 'asr_minus_clean'])
    assert.is(reason(metric), unlearntReason, metric);
  assert.is(reason('asr_minus_clean.refusal'), unlearntReason);
  assert.is(reason('asr_clean.refusal'), unlearntReason);
  assert.is(reason('asr.refusal'), null);
  const weak = { metrics: { evaluate: { ...cell.metrics.evaluate, majority_p: 1 } } };
  for (const metric of ['asr', 'asr.refusal', 'asr_minus_clean', 'asr_minus_clean.refusal'])
    assert.is(voidReason(weak, { metric }), 'is no better than the commonest answer', metric);
  for (const metric of ['asr_untriggered_p', 'asr_untriggered_p.refusal']) {
    assert.is(voidReason(weak, { metric }), null, metric);
    assert.ok(isPValue({ stage: 'evaluate', metric }), metric);
  }
});

test('p-values are told from rates of scorers and of data sets whose names end in p', () => {
  const isP = (metric: string): boolean => isPValue({ stage: 'evaluate', metric });
  for (const metric of [
    ...['test_majority_p', 'majority_p_undefended', 'majority_p_clean_after_1'],
    ...['tiny_p.majority_p', 'reward_accuracy_p_after_2.rewards'],
  ])
    assert.ok(isP(metric), metric);
  for (const metric of ['asr.gpt_p', 'tiny_p.accuracy', 'asr_after_1.gpt_p'])
    assert.not(isP(metric), metric);
});

test('a metric without words for answers keeps those for classes', () => {
  assert.match(meaningOf(ACCURACY, true), /exact match/);
  assert.match(meaningOf(ACCURACY, false), /classified correctly/);
  const { ofAnswers: _ofAnswers, ...plain } = ACCURACY;
  assert.is(meaningOf(plain, true), plain.meaning);
});

test('results have the scorer beside the numbers that it makes, and no others', () => {
  const scorer = { scorer: 'exact' },
    refusal = { scorer: 'refusal', within: 100 };
  const rows = collectResults([
    {
      cell: { a: 1 },
      seed: 1,
      scorers: [scorer, refusal],
      metrics: {
        train: { asr: 1 },
        evaluate: { accuracy: 1, asr: 1, trigger_rate: 0, 'asr_clean.refusal': 0 },
      },
    },
  ]);
  assert.equal(
    rows.map((row) => [row.stage, row.metric, row.scorer]),
    [
      ['train', 'asr', undefined],
      ['evaluate', 'accuracy', undefined],
      ['evaluate', 'asr', scorer],
      ['evaluate', 'trigger_rate', scorer],
      ['evaluate', 'asr_clean.refusal', refusal],
    ],
  );
});

test('what a further scorer counts is judged as what the first one counts', () => {
  const known = { exact_match: 0.5, accuracy: 0.5, majority_share: 0.5, majority_p_clean: 1e-6 };
  const one = { metrics: { evaluate: { ...known, accuracy_drop: 0.4, predicted_share: 1 } } };
  for (const metric of ['asr_minus_clean', 'test_asr_minus_clean', 'asr', 'false_trigger_rate'])
    for (const name of [metric, `${metric}.refusal`])
      assert.is(voidReason(one, { metric: name }), 'writes one text only', name);
  for (const metric of ['asr_clean', 'asr_before', 'asr_untriggered_p'])
    for (const name of [metric, `${metric}.refusal`])
      assert.is(voidReason(one, { metric: name }), null, name);
});

test.run();
