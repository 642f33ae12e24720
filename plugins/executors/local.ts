import { defineExecutor } from '../../src/api.ts';

export default defineExecutor({
  name: 'local',
  summary: 'Warm worker processes on this machine.',
  open: (context) => context.workers(context.cores),
});
