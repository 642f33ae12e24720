/** The executor that a run is given to, and what of this program it may use. */
import path from 'node:path';
import type { Executor } from '../api.ts';
import { UserFault } from '../api.ts';
import type { Registry } from '../registry/types.ts';

export const defaultExecutor = 'local';

export interface ExecutorPlace {
  /** Cores that the run may use on this machine. */
  readonly cores: number;
  /** The run's folder. */
  readonly dir: string;
  readonly log: (message: string) => void;
}

/** @throws UserFault where there is no such executor */
export async function checkExecutor(registry: Registry, name: string): Promise<void> {
  if (registry.get('executor', name)) return;
  const { didYouMean, nearest } = await import('../experiment/suggest.ts');
  const names = registry.names('executor'),
    close = nearest(name, names);
  throw new UserFault(
    `there is no executor "${name}"`,
    close
      ? didYouMean(close.word)
      : `the executors are ${names.join(', ')}; a spec's \`plugins\` may bring more`,
  );
}

/** @throws UserFault where it can't work here */
export async function openExecutor(
  registry: Registry,
  name: string,
  { cores, dir, log }: ExecutorPlace,
): Promise<Executor> {
  const [{ createPool }, { jobProgram, workerModule }] = await Promise.all([
    import('../execute/pool.ts'),
    import('../registry/registry.ts'),
  ]);
  return registry.get('executor', name)!.descriptor.open({
    cores,
    dir: path.resolve(dir),
    env: process.env,
    log,
    workers: (limit) => createPool({ module: workerModule(), limit }),
    command: (job, result) => [
      ...jobProgram(),
      'exec',
      '--job',
      path.resolve(job),
      '--result',
      path.resolve(result),
    ],
  });
}
