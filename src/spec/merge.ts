/** Merges one layer over another: for `extends`, `--set`, an adapter's own `train`, YAML's `<<`. */
import type { Entry, MapNode } from './node.ts';
import { withEntries } from './node.ts';

/**
 * The field that names a section's plugin. A layer that names one replaces the section, since
 * another plugin has other parameters.
 */
const discriminators: Readonly<Record<string, string>> = {
  poisoning: 'attack',
  defences: 'defence',
  adapter: 'type',
};
/** Fields of `train` that replace each other. */
const exclusive: Readonly<Record<string, string>> = { epochs: 'steps', steps: 'epochs' };

/**
 * Merges mappings key by key and replaces everything else. Null removes a field of the base (RFC
 * 7396).
 * @param field the name of the field that holds both mappings
 */
export function merge(base: MapNode, over: MapNode, field = ''): MapNode {
  const discriminator = discriminators[field];
  if (
    discriminator !== undefined &&
    (over.entries.has(discriminator) || (field === 'poisoning' && over.entries.has('steps')))
  )
    return over;
  const changes: [string, Entry | undefined][] = [];
  for (const [key, entry] of over.entries) {
    const below = base.entries.get(key);
    if (below && entry.value.kind === 'scalar' && entry.value.value === null)
      changes.push([key, undefined]);
    else if (below?.value.kind === 'map' && entry.value.kind === 'map')
      changes.push([key, { key: entry.key, value: merge(below.value, entry.value, key) }]);
    else changes.push([key, entry]);
    const rival = field === 'train' ? exclusive[key] : undefined;
    if (rival !== undefined && !over.entries.has(rival)) changes.push([rival, undefined]);
  }
  return { ...withEntries(base, changes), span: over.span };
}
