/** `dosimeter verify` and `dosimeter gc`. */
import { statSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { defaultStore } from '../engine/places.ts';
import { onDisk } from '../store/faults.ts';
import { collectGarbage, parseSize } from '../store/gc.ts';
import { openStore } from '../store/store.ts';
import type { Store } from '../store/store.ts';
import { verifyStore } from '../store/verify.ts';
import { count, json, out, paint } from './terminal.ts';

interface StoreOptions {
  readonly store: string;
  readonly json?: boolean;
}

/** Of a folder that is none, "all whole" would be said of nothing. Where nothing has run yet, nothing is whole. */
function openExisting(given: string): Store {
  const root = path.resolve(given);
  if (given !== defaultStore && !statSync(root, { throwIfNoEntry: false })?.isDirectory())
    throw new UserFault(
      `there is no store in ${root}`,
      '--store names the folder that a run keeps its results in',
    );
  return openStore(root);
}

export async function verifyCommand(options: StoreOptions): Promise<number> {
  const store = openExisting(options.store);
  const { checked, damaged, records } = await onDisk(store.root, () => verifyStore(store));
  store.close();
  if (options.json) json({ checked, damaged, records });
  else {
    for (const { key, why, moved } of damaged)
      out(`${paint.red('damaged')} ${key}: ${why}\n  moved to ${moved}`);
    for (const { file, moved } of records)
      out(
        `${paint.red('damaged')} ${file}${moved === null ? ': pin again, or dosimeter unpin' : `\n  moved to ${moved}`}`,
      );
    out(
      `${checked === 1 ? '1 entry' : `${checked} entries`} checked, ${damaged.length === 0 ? 'all whole' : `${damaged.length} damaged: the next run makes them anew`}`,
    );
  }
  return damaged.length + records.length === 0 ? 0 : 1;
}

export async function gcCommand(
  options: StoreOptions & { readonly maxSize?: string; readonly dryRun?: boolean },
): Promise<number> {
  const store = openExisting(options.store);
  const maxBytes = options.maxSize === undefined ? null : parseSize(options.maxSize);
  const swept = await onDisk(store.root, () =>
    collectGarbage(store, maxBytes, options.dryRun === true),
  );
  if (options.json) json(swept);
  else {
    const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
    const verb = options.dryRun === true ? 'would sweep' : 'swept';
    out(
      `${verb} ${swept.entries.length === 1 ? '1 entry' : `${swept.entries.length} entries`} (${megabytes(swept.bytes)}) and ${count(swept.damaged, 'damaged leftover')}; ${swept.kept.entries} left (${megabytes(swept.kept.bytes)})${swept.pinned.entries === 0 ? '' : `, of them ${swept.pinned.entries} pinned (${megabytes(swept.pinned.bytes)})`}`,
    );
  }
  return 0;
}
