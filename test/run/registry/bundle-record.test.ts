import { mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Digest } from '../../../src/api.ts';
import { type Bundle, findBundle, rememberBundle } from '../../../src/run/registry/outside.ts';
import { sha256 } from '../../../src/setup/closure.mjs';
import { present } from '../../rig/present.ts';

interface Context {
  dir: string;
  plugin: string;
  word: string;
  cache: string;
  bundle: Bundle;
  found: () => Bundle | null;
}
const test = suite<Context>('bundle record');

/** A time long before these tests. */
const old = new Date('2020-01-01');
/** The ms after which files that were just made are old enough to be recorded. */
const LATER = 1000;

test.before.each((context) => {
  const dir = mkdtempSync(join(tmpdir(), 'dosimeter-bundle-'));
  mkdirSync(join(dir, 'plugins'));
  const plugin = join(dir, 'plugins', 'a.mjs'),
    word = join(dir, 'plugins', 'word.mjs'),
    cache = join(dir, 'cache'),
    module = join(dir, 'a-bundled.mjs');
  for (const file of [plugin, word, module]) {
    writeFileSync(file, 'text');
    utimesSync(file, old, old);
  }
  utimesSync(join(dir, 'plugins'), old, old);
  const bundle = {
    module,
    digest: sha256('text'),
    code: 'sha256:1' as Digest,
    closure: { 'a.mjs': '1', 'word.mjs': '2' },
    usesScience: false,
  };
  rememberBundle(cache, plugin, 'api', bundle, [plugin, word], Date.now() + LATER);
  Object.assign(context, {
    dir,
    plugin,
    word,
    cache,
    bundle,
    found: () => findBundle(cache, plugin, 'api'),
  });
});

test('a bundle is found if nothing has changed', ({ found, bundle }) => {
  const { module, digest, code, closure, usesScience } = present(found());
  assert.equal({ module, digest, code, closure, usesScience }, bundle);
});

test('a bundle is made again if an import was edited, by its time or its size', ({
  found,
  word,
}) => {
  writeFileSync(word, 'test');
  assert.is(found(), null);
  writeFileSync(word, 'text ');
  utimesSync(word, old, old);
  assert.is(found(), null);
});

test('a bundle is made again if an edit kept the size and the time of a file', ({
  found,
  word,
}) => {
  writeFileSync(word, 'test');
  utimesSync(word, old, old);
  assert.is(found(), null);
});

test('a bundle is made again if an import may resolve otherwise', ({ found, dir }) => {
  assert.ok(found());
  writeFileSync(join(dir, 'plugins', 'word.ts'), '');
  utimesSync(join(dir, 'plugins'), old, old);
  assert.is(found(), null);
});

test('a bundle is made again if an import is gone', ({ found, word }) => {
  rmSync(word);
  assert.is(found(), null);
});

test('a bundle is made again if a file that decides how it is built appears', ({ found, dir }) => {
  writeFileSync(join(dir, 'tsconfig.json'), '{}');
  assert.is(found(), null);
});

test('a bundle is made again for another build, or if it is torn or gone', ({
  found,
  cache,
  plugin,
  bundle,
}) => {
  assert.is(findBundle(cache, plugin, 'another api'), null);
  writeFileSync(bundle.module, 'tex');
  assert.is(found(), null);
  rmSync(bundle.module);
  assert.is(found(), null);
});

test('nothing is recorded if a source changed while it was read', ({
  cache,
  plugin,
  word,
  bundle,
}) => {
  rmSync(cache, { recursive: true });
  const started = Date.now() + LATER;
  utimesSync(word, new Date(started), new Date(started));
  rememberBundle(cache, plugin, 'api', bundle, [plugin, word], started);
  assert.is(findBundle(cache, plugin, 'api'), null, 'by its mtime');
  utimesSync(word, old, old);
  rememberBundle(cache, plugin, 'api', bundle, [plugin, word], statSync(word).ctimeMs);
  assert.is(findBundle(cache, plugin, 'api'), null, 'by its ctime');
});

test.run();
