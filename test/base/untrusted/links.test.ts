/**
 * A link in the place of a folder or file that is swept: what is behind it stays. In each test the
 * link leads to a user's documents, whose names and ages are those of what is swept.
 */
import {
  existsSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Spool } from '../../../plugins/executors/slurm/spool.ts';
import { withTemporaryFolder } from '../../../plugins/sources/shared/digest.ts';
import { UserFault } from '../../../src/api.ts';
import type { ActionKey } from '../../../src/plan/types.ts';
import { sweepRuns } from '../../../src/run/run-status.ts';
import { collectGarbage } from '../../../src/store/gc.ts';
import { folderObjects } from '../../../src/store/remote/folder.ts';
import { beginPush, sweepRemote } from '../../../src/store/remote/gc.ts';
import { unpin } from '../../../src/store/roots.ts';
import { openStore } from '../../../src/store/store.ts';
import { verifyStore } from '../../../src/store/verify.ts';

interface Scene {
  dir: string;
  documents: string;
  /** Asserts that every document is still there. */
  unharmed(what: string): void;
}

const KEY = 'a'.repeat(64) as ActionKey;
/** A process that has ended, of this host or another. */
const GONE = `${'0'.repeat(12)}-999999999-1-1`;
const LONG_AGO = new Date('2020-01-01');
const SUBMISSION = 'dosimeter-letters-1';

const test = suite<Scene>('links');
test.before.each((scene) => {
  scene.dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
  scene.documents = path.join(scene.dir, 'documents');
  for (const name of [
    'letter.txt',
    'notes.json',
    'journal.jsonl',
    'draft.999999999',
    'files-1/letter.txt',
    'tmp/letter.txt',
    'aa/letter.txt',
    `aa/${KEY}.json`,
    '20200101-000000-1.json',
    `${KEY}.${GONE}`,
    `${GONE}.letters/letter.txt`,
    `${KEY}/letter.txt`,
    `${KEY}/claim.json`,
    `${SUBMISSION}.0`,
    `${SUBMISSION}/letter.txt`,
  ]) {
    mkdirSync(path.dirname(path.join(scene.documents, name)), { recursive: true });
    writeFileSync(path.join(scene.documents, name), 'mine');
  }
  writeFileSync(
    path.join(scene.documents, SUBMISSION, 'intent.json'),
    JSON.stringify({ name: SUBMISSION, created: '2020-01-01T00:00:00Z', request: {} }),
  );
  const all = (): readonly string[] =>
    readdirSync(scene.documents, { recursive: true, encoding: 'utf8' }).sort();
  for (const name of all()) utimesSync(path.join(scene.documents, name), LONG_AGO, LONG_AGO);
  const before = all();
  scene.unharmed = (what) => assert.equal(all(), before, what);
});

/** Puts an old link to the documents at `place`. */
function linkTo(documents: string, place: string): void {
  mkdirSync(path.dirname(place), { recursive: true });
  symlinkSync(documents, place);
  lutimesSync(place, LONG_AGO, LONG_AGO);
}

/** Asserts that `action` is refused because `place` is a link. */
async function refused(place: string, action: () => unknown): Promise<void> {
  const fault: unknown = await Promise.resolve()
    .then(action)
    .then(
      () => null,
      (error: unknown) => error,
    );
  assert.instance(fault, UserFault);
  assert.match((fault as UserFault).message, `${place} is a link`);
}

const PARTS = ['tmp', 'leases', 'damaged', 'resume', 'roots', 'index', 'code', 'environments'];

for (const part of [...PARTS, 'aa'])
  test(`gc leaves what is behind a link at ${part} of a store`, async (scene) => {
    const root = path.join(scene.dir, 'store'),
      place = path.join(root, part);
    linkTo(scene.documents, place);
    await refused(place, () => collectGarbage(openStore(root), 0, false));
    scene.unharmed(part);
  });

for (const part of ['tmp', 'leases', 'damaged', 'resume'])
  test(`a run leaves what is behind a link at ${part} of a store`, async (scene) => {
    const root = path.join(scene.dir, 'store'),
      place = path.join(root, part);
    linkTo(scene.documents, place);
    const store = openStore(root);
    await refused(place, () => store.take(KEY));
    store.close();
    scene.unharmed(part);
  });

for (const part of ['roots', 'index', 'code', 'environments', 'aa'])
  test(`verify leaves what is behind a link at ${part} of a store`, async (scene) => {
    const root = path.join(scene.dir, 'store'),
      place = path.join(root, part);
    linkTo(scene.documents, place);
    await refused(place, () => verifyStore(openStore(root)));
    scene.unharmed(part);
  });

test('unpin leaves what is behind a link', async (scene) => {
  const root = path.join(scene.dir, 'store');
  linkTo(scene.documents, path.join(root, 'pins'));
  await refused(path.join(root, 'pins'), () => unpin(root, 'notes'));
  scene.unharmed('pins');
});

test('gc removes links further down, and not what is behind them', async (scene) => {
  const root = path.join(scene.dir, 'store');
  for (const place of [`resume/${KEY}`, 'resume/b/checkpoints', 'damaged/a', 'damaged/b/c/d'])
    linkTo(scene.documents, path.join(root, place));
  utimesSync(path.join(root, 'resume/b'), LONG_AGO, LONG_AGO);
  await collectGarbage(openStore(root), 0, false);
  assert.equal(readdirSync(path.join(root, 'resume')), []);
  assert.equal(readdirSync(path.join(root, 'damaged')), []);
  scene.unharmed('further down');
});

test('a stage goes on from no folder with a link in it', (scene) => {
  const store = openStore(path.join(scene.dir, 'store'));
  const dir = store.resumeDir(KEY);
  for (const place of [dir, path.join(dir, 'checkpoints'), path.join(dir, 'a', 'b')]) {
    linkTo(scene.documents, place);
    assert.is(store.resumeDir(KEY), dir);
    assert.not.ok(existsSync(dir));
    scene.unharmed(place);
  }
  mkdirSync(path.join(dir, 'checkpoints'), { recursive: true });
  assert.ok(existsSync(path.join(store.resumeDir(KEY), 'checkpoints')), 'what has no link stays');
});

test('a store or a remote may itself be a link', async (scene) => {
  for (const name of ['store', 'remote']) {
    mkdirSync(path.join(scene.dir, `${name}-on-another-disk`));
    linkTo(path.join(scene.dir, `${name}-on-another-disk`), path.join(scene.dir, name));
  }
  const store = openStore(path.join(scene.dir, 'store'));
  assert.ok('held' in store.take(KEY));
  store.close();
  mkdirSync(path.join(store.root, 'damaged', 'old'), { recursive: true });
  assert.is((await collectGarbage(store, null, false)).damaged, 1);
  const objects = folderObjects(path.join(scene.dir, 'remote'), 'file:remote');
  await objects.open(true);
  await (await beginPush(objects, () => undefined)).end();
  await sweepRemote(objects, { maxBytes: 0, graceMs: 0, dryRun: false });
});

test('a push leaves what is behind a link in a remote', async (scene) => {
  const root = path.join(scene.dir, 'remote'),
    objects = folderObjects(root, 'file:remote');
  for (const part of ['v1/tmp', 'v1/signs', 'v1']) {
    linkTo(scene.documents, path.join(root, part));
    await refused(path.join(root, part), () => objects.open(true));
    scene.unharmed(part);
    rmSync(path.join(root, 'v1'), { recursive: true });
  }
});

const sweep = async (root: string): Promise<unknown> => {
  const objects = folderObjects(root, 'file:remote');
  await objects.open(true);
  return sweepRemote(objects, { maxBytes: 0, graceMs: 0, dryRun: false });
};

for (const part of ['tmp', 'blobs', 'environments', 'entries', 'runs', 'signs', '.'])
  test(`gc leaves what is behind a link at v1/${part} of a remote`, async (scene) => {
    const root = path.join(scene.dir, 'remote'),
      place = path.join(root, 'v1', part);
    linkTo(scene.documents, place);
    await refused(place, () => sweep(root));
    scene.unharmed(part);
  });

test('gc of a remote leaves what is behind links further down', async (scene) => {
  const root = path.join(scene.dir, 'remote');
  for (const part of ['blobs/aa', 'environments/aa', 'entries/aa', 'tmp/aa'])
    linkTo(scene.documents, path.join(root, 'v1', part));
  await sweep(root);
  scene.unharmed('further down');
});

test('the download cache sweeps nothing behind a link', async (scene) => {
  const cache = path.join(scene.dir, 'cache'),
    tmp = path.join(cache, 'tmp');
  linkTo(scene.documents, tmp);
  await refused(tmp, () => withTemporaryFolder(cache, () => Promise.resolve()));
  scene.unharmed('tmp');
  rmSync(tmp);
  linkTo(scene.documents, path.join(tmp, 'left'));
  await withTemporaryFolder(cache, () => Promise.resolve());
  assert.equal(readdirSync(tmp), []);
  scene.unharmed('tmp/left');
});

test('old runs are removed, and not what is behind a link', (scene) => {
  const runs = path.join(scene.dir, 'runs');
  for (const name of ['20200101-000000-1', '.swept-20200101-000000-2'])
    linkTo(scene.documents, path.join(runs, name));
  sweepRuns(path.join(scene.dir, 'store'), runs, { latest: 0, days: 0 }, false);
  assert.equal(readdirSync(runs), []);
  scene.unharmed('runs');
});

for (const part of ['stages', 'submissions', 'said'])
  test(`a run on Slurm leaves what is behind a link at ${part} of its spool`, async (scene) => {
    const spool = new Spool(path.join(scene.dir, 'spool')),
      place = path.join(spool.root, part);
    linkTo(scene.documents, place);
    await refused(place, () => spool.sweep(new Date()));
    if (part === 'stages') {
      await refused(place, () => spool.forget(KEY));
      await refused(place, () => spool.disclaim(KEY));
    } else await refused(place, () => spool.removeSubmission(SUBMISSION));
    scene.unharmed(part);
  });

test('a claim behind a link stays', async (scene) => {
  const spool = new Spool(path.join(scene.dir, 'spool'));
  renameSync(path.join(scene.documents, KEY, 'letter.txt'), path.join(scene.documents, 'moved'));
  linkTo(path.join(scene.documents, KEY), spool.stageDir(KEY));
  await refused(spool.stageDir(KEY), () => spool.disclaim(KEY));
  assert.ok(existsSync(path.join(scene.documents, KEY, 'claim.json')));
});

test.run();
