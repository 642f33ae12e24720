/**
 * Sizes in config.json and expressions in adapter_config.json that are meant to exhaust the reader.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../src/api.ts';
import { readJson } from '../../../src/science/models/io/checkpoint.ts';
import { isTargeted } from '../../../src/science/models/modules.ts';
import { bert } from '../families.ts';

const test = suite('bounds');

const large = {
  // bert-large-uncased
  model_type: 'bert',
  vocab_size: 30_522,
  hidden_size: 1024,
  num_attention_heads: 16,
  num_hidden_layers: 24,
  intermediate_size: 4096,
  max_position_embeddings: 512,
};
// The sizes of the largest models in use, with 70 billion parameters and more.
const seventy = {
  ...large,
  vocab_size: 128_256,
  hidden_size: 8192,
  num_attention_heads: 64,
  num_hidden_layers: 80,
  intermediate_size: 28_672,
  max_position_embeddings: 131_072,
};

const fault = (why: RegExp) => (error: unknown) =>
  error instanceof UserFault && why.test(error.message);

test('real sizes are accepted, and others refused with field and bound', () => {
  for (const config of [large, seventy])
    assert.is(bert.linears(bert.parseConfig(config, 2)).length, 6 * config.num_hidden_layers + 2);
  for (const [field, value] of [
    ['num_hidden_layers', 1e9],
    ['hidden_size', 1e9],
    ['vocab_size', 2 ** 40],
    ['intermediate_size', 1e12],
    ['max_position_embeddings', 1e15],
    ['type_vocab_size', 1e9],
    ['num_attention_heads', 1e9],
  ] as const)
    assert.throws(
      () => bert.parseConfig({ ...large, [field]: value }, 2),
      fault(new RegExp(`${field} is ${value}; it must be a whole number from 1 to`)),
      field,
    );
  assert.throws(
    () =>
      bert.parseConfig(
        {
          ...large,
          vocab_size: 1e7,
          hidden_size: 100_000,
          num_hidden_layers: 1000,
          num_attention_heads: 100,
        },
        2,
      ),
    fault(/describes a model of .*GB .*at most 4100 GB are read/),
  );
  assert.throws(
    () => bert.parseConfig({ ...large, hidden_act: 'x'.repeat(1e6) }, 2),
    (error: unknown) => (error as Error).message.length < 300,
  );
});

test('an expression of an adapter that takes too long on a name is stopped', () => {
  const name = `bert.encoder.layer.0.${'a'.repeat(40)}!`;
  assert.throws(
    () => isTargeted(name, { targets: '.*(a+)+$' }),
    fault(/takes more than 2 s on the name/),
  );
  assert.throws(
    () => isTargeted(name, { targets: 'x'.repeat(1001) }),
    fault(/1001 characters; at most 1000/),
  );
});

test('JSON is read only from regular files and to a limited depth', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'dosimeter-bounds-'));
  const path = join(dir, 'config.json');
  const message = async (): Promise<string> => {
    try {
      await readJson(path);
    } catch (error) {
      assert.instance(error, UserFault);
      return (error as Error).message;
    }
    return '';
  };
  writeFileSync(path, `{"a":"[[${'['.repeat(200)}\\"["}`);
  assert.is(await message(), '');
  writeFileSync(path, `${'['.repeat(101)}${']'.repeat(101)}`);
  assert.match(await message(), /nested more than 100 deep/);
  writeFileSync(path, Buffer.from([0xff, 0x22]));
  assert.match(await message(), /not UTF-8/);
  rmSync(path);
  if (process.platform !== 'win32') {
    execFileSync('mkfifo', [path]);
    assert.match(await message(), /is not a regular file/);
  }
});

test.run();
