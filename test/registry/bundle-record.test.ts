import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Digest } from '../../src/api.ts';
import type { Bundle } from '../../src/registry/bundle-record.ts';
import { findBundle, rememberBundle } from '../../src/registry/bundle-record.ts';
import { sha256 } from '../../src/setup/closure.mjs';

interface Context {
  dir: string;
  plugin: string;
  word: string;
  cache: string;
  bundle: Bundle;
  found: () => Bundle | null;
}
const test = suite<Context>('bundle record');

/** Long before anything here began. */
const old = new Date('2020-01-01');

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
  rememberBundle(cache, plugin, 'api', bundle, [plugin, word], Date.now());
  Object.assign(context, {
    dir,
    plugin,
    word,
    cache,
    bundle,
    found: () => findBundle(cache, plugin, 'api'),
  });
});
test.after.each(({ dir }) => {
  rmSync(dir, { recursive: true });
});

test('nothing has changed: the bundle is found', ({ found, bundle }) => {
  const { module, digest, code, closure, usesScience } = found()!;
  assert.equal({ module, digest, code, closure, usesScience }, bundle);
});

test('an import of it was edited, by time or by size', ({ found, word }) => {
  writeFileSync(word, 'test');
  assert.is(found(), null);
  writeFileSync(word, 'text ');
  utimesSync(word, old, old);
  assert.is(found(), null);
});

test('a file was removed, or another one may be found in its place', ({ found, dir, word }) => {
  writeFileSync(join(dir, 'plugins', 'word.ts'), '');
  assert.is(found(), null);
  rmSync(join(dir, 'plugins', 'word.ts'));
  utimesSync(join(dir, 'plugins'), old, old);
  assert.ok(found());
  rmSync(word);
  utimesSync(join(dir, 'plugins'), old, old);
  assert.is(found(), null);
});

test('what decides how it is built appears above it', ({ found, dir }) => {
  writeFileSync(join(dir, 'tsconfig.json'), '{}');
  assert.is(found(), null);
});

test('another build of the program; a bundle that is torn, or gone', ({
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

test('a file that changed while it was read is not vouched for', ({
  cache,
  plugin,
  word,
  bundle,
}) => {
  rmSync(cache, { recursive: true });
  const started = Date.now();
  utimesSync(word, new Date(started), new Date(started));
  rememberBundle(cache, plugin, 'api', bundle, [plugin, word], started);
  assert.is(findBundle(cache, plugin, 'api'), null);
});

test.run();
