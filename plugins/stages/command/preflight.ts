import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import path from 'node:path';
import type { PreflightContext, Problem } from '../../../src/api.ts';
import type { Params } from './params.ts';
import { SECRET_HINT, unsetMessage } from './secrets.ts';

export async function preflight({
  params: { name, run, files, secrets },
}: PreflightContext<Params>): Promise<readonly Problem[]> {
  const unset = Object.entries(secrets).find(([, from]) => process.env[from] === undefined);
  if (unset !== undefined) {
    const [variable, from] = unset;
    return [
      {
        path: ['commands', name, 'env', variable],
        message: unsetMessage(from),
        hint: SECRET_HINT,
      },
    ];
  }
  const [program] = run;
  if (program === undefined) throw new Error(`the command ${name} names no program`);
  const fault = await programFault(program, files);
  if (fault === null) return [];
  const hint = 'name it by its path, or install it';
  return [{ path: ['commands', name, 'run', 0], message: fault, hint }];
}

/**
 * Returns what is wrong, or null if the program can be started.
 * @param program the first word of the argument list
 * @param files the names of the files in the program's folder
 */
async function programFault(program: string, files: readonly string[]): Promise<string | null> {
  if (program.includes('/')) {
    const own = path.posix.normalize(program);
    return path.isAbsolute(program) ||
      files.some((file) => own === file || own.startsWith(`${file}/`))
      ? null
      : `there is no ${program} in the program's folder`;
  }
  const places = (process.env['PATH'] ?? '').split(path.delimiter).filter((dir) => dir !== '');
  for (const dir of places)
    for (const ending of process.platform === 'win32' ? ['.exe', '.cmd', ''] : ['']) {
      const isExecutable = await access(path.join(dir, program + ending), constants.X_OK).then(
        () => true,
        () => false,
      );
      if (isExecutable) return null;
    }
  return `there is no program "${program}"`;
}
