/** Checks every entry of a store by its digests, and the records beside them. */
import { renameSync } from 'node:fs';
import path from 'node:path';
import type { ActionKey } from '../plan/types.ts';
import { ownNames } from '../untrusted/own-folder.ts';
import { isDamagedEnvironment } from './environments.ts';
import { makeFolder } from './folders.ts';
import { INDEX } from './manifest-index.ts';
import { readSealed } from './sealed.ts';
import type { Store } from './store.ts';

export interface Damage {
  readonly key: ActionKey;
  readonly why: string;
  /** The folder that the damaged entry was moved to, so that the next run makes it again. */
  readonly moved: string;
}

export interface DamagedRecord {
  readonly file: string;
  /**
   * The path that the damaged record was moved to, so that a run writes it again. Null for a pin,
   * which blocks `gc` until its owner pins again.
   */
  readonly moved: string | null;
}

export interface Verified {
  readonly checked: number;
  readonly damaged: readonly Damage[];
  /** The records that differ from what was written. */
  readonly records: readonly DamagedRecord[];
}

export async function verifyStore(
  store: Store,
  onEntry: (done: number, total: number) => void = () => undefined,
): Promise<Verified> {
  const keys = store.keys();
  const damaged: Damage[] = [];
  let checked = 0;
  for (const key of keys) {
    // Checked twice: between the checks of its manifest and of its files, a run may have made the
    // entry again, or gc may have removed it.
    const why = (await faultOf(store, key)) === null ? null : await faultOf(store, key);
    if (why !== null) damaged.push({ key, why, moved: store.moveAside(key) });
    onEntry(++checked, keys.length);
  }
  const records = checkRecords(store.root);
  return { checked, damaged, records };
}

async function faultOf(store: Store, key: ActionKey): Promise<string | null> {
  const found = store.lookUp(key);
  return found.state === 'hit'
    ? store.check(found.entry)
    : found.state === 'damaged'
      ? found.why
      : null;
}

function checkRecords(root: string): DamagedRecord[] {
  const jsonIn = (...parts: readonly string[]): string[] =>
    ownNames(root, ...parts)
      .filter((name) => name.endsWith('.json'))
      .map((name) => path.join(root, ...parts, name));
  const aside = (file: string): DamagedRecord => {
    const moved = path.join(root, 'damaged', `${path.basename(file)}.${Date.now()}-${process.pid}`);
    makeFolder(path.dirname(moved));
    renameSync(file, moved);
    return { file, moved };
  };
  return [
    ...[[], ['roots'], [INDEX], ['code']]
      .flatMap((parts) => jsonIn(...parts))
      .filter(isDamaged)
      .map(aside),
    // Environments are named by their digest.
    ...jsonIn('environments').filter(isDamagedEnvironment).map(aside),
    ...jsonIn('pins')
      .filter(isDamaged)
      .map((file) => ({ file, moved: null })),
  ];
}

const isDamaged = (file: string): boolean => readSealed(file) === 'damaged';
