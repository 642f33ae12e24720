/** Outputs that this run has hashed: when the guard must hash them again, and when it need not. */
import fs, { mkdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Digest } from '../../../src/api.ts';
import type { ActionKey } from '../../../src/plan/types.ts';
import { createGuard, statesOfOutputs } from '../../../src/run/execute/guard.ts';
import { digestOutputs } from '../../../src/run/execute/perform.ts';
import type { Entry } from '../../../src/store/manifest.ts';
import { createRig, type Rig } from '../../rig/rig.ts';

const test = suite<{ rig: Rig }>('states of outputs');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

/** An entry whose single file has just been written, hashed and stored. */
async function storedEntry(rig: Rig): Promise<Entry & { readonly file: string }> {
  const dir = path.join(rig.dir, 'entry');
  mkdirSync(dir);
  const file = path.join(dir, 'rows.txt');
  writeFileSync(file, 'right');
  const files = await digestOutputs(dir);
  const created = new Date().toISOString();
  const manifest = { files, created, content: 'sha256:' as Digest, seconds: 0, backend: null };
  return { key: 'k' as ActionKey, dir, manifest, file };
}

const tick = (): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, 60);
  });

test('a file that was hashed when it was stored is not hashed again for a later reader', async ({
  rig,
}) => {
  const entry = await storedEntry(rig);
  const guard = createGuard();
  guard.stored(entry.key, statesOfOutputs(entry.dir, entry.manifest.files));
  await tick();
  // The digests are wrong, so hashing a second time would report a fault.
  const files = entry.manifest.files.map((file) => ({ ...file, sha256: '0'.repeat(64) }));
  const wrong = { ...entry, manifest: { ...entry.manifest, files } };
  assert.is(await guard.entryFault(wrong), null);
  assert.is(await guard.reads([{ name: 'data', entry: wrong }], []).fault(), null);
});

for (const restores of [false, true]) {
  const how = restores ? 'even if it restores the time' : 'by its time';
  test(`a write between the hash and the first reader is seen, ${how}`, async ({ rig }) => {
    const entry = await storedEntry(rig);
    const guard = createGuard();
    guard.stored(entry.key, statesOfOutputs(entry.dir, entry.manifest.files));
    await tick();
    const { atime, mtime } = statSync(entry.file);
    writeFileSync(entry.file, 'worse');
    if (restores) utimesSync(entry.file, atime, mtime);
    assert.is(await guard.entryFault(entry), 'rows.txt was changed');
  });
}

test('a write after the hash and before the look is seen: the file is hashed again', async ({
  rig,
}) => {
  const entry = await storedEntry(rig);
  writeFileSync(entry.file, 'worse');
  const guard = createGuard();
  const states = statesOfOutputs(entry.dir, entry.manifest.files);
  assert.is(states.size, 0);
  guard.stored(entry.key, states);
  await tick();
  assert.is(await guard.entryFault(entry), 'rows.txt was changed');
});

test('a reader that starts within a tick of the hash is followed by a hash', async ({ rig }) => {
  const entry = await storedEntry(rig);
  const guard = createGuard();
  guard.stored(entry.key, statesOfOutputs(entry.dir, entry.manifest.files));
  assert.is(await guard.entryFault(entry), null);
  const reads = guard.reads([{ name: 'data', entry }], []);
  const { atime, mtime } = statSync(entry.file);
  writeFileSync(entry.file, 'worse');
  utimesSync(entry.file, atime, mtime);
  assert.match(JSON.stringify(await reads.fault()), 'rows.txt was changed');
});

test('a file system may number a file otherwise once it is opened', async ({ rig }) => {
  const entry = await storedEntry(rig);
  await tick();
  const guard = createGuard();
  assert.is(await guard.entryFault(entry), null);
  const reads = guard.reads([{ name: 'data', entry }], []);
  const patched = fs as { lstatSync: unknown },
    { lstatSync } = fs;
  patched.lstatSync = (file: string) => {
    const stat = lstatSync(file);
    return Object.assign(stat, { ino: stat.ino + 1 });
  };
  syncBuiltinESMExports();
  try {
    assert.is(await reads.fault(), null);
    writeFileSync(entry.file, 'worse');
    assert.match(JSON.stringify(await reads.fault()), 'rows.txt was written to');
  } finally {
    patched.lstatSync = lstatSync;
    syncBuiltinESMExports();
  }
});

test.run();
