import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../../src/api.ts';
import { at, named } from '../../../../src/base/lookup.ts';
import { resolveNames } from '../../../../src/science/models/base.ts';
import { openCheckpoint } from '../../../../src/science/models/io/checkpoint.ts';
import {
  readSafetensors,
  readSafetensorsHeader,
  writeSafetensors,
} from '../../../../src/science/models/io/safetensors.ts';
import type { HostTensor } from '../../../../src/science/models/types.ts';
import { present } from '../../../rig/present.ts';
import { bert } from '../../families.ts';
import { checkpoint } from '../../tiny-bert.ts';

const test = suite<{ dir: string; tensors: Map<string, HostTensor> }>('checkpoint');
test.before.each(async (context) => {
  context.dir = await mkdtemp(join(tmpdir(), 'checkpoint-'));
  await cp(checkpoint, context.dir, { recursive: true });
  context.tensors = await readSafetensors(join(checkpoint, 'model.safetensors'));
});

const names = async (dir: string, classes = 3): Promise<Map<string, string>> => {
  const opened = await openCheckpoint(dir);
  return resolveNames(opened, bert, bert.parameters(bert.parseConfig(opened.config, classes)));
};
const rename = (
  tensors: Map<string, HostTensor>,
  change: (name: string) => string | null,
): Map<string, HostTensor> =>
  new Map(
    [...tensors].flatMap(([name, tensor]): [string, HostTensor][] => {
      const to = change(name);
      return to === null ? [] : [[to, tensor]];
    }),
  );
const rejects = async (promise: Promise<unknown>, what: RegExp | string): Promise<void> => {
  let error: unknown = null;
  try {
    await promise;
  } catch (thrown) {
    error = thrown;
  }
  assert.instance(error, UserFault);
  assert.match((error as UserFault).message, what);
};

test("names may lack the prefix or have TensorFlow's old spelling", async ({ dir, tensors }) => {
  assert.is(
    (await names(dir)).get('encoder.layer.1.output.LayerNorm.weight'),
    'bert.encoder.layer.1.output.LayerNorm.weight',
  );
  await writeSafetensors(
    join(dir, 'model.safetensors'),
    rename(tensors, (name) => name.replace('bert.', '')),
  );
  assert.is(
    (await names(dir)).get('encoder.layer.1.output.LayerNorm.weight'),
    'encoder.layer.1.output.LayerNorm.weight',
  );
  await writeSafetensors(
    join(dir, 'model.safetensors'),
    rename(tensors, (name) =>
      name
        .replace('LayerNorm.weight', 'LayerNorm.gamma')
        .replace('LayerNorm.bias', 'LayerNorm.beta'),
    ),
  );
  assert.is(
    (await names(dir)).get('encoder.layer.1.output.LayerNorm.bias'),
    'bert.encoder.layer.1.output.LayerNorm.beta',
  );
});

test('a head or pooler may be missing, and a head for other classes counts as missing', async ({
  dir,
  tensors,
}) => {
  assert.ok((await names(dir, 3)).has('classifier.weight'));
  assert.not.ok((await names(dir, 2)).has('classifier.weight'));
  await writeSafetensors(
    join(dir, 'model.safetensors'),
    rename(tensors, (name) => (/pooler|classifier\.bias/.test(name) ? null : name)),
  );
  const found = await names(dir);
  assert.not.ok(found.has('pooler.dense.weight'));
  assert.not.ok(found.has('classifier.weight'), 'half a head is none');
});

test('a missing tensor and a wrong shape are reported by name', async ({ dir, tensors }) => {
  await writeSafetensors(
    join(dir, 'model.safetensors'),
    rename(tensors, (name) => (name.includes('layer.2.output.dense.bias') ? null : name)),
  );
  await rejects(names(dir), /has no tensor "bert\.encoder\.layer\.2\.output\.dense\.bias"/);
  tensors.set('bert.embeddings.word_embeddings.weight', {
    shape: [97, 22],
    data: new Float32Array(97 * 22),
  });
  await writeSafetensors(join(dir, 'model.safetensors'), tensors);
  await rejects(
    names(dir),
    'model.safetensors: tensor "bert.embeddings.word_embeddings.weight" has shape [97, 22], ' +
      'config.json asks for [101, 22]',
  );
});

test('a classifier of another width is refused, not drawn anew', async ({ dir, tensors }) => {
  tensors.set('classifier.weight', { shape: [2, 21], data: new Float32Array(42) });
  tensors.set('classifier.bias', { shape: [2], data: new Float32Array(2) });
  await writeSafetensors(join(dir, 'model.safetensors'), tensors);
  await rejects(names(dir), 'tensor "classifier.weight" has shape [2, 21]');
  await rejects(names(dir, 3), 'config.json asks for [3, 22]');
});

test('shards are read through their index', async ({ dir, tensors }) => {
  const all = [...tensors.keys()],
    map: Record<string, string> = {};
  await rm(join(dir, 'model.safetensors'));
  for (const [part, some] of [all.slice(0, 20), all.slice(20)].entries()) {
    const name = `model-0000${part + 1}-of-00002.safetensors`;
    await writeSafetensors(join(dir, name), new Map(some.map((key) => [key, named(tensors, key)])));
    for (const key of some) map[key] = name;
  }
  await writeFile(join(dir, 'model.safetensors.index.json'), JSON.stringify({ weight_map: map }));
  const opened = await openCheckpoint(dir);
  assert.equal(
    await opened.read([at(all, 3), at(all, 30)]),
    new Map([
      [at(all, 3), named(tensors, at(all, 3))],
      [at(all, 30), named(tensors, at(all, 30))],
    ]),
  );
});

test('a shard that is missing or belongs to another checkpoint is reported by name', async ({
  dir,
  tensors,
}) => {
  const [first, second, ...rest] = [...tensors.keys()];
  const shard = (n: number): string => `model-0000${n}-of-00002.safetensors`,
    index = join(dir, 'model.safetensors.index.json');
  const some = (names: readonly string[]): Map<string, HostTensor> =>
    new Map(names.map((name) => [name, named(tensors, name)]));
  await rm(join(dir, 'model.safetensors'));
  await writeSafetensors(join(dir, shard(1)), some([present(first), present(second)]));
  const map: Record<string, string> = {
    [present(first)]: shard(1),
    [present(second)]: shard(1),
    ...Object.fromEntries(rest.map((name) => [name, shard(2)])),
  };
  await writeFile(index, JSON.stringify({ weight_map: map }));
  await rejects(
    openCheckpoint(dir),
    'lacks the shard model-00002-of-00002.safetensors, which model.safetensors.index.json names',
  );
  await writeSafetensors(join(dir, shard(2)), some(rest.slice(1)));
  await rejects(
    openCheckpoint(dir),
    new RegExp(
      `model-00002-of-00002\\.safetensors has no tensor "${at(rest, 0)}", which ` +
        `model\\.safetensors\\.index\\.json puts there`,
    ),
  );
  await writeSafetensors(join(dir, shard(2)), some([present(second), ...rest]));
  await rejects(
    openCheckpoint(dir),
    new RegExp(
      `00002\\.safetensors: model\\.safetensors\\.index\\.json has tensor "${present(second)}" in ` +
        `model-00001-of-00002\\.safetensors`,
    ),
  );
  await writeSafetensors(join(dir, shard(2)), some(rest));
  await writeFile(
    index,
    JSON.stringify({
      weight_map: Object.fromEntries(Object.entries(map).filter(([name]) => name !== second)),
    }),
  );
  await rejects(
    openCheckpoint(dir),
    new RegExp(`00001-of-00002\\.safetensors: .* does not list tensor "${present(second)}"`),
  );
  await writeFile(
    index,
    JSON.stringify({ weight_map: { ...map, [present(first)]: '../elsewhere.safetensors' } }),
  );
  await rejects(
    openCheckpoint(dir),
    /is named "\.\.\/elsewhere\.safetensors", which leads out of its folder/,
  );
  await writeFile(index, '{}');
  await rejects(openCheckpoint(dir), /index\.json has no weight_map/);
});

test('weights in other formats are reported by name, with the way out', async ({ dir }) => {
  await rm(join(dir, 'model.safetensors'));
  for (const name of ['pytorch_model.bin', 'pytorch_model-00001-of-00002.bin', 'tf_model.h5']) {
    await writeFile(join(dir, name), '');
    let error: unknown = null;
    try {
      await openCheckpoint(dir);
    } catch (thrown) {
      error = thrown;
    }
    assert.instance(error, UserFault);
    assert.ok(
      (error as UserFault).message.endsWith(
        `holds its weights in ${name}, not in model.safetensors`,
      ),
      (error as UserFault).message,
    );
    assert.match(present((error as UserFault).hint), 'save_pretrained');
    await rm(join(dir, name));
  }
});

test('a folder without weights or with a broken config is refused', async ({ dir }) => {
  await writeFile(join(dir, 'config.json'), '{"model_type": ');
  await rejects(openCheckpoint(dir), /config\.json is not JSON/);
  await writeFile(join(dir, 'config.json'), await readFile(join(checkpoint, 'config.json')));
  await rm(join(dir, 'model.safetensors'));
  await rejects(openCheckpoint(dir), /holds no model\.safetensors/);
});

const QUERY = 'bert.encoder.layer.0.attention.self.query.weight';

/** Stores a tensor of model.safetensors in another dtype, as zeros, and perhaps by another name. */
async function retyped(dir: string, dtype: string, width: number, rename = QUERY): Promise<void> {
  const path = join(dir, 'model.safetensors'),
    bytes = await readFile(path);
  const { tensors, dataStart } = await readSafetensorsHeader(path);
  const data: Buffer[] = [],
    header: Record<string, unknown> = {};
  let end = 0;
  for (const [name, entry] of tensors) {
    const [from, to] = entry.offsets.map((offset) => dataStart + offset);
    const changed = name === QUERY;
    const own = changed
      ? Buffer.alloc(width * entry.shape.reduce((a, b) => a * b, 1))
      : bytes.subarray(from, to);
    header[changed ? rename : name] = {
      dtype: changed ? dtype : entry.dtype,
      shape: entry.shape,
      data_offsets: [end, (end += own.length)],
    };
    data.push(own);
  }
  const json = Buffer.from(JSON.stringify(header)),
    length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  await writeFile(path, Buffer.concat([length, json, ...data]));
}

test('a weight that is not stored as floats is refused, by its name and its dtype', async ({
  dir,
}) => {
  for (const [dtype, width] of [
    ['I8', 1], // bitsandbytes, with its scales in SCB
    ['U8', 1],
    ['BOOL', 1],
    ['I32', 4],
    ['I64', 8],
    ['F8_E4M3', 1],
  ] as const) {
    await cp(checkpoint, dir, { recursive: true });
    await retyped(dir, dtype, width);
    await rejects(names(dir), `"${QUERY}" has dtype ${dtype}, and weights are floats`);
    const opened = await openCheckpoint(dir);
    await rejects(opened.read([QUERY]), 'it is quantised');
  }
  await cp(checkpoint, dir, { recursive: true });
  await retyped(dir, 'F64', 8);
  assert.is((await names(dir)).get(QUERY.replace('bert.', '')), QUERY);
  await cp(checkpoint, dir, { recursive: true });
  await retyped(dir, 'I32', 4, QUERY.replace('weight', 'qweight'));
  await rejects(
    names(dir),
    /has no tensor .*, but ".*query\.qweight" of dtype I32: it is quantised/,
  );
});

test.run();
