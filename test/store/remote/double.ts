/** Remotes in memory, and stores with an entry, for tests of what is sent and received. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Digest } from '../../../src/api.ts';
import { actionKey } from '../../../src/plan/keys.ts';
import type { ActionKey, KeyComponents } from '../../../src/plan/types.ts';
import type { Entry } from '../../../src/store/manifest.ts';
import { rememberEnvironment } from '../../../src/store/provenance.ts';
import { type Objects, RemoteFault } from '../../../src/store/remote/objects.ts';
import { openStore, type Store } from '../../../src/store/store.ts';
import { digestFiles } from '../../rig/digest-files.ts';

export interface MemoryObjects extends Objects {
  readonly held: Map<string, Buffer>;
  /** The names of the objects that were read, with the offset. */
  readonly reads: string[];
  /** After how many bytes each reading breaks off; null for one that does not. */
  readonly breaks: (number | null)[];
  /** The remote's clock, and when each object was written by it. */
  now: number;
  readonly times: Map<string, number>;
  /** The size that is said instead of the true one. */
  said: number | null;
}

export function memoryObjects(): MemoryObjects {
  const objects: MemoryObjects = {
    uri: 'memory:',
    pauses: [0, 0],
    held: new Map(),
    reads: [],
    breaks: [],
    now: 0,
    times: new Map(),
    said: null,
    open: () => Promise.resolve(),
    sizeOf: (name) => Promise.resolve(objects.held.get(name)?.length ?? null),
    read(name, from) {
      const bytes = objects.held.get(name);
      if (!bytes) return Promise.resolve(null);
      objects.reads.push(`${name} ${from}`);
      const until = objects.breaks.shift() ?? null;
      return Promise.resolve({
        size: objects.said ?? bytes.length,
        close: () => undefined,
        bytes: (async function* () {
          // In small pieces, as a network sends them.
          const end = until === null ? bytes.length : Math.min(bytes.length, from + until);
          for (let at = from; at < end; at += 1000)
            yield await Promise.resolve(bytes.subarray(at, Math.min(end, at + 1000)));
          if (until !== null) throw new RemoteFault('the connection broke', undefined, true);
        })(),
      });
    },
    async write(name, _size, bytes) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of bytes) chunks.push(chunk);
      objects.held.set(name, Buffer.concat(chunks));
      objects.times.set(name, objects.now);
    },
    async *list(folder) {
      for (const [name, bytes] of [...objects.held])
        if (name.startsWith(`v1/${folder}/`))
          yield await Promise.resolve({
            name,
            size: bytes.length,
            modified: objects.times.get(name) ?? 0,
          });
    },
    remove(name) {
      objects.held.delete(name);
      return Promise.resolve();
    },
  };
  return objects;
}

export interface Stores {
  readonly dir: string;
  /** Opens a store in a folder of its own. */
  open(name: string): Store;
  /** Flushes and closes the stores, so that no flush is left to a later test of the process. */
  clean(): Promise<void>;
}

export function createStores(): Stores {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-remote-'));
  const opened: Store[] = [];
  return {
    dir,
    open(name) {
      const store = openStore(path.join(dir, name));
      opened.push(store);
      return store;
    },
    async clean() {
      for (const store of opened) {
        await store.flush();
        store.close();
      }
    },
  };
}

export const componentsOf = (seed: number): KeyComponents => ({
  kind: 'train',
  code: { 'stage train': `sha256:${'1'.repeat(64)}` as Digest },
  params: { rank: 8, seed },
  inputs: { data: `sha256:${'2'.repeat(64)}` as Digest },
  assets: {},
  backend: 'cpu',
});

export const VOLATILE: readonly string[] = ['metrics.json'];

/** Stores an entry as a training would. */
export async function putEntry(
  store: Store,
  files: { readonly [name: string]: string },
  seed = 1,
): Promise<Entry> {
  const components = componentsOf(seed),
    key: ActionKey = actionKey(components);
  const scratch = store.scratch(`train-${seed}`);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(scratch, name)), { recursive: true });
    writeFileSync(path.join(scratch, name), text);
  }
  const environment = rememberEnvironment(store.root, { node: 'v20', cpu: 'a processor' });
  const entry = await store.publish(scratch, {
    key,
    kind: components.kind,
    components,
    files: await digestFiles(scratch),
    seconds: 2.5,
    backend: 'cpu',
    facts: {
      environment,
      computed: {
        name: 'cpu',
        precision: 'float32',
        threads: 1,
        packages: { '@tensorflow/tfjs-core': '4.22.0' },
        tensorflow: null,
        gpu: null,
        deterministic: true,
      },
    },
    volatile: VOLATILE,
  });
  return entry;
}
