/** The folder of an outside program: only what is given goes in, only declared outputs come out. */
import {
  cp,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { UserFault } from '../fault.ts';
import { isMissing } from '../system-error.ts';
import { pathInside } from '../untrusted/paths.ts';
import { type Command, type ProgramParams, runCommand } from './run.ts';

interface Given {
  /** The paths of files by name. The files are copied, so that the program may change them. */
  readonly files: { readonly [name: string]: string };
  /**
   * The input folders by their place below `inputs/`. They are linked, since a checkpoint may be
   * large, and are checked for changes afterwards. Without them there is no folder `inputs`.
   */
  readonly inputs?: { readonly [place: string]: string };
  readonly task: unknown;
}

interface WorkFolder {
  readonly dir: string;
  /**
   * Moves the declared outputs to the folder `to`, and removes the rest. Throws a UserFault if an
   * output is missing or is neither a file nor a folder, if the outputs together are larger than
   * `bytes`, or if an input was written to.
   */
  take(outputs: readonly string[], to: string, bytes: number): Promise<void>;
}

/**
 * Makes the folder `dir` and puts the files, links to the inputs, and task.json into it. `dir`
 * should be on the file system to which `take` moves the outputs. Throws a UserFault if the name of
 * a file or the place of an input leads out of its folder.
 */
export async function openWorkFolder(
  dir: string,
  { files, inputs, task }: Given,
): Promise<WorkFolder> {
  await mkdir(dir, { recursive: true });
  for (const [name, from] of Object.entries(files))
    await cp(from, pathInside(dir, name, 'A file of the command'), { recursive: true });
  if (inputs !== undefined) await mkdir(path.join(dir, 'inputs'));
  for (const [place, from] of Object.entries(inputs ?? {})) {
    const link = pathInside(path.join(dir, 'inputs'), place, 'An input of the command');
    await mkdir(path.dirname(link), { recursive: true });
    await symlink(from, link, 'junction');
  }
  await writeFile(path.join(dir, 'task.json'), `${JSON.stringify(task, null, 2)}\n`);
  const before = await inputStates(inputs);
  return {
    dir,
    async take(outputs, to, bytes) {
      for (const [place, state] of await inputStates(inputs)) {
        if (state !== before.get(place))
          throw new UserFault(
            `the command wrote into its input ${place}`,
            'inputs are read-only: copy what you want to change',
          );
      }
      let size = 0;
      for (const output of outputs) {
        const from = pathInside(dir, output, 'An output of the command');
        size += await outputSize(from, output);
        checkSize(size, bytes);
      }
      for (const output of outputs) {
        const kept = pathInside(to, output, 'An output of the command');
        await mkdir(path.dirname(kept), { recursive: true });
        await rename(pathInside(dir, output, 'An output of the command'), kept);
      }
      await rm(dir, { recursive: true });
    },
  };
}

/** Throws a UserFault if `size`, that of all outputs so far, is above `mostBytes`. */
function checkSize(size: number, mostBytes: number): void {
  if (size > mostBytes)
    throw new UserFault(
      `the command's outputs are larger than ${mostBytes} bytes`,
      '`output_mb` raises the limit',
    );
}

/** What a program that reads and writes texts is given, beside its parameters. */
interface Exchange extends Pick<Given, 'files' | 'task'>, Pick<Command, 'log' | 'signal'> {
  /** The texts that the program reads, by the names of their files. */
  readonly texts: { readonly [name: string]: string };
  /** The name of the file that the program writes. */
  readonly output: string;
  /** Further names that no file of `files` may have, beside task.json and those in `texts`. */
  readonly taken: readonly string[];
  /** What the program has to do, for the message that it did not write its file. */
  readonly hint: string;
}

/**
 * Runs a program in a temporary folder and returns the text that it writes.
 * @throws UserFault if a file of `files` has a name that is taken, or if the program fails, does
 *   not write `output`, or writes more than `output_mb`
 */
export async function exchangeTexts(
  { command, env, pass_env, timeout_seconds, output_mb }: ProgramParams,
  { files, task, texts, output, taken, hint, ...rest }: Exchange,
): Promise<string> {
  const bytes = output_mb * 1e6;
  const reserved = ['task.json', ...Object.keys(texts), ...taken];
  const clash = reserved.find((name) => Object.hasOwn(files, name));
  if (clash !== undefined)
    throw new UserFault(
      `\`files\` has ${clash}, a name that is taken in the program's folder`,
      'rename the file',
    );
  const dir = await mkdtemp(path.join(tmpdir(), 'dosimeter-command-'));
  try {
    await openWorkFolder(dir, { files, task });
    for (const [name, text] of Object.entries(texts))
      await writeFile(pathInside(dir, name, 'A text for the command'), text);
    const limits = { seconds: timeout_seconds, outputBytes: bytes };
    await runCommand({ argv: command, cwd: dir, env, pass: pass_env, limits, ...rest });
    const written = pathInside(dir, output, 'The output of the command');
    const found = await lstat(written).catch(() => null);
    if (found?.isFile() !== true) throw new UserFault(`the command wrote no ${output}`, hint);
    checkSize(found.size, bytes);
    return await readFile(written, 'utf8');
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/**
 * Returns a text for each input, by its place, that changes if any file in the input changes: it
 * has the files' ctimes, which can't be set back.
 */
async function inputStates(inputs: Given['inputs'] = {}): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const [place, dir] of Object.entries(inputs)) {
    const lines: string[] = [];
    for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
      const full = path.join(entry.parentPath, entry.name),
        { ino, size, mtimeMs, ctimeMs } = await lstat(full);
      lines.push(entry.isDirectory() ? full : [full, ino, size, mtimeMs, ctimeMs].join(' '));
    }
    found.set(place, lines.sort().join('\n'));
  }
  return found;
}

/**
 * Returns the size of an output in bytes; for a folder, that of all files in it.
 * @param full the output's path
 * @param output its name, for messages
 * @throws UserFault if it, or something in it, is missing or is neither a file nor a folder
 */
async function outputSize(full: string, output: string): Promise<number> {
  const stat = await lstat(full).catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw error;
  });
  if (stat === null)
    throw new UserFault(
      `the command wrote no ${output}`,
      'outputs belong in the working folder, beside task.json',
    );
  if (stat.isFile()) return stat.size;
  if (!stat.isDirectory())
    throw new UserFault(
      `the command's output ${output} is neither a file nor a folder`,
      'write files and folders only',
    );
  let size = 0;
  for (const name of await readdir(full))
    size += await outputSize(path.join(full, name), `${output}/${name}`);
  return size;
}
