/** `dosimeter verify` and `dosimeter gc`. */
import { statSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { sweepRuns } from '../engine/old-runs.ts';
import { defaultStore, RUNS_KEPT, runsDir } from '../engine/places.ts';
import { onDisk } from '../store/faults.ts';
import { collectGarbage, parseSize } from '../store/gc.ts';
import type { Store } from '../store/store.ts';
import { openStore } from '../store/store.ts';
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

export interface GcOptions extends StoreOptions {
  readonly maxSize?: string;
  readonly dryRun?: boolean;
  readonly runs?: boolean;
  readonly keepRuns?: number;
  readonly keepDays?: number;
}

export async function gcCommand(options: GcOptions): Promise<number> {
  if (options.runs !== true && (options.keepRuns ?? options.keepDays) !== undefined)
    throw new UserFault('--keep-runs and --keep-days stand with --runs', 'dosimeter gc --runs');
  const store = openExisting(options.store);
  const maxBytes = options.maxSize === undefined ? null : parseSize(options.maxSize);
  const swept = await onDisk(store.root, () =>
    collectGarbage(store, maxBytes, options.dryRun === true),
  );
  const runs =
    options.runs === true
      ? await onDisk(runsDir(), () =>
          sweepRuns(
            store.root,
            runsDir(),
            {
              latest: options.keepRuns ?? RUNS_KEPT.latest,
              days: options.keepDays ?? RUNS_KEPT.days,
            },
            options.dryRun === true,
          ),
        )
      : null;
  if (options.json) json(runs === null ? swept : { ...swept, runs });
  else {
    const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
    const verb = options.dryRun === true ? 'would sweep' : 'swept';
    out(
      `${verb} ${swept.entries.length === 1 ? '1 entry' : `${swept.entries.length} entries`} (${megabytes(swept.bytes)}) and ${count(swept.damaged, 'damaged leftover')}; ${swept.kept.entries} left (${megabytes(swept.kept.bytes)})${swept.pinned.entries === 0 ? '' : `, of them ${swept.pinned.entries} pinned (${megabytes(swept.pinned.bytes)})`}`,
    );
    if (runs !== null)
      out(
        `${verb} ${count(runs.swept.length, 'run')}; ${runs.kept} left${runs.live === 0 ? '' : `, of them ${runs.live} that ${runs.live === 1 ? 'goes' : 'go'} on or may`}${runs.pinned === 0 ? '' : `, ${runs.pinned} pinned`}`,
      );
  }
  return 0;
}
