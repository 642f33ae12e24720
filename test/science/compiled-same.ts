import * as assert from 'uvu/assert';
import { compiledStatistics, prepareCompiling } from '../../src/tensor/compiled/compiled.ts';

/** Asserts that `run` returns the same without compiling, and compiled at the first chance. */
export async function assertSame(run: () => Promise<unknown>, what: string): Promise<void> {
  prepareCompiling(Infinity);
  const expected = await run();
  prepareCompiling(1);
  const before = compiledStatistics()?.calls ?? 0;
  assert.equal(await run(), expected, what);
  const { calls = 0, refused = [] } = compiledStatistics() ?? {};
  assert.ok(calls > before, `${what}: nothing was compiled`);
  assert.equal(refused, [], what);
}
