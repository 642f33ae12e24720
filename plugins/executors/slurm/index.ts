import { defineExecutor } from '../../../src/api.ts';

export default defineExecutor({
  name: 'slurm',
  summary: 'Jobs and job arrays of a Slurm cluster, with the resources that slurm.yaml asks for.',
  open: async (context) => (await import('./executor.ts')).openSlurm(context),
  foresee: async (jobs, context) => (await import('./submit.ts')).foreseeSlurm(jobs, context),
  submitRun: async (context) => (await import('./submit.ts')).submitCoordinator(context),
  hasSubmitted: async (dir) => (await import('./spool.ts')).hasRecord(dir),
  cancel: async (context) => (await import('./submit.ts')).cancelSubmissions(context),
});
