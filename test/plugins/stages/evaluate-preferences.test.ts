/** Which training's rewards an evaluation reads, and where no training gives any. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import preferenceSwap from '../../../plugins/attacks/preference-swap.ts';
import contains from '../../../plugins/scorers/contains.ts';
import reward from '../../../plugins/scorers/reward.ts';
import evaluate, { type Params } from '../../../plugins/stages/evaluate/index.ts';
import type {
  AnyPlugin,
  Cell,
  DefineRequest,
  StageDefinition,
  StageRequest,
} from '../../../src/api.ts';
import { present } from '../../rig/present.ts';
import { type Change, lookUp, tinyCell } from './rig.ts';

const test = suite('evaluate/preferences');

const own: readonly AnyPlugin[] = [preferenceSwap, contains, reward];
const plugin: NonNullable<DefineRequest['plugin']> = (kind, name) =>
  (own.find((one) => one.kind === kind && one.name === name) as never) ?? lookUp(kind, name);

const define = (cell: Cell, given: StageRequest['with'] = {}): StageDefinition<Params> =>
  evaluate.define([cell], { with: given, plugin });

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

test.run();
