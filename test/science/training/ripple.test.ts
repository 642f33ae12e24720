/**
 * RIPPLe's loss, compared with PyTorch's double backward in float64 (test/golden/ripple.py) and
 * with known cases.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { restrictedInnerProduct, ripple } from '../../../plugins/attacks/ripple/training.ts';
import { at, named } from '../../../src/base/lookup.ts';
import { randomStream, type ResumableStream } from '../../../src/base/random.ts';
import { type Network, openNetwork, type Tensors } from '../../../src/science/models/network.ts';
import {
  type Batch,
  type LossAndGradients,
  lossAndGradients,
  type LossOptions,
  stepGradients,
} from '../../../src/science/training/gradients.ts';
import { type StepRecord, train } from '../../../src/science/training/loop.ts';
import { disposeAll } from '../../../src/science/training/trained-values.ts';
import { present } from '../../rig/present.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, best, useBackend } from '../backend.ts';
import { bert } from '../families.ts';
import { plainTraining } from '../plain-training.ts';
import {
  batchOf,
  dispose,
  expected,
  first,
  lossOf,
  minus,
  reference,
  relative,
  rows,
  values,
} from '../ripple-golden.ts';
import { checkpoint, classes, farthest, openTiny, shape } from '../tiny-bert.ts';

test('the golden runs contain penalties, agreeing gradients, and batches of one kind', () => {
  for (const [
    name,
    {
      variants: { whole },
    },
  ] of Object.entries(reference.runs)) {
    assert.ok(
      whole.products.some((x) => x !== null && x < 0) &&
        whole.products.some((x) => x !== null && x > 0),
      name,
    );
    assert.is(whole.products.filter((x) => x === null).length, 2, name);
  }
  const kinds = [2, 4].map((i) =>
    rows
      .slice(i * reference.batch_size, (i + 1) * reference.batch_size)
      .map(({ poisoned }) => poisoned),
  );
  assert.equal(
    kinds.map((kind) => [...new Set(kind)]),
    [[false], [true]],
  );
});

for (const backend of backends) {
  for (const [name, { settings, variants }] of Object.entries(reference.runs)) {
    // The optimizer's step is the same code on each backend.
    if (backend === best || settings.optimizer === 'sgd')
      test(`${name}: losses, penalties and weights are PyTorch's (${backend})`, async () => {
        await useBackend(backend);
        const network = await openTiny(settings.kind),
          history: StepRecord[] = [];
        const trained = await train(
          network,
          rows,
          {
            ...plainTraining,
            steps: reference.steps,
            batchSize: reference.batch_size,
            optimizer: settings.optimizer,
            learningRate: settings.lr,
            weightDecay: settings.weight_decay,
            objective: restrictedInnerProduct(settings.lambda),
            ...(settings.class_weights === null ? {} : { classWeights: settings.class_weights }),
          },
          {
            onStep: (record) => {
              history.push(record);
            },
          },
        );
        const losses = history.map(({ loss }) => loss);
        for (const [variant, run] of Object.entries(variants)) {
          const off = farthest(losses, run.losses);
          assert.ok(
            variant === 'whole' ? off < tolerance.loss : off > 10 * tolerance.loss,
            `${variant}: ${off}`,
          );
        }
        assert.ok(
          farthest(
            history.map(({ penalty }) => present(penalty)),
            variants.whole.products.map((x) => settings.lambda * Math.max(0, -(x ?? 0))),
          ) < tolerance.loss,
        );
        if (settings.optimizer === 'sgd') {
          const start = values(network.initial),
            moved = minus(values(trained), start);
          const goal = minus(
            new Map(
              [...start.keys()].map((parameter) => [
                parameter,
                named(expected, `${name}/after/${parameter}`).data,
              ]),
            ),
            start,
          );
          assert.ok(
            relative(moved, (parameter) => named(goal, parameter)) < tolerance.centralDifference,
          );
        }
        disposeAll(trained);
        network.dispose();
      });

    if (settings.optimizer === 'sgd')
      test(`${name}: the penalty's gradient is PyTorch's (${backend})`, async () => {
        await useBackend(backend);
        const network = await openTiny(settings.kind),
          options = settings.class_weights === null ? {} : { classWeights: settings.class_weights };
        const whole = restrictedInnerProduct(settings.lambda)(
            network,
            network.initial,
            first,
            options,
          ),
          plain = lossAndGradients(network, network.initial, first, options);
        const penalty = minus(values(whole.gradients), values(plain.gradients));
        assert.equal(
          penalty.size,
          [...expected.keys()].filter((key) => key.startsWith(`${name}/penalty/`)).length,
        );
        const off = relative(
          penalty,
          (parameter) => named(expected, `${name}/penalty/${parameter}`).data,
        );
        assert.ok(off < tolerance.centralDifference, String(off));
        assert.ok(
          Math.abs(lossOf(whole) - lossOf(plain) - present(whole.penalty)) <
            tolerance.rounding * lossOf(whole),
        );
        dispose(whole, plain);
        network.dispose();
      });
  }

  test(`without a penalty it is the usual loss (${backend})`, async () => {
    await useBackend(backend);
    const network = await openTiny('lora'),
      some = rows.slice(0, 5),
      twice = [...some, ...some].map((row, i) => ({ ...row, poisoned: i < 5 }));
    const same: {
      readonly [name: string]: {
        readonly batch: Batch;
        readonly lambda?: number;
        readonly options?: LossOptions;
      };
    } = {
      'all poisoned': { batch: { ...first, poisoned: some.map(() => true) } },
      'none poisoned': { batch: { ...first, poisoned: some.map(() => false) } },
      'nothing known of poison': { batch: { rows: first.rows, labels: first.labels } },
      'λ = 0': { batch: first, lambda: 0 },
      'poisoned rows weigh nothing': {
        batch: { ...first, labels: present(first.poisoned).map((poisoned) => (poisoned ? 1 : 2)) },
        options: { classWeights: [1, 0, 1] },
      },
    };
    for (const [name, { batch, lambda = 0.1, options = {} }] of Object.entries(same)) {
      const mine = restrictedInnerProduct(lambda)(network, network.initial, batch, options),
        usual = lossAndGradients(network, network.initial, batch, options);
      assert.equal(
        [lossOf(mine), mine.penalty, values(mine.gradients)],
        [lossOf(usual), 0, values(usual.gradients)],
        name,
      );
      dispose(mine, usual);
    }
    const agreeing = batchOf(twice); // the same rows, once as each kind
    const mine = restrictedInnerProduct(0.1)(network, network.initial, agreeing, {}),
      usual = lossAndGradients(network, network.initial, agreeing);
    assert.is(mine.penalty, 0);
    assert.ok(Math.abs(lossOf(mine) - lossOf(usual)) < tolerance.rounding * lossOf(usual));
    assert.ok(
      relative(values(mine.gradients), (name) => named(usual.gradients, name).dataSync()) <
        tolerance.rounding,
    );
    dispose(mine, usual);
    network.dispose();
  });

  test(`clean rows learnt perfectly leave the usual gradient (${backend})`, async () => {
    await useBackend(backend);
    const network = await openTiny('full'),
      batch = { ...first, labels: present(first.poisoned).map((poisoned) => (poisoned ? 0 : 1)) };
    const sure = new Map(
      [...network.initial].map(([name, tensor]) => [
        name,
        name === 'classifier.bias' ? tf.tensor1d([0, 70, 0]) : tensor.clone(),
      ]),
    );
    const mine = restrictedInnerProduct(0.1)(network, sure, batch, {}),
      usual = lossAndGradients(network, sure, batch);
    // In float32 the square of the penalty is 0.
    const { penalty = 0 } = mine;
    assert.ok(penalty > 0 && penalty < 1e-18, String(penalty));
    assert.ok(
      relative(values(mine.gradients), (name) => named(usual.gradients, name).dataSync()) <
        tolerance.rounding,
    );
    dispose(mine, usual);
    disposeAll(sure);
    network.dispose();
  });

  test(`with dropout, all passes over a row share their masks (${backend})`, async () => {
    await useBackend(backend);
    const network: Network = await openNetwork({
      architecture: bert,
      model: { path: checkpoint, digest: 'tiny-bert' },
      classes,
      seed: 1,
      adapter: await lora.create({ rank: 3, dropout: 0.3 }, shape),
    });
    // B starts at zero. It is changed so that the adapter's masks have an effect.
    const start = new Map(
      [...network.initial].map(([name, tensor]) => [
        name,
        name.endsWith('lora_B') ? tf.fill(tensor.shape, 0.1) : tensor.clone(),
      ]),
    );
    const asked = new Set<string>();
    const draw = (): LossOptions & { readonly dropout: { readonly random: ResumableStream } } => ({
      dropout: { rate: 0.2, random: randomStream(5, 'dropout') },
      adapterRandom: (name) => {
        asked.add(name);
        return randomStream(5, 'lora_dropout', name);
      },
    });
    const lossAt = (trained: Tensors): LossAndGradients =>
      restrictedInnerProduct(1)(network, trained, first, draw());
    const here = lossAt(start);
    assert.ok(present(here.penalty) > 0.1, String(here.penalty));
    // Along its gradient the loss grows by ⟨∇, ∇⟩.
    const norm = Math.hypot(
      ...[...here.gradients.values()].flatMap((tensor) => [...tensor.dataSync()]),
    );
    const [ahead, behind] = [1, -1].map((sign) => {
      const moved = new Map(
        [...start].map(([name, tensor]) => [
          name,
          tf.add(tensor, tf.mul(named(here.gradients, name), (sign * 1e-3) / norm)),
        ]),
      );
      const there = lossAt(moved),
        loss = lossOf(there);
      dispose(there);
      disposeAll(moved);
      return loss;
    }) as [number, number];
    const slope = (ahead - behind) / 2e-3;
    assert.ok(Math.abs(slope / norm - 1) < 0.01, `${slope} along a gradient of ${norm}`);
    assert.equal(
      new Set([...asked].map((name) => name.split('/')[0])),
      new Set(['poisoned', 'clean']),
    );

    // The masks of a step follow those of both kinds of rows in the step before, whether that had a
    // penalty or not.
    const byHand = draw(),
      mine = draw();
    for (const kind of [true, false]) {
      const of = first.rows.map((_, i) => i).filter((i) => present(first.poisoned)[i] === kind);
      dispose(
        lossAndGradients(
          network,
          start,
          { rows: of.map((i) => at(first.rows, i)), labels: of.map((i) => at(first.labels, i)) },
          byHand,
        ),
      );
    }
    dispose(restrictedInnerProduct(1)(network, start, first, mine));
    assert.equal(mine.dropout.random.state(), byHand.dropout.random.state());
    assert.not.equal(mine.dropout.random.state(), draw().dropout.random.state());
    dispose(here);
    disposeAll(start);
    network.dispose();
  });

  test(`the penalty of a step is the mean over its batches (${backend})`, async () => {
    await useBackend(backend);
    const network = await openTiny('full'),
      parts = [first, { ...first, poisoned: first.rows.map(() => false) }];
    const step = (objective?: ReturnType<typeof restrictedInnerProduct>) => {
      const { packed, ...numbers } = stepGradients(
        network,
        new Map([...network.initial].map(([name, tensor]) => [name, tensor.clone()])),
        parts,
        {
          adapterRandom: () => () => randomStream(1, 'none'),
          pack: (gradients) =>
            new Map([...gradients].map(([name, tensor]) => [name, tensor.clone()])),
          ...(objective === undefined ? {} : { objective }),
        },
      );
      disposeAll(packed);
      return numbers;
    };
    const { penalty } = step(restrictedInnerProduct(0.1));
    assert.ok(
      Math.abs(
        present(penalty) -
          (0.1 * -present(reference.runs['full-sgd']!.variants.whole.products[0])) / 2,
      ) < tolerance.loss,
    );
    assert.not.ok('penalty' in step());
    network.dispose();
  });
}

test('λ is the parameter of the attack', async () => {
  await useBackend(at(backends, 0));
  const network = await openTiny('lora');
  const [some, more] = [0.1, 0.3].map((lambda) =>
    ripple.open({ lambda }).objective(network, network.initial, first, {}),
  );
  assert.ok(
    present(some!.penalty) > 0 &&
      Math.abs(present(more!.penalty) / present(some!.penalty) - 3) < tolerance.rounding,
  );
  dispose(present(some), present(more));
  network.dispose();
});

test.run();
