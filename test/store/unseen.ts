/** What a look-up says, without what it saw of the files, which it leaves out of young entries. */
import type { LookUp } from '../../src/store/look-up.ts';

export function unseen(found: LookUp): LookUp {
  if (found.state !== 'hit') return found;
  const { seen: _seen, ...entry } = found.entry;
  return { ...found, entry };
}
