import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { kernelSet } from '../../../../src/science/measures/ntk/kernels.ts';
import { resumeIn } from '../../../../src/science/measures/ntk/resume.ts';
import { present } from '../../../rig/present.ts';
import { tolerance } from '../../../tolerances.ts';
import { backends, useBackend } from '../../backend.ts';
import { relative } from './fixture/compare.ts';
import { mlpRows, tokenMlp } from './fixture/token-mlp.ts';

const test = suite('sets of kernels');
test.before(async () => {
  await useBackend('cpu');
});

const rows = mlpRows([3, 1, 7, 5, 2]);
const lora = { rank: 2, scale: 1.5 };

test("the layers' blocks add up to the kernel; each kernel can be computed alone", async () => {
  const model = tokenMlp({ lora });
  const both = await kernelSet(model, rows, { perLayer: true });
  for (const kind of ['full', 'lora'] as const) {
    const { data, blocks } = present(both[kind]);
    assert.equal([...present(blocks).keys()], ['first', 'mix', 'pool']);
    const sum = data.map((_, at) =>
      [...present(blocks).values()].reduce((total, block) => total + present(block[at]), 0),
    );
    assert.ok(relative(sum, data) < 1e-12);
    const alone = await kernelSet(model, rows, { which: [kind] });
    assert.equal(present(alone[kind]).data, data);
    assert.is(alone[kind === 'full' ? 'lora' : 'full'], null);
    assert.is(present(alone[kind]).blocks, null);
  }
  model.dispose();
});

for (const backend of backends) {
  test(`${backend}: a kernel of more rows than one band of the Gram matrix`, async () => {
    await useBackend(backend);
    const model = tokenMlp({ lora });
    // 285 gradients, bands of 256
    const many = mlpRows(Array.from({ length: 95 }, (_, i) => 1 + (i % 4)));
    const byGradients = await kernelSet(model, many, { method: 'explicit' }),
      byPairs = await kernelSet(model, many, { method: 'gram' });
    for (const kind of ['full', 'lora'] as const)
      assert.ok(
        relative(present(byGradients[kind]).data, present(byPairs[kind]).data) < tolerance.rounding,
      );
    model.dispose();
    await useBackend('cpu');
  });
}

const never = (message: string): void => assert.unreachable(message);

test('a saved state with a flipped bit is reported and not resumed from', async () => {
  const model = tokenMlp({ lora });
  const dir = await mkdtemp(join(tmpdir(), 'dosimeter-resume-'));
  try {
    const options = { perLayer: true, memoryMB: 1e-9, batchTokens: 21 },
      whole = await kernelSet(model, rows, options);
    const stop = async (): Promise<void> => {
      const stopping = new AbortController();
      let steps = 0;
      await kernelSet(model, rows, {
        ...options,
        resume: resumeIn(dir, never),
        signal: stopping.signal,
        progress: () => {
          if (++steps === 4) stopping.abort();
        },
      }).then(
        () => assert.unreachable('it was not stopped'),
        (error: unknown) => assert.is((error as Error).name, 'AbortError'),
      );
    };
    for (const place of [9, -3]) {
      await stop();
      const [name, ...others] = await readdir(dir);
      assert.equal(others, []);
      const file = join(dir, present(name)),
        bytes = await readFile(file),
        at = (place + bytes.length) % bytes.length;
      bytes[at] = present(bytes[at]) ^ 1;
      await writeFile(file, bytes);
      const said: string[] = [];
      assert.equal(
        await kernelSet(model, rows, {
          ...options,
          resume: resumeIn(dir, (message) => said.push(message)),
        }),
        whole,
      );
      assert.equal(said, ['the saved state of this kernel is damaged and ignored']);
      for (const saved of await readdir(dir)) await rm(join(dir, saved));
    }
  } finally {
    await rm(dir, { recursive: true });
    model.dispose();
  }
});

test(
  'stopped between passes and begun again, it comes to the same bits without the passes that ' +
    'it had made',
  async () => {
    const model = tokenMlp({ lora });
    const dir = await mkdtemp(join(tmpdir(), 'dosimeter-resume-'));
    try {
      for (const options of [
        { perLayer: true, batchTokens: 21 },
        { projection: { dimension: 3, replicates: 2, seed: 1 }, batchTokens: 21 },
      ]) {
        const whole = await kernelSet(model, rows, { ...options, memoryMB: 1e-9 });
        for (const stopAfter of [4, 9]) {
          // steps: three layers, two batches and the layer itself
          const stop = new AbortController();
          let steps = 0;
          const first = kernelSet(model, rows, {
            ...options,
            memoryMB: 1e-9,
            resume: resumeIn(dir, never),
            signal: stop.signal,
            progress: () => {
              if (++steps === stopAfter) stop.abort();
            },
          });
          await first.then(
            () => assert.unreachable('it was not stopped'),
            (error: unknown) => assert.is((error as Error).name, 'AbortError'),
          );
          let passes = 0;
          const counted = {
            ...model,
            forward: (...args: Parameters<typeof model.forward>) => {
              passes++;
              return model.forward(...args);
            },
          };
          const resumed = await kernelSet(counted, rows, {
            ...options,
            memoryMB: 1e-9,
            resume: resumeIn(dir, never),
          });
          assert.is(passes, stopAfter === 4 ? 4 : 2);
          assert.equal(resumed, whole);
          const saved = await readdir(dir);
          assert.is(saved.length, 1, 'the last state alone');
          for (const name of saved) await rm(join(dir, name));
        }
      }
    } finally {
      await rm(dir, { recursive: true });
      model.dispose();
    }
  },
);

test.run();
