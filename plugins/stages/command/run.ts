import { constants, createReadStream } from 'node:fs';
import { access, readdir } from 'node:fs/promises';
import path, { join, relative } from 'node:path';
import {
  type PreflightContext,
  type Problem,
  type RunContext,
  UserFault,
} from '../../../src/api.ts';
import { openWorkFolder } from '../../../src/base/command/folder.ts';
import { runCommand } from '../../../src/base/command/run.ts';
import { mapValues } from '../../../src/base/record.ts';
import { secretLines } from '../../../src/base/secret.ts';
import { assetOf } from '../shared/files.ts';
import type { Limits, Params } from './index.ts';

type Context = RunContext<Params>;

/**
 * Runs the program in a folder of its own, and takes over its outputs. Throws `UserFault` if an
 * output contains a secret.
 */
export async function run(context: Context): Promise<void> {
  const { params, inputs, outDir, log, signal } = context;
  // The limits are the same for all commands.
  const { timeout_seconds: seconds, output_mb } = context.limits as Limits;
  const outputBytes = output_mb * 1e6;
  const work = await openWorkFolder(join(outDir, '.work'), {
    files: Object.fromEntries(params.files.map((file) => [file, assetOf(context, file).path])),
    inputs: mapValues(inputs, ({ dir }) => dir),
    task: programTask(params),
  });
  const secrets = mapValues(params.secrets, readSecret);
  await runCommand({
    argv: params.run,
    cwd: work.dir,
    env: { ...params.env, ...secrets },
    pass: params.pass_env,
    limits: { seconds, outputBytes },
    log,
    signal,
  });
  await work.take(params.outputs, outDir, outputBytes);
  for (const [variable, value] of Object.entries(secrets)) {
    const leak = await fileWithSecret(outDir, value);
    if (leak !== null)
      throw new UserFault(
        `the program wrote the secret ${params.secrets[variable]!} into ${leak}`,
        'outputs are stored and may be shared: leave the secret out of them',
      );
  }
}

/**
 * Returns the task that the program is told: about its one cell or, with scope `experiment`, about
 * every cell of the grid.
 */
function programTask({ name, scope, cells, joined, options, outputs }: Params) {
  const belowInputs = (places: Params['joined']) => mapValues(places, (place) => `inputs/${place}`);
  const told = cells.map(({ fields, inputs }) => ({ fields, inputs: belowInputs(inputs) }));
  const [first] = told;
  if (first === undefined) throw new UserFault('there are no cells to read');
  return {
    name,
    ...(scope === 'cell' ? first : { cells: told, inputs: belowInputs(joined) }),
    options,
    outputs,
  };
}

const unsetMessage = (variable: string): string =>
  `the environment variable ${variable} is not set`;
const SECRET_HINT = 'set it where dosimeter is started; a secret has no default';

/**
 * Returns the secret that the variable `from` of this process holds. Throws `UserFault` if the
 * variable is not set.
 */
function readSecret(from: string): string {
  const value = process.env[from];
  if (value === undefined) throw new UserFault(unsetMessage(from), SECRET_HINT);
  return value;
}

/**
 * Returns the path, relative to `dir`, of a file in it that contains the secret or one of the
 * secret's lines that are long enough to search for. Null if no file does.
 */
export async function fileWithSecret(dir: string, secret: string): Promise<string | null> {
  const wanted = secretLines(secret).map((line) => Buffer.from(line));
  if (wanted.length === 0) return null;
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    if (entry.isFile() && (await containsAny(file, wanted))) return relative(dir, file);
  }
  return null;
}

async function containsAny(file: string, texts: readonly Buffer[]): Promise<boolean> {
  const longest = Math.max(...texts.map(({ length }) => length));
  // The end of the previous chunk: a secret may begin in one chunk and end in the next.
  let before: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(file)) {
    const both = Buffer.concat([before, chunk as Buffer]);
    if (texts.some((text) => both.includes(text))) return true;
    before = both.subarray(Math.max(0, both.length - longest + 1));
  }
  return false;
}

/**
 * Returns a problem if a secret's variable is not set, or if the program is not found
 * (`programFault`).
 */
export async function preflight({
  params: { name, run, files, secrets },
}: PreflightContext<Params>): Promise<readonly Problem[]> {
  const unset = Object.entries(secrets).find(([, from]) => process.env[from] === undefined);
  if (unset !== undefined) {
    const [variable, from] = unset;
    const path = ['commands', name, 'env', variable];
    return [{ path, message: unsetMessage(from), hint: SECRET_HINT }];
  }
  const [program] = run;
  if (program === undefined) throw new Error(`the command ${name} names no program`);
  const fault = await programFault(program, files);
  if (fault === null) return [];
  const hint = 'name it by its path, or install it';
  return [{ path: ['commands', name, 'run', 0], message: fault, hint }];
}

/**
 * Returns why the program can't be started, or null. A bare name is looked for on PATH, and a
 * relative path among `files`. An absolute path is not looked for.
 * @param files the names of the files in the program's folder
 */
async function programFault(program: string, files: readonly string[]): Promise<string | null> {
  if (program.includes('/')) {
    const plain = path.posix.normalize(program);
    return path.isAbsolute(program) ||
      files.some((file) => plain === file || plain.startsWith(`${file}/`))
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
