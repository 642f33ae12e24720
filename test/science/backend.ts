/**
 * The tensor backends for tests: a test that computes runs on each one that this machine has.
 * PyTorch computes no tensors here (test/torch).
 */
import type { BackendName } from '../../src/api.ts';
import { at } from '../../src/base/lookup.ts';
import { probe } from '../../src/tensor/backend.ts';
import { loadBackend } from '../../src/tensor/load.ts';

export const useBackend = (name: BackendName): Promise<unknown> =>
  loadBackend(name, { threads: 1 });

export const backends: readonly BackendName[] = (await probe())
  .filter(({ available, name }) => available && name !== 'torch')
  .map(({ name }) => name);

/**
 * The one that is used unless another is asked for. What does not depend on how an operation is
 * carried out is tested on it alone.
 */
export const best: BackendName = at(backends, 0);

/**
 * The quickest one for models as tiny as those of tests, on every machine: for what needs any one
 * backend.
 */
export const quick: BackendName = 'wasm';
