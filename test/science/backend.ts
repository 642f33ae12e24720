/** The tensor backends for tests: a test that computes runs on each one that this machine has. */
import type { BackendName } from '../../src/api.ts';
import { loadBackend } from '../../src/compute/load.ts';
import { probe } from '../../src/compute/probe.ts';

export const useBackend = (name: BackendName): Promise<unknown> =>
  loadBackend(name, { threads: 1 });

export const backends: readonly BackendName[] = (await probe())
  .filter(({ available }) => available)
  .map(({ name }) => name);
