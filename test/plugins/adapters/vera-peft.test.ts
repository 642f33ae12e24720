/** Folders of VeRA: what is written is read again, and what does not fit is refused. */
import { cpSync, mkdtempSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readPeftVera, writePeftVera } from '../../../plugins/adapters/vera/peft.ts';
import { vera } from '../../../plugins/adapters/vera/vera.ts';
import { UserFault } from '../../../src/api.ts';
import { readPeft } from '../../../src/science/models/io/peft.ts';
import { readSafetensors, writeSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { folder } from '../../science/adapters-golden.ts';
import { bert } from '../../science/families.ts';
import { shape } from '../../science/tiny-bert.ts';

const test = suite<{ dir: string }>('peft-vera');
test.before.each((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'dosimeter-vera-'));
  cpSync(folder('vera', 'end'), context.dir, { recursive: true });
});

async function configure(dir: string, change: object): Promise<void> {
  const path = join(dir, 'adapter_config.json');
  const config = JSON.parse(await readFile(path, 'utf8')) as object;
  await writeFile(path, JSON.stringify({ ...config, ...change }));
}

async function rejects(reading: Promise<unknown>, message: RegExp): Promise<void> {
  const error: unknown = await reading.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.instance(error, UserFault);
  assert.match((error as UserFault).message, message);
}

test('a folder is the same after it is read and written', async ({ dir }) => {
  const read = await readPeftVera(dir, shape);
  assert.is(read.layers.size, 19);
  const again = join(dir, 'again');
  await writePeftVera(again, read, bert);
  assert.equal(await readPeftVera(again, shape), read);
  const [ours, theirs] = await Promise.all(
    [again, dir].map((one) => readSafetensors(join(one, 'adapter_model.safetensors'))),
  );
  assert.equal([...(ours?.keys() ?? [])].sort(), [...(theirs?.keys() ?? [])].sort());
});

test('what is missing or does not fit is refused with file and tensor', async ({ dir }) => {
  await rejects(readPeft(dir, shape), /peft_type "VERA" is not implemented here/);
  await rejects(readPeftVera(folder('dora', 'end'), shape), /peft_type "LORA"/);
  await configure(dir, { init_weights: 'x', vera_dropout: 1 });
  await rejects(readPeftVera(dir, shape), /vera_dropout 1/);
  await configure(dir, { vera_dropout: 0, bias: 'lora_only' });
  await rejects(readPeftVera(dir, shape), /bias "lora_only" is not implemented/);
  await configure(dir, { bias: 'none', r: 6 });
  await rejects(readPeftVera(dir, shape), /vera_lambda_d" has shape \[7\], \[6\] was expected/);
  await configure(dir, { r: 7, target_modules: ['query'] });
  await rejects(readPeftVera(dir, shape), /has vectors of ".*key", which target_modules/);
  await configure(dir, { target_modules: 'all-linear' });
  const path = join(dir, 'adapter_model.safetensors'),
    tensors = new Map(await readSafetensors(path));
  tensors.delete('base_model.vera_B');
  await writeSafetensors(path, tensors);
  await rejects(readPeftVera(dir, shape), /has no base_model\.vera_B, and save_projection/);
});

test('a spec that contradicts the folder is a fault of the field', async ({ dir }) => {
  const problems = async (params: object, initFrom = folder('vera', 'end')): Promise<string[]> =>
    (await vera.check({ ...params }, { ...shape, initFrom })).map(
      ({ path, message }) => `${path.join('.')}: ${message}`,
    );
  assert.equal(await problems({ rank: 7, bias: 'none', targets: 'all-linear' }), []);
  assert.equal(await problems({ rank: 8, projection_prng_key: 3, targets: ['query'] }), [
    'adapter.rank: rank is 8 here, but 7 in the adapter that init_from names',
    'adapter.projection_prng_key: projection_prng_key is 3 here, but 11 in the adapter that ' +
      'init_from names',
    'adapter.targets: targets is ["query"] here, but 19 layers are adapted in the adapter that ' +
      'init_from names',
  ]);
  const held = await readPeftVera(folder('vera', 'end'), shape),
    biased = shape.parameters.filter(({ name }) => held.layers.has(name.replace(/\.bias$/, '')));
  const biases = new Map(
    biased.map(({ name, shape: [size = 0] }) => [
      name,
      { shape: [size], data: new Float32Array(size) },
    ]),
  );
  await writePeftVera(dir, { ...held, bias: 'lora_only', biases }, bert);
  assert.equal(await problems({ bias: 'vera_only' }, dir), []);
  assert.equal(await problems({ bias: 'none' }, dir), [
    'adapter.bias: bias is none here, but vera_only in the adapter that init_from names',
  ]);
  assert.equal(
    (await vera.check({ targets: ['quary'] }, shape)).map(({ message }) => message),
    ['no linear layer is named "quary"'],
  );
});

test.run();
