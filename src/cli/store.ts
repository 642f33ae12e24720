/** `dosimeter verify` and `dosimeter gc`. */
import { statSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { sweepRuns, type SweptRuns } from '../run/run-status.ts';
import { defaultStore, RUNS_KEPT, runsDir } from '../run/state-folder.ts';
import { onDisk } from '../store/faults.ts';
import { collectGarbage, parseSize, type Swept } from '../store/gc.ts';
import { openStore, type Store } from '../store/store.ts';
import { verifyStore } from '../store/verify.ts';
import { count, entries, json, megabytes, out, paint } from './terminal.ts';

interface StoreOptions {
  readonly store: string;
  readonly json?: boolean;
}

/** Opens a store. Throws `UserFault` if it is missing and is not the default store. */
function openExisting(given: string): Store {
  const root = path.resolve(given);
  if (given !== defaultStore && !statSync(root, { throwIfNoEntry: false })?.isDirectory())
    throw new UserFault(
      `there is no store in ${root}`,
      '--store names the folder that a run keeps its results in',
    );
  return openStore(root);
}

/** Checks the store. Returns 1 if a stored file is damaged or could not be checked, otherwise 0. */
export async function verifyCommand(options: StoreOptions): Promise<number> {
  const store = openExisting(options.store);
  const { checked, letGo, damaged, records, withheld } = await onDisk(store.root, () =>
    verifyStore(store),
  );
  store.close();
  if (options.json)
    json({
      checked,
      let_go: letGo,
      damaged,
      records,
      withheld: withheld.map(({ message }) => message),
    });
  else {
    for (const { key, why, moved } of damaged)
      out(`${paint.red('damaged')} ${key}: ${why}\n  moved to ${moved}`);
    for (const { file, moved } of records) {
      const rest = moved === null ? ': pin again, or dosimeter unpin' : `\n  moved to ${moved}`;
      out(`${paint.red('damaged')} ${file}${rest}`);
    }
    for (const { message } of withheld) out(`${paint.red('not checked')} ${message}`);
    if (withheld[0]?.hint !== undefined) out(`  ${withheld[0].hint}`);
    const verdict =
      damaged.length === 0
        ? 'all whole'
        : `${damaged.length} damaged: the next run makes them anew`;
    const trimmed =
      letGo === 0 ? '' : `; of ${entries(letGo)} some files were let go, as \`keep\` asks`;
    out(`${entries(checked)} checked, ${verdict}${trimmed}`);
  }
  return damaged.length + records.length + withheld.length === 0 ? 0 : 1;
}

interface GcOptions extends StoreOptions {
  readonly remote?: string;
  readonly grace?: string;
  readonly maxSize?: string;
  readonly dryRun?: boolean;
  readonly runs?: boolean;
  readonly keepRuns?: number;
  readonly keepDays?: number;
}

/**
 * Sweeps the store and, with `--runs`, old runs; or a remote alone. Throws `UserFault` if options
 * do not fit together.
 */
export async function gcCommand(options: GcOptions): Promise<number> {
  if (options.remote !== undefined) return remoteGc(options.remote, options);
  if (options.grace !== undefined)
    throw new UserFault('--grace needs --remote', 'dosimeter gc --remote URI --grace 7d');
  if (options.runs !== true && (options.keepRuns ?? options.keepDays) !== undefined)
    throw new UserFault('--keep-runs and --keep-days need --runs', 'dosimeter gc --runs');
  const store = openExisting(options.store);
  const maxBytes = options.maxSize === undefined ? null : parseSize(options.maxSize);
  const swept = await onDisk(store.root, () =>
    collectGarbage(store, maxBytes, options.dryRun === true),
  );
  const { keepRuns: latest = RUNS_KEPT.latest, keepDays: days = RUNS_KEPT.days } = options;
  const runs =
    options.runs === true
      ? await onDisk(runsDir(), () =>
          sweepRuns(store.root, runsDir(), { latest, days }, options.dryRun === true),
        )
      : null;
  if (options.json) json(runs === null ? swept : { ...swept, runs });
  else {
    const verb = options.dryRun === true ? 'would sweep' : 'swept';
    out(`${verb} ${sweptEntries(swept)}`);
    if (runs !== null) out(`${verb} ${sweptRunFolders(runs, days)}`);
  }
  return 0;
}

/** The default of `--grace`: how long objects that no entry needs stay in a remote. */
const GRACE = '7d';

/** Sweeps a remote, and returns the exit code. Throws `UserFault` for the options on runs. */
async function remoteGc(uri: string, options: GcOptions): Promise<number> {
  if (options.runs === true || (options.keepRuns ?? options.keepDays) !== undefined)
    throw new UserFault('--runs is of this folder', 'run gc once with --remote and once without');
  const [{ objectsAt }, { parseGrace, sweepRemote }] = await Promise.all([
    import('../store/remote/remote.ts'),
    import('../store/remote/gc.ts'),
  ]);
  const graceMs = parseGrace(options.grace ?? GRACE);
  const maxBytes = options.maxSize === undefined ? null : parseSize(options.maxSize);
  const dryRun = options.dryRun === true;
  const objects = await objectsAt(uri);
  await objects.open(false); // a folder that is not a remote is not made one
  if (!dryRun) await objects.open(true);
  const swept = await sweepRemote(objects, { maxBytes, graceMs, dryRun });
  if (options.json) json({ remote: objects.uri, ...swept });
  else
    out(
      `${dryRun ? 'would sweep' : 'swept'} ${entries(swept.entries.length)}, ` +
        `${count(swept.damaged, 'damaged manifest')} and ` +
        `${count(swept.objects, 'object')} that no entry needs (${megabytes(swept.bytes)}) ` +
        `from ${objects.uri}; ${swept.kept.entries} left (${megabytes(swept.kept.bytes)})` +
        (swept.young === 0 ? '' : `; ${count(swept.young, 'object')} within the grace period`),
    );
  return 0;
}

function sweptEntries(swept: Swept): string {
  const pinned =
    swept.pinned.entries === 0
      ? ''
      : `; ${swept.pinned.entries} of them pinned (${megabytes(swept.pinned.bytes)})`;
  return (
    `${entries(swept.entries.length)} (${megabytes(swept.bytes)}) ` +
    `and ${count(swept.damaged, 'damaged leftover')}` +
    `${swept.answers === undefined ? '' : `, ${count(swept.answers, 'answer')} of services`}; ` +
    `${swept.kept.entries} left (${megabytes(swept.kept.bytes)})${pinned}`
  );
}

function sweptRunFolders({ swept, kept, live, pinned, young }: SweptRuns, days: number): string {
  const why = [
    ...(live === 0 ? [] : [`${live} running, or possibly running`]),
    ...(pinned === 0 ? [] : [`${pinned} pinned`]),
    ...(young === 0 ? [] : [`${young} because younger than ${count(days, 'day')} (--keep-days)`]),
  ];
  const reasons = why.length === 0 ? '' : `; of them ${why.join(', ')}`;
  return `${count(swept.length, 'run')}; ${kept} left${reasons}`;
}
