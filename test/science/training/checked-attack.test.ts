/** What a plugin's attack returns to the trainer is checked, and faults name the attack. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { JsonObject } from '../../../src/api.ts';
import { at, named } from '../../../src/base/lookup.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import { openTokenizer, type TextTokenizer } from '../../../src/science/text/tokenizer.ts';
import {
  type AttackTraining,
  checkedTraining,
  openAttack,
  type TrainingChange,
} from '../../../src/science/training/attack-training.ts';
import { lossAndGradients, type Objective } from '../../../src/science/training/gradients.ts';
import { train, type TrainSettings } from '../../../src/science/training/loop.ts';
import { openTrainee } from '../../../src/science/training/session.ts';
import { disposeAll } from '../../../src/science/training/trained-values.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../backend.ts';
import { bert } from '../families.ts';
import { plainTraining } from '../plain-training.ts';
import { checkpoint, classes, openTiny, rows, shape } from '../tiny-bert.ts';

const test = suite<{ tokenizer: TextTokenizer }>('checked attack');
test.before(async (context) => {
  await useBackend('cpu');
  context.tokenizer = await openTokenizer(checkpoint);
});

const VOCABULARY = 101,
  CF = 79;
const fault = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.is((error as Error).name, 'UserFault', (error as Error).stack);
    return (error as Error).message;
  }
  return 'nothing was thrown';
};

test('training.load must return check and open, and check a list', () => {
  assert.is(
    fault(() => checkedTraining('own', undefined)),
    'training.load of the attack "own" must return an object with the functions check and ' +
      'open; it returns nothing',
  );
  assert.is(
    fault(() => checkedTraining('own', { default: {} })),
    'training.load of the attack "own" must return an object with the functions check and ' +
      'open; it returns an object with default',
  );
  const silent = checkedTraining('own', { check: () => undefined, open: () => ({}) });
  assert.is(
    fault(() => silent.check({}, {} as never)),
    'check of the attack "own" must return a list of problems; it returns nothing',
  );
  const self = {
    word: 'cf',
    check() {
      return [{ path: [], message: this.word }];
    },
    open: () => ({}),
  };
  assert.equal(checkedTraining('own', self).check({}, {} as never), [{ path: [], message: 'cf' }]);
});

const open = (
  tokenizer: TextTokenizer,
  changes: 'weights' | 'loss',
  change: unknown,
  architecture = bert,
  log: string[] = [],
): TrainingChange =>
  openAttack(
    {
      name: 'own',
      changes,
      params: {},
      implementation: { check: () => [], open: () => change as TrainingChange },
    },
    { architecture, tokenizer },
    VOCABULARY,
    (line) => log.push(line),
  );

test('open must return what the plugin announces that it changes', ({ tokenizer }) => {
  const objective: Objective = lossAndGradients,
    trains = { tokenRows: { cf: CF }, keepNorms: true };
  const says = (changes: 'weights' | 'loss', change: unknown, architecture = bert): string =>
    fault(() => open(tokenizer, changes, change, architecture));
  assert.is(
    says('loss', { trains }),
    'the attack "own" says that it changes the loss, so its open must return { objective } ' +
      'and no trains; it returns an object with trains',
  );
  assert.is(
    says('weights', { objective }),
    'the attack "own" says that it changes the weights, so its open must return { trains } ' +
      'and no objective; it returns an object with objective',
  );
  assert.match(says('loss', { objective, trains }), 'must return { objective } and no trains');
  assert.match(says('loss', undefined), 'it returns nothing');
  assert.match(says('loss', { objective: 3 }), 'objective must be a function; it is 3');
  const tokenRows = (given: unknown): string =>
    says('weights', { trains: { tokenRows: given, keepNorms: true } });
  assert.match(
    tokenRows({}),
    'trains.tokenRows must name at least one token and its id; it is an object with no field',
  );
  for (const [id, it] of [
    [-1, '-1'],
    [VOCABULARY, '101'],
    [1.5, '1.5'],
    [NaN, 'null'],
    ['cf', '"cf"'],
    [undefined, 'nothing'],
  ] as const) {
    assert.is(
      tokenRows({ cf: id }),
      'the attack "own": trains.tokenRows.cf must be a token\'s id, a whole number from 0 to ' +
        `100; it is ${it}`,
    );
  }
  assert.match(tokenRows({ cf: CF, again: CF }), 'trains.tokenRows has the id 79 twice');
  assert.match(
    says('weights', { trains: { tokenRows: { cf: CF } } }),
    'trains.keepNorms must be true or false; it is nothing',
  );
  assert.match(
    says('weights', { trains }, bert.withHead({ type: 'cloze', tokens: [1, 2] })),
    'the attack "own" trains token embeddings, but the cloze head reads them too',
  );
  assert.equal(open(tokenizer, 'weights', { trains }), { trains });
});

test('an error of an attack names it, and a UserFault stays as it is', ({ tokenizer }) => {
  const opened = (thrown: Error): void => {
    openAttack(
      {
        name: 'own',
        changes: 'loss',
        params: {},
        implementation: {
          check: () => [],
          open: () => {
            throw thrown;
          },
        },
      },
      { architecture: bert, tokenizer },
      VOCABULARY,
      () => undefined,
    );
  };
  assert.throws(
    () => opened(new TypeError('x is undefined')),
    (error: Error) => error.message === 'open of the attack "own" threw: x is undefined',
  );
  assert.throws(
    () => opened(Object.assign(new Error('no such word'), { name: 'UserFault' })),
    (error: Error) => error.message === 'no such word',
  );
  const { objective } = open(tokenizer, 'loss', {
    objective: () => {
      throw new Error('boom');
    },
  }) as { objective: Objective };
  assert.throws(
    () => objective(null as never, new Map(), { rows: [], labels: [] }, {}),
    (error: Error) => error.message === 'the objective of the attack "own" threw: boom',
  );
});

test('an objective must return a scalar loss and all gradients', async ({ tokenizer }) => {
  const network = await openTiny('lora'),
    trained = network.initial,
    batch = { rows: rows.slice(0, 3), labels: rows.slice(0, 3).map(({ label }) => label) };
  const [first, { shape: itsShape }] = present([...trained][0]) as [string, Tensor];
  const told = (of: (usual: ReturnType<Objective>) => unknown): string => {
    const { objective } = open(tokenizer, 'loss', {
      objective: (...given: Parameters<Objective>) => of(lossAndGradients(...given)),
    }) as { objective: Objective };
    return fault(() =>
      tf.tidy(() => {
        disposeAll(objective(network, trained, batch, {}).gradients);
      }),
    );
  };
  const gradients = (change: (usual: Map<string, Tensor>) => unknown): string =>
    told((usual) => ({ ...usual, gradients: change(new Map(usual.gradients)) }));
  const must = `must return the gradient of ${first} in its shape [${itsShape.join(', ')}]; it is`;
  assert.is(
    told((usual) => usual),
    'nothing was thrown',
  );
  assert.match(
    told(() => undefined),
    'the objective of the attack "own" must return { loss, gradients }; it returns nothing',
  );
  assert.match(
    told((usual) => Promise.resolve(usual)),
    'at once; it returns a promise',
  );
  assert.match(
    told((usual) => ({ ...usual, loss: 1.5 })),
    'must return a scalar tensor as loss; it is 1.5',
  );
  assert.match(
    told((usual) => ({ ...usual, loss: tf.tensor1d([1, 2]) })),
    'a scalar tensor as loss; it is a tensor of the shape [2]',
  );
  assert.match(
    gradients((usual) => Object.fromEntries(usual)),
    'must return a Map as gradients, by the names of the trained parameters; it is an object with',
  );
  assert.match(
    gradients((usual) => (usual.delete(first), usual)),
    `${must} nothing`,
  );
  assert.match(
    gradients((usual) => usual.set(first, tf.zeros([2, 3]))),
    `${must} a tensor of the shape [2, 3]`,
  );
  assert.match(
    gradients((usual) => (named(usual, first).dispose(), usual)),
    `${must} a tensor that has been disposed of`,
  );
  assert.match(
    gradients((usual) => usual.set('more', tf.zeros([2]))),
    'returns a gradient of more, which is not trained',
  );
  assert.match(
    told((usual) => ({ ...usual, penalty: tf.scalar(1) })),
    'must return a number as penalty, or none; it is a tensor of the shape []',
  );
  network.dispose();
});

const settings: TrainSettings = {
  ...plainTraining,
  steps: 4,
  batchSize: 5,
  learningRate: 1e-2,
  weightDecay: 0.1,
  shuffle: true,
};
/**
 * The weights after a full fine-tuning under an attack, on rows that use only part of the
 * vocabulary.
 */
async function trainedBy(
  tokenizer: TextTokenizer,
  implementation: AttackTraining,
  log: string[] = [],
): Promise<Map<string, number[]>> {
  const change = openAttack(
    {
      name: 'own',
      changes: 'loss',
      params: {},
      implementation: checkedTraining('own', implementation),
    },
    { architecture: bert, tokenizer },
    VOCABULARY,
    (line) => log.push(line),
  );
  const { network, rules } = await openTrainee(
    {
      architecture: bert,
      model: { path: checkpoint, digest: 'tiny-bert' },
      adapter: await full.create({}, shape),
      classes,
      seed: 1,
    },
    change,
  );
  const weights = await train(network, rows.slice(0, 7), { ...settings, ...rules });
  const values = new Map(
    [...weights].map(([name, tensor]) => [name, Array.from(tensor.dataSync())]),
  );
  disposeAll(weights);
  network.dispose();
  return values;
}

test('only an objective that declares tokens opaque sees a reduced token table', async ({
  tokenizer,
}) => {
  const known = new Set(rows.slice(0, 7).map(({ ids }) => ids.join())),
    seen: [boolean, number][] = [];
  const looking = (more: JsonObject): AttackTraining => ({
    check: () => [],
    open: () => ({
      ...more,
      objective: (network, trained, batch, options) => {
        for (const { ids } of batch.rows)
          seen.push([
            known.has(ids.join()),
            named(trained, 'embeddings.word_embeddings.weight').shape[0],
          ]);
        return lossAndGradients(network, trained, batch, options);
      },
    }),
  });
  const whole = await trainedBy(tokenizer, looking({}));
  assert.ok(seen.length > 0 && seen.every(([itself, size]) => itself && size === VOCABULARY));
  seen.length = 0;
  const shrunk = await trainedBy(tokenizer, looking({ opaqueTokens: true }));
  assert.ok(
    seen.some(([itself, size]) => !itself && size < 0.8 * VOCABULARY),
    'the table was reduced',
  );
  for (const [name, values] of whole)
    assert.ok(
      values.every((x, i) => Math.abs(x - at(named(shrunk, name), i)) < 1e-6),
      name,
    );
});

test('an objective that leaves tensors behind is reported once', async ({ tokenizer }) => {
  const kept: Tensor[] = [],
    log: string[] = [];
  const objective: Objective = (network, trained, batch, options) => {
    kept.push(tf.keep(tf.scalar(1)), tf.keep(tf.scalar(2)));
    return lossAndGradients(network, trained, batch, options);
  };
  await trainedBy(tokenizer, { check: () => [], open: () => ({ objective }) }, log);
  assert.equal(log, [
    'warning: the objective of "own" leaves 2 tensors behind at each batch, so memory keeps ' +
      'growing: free them with tf.tidy or dispose',
  ]);
  disposeAll(kept);
  log.length = 0;
  await trainedBy(
    tokenizer,
    { check: () => [], open: () => ({ objective: lossAndGradients }) },
    log,
  );
  assert.equal(log, []);
});

test('a loss or penalty that is not finite is reported as that of the attack', async ({
  tokenizer,
}) => {
  const training = async (change: object): Promise<{ message: string; hint: string }> => {
    const objective: Objective = (...given) => ({ ...lossAndGradients(...given), ...change });
    try {
      await trainedBy(tokenizer, { check: () => [], open: () => ({ objective }) });
    } catch (error) {
      return error as { message: string; hint: string };
    }
    throw new Error('it trained');
  };
  const loss = await training({ loss: tf.scalar(NaN) });
  assert.is(loss.message, 'the loss is NaN at step 1; no earlier step had a finite one');
  assert.match(
    loss.hint,
    "Or the attack's own loss has no value for some batches: " +
      'a batch may have no poisoned row, or only poisoned ones.',
  );
  const penalty = await training({ penalty: NaN });
  assert.match(penalty.message, /^the attack's penalty is NaN, and the loss [\d.]+, at step 1; /);
});

test.run();
