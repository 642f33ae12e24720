import type { PreflightContext, Problem } from '../../../src/api.ts';
import type { Params } from './params.ts';
import { programFault } from './program.ts';
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
