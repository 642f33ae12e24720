/** `head.init_from`: a classifier from the folder of an adapter or a checkpoint. */
import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../src/api.ts';
import { named } from '../../../src/base/lookup.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import { readConfig, readHead } from '../../../src/science/models/head.ts';
import { readSafetensors, writeSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { openNetwork } from '../../../src/science/models/network.ts';
import { useBackend } from '../backend.ts';
import { bert } from '../families.ts';
import { adapterFolder, checkpoint, classes, shape } from '../tiny-bert.ts';
import { clozeBert, mlmCheckpoint, mlmClasses } from '../tiny-mlm.ts';

const test = suite<{ dir: string }>('head');
test.before.each(async (context) => {
  context.dir = await mkdtemp(join(tmpdir(), 'head-'));
});

const json = await readConfig(checkpoint);
const read = (dir: string, count = classes) =>
  readHead(dir, {
    architecture: bert,
    config: bert.parseConfig(json, count),
    classes: count,
  });
const rejects = async (promise: Promise<unknown>, message: RegExp, hint: RegExp): Promise<void> => {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.instance(error, UserFault);
  assert.match((error as UserFault).message, message);
  assert.match((error as UserFault).hint ?? '', hint);
};

test('a network starts from the head of an adapter or a checkpoint', async () => {
  await useBackend('cpu');
  for (const [folder, file, prefix] of [
    [adapterFolder, 'adapter_model.safetensors', 'base_model.model.'],
    [checkpoint, 'model.safetensors', ''],
  ] as const) {
    const held = await readSafetensors(join(folder, file)),
      head = await read(folder);
    assert.equal([...head.keys()], ['classifier.weight', 'classifier.bias']);
    for (const [name, { data }] of head)
      assert.equal(data, named(held, `${prefix}${name}`).data, `${folder} ${name}`);
    // This checkpoint has no classifier.
    const network = await openNetwork({
      architecture: bert,
      model: { path: mlmCheckpoint, digest: null },
      adapter: await full.create({}, shape),
      classes,
      seed: 1,
      head,
    });
    for (const [name, { data }] of head)
      assert.equal(named(network.initial, name).dataSync(), data, name);
    network.dispose();
  }
});

test('a missing head, or one for other classes or another width, is refused', async ({ dir }) => {
  await rejects(
    read(checkpoint, 2),
    /tensor "classifier\.weight" has shape \[3, 22\], \[2, 22\] was expected/,
    /the head for another number of classes: the data has 2/,
  );
  await rejects(
    read(adapterFolder, 2),
    /classifier\.weight" has shape \[3, 22\], \[2, 22\] was expected/,
    /^$/,
  );
  await cp(checkpoint, dir, { recursive: true });
  const file = join(dir, 'model.safetensors'),
    tensors = new Map(await readSafetensors(file));
  await writeSafetensors(
    file,
    new Map([...tensors, ['classifier.weight', { shape: [3, 11], data: new Float32Array(33) }]]),
  );
  await rejects(
    read(dir),
    /tensor "classifier\.weight" has shape \[3, 11\], \[3, 22\] was expected/,
    /of a model of another width/,
  );
  await rejects(
    read(mlmCheckpoint),
    /has no "classifier\.weight" for 3 classes/,
    /modules_to_save, or the checkpoint of a classifier/,
  );
  await cp(adapterFolder, dir, { recursive: true });
  const path = join(dir, 'adapter_config.json');
  await writeFile(
    path,
    JSON.stringify({
      ...(JSON.parse(await readFile(path, 'utf8')) as object),
      modules_to_save: null,
    }),
  );
  await rejects(read(dir), /has no "classifier\.weight" for 3 classes/, /modules_to_save/);
});

test('no head is read for a cloze head, which belongs to the checkpoint', async () => {
  const ofMlm = clozeBert.parseConfig(await readConfig(mlmCheckpoint), mlmClasses.length);
  assert.is(
    (
      await readHead(checkpoint, {
        architecture: clozeBert,
        config: ofMlm,
        classes: mlmClasses.length,
      })
    ).size,
    0,
  );
});

test.run();
