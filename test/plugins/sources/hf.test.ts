import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import files from '../../../plugins/datasets/files.ts';
import hf from '../../../plugins/sources/hf/index.ts';
import type { SourceContext } from '../../../src/api.ts';
import { findModelDir } from '../../../src/data/model-folder.ts';
import { present } from '../../rig/present.ts';
import { splitOf } from '../datasets/reading.ts';
import { type HubRig, startHub } from './hub.ts';
import { faultOf } from './registry.ts';

const test = suite<HubRig>('hf source');
test.before.each(async (rig) => {
  Object.assign(rig, await startHub());
});
test.after.each((rig) => rig.close());

const commit = 'a'.repeat(40),
  later = 'b'.repeat(40);
const model = {
  'config.json': '{"model_type":"bert"}',
  'model.safetensors': 'weights '.repeat(1000),
  'tokenizer.json': '{}',
  'vocab.txt': '[PAD]',
};
const elsewhere = {
  'README.md': '#',
  'pytorch_model.bin': 'pickle',
  'onnx/model.onnx': 'x',
  'onnx/config.json': '{}',
  '.gitattributes': 'x',
};
const withEnv = ({ context }: HubRig, change: SourceContext['env']): SourceContext => ({
  ...context,
  env: { ...context.env, ...change },
});

test("a model's needed files are fetched once, into the hub's own cache", async (rig) => {
  rig.repositories.set('models/lab/tiny', { commit, files: { ...model, ...elsewhere } });
  const { context, requests } = rig;
  assert.is(await hf.locate('hf:lab/tiny', context), null);
  const asset = await hf.fetch('hf:lab/tiny', context);
  assert.is(asset.path, join(rig.dir, 'hf/hub/models--lab--tiny/snapshots', commit));
  assert.equal(readdirSync(asset.path).sort(), Object.keys(model).sort());
  assert.is(
    readFileSync(join(asset.path, 'model.safetensors'), 'utf8'),
    model['model.safetensors'],
  );
  assert.is(await findModelDir(asset.path), asset.path);
  assert.is(readFileSync(join(rig.dir, 'hf/hub/models--lab--tiny/refs/main'), 'utf8'), commit);
  assert.ok(lstatSync(join(asset.path, 'model.safetensors')).isSymbolicLink());
  assert.ok(
    existsSync(
      join(
        rig.dir,
        'hf/hub/models--lab--tiny/blobs',
        createHash('sha256').update(model['model.safetensors']).digest('hex'),
      ),
    ),
  );
  assert.equal(asset.provenance, {
    kind: 'hf',
    type: 'model',
    repository: 'lab/tiny',
    revision: 'main',
    commit,
    files: 4,
    digest: asset.digest,
  });
  const asked = requests.length;
  assert.equal(await hf.locate('hf:lab/tiny', context), asset);
  assert.is(present(await hf.locate(`hf:lab/tiny@${commit}`, context)).digest, asset.digest);
  assert.is(requests.length, asked);
});

test('a branch stays at the commit that was fetched', async (rig) => {
  rig.repositories.set('models/tiny', { commit, files: model });
  const first = await hf.fetch('hf:tiny', rig.context);
  rig.repositories.set('models/tiny', {
    commit: later,
    files: { ...model, 'config.json': '{"model_type":"bert","layers":9}' },
  });
  assert.equal(await hf.locate('hf:tiny', rig.context), first);
  assert.is(await hf.locate(`hf:tiny@${later}`, rig.context), null);
  const second = await hf.fetch(`hf:tiny@${later}`, rig.context);
  assert.is.not(second.digest, first.digest);
  assert.is(
    rig.requests.filter((path) => path.endsWith('model.safetensors')).length,
    1,
    'equal content is downloaded once',
  );
});

test('offline, only what the cache holds is used, whoever put it there', async (rig) => {
  const offline = withEnv(rig, { HF_HUB_OFFLINE: '1' });
  const fault = await faultOf(hf.locate('hf:lab/tiny', offline));
  assert.match(
    `${fault.message} ${fault.hint}`,
    /is not in the hub's cache .* HF_HUB_OFFLINE forbids .*HF_HOME/,
  );
  // The cache is laid out as Python's client does it.
  const root = join(rig.dir, 'hf/hub/models--lab--tiny'),
    snapshot = join(root, 'snapshots', commit);
  for (const dir of ['blobs', 'refs', `snapshots/${commit}`])
    mkdirSync(join(root, dir), { recursive: true });
  writeFileSync(join(root, 'refs/main'), commit);
  for (const [name, content] of Object.entries(model)) {
    writeFileSync(join(root, 'blobs', name), content);
    symlinkSync(join('../../blobs', name), join(snapshot, name));
  }
  const asset = present(await hf.locate('hf:lab/tiny', offline));
  assert.is(asset.path, snapshot);
  assert.equal(await hf.locate('hf:lab/tiny', rig.context), asset);
  assert.equal(rig.requests, []);
  // A part of a model serves only where there is nothing better: here, a link leads nowhere.
  rmSync(join(root, 'blobs/tokenizer.json'));
  assert.is(await hf.locate('hf:lab/tiny', rig.context), null);
  assert.ok(await hf.locate('hf:lab/tiny', offline));
});

test('damaged files in the cache are noticed and fetched again', async (rig) => {
  rig.repositories.set('models/lab/tiny', { commit, files: model });
  const asset = await hf.fetch('hf:lab/tiny', rig.context);
  writeFileSync(join(asset.path, 'model.safetensors'), 'weights '.repeat(999) + 'WEIGHTS ');
  assert.is(await hf.locate('hf:lab/tiny', rig.context), null);
  assert.match(
    present(rig.logged.at(-1)),
    'model lab/tiny in the hub cache is damaged (model.safetensors has other content)',
  );
  assert.equal(await hf.fetch('hf:lab/tiny', rig.context), asset);
  assert.equal(await hf.locate('hf:lab/tiny', rig.context), asset);
  rmSync(join(asset.path, 'config.json'));
  assert.is(await hf.locate('hf:lab/tiny', rig.context), null);
  await hf.fetch('hf:lab/tiny', rig.context);
  assert.ok(existsSync(join(asset.path, 'config.json')));
  rmSync(join(asset.path, 'config.json'));
  mkdirSync(join(asset.path, 'config.json'));
  const fault = await faultOf(hf.fetch('hf:lab/tiny', rig.context));
  assert.match(fault.message, 'holds a folder where a file belongs');
  assert.equal(readdirSync(asset.path).sort(), Object.keys(model).sort(), 'nothing else is left');

  rig.faulty.damage = true;
  rig.repositories.set('models/lab/other', { commit, files: model });
  assert.match(
    (await faultOf(hf.fetch('hf:lab/other', rig.context))).message,
    'config.json of lab/other arrived damaged',
  );
});

test('what a link in the hub cache leads to stays, and is replaced by what was named', async (rig) => {
  rig.repositories.set('models/lab/tiny', { commit, files: model });
  const { path } = await hf.fetch('hf:lab/tiny', rig.context);
  const documents = join(rig.dir, 'documents'),
    mine = join(documents, 'config.json');
  mkdirSync(documents);
  writeFileSync(mine, 'mine');
  rmSync(join(path, 'config.json'));
  symlinkSync(mine, join(path, 'config.json'));
  assert.is(await hf.locate('hf:lab/tiny', rig.context), null);
  assert.is(readFileSync(mine, 'utf8'), 'mine');
  await hf.fetch('hf:lab/tiny', rig.context);
  assert.is(readFileSync(join(path, 'config.json'), 'utf8'), model['config.json']);
  assert.is(readFileSync(mine, 'utf8'), 'mine');

  for (const folder of [path, dirname(path), join(dirname(dirname(path)), 'blobs')]) {
    renameSync(folder, `${folder}.moved`);
    symlinkSync(documents, folder);
    const { message } = await faultOf(hf.fetch('hf:lab/tiny', rig.context));
    assert.match(message, `${folder} is a link`);
    assert.equal(readdirSync(documents), ['config.json']);
    assert.is(readFileSync(mine, 'utf8'), 'mine');
    rmSync(folder);
    renameSync(`${folder}.moved`, folder);
  }
  const whole = dirname(dirname(path));
  renameSync(whole, join(rig.dir, 'another-disk'));
  symlinkSync(join(rig.dir, 'another-disk'), whole);
  rmSync(join(path, 'config.json'));
  await hf.fetch('hf:lab/tiny', rig.context);
  assert.is(readFileSync(join(path, 'config.json'), 'utf8'), model['config.json']);
});

test('sharded weights, a folder, and two fetches at once all work', async (rig) => {
  const shards = {
    'model.safetensors.index.json':
      '{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}',
    'model-00001-of-00002.safetensors': 'a',
    'model-00002-of-00002.safetensors': 'b',
  };
  rig.repositories.set('models/lab/big', {
    commit,
    files: {
      'config.json': '{}',
      'tokenizer.json': '{}',
      ...shards,
      'sub/config.json': '{}',
      'sub/model.safetensors': 's',
      'adapter/adapter_config.json': '{}',
      'adapter/adapter_model.safetensors': 'z',
    },
  });
  const [whole, sub] = await Promise.all([
    hf.fetch('hf:lab/big', rig.context),
    hf.fetch('hf:lab/big#sub', rig.context),
    hf.fetch('hf:lab/big', rig.context),
  ]);
  for (const name of Object.keys(shards)) assert.ok(existsSync(join(whole.path, name)), name);
  assert.equal(
    [sub.path, readdirSync(sub.path).sort()],
    [join(whole.path, 'sub'), ['config.json', 'model.safetensors']],
  );
  assert.equal(await hf.locate('hf:lab/big', rig.context), whole);
  assert.equal(readdirSync((await hf.fetch('hf:lab/big#adapter', rig.context)).path).length, 2);
});

test('a data set is its tables; a glob chooses the parts of a split', async (rig) => {
  const parquet = readFileSync(new URL('../../golden/parquet/snappy.parquet', import.meta.url));
  rig.repositories.set('datasets/lab/mail', {
    commit,
    files: {
      'README.md': '#',
      'data/train-00000-of-00002.parquet': parquet,
      'data/train-00001-of-00002.parquet': parquet,
      'data/test-00000-of-00001.parquet': parquet,
    },
  });
  const uri = 'hf:datasets/lab/mail#data/train-*.parquet';
  const asset = await hf.fetch(uri, rig.context);
  assert.is(asset.path, join(rig.dir, 'hf/hub/datasets--lab--mail/snapshots', commit));
  assert.not.ok(existsSync(join(asset.path, 'data/test-00000-of-00001.parquet')));
  const texts = [];
  for await (const row of files.read(
    asset,
    splitOf({ columns: { text: 'sentence', label: 'label' } }),
  ))
    texts.push(row.text);
  assert.is(texts.length, 10);
  const one = await hf.fetch('hf:datasets/lab/mail#data/test-00000-of-00001.parquet', rig.context);
  assert.is(one.digest, `sha256:${createHash('sha256').update(parquet).digest('hex')}`);
  // Files that another fetch has added to the folder do not change the digest of this source.
  assert.is(present(await hf.locate(uri, rig.context)).digest, asset.digest);
});

test('the token is sent to the hub and to no other server', async (rig) => {
  rig.repositories.set('models/lab/secret', { commit, files: model, token: 'any-token' });
  assert.match(
    (await faultOf(hf.fetch('hf:lab/secret', rig.context))).hint,
    'If it is private or gated, set HF_TOKEN.',
  );
  assert.ok(await hf.fetch('hf:lab/secret', withEnv(rig, { HF_TOKEN: 'any-token' })));
  rmSync(join(rig.dir, 'hf/hub'), { recursive: true });
  writeFileSync(join(rig.dir, 'hf/token'), 'any-token\n');
  assert.ok(await hf.fetch('hf:lab/secret', rig.context));
});

test('HF_HUB_CACHE sets where downloads lie', async (rig) => {
  rig.repositories.set('models/lab/tiny', { commit, files: model });
  const asset = await hf.fetch(
    'hf:lab/tiny',
    withEnv(rig, { HF_HUB_CACHE: join(rig.dir, 'other') }),
  );
  assert.is(dirname(dirname(asset.path)), join(rig.dir, 'other/models--lab--tiny'));
  cpSync(join(rig.dir, 'other'), join(rig.dir, 'hf/hub'), {
    recursive: true,
    verbatimSymlinks: true,
  });
  assert.is(present(await hf.locate('hf:lab/tiny', rig.context)).digest, asset.digest);
});

test('each failure is reported with a way out', async (rig) => {
  rig.repositories.set('models/lab/tiny', { commit, files: model });
  rig.repositories.set('models/lab/old', { commit, files: elsewhere });
  rig.repositories.set('datasets/lab/script', {
    commit,
    files: { 'script.py': 'x', 'README.md': '#' },
  });
  assert.match(
    (await faultOf(hf.fetch('hf:lab/tyni', rig.context))).message,
    'The hub has no public model lab/tyni.',
  );
  assert.match(
    (await faultOf(hf.fetch('hf:lab/tiny@v9', rig.context))).message,
    'no model lab/tiny at revision v9',
  );
  const old = await faultOf(hf.fetch('hf:lab/old', rig.context));
  assert.match(`${old.message} ${old.hint}`, /has no config\.json.*pytorch_model\.bin/);
  assert.match(
    (await faultOf(hf.fetch('hf:datasets/lab/script', rig.context))).hint,
    'refs/convert/parquet',
  );
  assert.match(
    (await faultOf(hf.fetch('hf:lab/tiny#nothing', rig.context))).message,
    'has no file or folder nothing',
  );
  assert.match(
    (await faultOf(hf.fetch('hf:lab/tiny', withEnv(rig, { HF_ENDPOINT: 'http://127.0.0.1:9' }))))
      .message,
    "The hub can't be reached at 127.0.0.1:9",
  );
  for (const uri of ['hf:', 'hf:a/b/c', 'hf:a b', 'hf:../x', 'hf:a/b@../../x'])
    assert.match(
      (await faultOf(hf.locate(uri, rig.context))).message,
      'does not name a hub repository',
      uri,
    );
});

test.run();
