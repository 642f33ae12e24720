/** What remotes hold: manifests, records of runs, and whole entries. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { actionKey } from '../../../src/plan/keys.ts';
import type { ActionKey, KeyComponents } from '../../../src/plan/types.ts';
import { type Manifest, printManifest } from '../../../src/store/manifest.ts';
import { entryObject } from '../../../src/store/remote/objects.ts';
import { receiveEntry, receiveManifest } from '../../../src/store/remote/receive.ts';
import { runKeys } from '../../../src/store/remote/send.ts';
import { seal } from '../../../src/store/sealed.ts';
import { openStore } from '../../../src/store/store.ts';
import { standIn } from '../../rig/stand-in.ts';
import { componentsOf, memoryObjects } from '../../store/remote/double.ts';
import { asText, type Reader, texts } from '../reader.ts';

const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const components = componentsOf(1),
  key = actionKey(components);
const manifest = standIn<Manifest>({
  format: 1,
  key,
  kind: components.kind,
  components,
  files: [
    { path: 'model/a.bin', size: 0, sha256: EMPTY },
    { path: 'b.json', size: 0, sha256: EMPTY },
  ],
  content: `sha256:${'0'.repeat(64)}`,
  seconds: 1,
  created: '2026-01-31T12:00:00.000Z',
  backend: 'cpu',
  facts: {
    computed: {
      name: 'cpu',
      precision: 'float32',
      packages: { a: '1' },
      tensorflow: null,
      gpu: null,
      deterministic: true,
    },
  },
});

/**
 * Returns the input as a manifest with a right checksum, under the key of its own components, so
 * that what lies behind these checks is read too.
 */
function resealed(input: Uint8Array): { readonly text: string; readonly key: ActionKey } {
  let value: unknown;
  try {
    value = JSON.parse(asText(input));
  } catch {
    return { text: asText(input), key };
  }
  if (typeof value !== 'object' || value === null || Object.keys(value).length === 0)
    return { text: asText(input), key };
  let own = key;
  try {
    own = actionKey((value as { readonly components: KeyComponents }).components);
  } catch {
    // what it has as components has no key
  }
  return { text: printManifest({ ...value, key: own } as Manifest), key: own };
}

/** Receives an entry whose files are all empty. */
async function receive(input: Uint8Array, dir: string): Promise<unknown> {
  const { text, key: own } = resealed(input),
    objects = memoryObjects(),
    root = join(dir, 'store');
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root);
  objects.held.set(entryObject(own), Buffer.from(text));
  objects.held.set(`v1/blobs/e3/${EMPTY}`, Buffer.alloc(0));
  const store = openStore(root);
  try {
    return await receiveEntry(objects, store, own, null);
  } finally {
    store.close();
  }
}

export const REMOTES: readonly Reader[] = [
  {
    name: 'remote manifest',
    seeds: texts(printManifest(manifest)),
    read(input) {
      const objects = memoryObjects();
      objects.held.set(entryObject(key), Buffer.from(input));
      return receiveManifest(objects, key, ['b.json']);
    },
  },
  {
    name: 'remote entry, checksum right',
    slow: 10,
    seeds: texts(JSON.stringify(manifest)),
    read: receive,
  },
  {
    name: 'remote run record',
    seeds: texts(`${seal({ keys: [key, 'b'.repeat(64)] })}\n`),
    read: (input) => runKeys(asText(input), 'the record'),
  },
];
