/** Checks every entry of a store by its digests, and the records beside them. */
import { renameSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { ownNames } from '../base/untrusted/paths.ts';
import type { ActionKey } from '../plan/types.ts';
import { makeFolder } from './folders.ts';
import { MANIFEST_FILE } from './manifest.ts';
import { INDEX } from './manifest-index.ts';
import { isDamagedEnvironment } from './provenance.ts';
import { withheldFault } from './regular.ts';
import { readSealed } from './sealed.ts';
import type { Store } from './store.ts';

export interface Damage {
  readonly key: ActionKey;
  readonly why: string;
  /** Where the entry was moved to, so that the next run makes it again. */
  readonly moved: string;
}

export interface DamagedRecord {
  readonly file: string;
  /**
   * Where the record was moved to. Null for a pin, which stays and blocks `gc` until its owner pins
   * again or unpins.
   */
  readonly moved: string | null;
}

/**
 * Checks all entries and records. Moves what is damaged aside, except pins. Returns how many
 * entries were `checked`, and how many sound ones lack files that were let go (`letGo`); the
 * `damaged` entries; the damaged `records`; and the faults of what other users `withheld`.
 */
export async function verifyStore(store: Store) {
  /** The faults of other users' entries and records that can't be read. They are not checked. */
  const withheld: UserFault[] = [];
  const damaged: Damage[] = [];
  let checked = 0,
    letGo = 0; // how many sound entries lack files that were let go (`keep`)
  for (const key of store.keys((fault) => withheld.push(fault))) {
    // An entry with a fault is checked again, since between the checks of its manifest and of its
    // files a run may have made the entry again, or gc may have removed it.
    let why: string | UserFault | null = await entryFault(store, key);
    if (typeof why === 'string') why = await entryFault(store, key);
    if (why instanceof UserFault) withheld.push(why);
    else checked++;
    if (why === null && store.manifest(key)?.letGo !== undefined) letGo++;
    if (typeof why === 'string') damaged.push({ key, why, moved: store.moveAside(key) });
  }
  const records = checkRecords(store.root, (fault) => withheld.push(fault));
  return { checked, letGo, damaged, records, withheld };
}

/**
 * Returns what is wrong with an entry, or a `UserFault` if another user withholds it; null if it is
 * sound or absent.
 */
async function entryFault(store: Store, key: ActionKey): Promise<string | UserFault | null> {
  const withheld = withheldFault(path.join(store.entryDir(key), MANIFEST_FILE), store.root);
  if (withheld !== null) return withheld;
  const found = store.lookUp(key);
  return found.state === 'hit'
    ? store.check(found.entry)
    : found.state === 'damaged'
      ? found.why
      : null;
}

/**
 * Moves damaged records aside, except pins, and returns all damaged records.
 * @param withheld called with the fault of each record that another user lets no one else read
 */
function checkRecords(root: string, withheld: (fault: UserFault) => void): DamagedRecord[] {
  const isReadable = (file: string): boolean => {
    const fault = withheldFault(file, root);
    if (fault !== null) withheld(fault);
    return fault === null;
  };
  const jsonFiles = (...parts: readonly string[]): string[] =>
    ownNames(root, ...parts)
      .filter((name) => name.endsWith('.json'))
      .map((name) => path.join(root, ...parts, name))
      .filter(isReadable);
  const moveAside = (file: string): DamagedRecord => {
    const moved = path.join(root, 'damaged', `${path.basename(file)}.${Date.now()}-${process.pid}`);
    makeFolder(path.dirname(moved));
    renameSync(file, moved);
    return { file, moved };
  };
  return [
    ...[[], ['roots'], [INDEX], ['code']]
      .flatMap((parts) => jsonFiles(...parts))
      .filter(isDamaged)
      .map(moveAside),
    // Environments are not sealed: they are named by their digest.
    ...jsonFiles('environments').filter(isDamagedEnvironment).map(moveAside),
    ...jsonFiles('pins')
      .filter(isDamaged)
      .map((file) => ({ file, moved: null })),
  ];
}

const isDamaged = (file: string): boolean => readSealed(file) === 'damaged';
