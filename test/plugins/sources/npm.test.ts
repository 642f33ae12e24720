import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import npm from '../../../plugins/sources/npm.ts';
import type { Asset } from '../../../src/api.ts';
import { present } from '../../rig/present.ts';
import { faultOf, type Rig, startRig, tarball } from './registry.ts';

const test = suite<Rig>('npm source');
test.before.each(async (rig) => {
  Object.assign(rig, await startRig());
});
test.after.each((rig) => rig.close());

const sha256 = (bytes: Uint8Array): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const corpus = tarball('@lab/corpus', '1.0.0', {
  'data/a.tsv': 'text\tlabel\n',
  'data/b.tsv': 'b',
  'README.md': 'x',
});

test('a pinned package is fetched once, never run, and cited by its integrity', async ({
  context,
  packages,
  requests,
}) => {
  packages.set('@lab/corpus', [corpus, tarball('@lab/corpus', '1.1.0', {})]);
  const uri = 'npm:@lab/corpus@1.0.0';
  assert.is(await npm.locate(uri, context), null);
  assert.equal(requests, []);
  const asset = await npm.fetch(uri, context);
  assert.is(readFileSync(join(asset.path, 'data/a.tsv'), 'utf8'), 'text\tlabel\n');
  assert.not.ok(existsSync(join(asset.path, 'ran')));
  assert.is(asset.digest, sha256(corpus.archive));
  assert.equal(asset.provenance, {
    kind: 'npm',
    package: '@lab/corpus',
    version: '1.0.0',
    integrity: `sha512-${createHash('sha512').update(corpus.archive).digest('base64')}`,
    archive: sha256(corpus.archive),
    bytes: corpus.archive.length,
  });
  const asked = requests.length;
  assert.equal(await npm.locate(uri, context), asset);
  assert.is(requests.length, asked);

  const file = present(await npm.locate(`${uri}#data/a.tsv`, context));
  assert.equal(
    [file.path, file.digest, file.provenance['path']],
    [join(asset.path, 'data/a.tsv'), sha256(Buffer.from('text\tlabel\n')), 'data/a.tsv'],
  );
  const fault = await faultOf(npm.locate(`${uri}#data/aa.tsv`, context));
  assert.equal(
    [fault.message, fault.hint],
    [
      'npm:@lab/corpus@1.0.0#data/aa.tsv does not name a file: there is no data/aa.tsv in it.',
      'Did you mean "#data/a.tsv"?',
    ],
  );
  assert.match(
    (await faultOf(npm.locate(`${uri}#../../pin.json`, context))).message,
    'leads out of the package',
  );
});

test('without a version the newest is taken, and kept until the cache is cleared', async ({
  context,
  packages,
  requests,
}) => {
  packages.set('@lab/corpus', [corpus]);
  const first = await npm.fetch('npm:@lab/corpus', context);
  packages.set('@lab/corpus', [corpus, tarball('@lab/corpus', '1.1.0', {})]);
  const asked = requests.length;
  assert.equal(await npm.locate('npm:@lab/corpus', context), first);
  assert.is(requests.length, asked);
  truncateSync(join(first.path, 'data/a.tsv'), 3);
  assert.is((await npm.fetch('npm:@lab/corpus', context)).provenance['version'], '1.0.0');
});

test('damage is noticed, reported and mended; a copied cache is not damaged', async ({
  context,
  packages,
  logged,
  dir,
}) => {
  packages.set('@lab/corpus', [corpus]);
  const uri = 'npm:@lab/corpus@1.0.0';
  let asset: Asset = await npm.fetch(uri, context);
  const damage: [string, (path: string) => void][] = [
    ['data/a.tsv has 3 bytes, not 11', (path) => truncateSync(join(path, 'data/a.tsv'), 3)],
    ['data/b.tsv has other content', (path) => writeFileSync(join(path, 'data/b.tsv'), 'c')],
    ['data/a.tsv is missing', (path) => rmSync(join(path, 'data/a.tsv'))],
    ['data/c.tsv was added', (path) => writeFileSync(join(path, 'data/c.tsv'), '')],
    ['its folder is gone', (path) => rmSync(path, { recursive: true })],
    ['entry.json is cut', (path) => truncateSync(join(path, '../entry.json'), 100)],
  ];
  for (const [what, harm] of damage) {
    harm(asset.path);
    assert.is(await npm.locate(uri, context), null, what);
    assert.is(
      logged.at(-1),
      `npm:@lab/corpus 1.0.0 in the download cache is damaged (${what}); it is fetched again`,
    );
    asset = await npm.fetch(uri, context);
    assert.equal(readdirSync(asset.path, { recursive: true }).sort(), [
      'README.md',
      'data',
      'data/a.tsv',
      'data/b.tsv',
      'package.json',
    ]);
    assert.is(
      readFileSync(join(asset.path, 'data/a.tsv'), 'utf8') +
        readFileSync(join(asset.path, 'data/b.tsv'), 'utf8'),
      'text\tlabel\nb',
    );
    assert.equal(await npm.locate(uri, context), asset);
  }

  cpSync(context.cacheDir, join(dir, 'copied'), { recursive: true });
  const copied = { ...context, cacheDir: join(dir, 'copied') };
  const there = present(await npm.locate(uri, copied));
  utimesSync(join(there.path, 'data/a.tsv'), 1, 1);
  assert.is(present(await npm.locate(uri, copied)).digest, asset.digest);
});

test('two fetches at once both give the whole package', async ({ context, packages }) => {
  packages.set('@lab/corpus', [corpus]);
  const [a, b] = await Promise.all([
    npm.fetch('npm:@lab/corpus@1.0.0', context),
    npm.fetch('npm:@lab/corpus', context),
  ]);
  for (const { path } of [a, b]) assert.is(readFileSync(join(path, 'data/b.tsv'), 'utf8'), 'b');
  assert.ok(await npm.locate('npm:@lab/corpus@1.0.0', context));
});

test('a version with other bytes than before, or than announced, is refused', async ({
  context,
  packages,
}) => {
  packages.set('@lab/corpus', [corpus]);
  const { path } = await npm.fetch('npm:@lab/corpus@1.0.0', context);
  rmSync(path, { recursive: true });
  packages.set('@lab/corpus', [tarball('@lab/corpus', '1.0.0', { 'data/a.tsv': 'poisoned' })]);
  assert.match(
    (await faultOf(npm.fetch('npm:@lab/corpus@1.0.0', context))).message,
    'has other bytes now',
  );
  packages.set('other', [
    {
      ...tarball('other', '1.0.0', {}),
      claimed: `sha512-${createHash('sha512').update('x').digest('base64')}`,
    },
  ]);
  assert.match(
    (await faultOf(npm.fetch('npm:other@1.0.0', context))).message,
    'is not what the registry says it is',
  );
});

test('each failure is reported with a way out', async ({ context, packages }) => {
  packages.set('@lab/corpus', [corpus]);
  assert.match(
    (await faultOf(npm.fetch('npm:@lab/corpsu', context))).message,
    'The npm registry has no package @lab/corpsu.',
  );
  const version = await faultOf(npm.fetch('npm:@lab/corpus@9.9.9', context));
  assert.equal(
    [version.message, version.hint],
    [
      'The npm registry has no such version: @lab/corpus@9.9.9.',
      '`npm view @lab/corpus versions` lists those that there are.',
    ],
  );
  const offline = await faultOf(
    npm.fetch('npm:@lab/corpus', {
      ...context,
      env: { ...context.env, npm_config_registry: 'http://127.0.0.1:9/' },
    }),
  );
  assert.match(offline.message, "can't be reached");
  const without = await faultOf(
    npm.fetch('npm:@lab/corpus', { ...context, env: { ...context.env, PATH: context.cacheDir } }),
  );
  assert.match(without.message, 'there is no npm on this machine');
  for (const uri of ['npm:', 'npm:a b', 'npm:x;touch y', 'npm:--help', 'npm:@lab', 'npm:../x'])
    assert.match(
      (await faultOf(npm.locate(uri, context))).message,
      'does not name an npm package',
      uri,
    );
});

test.run();
