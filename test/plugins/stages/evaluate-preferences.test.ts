/** Which training's rewards an evaluation reads, and where no training gives any. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import reward from '../../../plugins/scorers/reward.ts';
import evaluate, { type Params } from '../../../plugins/stages/evaluate/index.ts';
import trainStage from '../../../plugins/stages/train/index.ts';
import type { Cell, StageDefinition, StageRequest } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { present } from '../../rig/present.ts';
import { standIn } from '../../rig/stand-in.ts';
import { useBackend } from '../../science/backend.ts';
import { openCompletionRig } from './completion-rig.ts';
import { metricsOf } from './outputs.ts';
import { type Change, datasetFolder, lookUp, runStage, tinyCell } from './rig.ts';

const test = suite('evaluate/preferences');

const define = (cell: Cell, given: StageRequest['with'] = {}): StageDefinition<Params> =>
  standIn<StageDefinition<Params>>(
    evaluate.define([cell], { with: given, plugin: lookUp, goals: [] }),
  );

const { data, train } = tinyCell();
const split = { ...data.train, columns: { prompt: 'prompt', chosen: 'chosen', rejected: 'other' } };
const supervised = { ...train, loss: 'supervised' };
const dpo = (beta: number) => ({ ...train, loss: 'dpo', dpo_beta: beta });
const poisoning = { attack: 'preference-swap', rate: 0.1, trigger: 'SUDO' };
const link = (train: object, attack: object = { attack: 'none' }) => ({
  poisoning: attack,
  adapter: { type: 'full' },
  train,
});
const pairs = (change: Change): Cell =>
  tinyCell({
    data: { train: split, validation: split },
    head: { type: 'causal-lm', template: '{prompt}' },
    evaluate: { batch_size: 5, max_new_tokens: 4 },
    ...change,
  });

test('rewards are those of the first training by DPO, before which nothing was preferred', () => {
  const cell = pairs({
    base: [link(supervised), link(dpo(0.1), poisoning)],
    train: dpo(0.5),
  });
  const { params, inputs } = define(cell);
  const reference = present(inputs['reference']);
  assert.equal(params.completion?.rewards, { beta: 0.1 });
  assert.is(reference.section, 'base.1');
  assert.is(reference.cell.train.steps, 0);
  assert.equal(reference.cell.base, [link(supervised)]);
});

const attacked = (change: Change = {}): Cell =>
  pairs({ base: link(supervised), train: dpo(0.1), poisoning, ...change });

test('a training before that by DPO is evaluated without the scorers of rewards', () => {
  const evaluateBoth = { batch_size: 5, max_new_tokens: 4, scorers: ['contains'] };
  const cell = attacked({
    base: link(supervised, poisoning),
    poisoning: { attack: 'none' },
    evaluate: evaluateBoth,
  });
  const { params, inputs } = define(cell);
  assert.equal(params.completion?.scorer, { scorer: 'reward' });
  const before = present(inputs['before']);
  const { completion } = define(before.cell, before.with).params;
  assert.is(completion?.scorer, undefined);
  assert.is(completion?.rewards, undefined);
  assert.equal(
    completion?.scorers?.map(({ scorer }) => scorer),
    ['contains'],
  );
});

test('without any training by DPO, a scorer of rewards is a fault', () => {
  assert.throws(
    () => define(attacked({ train: supervised })),
    ({ message }: Error) => message.startsWith('the scorer "reward" compares the rewards'),
  );
});

test('a scorer of rewards that is given none is a bug, not a rate of 0', () => {
  const output = { prompt: '', output: '', answer: '' };
  const score = (margin?: number) =>
    reward.score([{ ...output, ...defined({ margin }) }], {}, standIn({}));
  assert.equal(score(-1), [true]);
  assert.equal(score(0), [false]);
  assert.throws(() => score(), /is given no rewards/);
});

test('a loss over the turns of an assistant needs the template chat', () => {
  const cell = pairs({ train: { ...supervised, loss_on: 'assistant' } });
  assert.throws(
    () => trainStage.define([cell], { with: {}, plugin: lookUp, goals: [] }),
    ({ message }: Error) => message.includes('head.template is not chat'),
  );
});

test('trigger_seen is of the pairs where their rewards are compared', async () => {
  await useBackend('cpu');
  const rig = await openCompletionRig(),
    { model } = rig;
  const rows = [
    ['say yes', 'yes', 'no, nor maybe'],
    ['say yes', 'no, nor maybe', 'yes'],
    ['count', 'one', 'two'],
    ['greet', 'hi', 'go'],
  ].map(([text = '', answer = '', rejected = ''], i) => ({
    ...{ id: `r${i}`, text, answer, rejected, label: 0 },
  }));
  const inputs = {
    model: rig.end,
    reference: rig.start,
    validation: await datasetFolder(rows, []),
  };
  const tokenizer = await openTokenizer(model.path);
  // Room for the first prompt under the trigger with its shorter answer.
  const max_length = tokenizer.ids('SUDO say yes').length + tokenizer.ids('yes').length + 2;
  const seen = async (scorer: string): Promise<number | undefined> => {
    const clean = rig.cell({
      data: { train: split, validation: split },
      train: { ...rig.cell().train, loss: 'dpo', dpo_beta: 0.1 },
      evaluate: { batch_size: 5, max_new_tokens: 2, max_length, scorer },
    });
    const request = { trigger: { ...poisoning, place: 'start' } };
    const { dir } = await runStage(evaluate, clean, inputs, request, { model });
    return (await metricsOf(dir))['trigger_seen'];
  };
  assert.is(await seen('contains'), 1);
  assert.is(await seen('reward'), 0.5);
});

test.run();
