import type { Job } from '../../src/api.ts';

/** A job for an executor whose stage is never run. */
export const idleJob: Job = {
  id: 'train-1',
  stage: { kind: 'stage', name: 'train', module: '' },
  uses: [],
  params: {},
  inputs: {},
  assets: {},
  outDir: '',
  backend: 'cpu',
  compute: false,
  cpu: 1,
};
