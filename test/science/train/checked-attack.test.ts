/** What an attack from outside hands to a training: what is wrong of it is told, and by whose name; what it is shown is what the tokenizer says. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { JsonObject } from '../../../src/api.ts';
import { bert } from '../../../src/science/nn/bert.ts';
import { full } from '../../../src/science/nn/full.ts';
import { openTokenizer, type TextTokenizer } from '../../../src/science/text/tokenizer.ts';
import type { AttackTraining, TrainingChange } from '../../../src/science/train/attack-training.ts';
import { checkedTraining, openAttack } from '../../../src/science/train/checked-attack.ts';
import { lossAndGradients, type Objective } from '../../../src/science/train/gradients.ts';
import { train, type TrainSettings } from '../../../src/science/train/loop.ts';
import { disposeAll } from '../../../src/science/train/trained-values.ts';
import { openTrainee } from '../../../src/science/train/trainee.ts';
import { useBackend } from '../backend.ts';
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

test('what training.load gives', () => {
  assert.is(
    fault(() => checkedTraining('own', undefined)),
    'training.load of the attack "own" must give an object with the functions check and open; it gives nothing',
  );
  assert.is(
    fault(() => checkedTraining('own', { default: {} })),
    'training.load of the attack "own" must give an object with the functions check and open; it gives an object with default',
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

test('what open returns is what the plugin says that it changes', ({ tokenizer }) => {
  const objective: Objective = lossAndGradients,
    trains = { tokenRows: { cf: CF }, keepNorms: true };
  const says = (changes: 'weights' | 'loss', change: unknown, architecture = bert): string =>
    fault(() => open(tokenizer, changes, change, architecture));
  assert.is(
    says('loss', { trains }),
    'the attack "own" says that it changes the loss, so its open must return { objective } and no trains; it returns an object with trains',
  );
  assert.is(
    says('weights', { objective }),
    'the attack "own" says that it changes the weights, so its open must return { trains } and no objective; it returns an object with objective',
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
      `the attack "own": trains.tokenRows.cf must be a token's id, a whole number from 0 to 100; it is ${it}`,
    );
  }
  assert.match(tokenRows({ cf: CF, again: CF }), 'trains.tokenRows has the id 79 twice');
  assert.match(
    says('weights', { trains: { tokenRows: { cf: CF } } }),
    'trains.keepNorms must be true or false; it is nothing',
  );
  assert.match(
    says('weights', { trains }, bert.withHead({ type: 'cloze', tokens: [1, 2] })),
    'the attack "own" trains token embeddings, and the cloze head reads them too',
  );
  assert.equal(open(tokenizer, 'weights', { trains }), { trains });
});

test("a throw of the attack's names it; a user's fault is told as it is", ({ tokenizer }) => {
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

test('what an objective returns', async ({ tokenizer }) => {
  const network = await openTiny('lora'),
    trained = network.initial,
    batch = { rows: rows.slice(0, 3), labels: rows.slice(0, 3).map(({ label }) => label) };
  const [first, { shape: itsShape }] = [...trained][0]! as [string, Tensor];
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
    told(async (usual) => usual),
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
    gradients((usual) => (usual.get(first)!.dispose(), usual)),
    `${must} a tensor that is disposed of`,
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
  steps: 4,
  batchSize: 5,
  optimizer: 'adamw',
  schedule: 'constant',
  warmup: 0,
  learningRate: 1e-2,
  weightDecay: 0.1,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  shuffle: true,
  dropout: 0,
  seed: 1,
};
/** As the train stage does it, under full fine-tuning, on rows that use less than the whole vocabulary. */
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

test("an objective sees the tokenizer's ids and the whole token table; one that looks at neither may have both shrunk, to the same weights", async ({
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
            trained.get('embeddings.word_embeddings.weight')!.shape[0],
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
    'it was shrunk',
  );
  for (const [name, values] of whole)
    assert.ok(
      values.every((x, i) => Math.abs(x - shrunk.get(name)![i]!) < 1e-6),
      name,
    );
});

test('tensors that it leaves behind are told of, once', async ({ tokenizer }) => {
  const kept: Tensor[] = [],
    log: string[] = [];
  const objective: Objective = (network, trained, batch, options) => {
    kept.push(tf.keep(tf.scalar(1)), tf.keep(tf.scalar(2)));
    return lossAndGradients(network, trained, batch, options);
  };
  await trainedBy(tokenizer, { check: () => [], open: () => ({ objective }) }, log);
  assert.equal(log, [
    'warning: the objective of "own" leaves 2 tensors behind at each batch, and memory grows by them: tf.tidy or dispose frees them',
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

test("a loss or a penalty without a value is told as the attack's own", async ({ tokenizer }) => {
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
  assert.is(loss.message, 'the loss is NaN at step 1; no step before had a finite one');
  assert.match(
    loss.hint,
    "Or it is the loss itself, an attack's own, that has no value for some batches: one may have no poisoned row, or no other.",
  );
  const penalty = await training({ penalty: NaN });
  assert.match(penalty.message, /^the attack's penalty is NaN, and the loss [\d.]+, at step 1; /);
});

test.run();
