/**
 * Digests of what is on this disk, remembered by each file's size and times, so that a plan does not read a model's
 * 90 MB again to learn that nothing has changed.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../api.ts';
import { UserFault } from '../../api.ts';
import { writeAtomically } from './files.ts';

/** [size, mtime, ctime, inode, sha256]: times in nanoseconds as text. */
type Known = readonly [number, string, string, string, string];
interface Memo {
  readonly path: string;
  readonly files: { [name: string]: Known };
}

/** File systems stamp times in steps; a file changed this recently could change again within its stamp. */
const SETTLED_MS = 100;

export const sha256OfFile = async (path: string): Promise<string> =>
  (await digestOfFile(path, 'sha256')).toString('hex');

/** @param prefix what is hashed before the file's bytes */
export async function digestOfFile(path: string, algorithm: string, prefix = ''): Promise<Buffer> {
  const hash = createHash(algorithm).update(prefix);
  for await (const chunk of createReadStream(path, {
    highWaterMark: 1 << 20,
  }) as AsyncIterable<Uint8Array>)
    hash.update(chunk);
  return hash.digest();
}

/** sha256 (hex) of each file, by its name relative to `root`. @param cacheDir where digests are remembered. */
export async function fileDigests(
  root: string,
  names: readonly string[],
  cacheDir: string,
): Promise<Map<string, string>> {
  const memoFile = join(
    cacheDir,
    'digests',
    `${createHash('sha256').update(root).digest('hex').slice(0, 32)}.json`,
  );
  const memo = await readMemo(memoFile, root);
  const digests = new Map<string, string>();
  let learnt = false;
  for (const name of names) {
    const path = name === '' ? root : join(root, name);
    const stats = await stat(path, { bigint: true });
    // A named pipe would be waited for, a device read for ever.
    if (!stats.isFile())
      throw new UserFault(`${path} is neither a file nor a folder, and can't be read.`);
    const { size, mtimeNs, ctimeNs, ino } = stats;
    const known = memo.files[name];
    if (
      known !== undefined &&
      known[0] === Number(size) &&
      known[1] === String(mtimeNs) &&
      known[2] === String(ctimeNs) &&
      known[3] === String(ino)
    ) {
      digests.set(name, known[4]);
      continue;
    }
    const digest = await sha256OfFile(path);
    digests.set(name, digest);
    delete memo.files[name];
    learnt = true;
    if (Date.now() - Number(ctimeNs / 1_000_000n) > SETTLED_MS)
      memo.files[name] = [Number(size), String(mtimeNs), String(ctimeNs), String(ino), digest];
  }
  if (learnt) {
    await mkdir(join(cacheDir, 'digests'), { recursive: true });
    await writeAtomically(memoFile, JSON.stringify(memo));
  }
  return digests;
}

async function readMemo(file: string, root: string): Promise<Memo> {
  try {
    const memo = JSON.parse(await readFile(file, 'utf8')) as Partial<Memo> | null;
    if (memo?.path === root && typeof memo.files === 'object') return memo as Memo;
  } catch (error) {
    // A memo that is absent or damaged is made anew: nothing but time is lost.
    if (!(error instanceof SyntaxError) && (error as NodeJS.ErrnoException).code !== 'ENOENT')
      throw error;
  }
  return { path: root, files: {} };
}

/** A file's digest is that of its bytes, as `sha256sum` prints it; a folder's is that of its files' names and digests. */
export async function contentDigest(
  root: string,
  names: readonly string[] | null,
  cacheDir: string,
): Promise<Digest> {
  if (names === null)
    return `sha256:${(await fileDigests(root, [''], cacheDir)).get('')!}` as Digest;
  const digests = await fileDigests(root, names, cacheDir);
  return digestOfDigests(digests);
}

export function digestOfDigests(digests: ReadonlyMap<string, string>): Digest {
  const listing = [...digests].sort(([a], [b]) => (a < b ? -1 : 1));
  return `sha256:${createHash('sha256')
    .update(JSON.stringify(['dosimeter.folder/1', listing]))
    .digest('hex')}` as Digest;
}

/** Every file below a folder, relative with `/`, sorted; hidden ones left out, links followed, no folder entered twice. */
export async function filesBelow(root: string): Promise<string[]> {
  const entered = new Set<string>();
  const walk = async (dir: string, prefix: string): Promise<string[]> => {
    const real = await realpath(dir);
    if (entered.has(real)) return [];
    entered.add(real);
    const found: string[] = [];
    for (const entry of await readdir(dir, { withFileTypes: true })) {
      if (entry.name.startsWith('.')) continue;
      const path = join(dir, entry.name),
        name = `${prefix}${entry.name}`;
      const folder = entry.isSymbolicLink()
        ? (await stat(path)).isDirectory()
        : entry.isDirectory();
      if (folder) found.push(...(await walk(path, `${name}/`)));
      else found.push(name);
    }
    return found;
  };
  return (await walk(root, '')).sort();
}
