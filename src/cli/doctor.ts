/**
 * `dosimeter doctor`: which backend this machine computes with, why it is not a better one, and the
 * command that would install a better one.
 */
import { accessSync, constants, existsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { BackendName } from '../api.ts';
import { ownVersion } from '../run/execute/environment.ts';
import { sourceContext } from '../run/prepare.ts';
import { chooseBackend, probe } from '../tensor/backend.ts';
import { json, out, paint, say } from './terminal.ts';

/**
 * Whether the folder can be written to. If it does not exist, the nearest one above it is checked.
 */
function writable(dir: string): boolean {
  let at = dir;
  while (!existsSync(at)) at = path.dirname(at);
  try {
    accessSync(at, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

export interface DoctorOptions {
  readonly store: string;
  readonly backend?: BackendName;
  readonly json?: boolean;
}

export async function doctorCommand(options: DoctorOptions): Promise<number> {
  const backends = await probe({ deep: true });
  const { cacheDir } = sourceContext(say);
  const store = path.resolve(options.store);
  const usable = backends.find(
    ({ available, name }) =>
      available && (options.backend === undefined || name === options.backend),
  );
  const facts = {
    backend: usable?.name ?? null,
    backends,
    dosimeter: ownVersion(),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    cores: os.availableParallelism(),
    memory_mb: Math.round(os.totalmem() / 2 ** 20),
    store: { path: store, writable: writable(store) },
    cache: { path: cacheDir, writable: writable(cacheDir) },
  };
  if (options.json) json(facts);
  else {
    for (const { name, available, detail, remedy } of backends) {
      const mark = name === usable?.name ? paint.green('▸') : available ? ' ' : paint.red('✗');
      out(`${mark} ${name.padEnd(10)} ${detail}`);
      if (!available && remedy !== null) out(`             to get it: ${paint.bold(remedy)}`);
    }
    out(
      `  dosimeter ${facts.dosimeter}, Node ${facts.node}, ${facts.platform}, ` +
        `${facts.cores} cores, ${facts.memory_mb} MB`,
    );
    for (const [name, place] of [
      ['store', facts.store],
      ['cache', facts.cache],
    ] as const)
      out(`  ${name} ${place.path}${place.writable ? '' : paint.red(' (not writable)')}`);
    out(usable ? `${usable.name} is used` : paint.red('no compute backend: npx dosimeter setup'));
  }
  // Throws the reason why the backend that was asked for is not available.
  if (options.backend !== undefined && !usable) await chooseBackend(options.backend);
  return usable ? 0 : 1;
}
