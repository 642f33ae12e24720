/**
 * The folder that an outside program runs in. It contains only what the program is given, and only
 * the declared outputs are taken from it.
 */
import { cp, lstat, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { UserFault } from '../fault.ts';
import { pathInside } from '../untrusted/paths.ts';

export interface Given {
  /** The paths of files by name. The files are copied, so that the program may change them. */
  readonly files: { readonly [name: string]: string };
  /**
   * The input folders by their place below `inputs/`. They are linked, since a checkpoint may be
   * large, and are checked for changes afterwards.
   */
  readonly inputs: { readonly [place: string]: string };
  readonly task: unknown;
}

export interface WorkFolder {
  readonly dir: string;
  /**
   * Moves the declared outputs to the folder `to`, and removes the rest. Throws a UserFault if an
   * output is missing or is neither a file nor a folder, if they are larger than `bytes` together,
   * or if an input was written to.
   */
  take(outputs: readonly string[], to: string, bytes: number): Promise<void>;
}

/**
 * Makes `dir` with the files, links to the inputs, and `task` as task.json. `dir` should lie on the
 * file system of the outputs, which are renamed.
 */
export async function openWorkFolder(
  dir: string,
  { files, inputs, task }: Given,
): Promise<WorkFolder> {
  await mkdir(dir, { recursive: true });
  for (const [name, from] of Object.entries(files))
    await cp(from, pathInside(dir, name, 'A file of the command'), { recursive: true });
  await mkdir(path.join(dir, 'inputs'));
  for (const [place, from] of Object.entries(inputs)) {
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
        if (size > bytes)
          throw new UserFault(
            `the command's outputs are larger than ${bytes} bytes`,
            '`output_mb` raises the limit',
          );
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

/**
 * Returns for each input, by its place, a text that changes whenever one of its files does: their
 * names, inodes, sizes and times. A program can set the mtime back, but not the ctime.
 */
async function inputStates(inputs: Given['inputs']): Promise<Map<string, string>> {
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

/** Returns an output's bytes. @throws UserFault if it is neither a file nor a folder */
async function outputSize(full: string, output: string): Promise<number> {
  const stat = await lstat(full).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
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
