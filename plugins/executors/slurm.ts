import { defineExecutor } from '../../src/api.ts';

export default defineExecutor({
  name: 'slurm',
  summary: 'Jobs and arrays of a Slurm cluster, as slurm.yaml asks for them.',
  open: async (context) => (await import('../../src/slurm/executor.ts')).openSlurm(context),
  foresee: async (jobs, context) =>
    (await import('../../src/slurm/foresee.ts')).foreseeSlurm(jobs, context),
});
