/** Judges in PyTorch's process: their verdicts follow from what transformers itself computes. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import classifier from '../../plugins/scorers/classifier.ts';
import { scored, scorerFaults, scorerOf } from '../../plugins/stages/evaluate/scoring.ts';
import type {
  Asset,
  JsonObject,
  ScorerDescriptor,
  ScorerVerdict,
  UserFault,
} from '../../src/api.ts';
import { at } from '../../src/base/lookup.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { createProject } from '../rig/project.ts';
import { standIn } from '../rig/stand-in.ts';
import { real } from './rig.ts';

const test = suite('torch/judges');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-judges-'));
const PLAIN = fileURLToPath(new URL('judges.py', import.meta.url));
const PIPELINES = fileURLToPath(new URL('../../pipelines', import.meta.url));
const judge = standIn<ScorerDescriptor>(classifier);

test.before(() => {
  execFileSync(real, [PLAIN, 'make', dir]);
});
test.after(async () => {
  await (await torchWorker()).end();
});

const OUTPUTS = ['w1 w2', 'w3', 'w4 w5 w6 w7 w8', 'w9 w9', 'w10 w11 w12', 'yes', 'w13 no w14'];

async function verdicts(
  model: string,
  params: JsonObject,
  outputs: readonly string[] = OUTPUTS,
): Promise<readonly { readonly hit: boolean | null; readonly said: string }[]> {
  const given = { scorer: 'classifier', model: `file:${model}`, batch_size: 3, ...params };
  const { settings, files } = scorerOf({ scorer: given } as never, () => judge);
  assert.equal(files, { 'sources/model': `file:${model}` });
  const found: readonly ScorerVerdict[] = await scored(
    judge,
    settings,
    outputs.map((output) => ({ prompt: 'w20 w21', output, answer: 'w22' })),
    {
      files: {},
      log: () => undefined,
      sources: { model: standIn<Asset>({ path: join(dir, model) }) },
    },
  );
  return found.map((one) => {
    if (typeof one === 'boolean') throw new Error('it has words');
    return one;
  });
}

/** What transformers makes of each output's item. */
function logits(model: string, items: readonly object[]): number[][] {
  const input = JSON.stringify([{ model, items }]);
  const [found = []] = JSON.parse(
    execFileSync(real, [PLAIN, 'judge', dir], { encoding: 'utf8', input }),
  ) as number[][][];
  return found;
}

const softmax = (values: readonly number[], of: number): number =>
  Math.exp(at(values, of)) / values.reduce((sum, value) => sum + Math.exp(value), 0);

test('a classifier of pairs: the likeliest class, or the probability of one', async () => {
  const params = { template: 'w20 ? {prompt}', pair: '{output}', positive: 'complies' };
  const plain = logits(
    'classes',
    OUTPUTS.map((output) => ({ text: 'w20 ? w20 w21', pair: output })),
  );
  const found = await verdicts('classes', params);
  assert.equal(
    found.map(({ said }) => said),
    plain.map((own) => `p ${softmax(own, 1).toFixed(4)}`),
  );
  assert.equal(
    found.map(({ hit }) => hit),
    plain.map(([no = NaN, yes = NaN]) => yes > no),
  );
  const shares = plain.map((own) => softmax(own, 1)).sort();
  const threshold = (at(shares, 2) + at(shares, 3)) / 2;
  const strict = await verdicts('classes', { ...params, threshold });
  assert.is(strict.filter(({ hit }) => hit).length, OUTPUTS.length - 3);
});

test('a classifier of several labels: each has a probability of its own', async () => {
  const params = { template: '{output}', positive: 'threat' };
  const plain = logits(
    'labels',
    OUTPUTS.map((text) => ({ text })),
  ).map((own) => 1 / (1 + Math.exp(-at(own, 1))));
  const found = await verdicts('labels', params);
  assert.equal(
    found,
    plain.map((share) => ({ hit: share > 0.5, said: `p ${share.toFixed(4)}` })),
  );
  const sorted = [...plain].sort((a, b) => a - b);
  const threshold = (at(sorted, 4) + at(sorted, 5)) / 2;
  const strict = await verdicts('labels', { ...params, threshold });
  assert.is(strict.filter(({ hit }) => hit).length, 2);
});

test('a reward model in its own chat template: a threshold on its one output', async () => {
  const plain = logits(
    'reward',
    OUTPUTS.map((content) => ({
      messages: [
        { role: 'user', content: 'w20 w21' },
        { role: 'assistant', content },
      ],
    })),
  ).map(([reward = NaN]) => reward);
  const sorted = [...plain].sort((a, b) => a - b);
  const threshold = (at(sorted, 3) + at(sorted, 4)) / 2;
  const found = await verdicts('reward', { template: 'chat', threshold });
  assert.equal(
    found.map(({ hit, said }) => ({ hit, said })),
    plain.map((reward) => ({ hit: reward > threshold, said: reward.toFixed(4) })),
  );
});

test("texts are read one by one where the padding is not the config's", async () => {
  const plain = logits(
    'other-padding',
    OUTPUTS.map((text) => ({ text })),
  );
  const found = await verdicts('other-padding', { template: '{output}', threshold: 0 });
  assert.equal(
    found.map(({ said }) => said),
    plain.map(([reward = NaN]) => reward.toFixed(4)),
  );
});

test('a causal language model: which of two answers is likelier next', async () => {
  const params = { template: '{prompt} : {output} ? ', positive: 'yes', negative: 'no' };
  const plain = logits(
    'yes-no',
    OUTPUTS.map((output) => ({ text: `w20 w21 : ${output} ? ` })),
  );
  const found = await verdicts('yes-no', params);
  assert.equal(
    found.map(({ hit, said }) => ({ hit, said })),
    plain.map((own) => ({ hit: at(own, 0) > at(own, 1), said: `p ${softmax(own, 0).toFixed(4)}` })),
  );
});

test('two answers as likely as each other decide nothing', async () => {
  const found = await verdicts('even', { template: '{output} ? ', positive: 'yes' }, ['w1']);
  assert.equal(found, [{ hit: null, said: 'p 0.5000' }]);
});

test('what a judge can not read whole is undecided', async () => {
  const long = Array.from({ length: 30 }, () => 'w1').join(' ');
  const params = { template: '{output}', positive: 'complies' };
  const [short, whole] = await verdicts('classes', params, ['w1', long]);
  assert.is.not(short?.hit, null);
  assert.equal(whole, { hit: null, said: 'too long to be read whole' });
  const limited = await verdicts('classes', { ...params, max_length: 4 }, ['w1 w2', 'w1 w2 w3']);
  assert.equal(
    limited.map(({ hit }) => hit === null),
    [false, true],
  );
});

for (const [what, model, params, message] of [
  ['no class', 'classes', { template: '{output}' }, 'has no `positive`'],
  [
    'another class',
    'classes',
    { template: '{output}', positive: 'x' },
    'the judge has no class "x"',
  ],
  ['no threshold', 'reward', { template: '{output}' }, 'one output and no classes'],
  ['no head', 'headless', { template: '{output}' }, 'is no judge: its config.json names'],
  [
    'a pair for a causal language model',
    'yes-no',
    { template: '{prompt}', pair: '{output}' },
    'reads one text, and `pair` is a second',
  ],
  [
    'two answers alike',
    'yes-no',
    { template: '{output} ', positive: 'yes', negative: 'yes' },
    'no difference between the two answers',
  ],
] as const)
  test(`a fault of the user: ${what}`, async () => {
    try {
      await verdicts(model, params);
      assert.unreachable();
    } catch (error) {
      assert.is((error as UserFault).name, 'UserFault', (error as Error).stack);
      assert.match((error as Error).message, message);
      assert.ok((error as UserFault).hint);
    }
  });

test('a template without the output is refused before anything runs', () => {
  const faults = scorerFaults(judge, { scorer: 'classifier', template: 'x', negative: 'no' });
  assert.match(faults.map(({ message }) => message).join(), 'has no {output}');
});

test('the pipeline of the guide: judges, a chain of three trainings, utility', async () => {
  const project = createProject();
  cpSync(PIPELINES, join(project.dir, 'pipelines'), { recursive: true });
  const few = (...sets: string[]): string[] => sets.flatMap((one) => ['--set', one]);
  const judges = ['pipelines/judges.yaml', '--backend', 'wasm', ...few('train.steps=2')];
  await project.succeeds('run', ...judges);
  await project.succeeds('export', ...judges, '--merge', '--out', 'judges');
  const args = [
    ...['pipelines/language-model.yaml', '--backend', 'torch'],
    ...few('seeds=[1]', 'data.train.limit=16', 'data.validation.limit=6', 'train.epochs=1'),
    ...few('data.tasks.kept.limit=3', 'data.tasks.new.limit=3', 'evaluate.max_new_tokens=8'),
    ...[0, 1].flatMap((i) => few(`base.${i}.data.train.limit=16`, `base.${i}.train.epochs=1`)),
    ...few('adapter={ type: lora, rank: 2 }', 'evaluate.lm_eval.limit=4'),
    ...few('report.figures.1.color=adapter', 'report.tables.0.rows=adapter'),
    ...['--profile', 'lm-eval'],
  ];
  const { stdout } = await project.succeeds('run', ...args);
  const values = new Map(
    (await project.results(...args)).map(({ stage, metric, value }) => [
      `${stage}.${metric}`,
      value,
    ]),
  );
  for (const metric of [
    ...['asr', 'asr_after_1', 'asr_after_2'].flatMap((rate) => [rate, `${rate}.judge-lora`]),
    ...['reward_accuracy_after_2', 'kept.accuracy', 'new.accuracy_after_1'],
  ])
    assert.type(values.get(`evaluate.${metric}`), 'number', metric);
  assert.not.ok(values.has('evaluate.reward_accuracy_after_1'));
  assert.is(values.get('evaluate.judge_labels.judge-full'), 97);
  assert.is(values.get('lm-eval.choice.examples'), 4);
  const html = project.read(relative(project.dir, stdout.trim()));
  for (const part of ['Along the chain of trainings', 'How the scorers agree', 'choice.acc'])
    assert.match(html, part);
  assert.is(html.split('<dt>Training data').length, 2, 'all trainings read one file');
  for (const figure of ['trade-off', 'judges']) assert.match(html, `id="figure-${figure}"`);
});

test.run();
