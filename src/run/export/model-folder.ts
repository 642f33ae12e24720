/**
 * Writes the folders of exported models. Each appears whole or not at all, and none replaces
 * another model without being asked to.
 */
import {
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { UserFault } from '../../api.ts';
import { makeFolder } from '../../store/folders.ts';

/** A file of a model: copied from a path, or written with a given text. */
export type Part = { readonly from: string } | { readonly text: string };
/** A model's files by name. */
export type Parts = ReadonlyMap<string, Part>;

export interface ModelFolder {
  readonly dir: string;
  readonly parts: Parts;
}

/** The files that a model's folder may have. A folder with any other file is never replaced. */
const FILES = new Set([
  'README.md',
  'adapter_config.json',
  'adapter_model.safetensors',
  'changed.safetensors',
  'config.json',
  'model.safetensors',
  'special_tokens_map.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.txt',
]);

/** Returns the files at the top of a stage's output folder. */
export const filesOf = (dir: string): Map<string, Part> =>
  new Map(
    readdirSync(dir)
      .sort()
      .map((name) => [name, { from: path.join(dir, name) }]),
  );

/**
 * Writes the folders. One that already exists with the same content is left alone.
 * @returns the folders whose content was replaced
 * @throws UserFault, before anything is written, if a folder has files that are not a model's, or,
 *   without `force`, has another model
 */
export function writeFolders(folders: readonly ModelFolder[], force: boolean): string[] {
  const foreign = folders.find(
    ({ dir }) => existsSync(dir) && readdirSync(dir).some((file) => !FILES.has(file)),
  );
  if (foreign)
    throw new UserFault(
      `${foreign.dir} has files that do not belong to a model`,
      'Name another folder as --out, or clear this one.',
    );
  const changed = folders.filter((folder) => !isSame(folder));
  const taken = changed.filter(({ dir }) => existsSync(dir) && readdirSync(dir).length > 0);
  if (taken.length > 0 && !force)
    throw new UserFault(
      `${taken.map(({ dir }) => dir).join(', ')} ` +
        `${taken.length === 1 ? 'holds another model' : 'hold other models'}; nothing was written`,
      'Name another folder as --out, or replace what is there with --force.',
    );
  for (const { dir, parts } of changed) {
    const draft = `${dir}.tmp-${process.pid}`;
    rmSync(draft, { recursive: true, force: true });
    makeFolder(draft);
    for (const [name, part] of parts) {
      if ('text' in part) writeFileSync(path.join(draft, name), part.text);
      else copyFileSync(part.from, path.join(draft, name));
    }
    rmSync(dir, { recursive: true, force: true });
    renameSync(draft, dir);
  }
  return taken.map(({ dir }) => dir);
}

function isSame({ dir, parts }: ModelFolder): boolean {
  if (!existsSync(dir) || readdirSync(dir).length !== parts.size) return false;
  return [...parts].every(([name, part]) => {
    const file = path.join(dir, name);
    if (!existsSync(file)) return false;
    return 'text' in part ? readFileSync(file, 'utf8') === part.text : isSameFile(file, part.from);
  });
}

/**
 * Whether two files are equal. Compares piece by piece, because weights may be larger than one read
 * allows.
 */
function isSameFile(a: string, b: string): boolean {
  if (statSync(a).size !== statSync(b).size) return false;
  const files = [openSync(a, 'r'), openSync(b, 'r')] as const;
  const pieces = [Buffer.alloc(2 ** 20), Buffer.alloc(2 ** 20)] as const;
  try {
    for (;;) {
      const read = readSync(files[0], pieces[0], 0, pieces[0].length, null);
      const other = readSync(files[1], pieces[1], 0, pieces[1].length, null);
      if (read !== other || !pieces[0].subarray(0, read).equals(pieces[1].subarray(0, other)))
        return false;
      if (read === 0) return true;
    }
  } finally {
    files.forEach(closeSync);
  }
}
