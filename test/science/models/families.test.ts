/**
 * Every family under every head against transformers and PEFT, in double precision: the tiny
 * checkpoints of test/golden/families.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { named } from '../../../src/base/lookup.ts';
import { crossEntropy } from '../../../src/science/models/loss.ts';
import type { Network } from '../../../src/science/models/network.ts';
import { answerTokens } from '../../../src/science/models/outputs.ts';
import { adaptedModel } from '../../../src/science/training/adapted-model.ts';
import {
  gradientsOf,
  lossAndGradients,
  type Objective,
} from '../../../src/science/training/gradients.ts';
import { train } from '../../../src/science/training/loop.ts';
import { scalarOf } from '../../../src/tensor/rows.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, best, useBackend } from '../backend.ts';
import {
  caseNames,
  checksum,
  type FamilyCase,
  goldenName,
  openCase,
  openFamily,
  unwrapped,
} from '../family-cases.ts';
import { kernels } from '../kernels.ts';
import { relative } from '../measures/ntk/fixture/compare.ts';
import { plainTraining } from '../plain-training.ts';
import { farthest, logitsOf } from '../tiny-bert.ts';

const test = suite('families against transformers');

const near = (a: ArrayLike<number>, b: ArrayLike<number>, within: number, what: string): void => {
  const off = farthest(a, b);
  assert.ok(off <= within, `${what}: off by ${off}`);
};

/** Asserts that the loss is right, and the gradient of every parameter and of no other. */
function assertGradients(
  network: Network,
  { rows, targets }: FamilyCase,
  { loss: expectedLoss, gradients: expected }: FamilyCase['golden']['lora'],
): void {
  const { loss, gradients } = lossAndGradients(network, network.initial, {
    rows,
    labels: targets,
  });
  near([scalarOf(loss)], [expectedLoss], tolerance.family.loss, 'loss');
  const theirs = new Map(Object.entries(expected).map(([name, sum]) => [unwrapped(name), sum]));
  assert.equal(
    [...gradients.keys()].map((name) => goldenName(network, name)).sort(),
    [...theirs.keys()].sort(),
  );
  const specs = new Map(network.parameters.map((spec) => [spec.name, spec]));
  for (const [name, gradient] of gradients) {
    const [norm, dot] = named(theirs, goldenName(network, name));
    const [ownNorm, ownDot] = checksum(gradient, specs.get(name)?.stored === 'transposed');
    const within = tolerance.gradient * norm + 1e-6;
    near([ownNorm], [norm], within, `norm of ${name} of ${norm}`);
    near([ownDot], [dot], within, `checksum of ${name} of ${norm}`);
  }
  tf.dispose([loss, [...gradients.values()]]);
}

/** The mean over the tokens of all answers. */
const ofAnswers: Objective = (network, trained, { rows }, options) =>
  gradientsOf(trained, () =>
    crossEntropy(network.forward(rows, trained, options), answerTokens(rows)),
  );

/**
 * Checkpoints that differ from another one in their weights' files, or in tables and masks that are
 * made on the host. Their operations are those of the other, which runs on each backend.
 */
const VARIANT =
  /-(gamma|legacy|bare|serial|pad-is-eos|bf16|f16|biases|dynamic|linear|llama3|llama3-new|sharded|tied|yarn|yarn-mscale|no-window|ungrouped|literal-pad)$/;

for (const backend of backends) {
  for (const name of caseNames) {
    if (backend !== best && VARIANT.test(name)) continue;
    for (const kind of ['full', 'lora'] as const) {
      test(`${name}, ${kind}: logits, loss and every gradient (${backend})`, async () => {
        await useBackend(backend);
        const own = await openCase(name),
          network = await openFamily(own, kind);
        const { logits } = kind === 'full' ? own.golden : own.golden.lora;
        const together = logitsOf(network, own.rows);
        near(
          together.subarray(0, logits.flat().length),
          logits.flat(),
          tolerance.family.logits,
          'logits',
        );
        // An adapter reads each token alone, so padding is a matter of the model.
        if (kind === 'full')
          near(
            own.rows.flatMap((row) => [...logitsOf(network, [row])]),
            together,
            tolerance.family.logits,
            'rows alone',
          );
        assertGradients(network, own, kind === 'full' ? own.golden : own.golden.lora);
        network.dispose();
      });
    }
  }
}

// A training and a kernel consist of the operations that the tests above compare on each backend.
for (const name of caseNames) {
  test(`${name}: the loss of each of 20 steps`, async () => {
    await useBackend(best);
    const own = await openCase(name),
      network = await openFamily(own, 'full'),
      losses: number[] = [];
    const { lr: learningRate, steps, losses: expected } = own.golden.training;
    const trained = await train(
      network,
      own.rows,
      {
        ...plainTraining,
        steps,
        learningRate,
        batchSize: own.rows.length,
        weightDecay: 0,
        ...(own.golden.head === 'causal-lm' ? { objective: ofAnswers } : {}),
      },
      {
        onStep: ({ loss }) => {
          losses.push(loss);
        },
      },
    );
    near(losses, expected, tolerance.family.loss, 'losses');
    tf.dispose([...trained.values()]);
    network.dispose();
  });

  test(`${name}: the kernels of its outputs`, async () => {
    await useBackend(best);
    const own = await openCase(name);
    const { rows, outputs, layers, full, lora } = own.golden.kernel;
    for (const kind of ['full', 'lora'] as const) {
      const model = adaptedModel(await openFamily(own, kind, true));
      assert.is(model.outputsOf, outputs);
      const found = await kernels(model, own.rows.slice(0, rows), {});
      assert.equal(
        found.layers
          .map(({ layer }) => goldenName({ architecture: own.architecture }, `${layer}.weight`))
          .sort(),
        layers.map((layer) => `${layer}.weight`).sort(),
      );
      const error = relative(found[kind] ?? [], (kind === 'full' ? full : lora).flat());
      assert.ok(error <= tolerance.family.kernel, `${kind} kernel: ${error}`);
      model.dispose();
    }
  });
}

test.run();
