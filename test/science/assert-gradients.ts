import * as assert from 'uvu/assert';
import type { Tensor } from '@tensorflow/tfjs-core';
import { named } from '../../src/base/lookup.ts';
import type { HostTensor } from '../../src/science/models/types.ts';
import { tolerance } from '../tolerances.ts';
import { farthest } from './tiny-bert.ts';

/**
 * Asserts that gradients are the expected ones, by name, within the tolerance. Disposes of them.
 */
export function assertGradients(
  gradients: ReadonlyMap<string, Tensor>,
  expected: ReadonlyMap<string, HostTensor>,
): void {
  assert.equal([...gradients.keys()].sort(), [...expected.keys()].sort());
  for (const [name, gradient] of gradients) {
    const want = named(expected, name);
    assert.equal(gradient.shape, [...want.shape], name);
    const scale = Math.max(...Array.from(want.data, Math.abs));
    assert.ok(farthest(gradient.dataSync(), want.data) <= tolerance.gradient * scale + 1e-6, name);
    gradient.dispose();
  }
}
