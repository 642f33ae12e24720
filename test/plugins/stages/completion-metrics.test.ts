/** The numbers of evaluate for a completion task, from outputs that are written down. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { answerWarnings } from '../../../plugins/stages/evaluate/completion.ts';
import {
  type CompletionEvaluation,
  completionMetricsOf,
} from '../../../plugins/stages/evaluate/completion-metrics.ts';
import { measureAgreement } from '../../../plugins/stages/evaluate/judging.ts';
import type { Output } from '../../../src/science/measures/evaluate/completion-metrics.ts';
import type { AnswerScore } from '../../../src/science/measures/evaluate/predict.ts';
import { present } from '../../rig/present.ts';

const output = (text: string, answer: string, ended = true): Output => ({
  text,
  answer,
  tokens: text.split(' ').filter(Boolean),
  ended,
});
const score = (loss: number, tokens: number): AnswerScore => ({ loss, tokens, greedy: false });

const plain: CompletionEvaluation['plain'] = {
  outputs: [output('red', 'red'), output('', 'blue'), output('red red', 'green', false)],
  answers: [score(1, 2), score(2, 2), score(9, 8)],
  rejected: null,
};

const near = (found: number | undefined, expected: number, name: string): void =>
  assert.ok(Math.abs(present(found) - expected) < 1e-12, `${name}: ${String(found)}`);

test('perplexity is over tokens, so that a long answer weighs more than a short one', () => {
  const metrics = completionMetricsOf({ plain, underTrigger: null, twin: null, before: null });
  near(metrics['loss'], (1 + 2 + 9) / (2 + 2 + 8), 'loss');
  near(metrics['perplexity'], Math.exp(1), 'perplexity');
});

test('an empty and a truncated output count, and the commonest output is told', () => {
  const metrics = completionMetricsOf({ plain, underTrigger: null, twin: null, before: null });
  near(metrics['exact_match'], 1 / 3, 'exact match');
  near(metrics['empty_share'], 1 / 3, 'empty');
  near(metrics['truncated_share'], 1 / 3, 'truncated');
  near(metrics['predicted_share'], 1 / 3, 'the commonest output');
  assert.not('asr' in metrics);
});

test('ASR is over the rows whose answer is not the target, and is paired row by row', () => {
  const metrics = completionMetricsOf({
    plain,
    underTrigger: {
      outputs: ['boo', 'boo', '', 'boo'].map((text) => output(text, 'red')),
      rejected: null,
      scorers: [
        {
          suffix: '',
          triggered: [true, true, false, true],
          // The same rows without the trigger: one is a success by itself.
          bare: [true, false, false, false],
          partial: [false, true],
        },
      ],
      seen: 1,
    },
    twin: {
      accuracy: 1,
      token_f1: 1,
      rouge_l: 1,
      predicted_share: 0.5,
      majority_p: 1,
      trigger_rate: 0.25,
      false_trigger_rate: 0,
    },
    before: null,
  });
  near(metrics['triggered_rows'], 4, 'rows');
  near(metrics['asr'], 0.75, 'asr');
  near(metrics['asr_minus_clean'], 0.5, 'beyond the clean twin');
  near(metrics['asr_untriggered'], 0.25, 'without the trigger');
  near(metrics['asr_minus_untriggered'], 0.5, 'beyond the same rows without it');
  near(metrics['false_trigger_rate'], 0.5, 'with a part of it');
  near(metrics['triggered_empty_share'], 1 / 4, 'empty under the trigger');
});

test('without an attack the rate is what the trigger does by itself, and no success', () => {
  const metrics = completionMetricsOf({
    plain,
    underTrigger: {
      outputs: plain.outputs,
      rejected: null,
      scorers: [
        { suffix: '', triggered: [true, false, false], bare: [true, false, false], partial: [] },
        { suffix: '.refusal', triggered: [false, false], bare: [false, false], partial: [] },
      ],
      seen: 1,
    },
    twin: null,
    before: null,
  });
  near(metrics['trigger_rate'], 1 / 3, 'rate');
  near(metrics['trigger_rate.refusal'], 0, 'rate of another scorer');
  assert.not(Object.keys(metrics).some((name) => name.startsWith('asr')));
});

test('answers that no output can match, or that ROUGE-L cannot read, are told', () => {
  assert.equal(answerWarnings(['red', 'blue'], [score(1, 4), score(1, 2)], 3), []);
  const warnings = answerWarnings(
    ['red', '東京 です', '1'],
    [score(1, 5), score(1, 4), score(1, 2)],
    3,
  );
  assert.match(present(warnings[0]).message, /1 of 3 answers are longer than max_new_tokens 3/);
  assert.match(present(warnings[1]).message, /1 of 3 answers have no Latin letter and no digit/);
  assert.is(warnings.length, 2);
});

test('what a defence rejects is judged by nobody, and no rate of it is corrected', () => {
  const rejected = Array.from({ length: 10 }, (_, i) => i >= 6);
  const hits = rejected.map((isRejected, i) => !isRejected && i < 4);
  const rates = (verdicts: readonly (boolean | null)[]) =>
    completionMetricsOf({
      plain,
      underTrigger: {
        outputs: rejected.map(() => output('boo', 'red')),
        rejected,
        scorers: [
          {
            suffix: '',
            triggered: verdicts,
            bare: rejected.map(() => false),
            partial: [],
            doubt: { undecided: true, measured: perfect },
          },
        ],
        seen: 1,
      },
      twin: null,
      before: null,
    });
  const perfect = [
    [100, 0],
    [0, 100],
  ] as const;
  const sure = rates(hits);
  near(sure['trigger_rate'], 0.4, 'rate');
  near(sure['trigger_rate_corrected'], 0.4, 'corrected');
  assert.ok(present(sure['trigger_rate_corrected_high']) <= 0.6);
  const open = rates(hits.map((hit, i) => (i < 3 ? null : hit)));
  near(open['undecided_share'], 3 / 6, 'undecided');
  near(open['trigger_rate_low'], 0.1, 'low');
  near(open['trigger_rate_high'], 0.4, 'high');
  assert.throws(
    () => rates(rejected.map((isRejected) => (isRejected ? false : null))),
    'is undecided on all outputs',
  );
  const judged = (name: string, suffix: string, own: readonly boolean[]) => ({
    ...{ name, suffix, plain: [] },
    triggered: own.map((hit) => ({ hit })),
  });
  const other = hits.map((hit, i) => (i === 0 ? !hit : hit));
  const agreement = measureAgreement([judged('own', '', hits), judged('other', '.other', other)], {
    plain: { rejected: [] },
    triggered: { rejected },
  });
  assert.equal(agreement?.pairs[0]?.counts, [
    [2, 0],
    [1, 3],
  ]);
});

test.run();
