/**
 * A download cache into which others may have put something is refused, and how to go on is told.
 */
import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import npm from '../../../plugins/sources/npm.ts';
import { fileDigests, withTemporaryFolder } from '../../../plugins/sources/shared/digest.ts';
import { UserFault } from '../../../src/api.ts';
import { cacheFolder, makeCacheFolder } from '../../../src/base/untrusted/paths.ts';
import { loadOutsidePlugins } from '../../../src/run/registry/outside.ts';
import { sha256 } from '../../../src/setup/closure.mjs';
import { present } from '../../rig/present.ts';
import { createProject } from '../../rig/project.ts';
import { rejects } from '../../rig/rejects.ts';

const test = suite<{ dir: string; cache: string }>('cache');
const before = process.env['DOSIMETER_CACHE'];
test.before.each((context) => {
  context.dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
  context.cache = path.join(context.dir, 'cache');
  process.env['DOSIMETER_CACHE'] = context.cache;
});
test.after.each(() => {
  if (before === undefined) delete process.env['DOSIMETER_CACHE'];
  else process.env['DOSIMETER_CACHE'] = before;
});

const faultOf = (action: () => unknown): UserFault => {
  try {
    action();
  } catch (error) {
    if (error instanceof UserFault) return error;
    throw error;
  }
  throw new Error('it was not refused');
};

test('plan refuses a cache that others may write to, and runs nothing from it', async () => {
  const project = createProject();
  project.write('spec.yaml', 'name: x\n');
  mkdirSync(path.join(project.dir, '.cache'));
  chmodSync(path.join(project.dir, '.cache'), 0o775);
  const { code, stderr } = await project.dosimeter('plan', 'spec.yaml');
  assert.is(code, 2);
  const cache = path.join(project.dir, '.cache');
  assert.match(stderr, `others may write to ${cache} (mode 775), and what a cache holds decides`);
  assert.match(stderr, `if nobody else has written there: chmod -R go-w '${cache}'`);
});

test('a planted record of a bundle is not run', async ({ dir, cache }) => {
  const plugin = path.join(dir, 'plugin.mjs'),
    planted = path.join(dir, 'planted.mjs'),
    text = 'globalThis.planted = true; export default {};';
  const attack = "export default { kind: 'attack', name: 'own', apply: () => ({}) };";
  writeFileSync(plugin, attack);
  await loadOutsidePlugins([plugin]).catch(() => undefined);
  writeFileSync(planted, text);
  const plugins = path.join(cache, 'plugins');
  for (const name of readdirSync(plugins).filter((file) => file.endsWith('.json')))
    rmSync(path.join(plugins, name));
  writeFileSync(
    path.join(plugins, `${sha256(plugin).slice(0, 16)}.json`),
    JSON.stringify({ format: 1, module: planted, digest: sha256(text), sources: [] }),
  );
  for (const folder of [cache, plugins]) {
    chmodSync(folder, 0o777);
    await rejects(loadOutsidePlugins([plugin]), new RegExp(`others may write to ${folder} `));
    chmodSync(folder, 0o755);
  }
  assert.not.ok('planted' in globalThis);
});

test('a planted digest does not stand for a file', async ({ dir, cache }) => {
  const file = path.join(dir, 'train.tsv');
  writeFileSync(file, 'text\n');
  const { size, mtimeNs, ctimeNs, ino } = statSync(file, { bigint: true });
  const seen = [Number(size), String(mtimeNs), String(ctimeNs), String(ino), '0'.repeat(64)];
  mkdirSync(path.join(cache, 'digests'), { recursive: true });
  writeFileSync(
    path.join(cache, 'digests', `${sha256(dir).slice(0, 32)}.json`),
    JSON.stringify({ path: dir, files: { 'train.tsv': seen } }),
  );
  chmodSync(path.join(cache, 'digests'), 0o777);
  await rejects(fileDigests(dir, ['train.tsv'], cache), /others may write to .*digests/);
});

test('neither packages nor what is being fetched stand where others may write', async ({
  cache,
}) => {
  const context = { cacheDir: cache, env: {}, log: () => undefined };
  mkdirSync(path.join(cache, 'npm', 'corpus', '1.0.0'), { recursive: true });
  for (const folder of ['npm', 'npm/corpus', 'npm/corpus/1.0.0']) {
    chmodSync(path.join(cache, folder), 0o777);
    await rejects(
      Promise.resolve(npm.locate('npm:corpus@1.0.0', context)),
      new RegExp(`others may write to .*${folder} `),
    );
    chmodSync(path.join(cache, folder), 0o755);
  }
  assert.is(await npm.locate('npm:corpus@1.0.0', context), null);
  mkdirSync(path.join(cache, 'tmp'));
  chmodSync(path.join(cache, 'tmp'), 0o777);
  const working = withTemporaryFolder(cache, () => Promise.resolve());
  await rejects(working, /others may write to .*tmp /);
});

test('under a umask that lets a group write, only the user may write to a new cache', ({
  cache,
}) => {
  const umask = process.umask(0o002);
  try {
    const dir = makeCacheFolder(cache, 'npm', 'corpus');
    for (let at = dir; at !== path.dirname(cache); at = path.dirname(at))
      assert.is(statSync(at).mode & 0o777, 0o755, at);
  } finally {
    process.umask(umask);
  }
});

if (process.getuid?.() === 0)
  test('a cache of another user is refused, and so is a link that another user made', ({
    dir,
    cache,
  }) => {
    mkdirSync(cache);
    chownSync(cache, 12345, 12345);
    const fault = faultOf(() => cacheFolder(cache, 'digests'));
    assert.match(fault.message, `${cache} belongs to another user (id 12345)`);
    assert.match(present(fault.hint), 'name a folder of your own with DOSIMETER_CACHE');
    chownSync(cache, 0, 0);
    const link = path.join(dir, 'link');
    symlinkSync(cache, link);
    assert.is(cacheFolder(link, 'digests'), path.join(link, 'digests'));
    lchownSync(link, 12345, 12345);
    assert.match(faultOf(() => cacheFolder(link, 'digests')).message, 'belongs to another user');
  });

test('no folder of a cache may be a link', ({ dir, cache }) => {
  makeCacheFolder(cache);
  symlinkSync(dir, path.join(cache, 'plugins'));
  assert.match(faultOf(() => cacheFolder(cache, 'plugins')).message, 'plugins is a link');
});

test.run();
