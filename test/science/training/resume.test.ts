import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { sha256OfFile } from '../../../src/science/models/io/large.ts';
import { train } from '../../../src/science/training/loop.ts';
import { loadState, resumeBySchedule, saveState } from '../../../src/science/training/resume.ts';
import { present } from '../../rig/present.ts';
import { backends, useBackend } from '../backend.ts';
import { openTiny, rows } from '../tiny-bert.ts';
import { everySecond, settings } from './resumed-run.ts';

const child = fileURLToPath(new URL('./resume-child.ts', import.meta.url));
const tempFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'resume-'));

type Ended = { losses: number[]; weights: Map<string, number[]> };
const few = rows.slice(0, 7);
async function run(
  kind: 'full' | 'lora',
  dir: string | null,
  some = rows,
  stopAfter = Infinity,
): Promise<Ended> {
  const network = await openTiny(kind),
    losses: number[] = [];
  try {
    const trained: Map<string, Tensor> = await train(network, some, settings, {
      onStep: ({ step, loss }) => {
        if (step > stopAfter) throw new Error('cut off');
        losses.push(loss);
      },
      ...(dir === null ? {} : { resume: everySecond(dir, losses) }),
    });
    const weights = new Map([...trained].map(([name, tensor]) => [name, [...tensor.dataSync()]]));
    trained.forEach((tensor) => tensor.dispose());
    return { losses, weights };
  } finally {
    network.dispose();
  }
}

for (const backend of backends) {
  for (const kind of ['lora', 'full'] as const) {
    test(`${kind}: an interrupted training ends with the same bits (${backend})`, async () => {
      await useBackend(backend);
      const dir = await tempFolder(),
        expected = await run(kind, null, few);
      try {
        await run(kind, dir, few, 5);
        assert.unreachable();
      } catch (error) {
        assert.is((error as Error).message, 'cut off');
      }
      const before = tf.memory().numTensors;
      assert.is(present(await loadState(dir, () => undefined)).step, 4);
      const resumed = await run(kind, dir, few);
      assert.is(resumed.losses.length, 8);
      assert.equal(resumed, expected);
      assert.is(tf.memory().numTensors, before);
    });
  }
}

test('a training killed by SIGKILL continues in another process', async () => {
  await useBackend('cpu');
  const dir = await tempFolder();
  const { signal, stderr } = spawnSync(
    process.execPath,
    ['--import', import.meta.resolve('tsx'), child, dir, 'lora'],
    { encoding: 'utf8' },
  );
  assert.is(signal, 'SIGKILL', stderr);
  assert.is(present(await loadState(dir, () => undefined)).step, 4);
  assert.equal(await run('lora', dir), await run('lora', null));
});

test('a damaged state is logged and ignored in favour of the one before', async () => {
  await useBackend('cpu');
  const dir = await tempFolder(),
    tensor = tf.tensor1d([1, 2, 3]),
    said: string[] = [];
  const load = async (): Promise<number | null> =>
    (
      await loadState(dir, (message) => {
        said.push(message);
      })
    )?.step ?? null;
  assert.is(await load(), null);
  await saveState(dir, 3, { a: 1 }, new Map([['x', tensor]]));
  const [first] = await readdir(dir);
  const kept = await readFile(join(dir, present(first)));
  await saveState(dir, 5, {}, new Map([['x', tensor]]));
  const [latest, ...more] = await readdir(dir);
  assert.ok(present(latest).startsWith('5.') && more.length === 0, 'the one before is gone');
  await writeFile(join(dir, present(first)), kept);
  const bytes = await readFile(join(dir, present(latest)));
  bytes[bytes.length - 1]! ^= 1;
  await writeFile(join(dir, present(latest)), bytes);
  assert.is(await load(), 3);
  assert.equal(said, ['the state saved at step 5 is damaged and ignored']);
  assert.equal(
    [...present(present(await loadState(dir, () => undefined)).tensors.get('x')).data],
    [1, 2, 3],
  );
  tensor.dispose();
});

// The state of a full fine-tuning of BERT-large, 303 M parameters with two moments each, has 3.6
// GB.
test('a state larger than 2 GiB is read in pieces, and ignored if it is damaged', async () => {
  await useBackend('cpu');
  const dir = await tempFolder(),
    tensor = tf.tensor1d([1, 2, 3]);
  await saveState(dir, 3, {}, new Map([['x', tensor]]));
  tensor.dispose();
  const huge = join(dir, `5.${'0'.repeat(64)}.safetensors`);
  await writeFile(huge, '');
  await truncate(huge, 2 ** 31 + 16); // a sparse file, which takes no space
  const said: string[] = [];
  const state = await loadState(dir, (message) => {
    said.push(message);
  });
  assert.equal(said, ['the state saved at step 5 is damaged and ignored']);
  assert.is(state?.step, 3);
});

test('the digest in the name of a state is that of its content', async () => {
  await useBackend('cpu');
  const dir = await tempFolder(),
    tensors = new Map<string, Tensor>([
      ['x', tf.tensor1d([1, 2, 3])],
      ['a', tf.tensor2d([[1], [-2]])],
    ]);
  await saveState(dir, 1, { a: 'é' }, tensors);
  tensors.forEach((tensor) => tensor.dispose());
  const [name] = await readdir(dir);
  assert.is(name, `1.${await sha256OfFile(join(dir, present(name)))}.safetensors`);
});

test('saves every half minute, in a twentieth of the time, and when urgent', async () => {
  const dir = await tempFolder();
  let clock = 0,
    urgent = false;
  const slow = resumeBySchedule(dir, {
    log: () => undefined,
    urgent: () => urgent,
    now: () => clock,
  });
  const due = (time: number): boolean => {
    clock = time;
    return slow.due(1);
  };
  assert.equal([due(29_999), due(30_000)], [false, true]);
  const saving = slow.save(1, {}, new Map());
  clock = 40_000; // saving took ten seconds
  await saving;
  assert.equal([due(70_000), due(239_999), due(240_000)], [false, false, true]);
  clock = 41_000;
  urgent = true;
  assert.ok(slow.due(2));
});

test.run();
