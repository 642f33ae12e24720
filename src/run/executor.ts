/** Finds and opens the executor of a run. */
import path from 'node:path';
import { type Executor, UserFault } from '../api.ts';
import type { Registry } from './registry/types.ts';

export const defaultExecutor = 'local';

export interface ExecutorPlace {
  /** How many cores the run may use on this machine. */
  readonly cores: number;
  readonly dir: string;
  readonly log: (message: string) => void;
  readonly note: (message: string) => void;
  readonly spec: string;
  readonly store: string;
  /** Whether stages may compile steps. */
  readonly compile: boolean;
}

export async function checkExecutor(registry: Registry, name: string): Promise<void> {
  if (registry.get('executor', name)) return;
  const { didYouMean, nearest } = await import('../spec/suggest.ts');
  const names = registry.names('executor');
  const close = nearest(name, names);
  throw new UserFault(
    `there is no executor "${name}"`,
    close
      ? didYouMean(close.word)
      : `the executors are ${names.join(', ')}; a spec's \`plugins\` may bring more`,
  );
}

/** @throws UserFault if the executor can't work on this machine */
export async function openExecutor(
  registry: Registry,
  name: string,
  { cores, dir, log, note, spec, store, compile }: ExecutorPlace,
): Promise<Executor> {
  const [{ createPool }, { jobProgram, workerModule }] = await Promise.all([
    import('./execute/pool.ts'),
    import('./registry/build.ts'),
  ]);
  const plugin = registry.get('executor', name);
  if (!plugin) throw new Error(`no executor plugin "${name}"`);
  const env = compile ? process.env : { ...process.env, DOSIMETER_COMPILE: '0' };
  return plugin.descriptor.open({
    cores,
    dir: path.resolve(dir),
    env,
    log,
    note,
    spec: path.resolve(spec),
    spool: path.join(path.resolve(store), 'spool', name),
    workers: (limit) => createPool({ module: workerModule(), limit, env }),
    command: (job, result) => [
      ...jobProgram(),
      'exec',
      '--job',
      path.resolve(job),
      '--result',
      path.resolve(result),
    ],
    taskCommand: taskCommand(jobProgram()),
  });
}

/** The command that performs a task. @param program starts this program */
export const taskCommand = (program: readonly string[]): readonly string[] => [
  ...program,
  'exec',
  '--task',
];
