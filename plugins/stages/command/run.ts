import { join } from 'node:path';
import { type RunContext, UserFault } from '../../../src/api.ts';
import { openWorkFolder } from '../../../src/base/command/folder.ts';
import { runCommand } from '../../../src/base/command/run.ts';
import { assetOf } from '../shared/files.ts';
import type { Limits, Params } from './params.ts';
import { checkLeaks, readSecrets } from './secrets.ts';

type Context = RunContext<Params>;

export async function run(context: Context): Promise<void> {
  const { params, inputs, outDir, log, signal } = context;
  const limits = limitsOf(context);
  const bytes = limits.output_mb * 1e6;
  const work = await openWorkFolder(join(outDir, '.work'), {
    files: Object.fromEntries(params.files.map((file) => [file, assetOf(context, file).path])),
    inputs: Object.fromEntries(Object.entries(inputs).map(([place, { dir }]) => [place, dir])),
    task: taskOf(params),
  });
  const secrets = readSecrets(params);
  await runCommand({
    argv: params.run,
    cwd: work.dir,
    env: {
      ...params.env,
      ...Object.fromEntries(secrets.map(({ variable, value }) => [variable, value])),
    },
    pass: params.pass_env,
    limits: { seconds: limits.timeout_seconds, outputBytes: bytes },
    log,
    signal,
  });
  await work.take(params.outputs, outDir, bytes);
  await checkLeaks(outDir, secrets);
}

function limitsOf({ limits }: Context): Limits {
  const { timeout_seconds, output_mb } = (limits ?? {}) as Partial<Limits>;
  if (timeout_seconds === undefined || output_mb === undefined)
    throw new Error('a command was given no limits');
  return { timeout_seconds, output_mb };
}

/** Returns what the program is told about its one cell, or about every cell of the grid. */
function taskOf({ name, scope, cells, joined, options, outputs }: Params) {
  const below = (places: { readonly [name: string]: string }) =>
    Object.fromEntries(Object.entries(places).map(([input, place]) => [input, `inputs/${place}`]));
  const told = cells.map(({ fields, inputs }) => ({ fields, inputs: below(inputs) }));
  const [first] = told;
  if (first === undefined) throw new UserFault('there are no cells to read');
  return {
    name,
    ...(scope === 'cell' ? first : { cells: told, inputs: below(joined) }),
    options,
    outputs,
  };
}
