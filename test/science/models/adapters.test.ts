/** DoRA, PiSSA, OLoRA, LoRA+ and VeRA against PyTorch + PEFT: test/golden/adapters.py. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { at } from '../../../src/base/lookup.ts';
import { mergedParameters } from '../../../src/science/measures/weights/effective.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import { writeCheckpoint } from '../../../src/science/models/io/checkpoint.ts';
import { type Network, openNetwork } from '../../../src/science/models/network.ts';
import { adaptedModel } from '../../../src/science/training/adapted-model.ts';
import { train } from '../../../src/science/training/loop.ts';
import { saveTrained } from '../../../src/science/training/session.ts';
import { tolerance } from '../../tolerances.ts';
import {
  batchSize,
  folder,
  kernelOf,
  kernelRows,
  openAdapter,
  SPECS,
  steps,
  variant,
} from '../adapters-golden.ts';
import { backends, quick, useBackend } from '../backend.ts';
import { bert } from '../families.ts';
import { kernels } from '../kernels.ts';
import { relative } from '../measures/ntk/fixture/compare.ts';
import { plainTraining } from '../plain-training.ts';
import { checkpoint, classes, farthest, logitsOf, rows, shape } from '../tiny-bert.ts';

const test = suite('adapters against PEFT');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-adapters-'));

const settings = { ...plainTraining, steps, batchSize, weightDecay: 0.01 } as const;

function near(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  most: number,
  what: string,
): void {
  const error = farthest(found, expected);
  assert.ok(error <= most, `${what}: ${error}`);
}

/** PEFT's name of a parameter as ours. */
const nameHere = (name: string): string =>
  name
    .replace(/^bert\./, '')
    .replace(/\.lora_(A|B)\.weight$/, '.lora_$1')
    .replace(/\.lora_magnitude_vector(\.weight)?$/, '.lora_magnitude');

/** B·A, (m, n). */
function product(A: ArrayLike<number>, B: ArrayLike<number>, rank: number): Float64Array {
  const n = A.length / rank,
    m = B.length / rank;
  return Float64Array.from({ length: m * n }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < rank; k++)
      sum += at(B, Math.floor(i / n) * rank + k) * at(A, k * n + (i % n));
    return sum;
  });
}

/**
 * Asserts that the adapter's own parameters start as PEFT's. Of factors that are a part of the
 * weight the product is compared: a singular vector has no sign, and close ones no direction.
 */
function checkStart(
  network: Network,
  start: Readonly<Record<string, number[] | number[][]>>,
  exact: boolean,
): void {
  const read = (name: string): Float32Array => network.frozen(name).dataSync<'float32'>();
  for (const [theirs, expected] of Object.entries(start)) {
    const name = nameHere(theirs);
    if (name.endsWith('.lora_B')) continue;
    if (!name.endsWith('.lora_A')) {
      near(read(name), expected.flat(), 1e-5, name);
      continue;
    }
    const B = name.replace(/A$/, 'B'),
      other = theirs.replace('lora_A', 'lora_B');
    near(
      product(read(name), read(B), expected.length),
      product(expected.flat(), (start[other] ?? []).flat(), expected.length),
      1e-5,
      name,
    );
    // Nothing is free in a QR decomposition.
    if (exact) near(read(name), expected.flat(), 1e-5, name);
  }
}

for (const [name, { implementation, params }] of Object.entries(SPECS)) {
  const open = (): Promise<Network> =>
    openAdapter(implementation, params === null ? { folder: folder(name, 'start') } : { params });

  // The starts and the vectors differ; what is done on the device is that of these two.
  for (const backend of ['dora', 'vera'].includes(name) ? backends : [quick])
    test(`${name}: start, 20 steps and the result are PEFT's (${backend})`, async () => {
      await useBackend(backend);
      const golden = variant(name);
      const network = await open();
      checkStart(network, golden.start ?? {}, !name.endsWith('pissa'));
      near(logitsOf(network, rows), golden.logits.flat(), tolerance.logits, 'logits at the start');
      const losses: number[] = [];
      const trained = await train(
        network,
        rows,
        {
          ...settings,
          learningRate: golden.rate,
          ...(name === 'lora-plus' ? { weightDecay: 0 } : {}),
        },
        {
          onStep: ({ loss }) => {
            losses.push(loss);
          },
        },
      );
      near(losses, golden.losses, tolerance.adapterLoss, 'losses');
      const logits = network.forward(rows, trained).dataSync<'float32'>();
      near(logits, golden.end_logits.flat(), tolerance.logits, 'logits at the end');
      await saveTrained(network, trained, join(dir, name), {
        modelDir: checkpoint,
        classes: ['a', 'b', 'c'],
      });
      const again = await openAdapter(implementation, { folder: join(dir, name, 'adapter') });
      near(logitsOf(again, rows), logits, tolerance.logits, 'logits of the saved folder');
      assert.equal(again.trainable, network.trainable);
      for (const own of network.adapter.parameters)
        assert.equal(again.frozen(own.name).shape, own.shape);
      again.dispose();
      trained.forEach((tensor) => tensor.dispose());
      network.dispose();
    });

  test(`${name}: PEFT's folder has its logits, kernels and merged weights`, async () => {
    await useBackend(quick);
    const golden = variant(name);
    const network = await openAdapter(implementation, { folder: folder(name, 'end') }, true);
    near(logitsOf(network, rows), golden.end_logits.flat(), tolerance.logits, 'logits');
    const found = await kernels(adaptedModel(network), kernelRows, { batchTokens: 64 });
    for (const kind of ['lora', 'full'] as const) {
      const error = relative(found[kind] ?? [], await kernelOf(name, kind));
      assert.ok(error <= tolerance.adapterKernel, `${kind} kernel: ${error}`);
    }
    const merged = join(dir, `${name}-merged`);
    const tensors = new Map(
      [...(await mergedParameters(network))].map(([own, tensor]) => [
        bert.externalName(own),
        tensor,
      ]),
    );
    network.dispose();
    await writeCheckpoint(merged, checkpoint, ['a', 'b', 'c'], bert.transformersName, tensors);
    const whole = await openNetwork({
      architecture: bert,
      model: { path: merged, digest: null },
      adapter: await full.create({}, shape),
      classes,
      seed: 1,
      evaluation: true,
    });
    near(logitsOf(whole, rows), golden.merged_logits.flat(), tolerance.logits, 'merged logits');
    whole.dispose();
  });
}

test.run();
