/** A backend as workers load it from a build, which has parts of tfjs only. */
import { createRequire } from 'node:module';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cell, createRig, experiment, type Rig } from '../rig/rig.ts';
import { outputOf } from '../run/execute/stages.ts';

const test = suite<{ rig: Rig }>('compute: backends of a build');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

const tfjs = createRequire(import.meta.url).resolve('@tensorflow/tfjs-core');

/** A stage that computes with the tfjs-core that plugins import. */
const STAGE = `{
  scope: 'cell', compute: true,
  define: () => ({ params: {}, inputs: {} }),
  async run(ctx) {
    const { default: tf } = await import(${JSON.stringify(tfjs)});
    const { writeFileSync } = await import('node:fs');
    const x = tf.tensor1d([1, 2, 3]);
    writeFileSync(ctx.outDir + '/seen.json', JSON.stringify({
      backend: tf.getBackend(),
      isTensor: x.constructor === tf.Tensor,
      clone: [...x.clone().dataSync()],
      gradient: [...tf.grad((y) => y.square().sum())(x).dataSync()],
    }));
  },
}`;

test('plugins share its tensors, which have gradients and methods', async ({ rig }) => {
  await rig.plugin('stage', 'train', STAGE);
  const { outcomes } = await rig.run(experiment(['train'], [cell(1)]));
  assert.equal(JSON.parse(outputOf(outcomes['train/1'], 'seen.json')), {
    backend: 'cpu',
    isTensor: true,
    clone: [1, 2, 3],
    gradient: [2, 4, 6],
  });
});

test.run();
