/** A temp folder of files and a split with its defaults, for tests of the readers. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type {
  Asset,
  DatasetDescriptor,
  Digest,
  JsonObject,
  RawRow,
  ResolvedSplit,
} from '../../../src/api.ts';
import { present } from '../../rig/present.ts';

export const assetAt = (path: string, uri = `file:${path}`): Asset => ({
  uri,
  path,
  digest: 'sha256:0' as Digest,
  provenance: { kind: 'test' },
});

export const splitOf = (change: Partial<ResolvedSplit> = {}): ResolvedSplit => ({
  source: 'file:/nowhere',
  format: 'auto',
  columns: { text: 'text', label: 'label' },
  header: true,
  balance: false,
  offset: 0,
  ...change,
});

/** Writes the files, reads the named one (or the folder), and removes everything again. */
export async function readFiles(
  dataset: DatasetDescriptor,
  files: { readonly [name: string]: string | Uint8Array },
  split: Partial<ResolvedSplit> = {},
  which = present(Object.keys(files)[0]),
  fragment = '',
): Promise<{ rows: RawRow[]; facts: JsonObject | undefined }> {
  const dir = mkdtempSync(join(tmpdir(), 'dosimeter-read-'));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), content);
  }
  const path = join(dir, which);
  const iterator = dataset
    .read(
      assetAt(path, fragment === '' ? undefined : `hf:datasets/x/y#${fragment}`),
      splitOf(split),
    )
    [Symbol.asyncIterator]();
  const rows: RawRow[] = [];
  for (;;) {
    const next = await iterator.next();
    if (next.done === true) return { rows, facts: next.value ?? undefined };
    rows.push(next.value);
  }
}

export async function readingFault(
  ...args: Parameters<typeof readFiles>
): Promise<{ message: string; hint: string; path: readonly string[] }> {
  try {
    await readFiles(...args);
  } catch (error) {
    const {
      name,
      message,
      hint = '',
      path = [],
    } = error as Error & { hint?: string; path?: readonly string[] };
    if (name !== 'UserFault') throw error;
    return { message, hint, path };
  }
  throw new Error('no fault was raised');
}
