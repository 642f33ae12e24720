import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { adapterFault, trainingAttack } from '../../../../plugins/stages/train/params.ts';
import type { DefineRequest, Poisoning } from '../../../../src/api.ts';
import { present } from '../../../rig/present.ts';

const test = suite('training attack');
const training = { load: () => Promise.resolve(null) };
const attacks: Readonly<Record<string, object>> = {
  rows: {},
  weights: { training },
  more: { training },
};
const plugin: NonNullable<DefineRequest['plugin']> = (_kind, name) => attacks[name] as never;
const of = (poisoning: Poisoning) => trainingAttack(poisoning, plugin);

test('the attack that touches training, with its own parameters', () => {
  assert.is(of({ attack: 'rows', rate: 0.1 }), null);
  assert.is(of({ attack: 'unknown' }), null); // whoever runs it reports that
  assert.equal(of({ attack: 'weights', rate: 0.1 }), { attack: 'weights', rate: 0.1 });
  assert.equal(
    of({ attack: 'rows+weights', steps: { rows: { rate: 0.3 }, weights: { rate: 0.1 } } }),
    { attack: 'weights', rate: 0.1 },
  );
});

test('two that touch it are refused, since neither knows of the other', () => {
  assert.throws(
    () => of({ attack: 'weights+more', steps: { weights: {}, more: {} } }),
    (error: Error) =>
      error.name === 'UserFault' &&
      error.message === '"weights" and "more" both change the training, each in its own way',
  );
});

test("an adapter that leaves the model's weights alone has nothing to train with it", () => {
  assert.is(adapterFault('weights', 'full'), null);
  assert.equal(present(adapterFault('weights', 'lora')).path, ['adapter', 'type']);
});

test.run();
