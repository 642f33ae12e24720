import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import pypi from '../../../plugins/sources/pypi/index.ts';
import type { SourceContext } from '../../../src/api.ts';
import { present } from '../../rig/present.ts';
import { faultOf, type Rig, startRig, wheel } from './registry.ts';

const test = suite<Rig>('pypi source');
test.before.each(async (rig) => {
  Object.assign(rig, await startRig());
});
test.after.each((rig) => rig.close());

const model = wheel('tiny-model', '0.1.0', {
  'tiny_model/model/config.json': '{}',
  'tiny_model/__init__.py': 'open("ran", "w")',
});

/** A PATH with Node and nothing else: no Python. */
function withoutPython({ dir, context }: Rig): SourceContext {
  const bin = join(dir, 'bin');
  if (!existsSync(bin)) {
    mkdirSync(bin);
    symlinkSync(process.execPath, join(bin, 'node'));
  }
  return { ...context, env: { ...context.env, PATH: bin } };
}
function hasPip(): boolean {
  try {
    execFileSync('python3', ['-m', 'pip', '--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

// The same tests run with either client: pip, and the index itself where there is no Python.
const clients: [string, (rig: Rig) => SourceContext][] = [
  ['without Python', withoutPython],
  ...(hasPip()
    ? [['pip', (rig: Rig) => rig.context] as [string, (rig: Rig) => SourceContext]]
    : []),
];
for (const [client, contextOf] of clients) {
  test(`${client}: a wheel is fetched once, unpacked and cited`, async (rig) => {
    const context = contextOf(rig);
    rig.packages.set('tiny-model', [model, wheel('tiny-model', '0.2.0', {})]);
    const uri = 'pypi:Tiny_Model==0.1.0';
    assert.is(await pypi.locate(uri, context), null);
    const asset = await pypi.fetch(uri, context),
      archive = `sha256:${createHash('sha256').update(model.archive).digest('hex')}`;
    assert.is(readFileSync(join(asset.path, 'tiny_model/model/config.json'), 'utf8'), '{}');
    assert.equal(
      [asset.digest, asset.provenance],
      [
        archive,
        {
          kind: 'pypi',
          package: 'tiny-model',
          version: '0.1.0',
          wheel: 'tiny_model-0.1.0-py3-none-any.whl',
          archive,
          bytes: model.archive.length,
        },
      ],
    );
    const asked = rig.requests.length;
    assert.equal(await pypi.locate(uri, context), asset);
    assert.is(
      present(await pypi.locate(`${uri}#tiny_model/model`, context)).path,
      join(asset.path, 'tiny_model/model'),
    );
    assert.is(rig.requests.length, asked);
    truncateSync(join(asset.path, 'tiny_model/model/config.json'), 1);
    assert.is(await pypi.locate(uri, context), null);
    assert.is((await pypi.fetch(uri, context)).digest, asset.digest);
  });

  test(`${client}: the newest release, remembered; no pre-release`, async (rig) => {
    const context = contextOf(rig);
    rig.packages.set('tiny-model', [
      wheel('tiny-model', '0.9.0', {}),
      wheel('tiny-model', '0.10.0', {}),
      wheel('tiny-model', '0.11.0rc1', {}),
    ]);
    assert.is((await pypi.fetch('pypi:tiny-model', context)).provenance['version'], '0.10.0');
    present(rig.packages.get('tiny-model')).push(wheel('tiny-model', '1.0.0', {}));
    assert.is(
      present(await pypi.locate('pypi:tiny-model', context)).provenance['version'],
      '0.10.0',
    );
  });

  test(`${client}: each failure has its way out`, async (rig) => {
    const context = contextOf(rig);
    rig.packages.set('tiny-model', [model]);
    rig.packages.set('sources-only', [
      { version: '1.0.0', filename: 'sources-only-1.0.0.tar.gz', archive: Buffer.from('setup.py') },
    ]);
    rig.packages.set('lied-about', [
      { ...wheel('lied-about', '1.0.0', {}), claimed: '0'.repeat(64) },
    ]);
    assert.match(
      (await faultOf(pypi.fetch('pypi:tiny-modle', context))).hint,
      'Is the name spelt right',
    );
    const version = await faultOf(pypi.fetch('pypi:tiny-model==3.0', context));
    assert.match(
      `${version.message} ${version.hint}`,
      /no wheel of tiny-model==3\.0.*It has 0\.1\.0/,
    );
    const sources = await faultOf(pypi.fetch('pypi:sources-only', context));
    assert.match(`${sources.message} ${sources.hint}`, /set-up would run code/);
    assert.match(
      (await faultOf(pypi.fetch('pypi:lied-about', context))).message,
      /its hash does not match|arrived damaged/,
    );
    const offline = await faultOf(
      pypi.fetch('pypi:tiny-model', {
        ...context,
        env: { ...context.env, PIP_INDEX_URL: 'http://127.0.0.1:9/simple' },
      }),
    );
    assert.match(offline.message, "can't be reached");
    for (const uri of ['pypi:', 'pypi:a b', 'pypi:--help', 'pypi:x>=1', 'pypi:x==1;y'])
      assert.match(
        (await faultOf(pypi.locate(uri, context))).message,
        'does not name a Python package',
        uri,
      );
  });
}

test('the index is the one that pip would use', async (rig) => {
  const context = withoutPython(rig),
    { PIP_INDEX_URL, ...env } = context.env;
  rig.packages.set('tiny-model', [model]);
  const file = join(rig.dir, 'home/.config/pip/pip.conf');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `[global]\nindex-url = ${PIP_INDEX_URL}/\n`);
  const asset = await pypi.fetch('pypi:tiny-model', {
    ...context,
    env: { ...env, PIP_CONFIG_FILE: undefined },
  });
  assert.is(asset.provenance['version'], '0.1.0');
});

test.run();
