/** Fused products give the same bits on one thread as on two. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { hasFused } from '../../src/tensor/fused.ts';
import { backends, useBackend } from '../science/backend.ts';

const child = fileURLToPath(new URL('./fused-threads-child.ts', import.meta.url));
const repository = fileURLToPath(new URL('../../', import.meta.url));

interface Computed {
  readonly digests: Readonly<Record<string, string>>;
  readonly started: number;
  readonly results: number;
}

/** What the child writes. The number of threads is fixed for a process, hence one for each. */
function computedOn(threads: number): Computed {
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ['--import', 'tsx', child, String(threads)],
    { cwd: repository, encoding: 'utf8' },
  );
  assert.is(status, 0, stderr);
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Computed;
}

if (backends.includes('tensorflow'))
  test('the same bits on one thread and on two', async () => {
    await useBackend('tensorflow');
    if (!hasFused()) return;
    const one = computedOn(1),
      two = computedOn(2);
    assert.ok(Object.keys(one.digests).length > 20);
    assert.equal(two.digests, one.digests);
    assert.equal([one.results, two.results], [1, 1], 'the same product has other bits');
    if (existsSync('/proc/self/task'))
      assert.equal([one.started, two.started], [0, 1], 'threads that helped');
  });

test.run();
