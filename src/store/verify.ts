/** Every entry of a store, digest by digest. */
import type { ActionKey } from '../plan/types.ts';
import type { Store } from './store.ts';

export interface Damage {
  readonly key: ActionKey;
  readonly why: string;
  /** Where it was moved, so that the next run makes it anew. */
  readonly moved: string;
}

export async function verifyStore(store: Store, onEntry: (done: number, total: number) => void = () => undefined): Promise<{ readonly checked: number; readonly damaged: readonly Damage[] }> {
  const keys = store.keys();
  const damaged: Damage[] = [];
  let checked = 0;
  for (const key of keys) {
    const found = store.lookUp(key);
    const why = found.state === 'hit' ? await store.check(found.entry) : found.state === 'damaged' ? found.why : null;
    if (why !== null) damaged.push({ key, why, moved: store.moveAside(key) });
    onEntry(++checked, keys.length);
  }
  return { checked, damaged };
}
