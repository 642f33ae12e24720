import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../rig/present.ts';

const test = suite('compute/signals');
const repository = fileURLToPath(new URL('../../', import.meta.url));

/** Whether the threads of a process block SIGTERM, by thread id. */
const blocking = (pid: number): Map<number, boolean> =>
  new Map(
    readdirSync(`/proc/${pid}/task`).map((thread) => {
      const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8'),
        mask = BigInt(`0x${present(/^SigBlk:\s*(\w+)$/m.exec(status)?.[1])}`);
      return [Number(thread), (mask >> 14n) % 2n === 1n];
    }),
  );

test('the threads that compute block signals while they do, and others take them', async () => {
  const child = spawn(
    process.execPath,
    [
      '--import',
      'tsx',
      '--input-type=module',
      '-e',
      `import * as tf from '@tensorflow/tfjs-core';
       const { loadBackend } = await import('./src/tensor/load.ts');
       await loadBackend('tensorflow', { threads: 2 });
       process.on('SIGTERM', () => process.exit(7));
       const matrix = tf.ones([1000, 1000]);
       console.log('ready');
       for (;;) {
         tf.matMul(matrix, matrix).dispose();
         await new Promise(setImmediate);
       }`,
    ],
    { cwd: repository, stdio: ['ignore', 'pipe', 'ignore'] },
  );
  const ended = once(child, 'exit');
  try {
    await once(child.stdout, 'data');
    const pid = present(child.pid);
    let seen = blocking(pid);
    for (let looks = 0; looks < 5000 && seen.get(pid) !== true; looks++) {
      await sleep(1);
      seen = blocking(pid);
    }
    assert.is(seen.get(pid), true, 'the main thread computes with signals unblocked');
    // Of the other threads, TensorFlow's two block them, and some of Node's do not.
    const others = [...seen].filter(([thread]) => thread !== pid).map(([, blocked]) => blocked);
    assert.ok(others.filter((blocked) => blocked).length >= 2);
    assert.ok(others.includes(false));
    child.kill('SIGTERM');
    assert.is((await ended)[0], 7);
  } finally {
    child.kill('SIGKILL');
  }
});

test.run();
