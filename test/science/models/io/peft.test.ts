import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../../src/api.ts';
import { named } from '../../../../src/base/lookup.ts';
import { readConfig } from '../../../../src/science/models/head.ts';
import { readPeft, readPeftShapes, writePeft } from '../../../../src/science/models/io/peft.ts';
import { readPeftHead } from '../../../../src/science/models/io/peft-files.ts';
import {
  readSafetensors,
  writeSafetensors,
} from '../../../../src/science/models/io/safetensors.ts';
import { present } from '../../../rig/present.ts';
import { bert } from '../../families.ts';
import { openCase } from '../../family-cases.ts';
import { adapterFolder, shape } from '../../tiny-bert.ts';

const test = suite<{ dir: string }>('peft');
test.before.each(async (context) => {
  context.dir = await mkdtemp(join(tmpdir(), 'peft-'));
  await cp(adapterFolder, context.dir, { recursive: true });
});

const configure = async (dir: string, change: Record<string, unknown>): Promise<void> => {
  const path = join(dir, 'adapter_config.json');
  await writeFile(
    path,
    JSON.stringify({ ...(JSON.parse(await readFile(path, 'utf8')) as object), ...change }),
  );
};
const rejects = async (dir: string, what: RegExp | string): Promise<void> => {
  let error: unknown = null;
  try {
    await readPeft(dir, shape);
  } catch (thrown) {
    error = thrown;
  }
  assert.instance(error, UserFault);
  assert.match((error as UserFault).message, dir);
  assert.match((error as UserFault).message, what);
};

test('a folder that PEFT wrote is read with its head', async ({ dir }) => {
  const adapter = await readPeft(dir, shape);
  assert.equal(
    [adapter.rank, adapter.alpha, adapter.rslora, adapter.layers.size],
    [5, 7, false, 19],
  );
  assert.equal([...adapter.saved.keys()].sort(), ['classifier.bias', 'classifier.weight']);
  assert.equal(named(adapter.layers, 'encoder.layer.2.output.dense').A.shape, [5, 37]);
});

test('writing gives the same tensors under the same names, and the config that PEFT needs', async ({
  dir,
}) => {
  const adapter = await readPeft(dir, shape);
  const out = join(dir, 'out');
  await writePeft(out, adapter, bert);
  assert.equal(
    await readSafetensors(join(out, 'adapter_model.safetensors')),
    await readSafetensors(join(dir, 'adapter_model.safetensors')),
  );
  const config = JSON.parse(await readFile(join(out, 'adapter_config.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  assert.equal(
    [
      config['peft_type'],
      config['task_type'],
      config['r'],
      config['lora_alpha'],
      config['modules_to_save'],
    ],
    ['LORA', 'SEQ_CLS', 5, 7, ['classifier']],
  );
  const peft = JSON.parse(await readFile(join(dir, 'adapter_config.json'), 'utf8')) as {
    target_modules: string[];
  };
  assert.equal([...(config['target_modules'] as string[])].sort(), [...peft.target_modules].sort());
  assert.equal(await readPeft(out, shape), adapter);
});

test('alpha and rank patterns apply to the layers that they match', async ({ dir }) => {
  await configure(dir, { alpha_pattern: { 'layer.1.output.dense': 3, pooler: 9 } });
  const { layers } = await readPeft(dir, shape);
  assert.is(named(layers, 'encoder.layer.1.output.dense').alpha, 3);
  assert.is(named(layers, 'encoder.layer.2.output.dense').alpha, 7);
  assert.is(
    named(layers, 'pooler.dense').alpha,
    7,
    'a pattern matches a dotted end, not a beginning',
  );
  await configure(dir, { rank_pattern: { 'pooler.dense': 2 } });
  await rejects(
    dir,
    '"base_model.model.bert.pooler.dense.lora_A.weight" has shape [5, 22], ' +
      '[2, 22] was expected',
  );
});

test('patterns, rank stabilisation, dropout and biases are written as they are read', async ({
  dir,
}) => {
  const adapter = await readPeft(dir, shape);
  const [first] = adapter.layers.keys();
  const { A, B } = named(adapter.layers, present(first));
  const narrow = {
    A: { shape: [2, 22], data: A.data.slice(0, 44) },
    B: { shape: [22, 2], data: B.data.slice(0, 44) },
    alpha: 11,
  };
  const wide = { ...adapter, layers: new Map(adapter.layers).set(present(first), narrow) };
  const vector = (length: number, start: number) => ({
    shape: [length],
    data: Float32Array.from({ length }, (_, i) => start + i),
  });
  const all = shape.parameters.filter(
    ({ name }) => name.endsWith('.bias') && !name.startsWith('classifier'),
  );
  const out = join(dir, 'out');
  for (const bias of ['none', 'lora_only', 'all'] as const) {
    const kept =
      bias === 'none'
        ? []
        : all.filter(
            ({ name }) => bias === 'all' || adapter.layers.has(name.replace(/\.bias$/, '')),
          );
    assert.is(kept.length, { none: 0, lora_only: 19, all: 19 + 7 }[bias]);
    const variant = {
      ...wide,
      rslora: true,
      dropout: 0.25,
      bias,
      biases: new Map(
        kept.map(({ name, shape: [length] }, i) => [name, vector(present(length), i)]),
      ),
    };
    await writePeft(out, variant, bert);
    const read = await readPeft(out, shape);
    assert.equal(read, { ...variant, layers: read.layers, biases: read.biases });
    assert.equal([...read.layers], [...variant.layers]);
    assert.equal(new Map([...read.biases].sort()), new Map([...variant.biases].sort()));
  }
  assert.equal(
    (await readPeftShapes(out)).find(({ rank }) => rank === 2),
    { rank: 2, width: 22, scale: 11 / Math.sqrt(2) },
  );
  assert.equal(
    (await readPeftShapes(out)).filter(({ scale }) => scale === 7 / Math.sqrt(5)).length,
    18,
  );
});

test('the head is read on its own if it has the number of classes of the model', async ({
  dir,
}) => {
  const head = shape.parameters.filter(({ name }) => name.startsWith('classifier.'));
  assert.equal(
    [...(await readPeftHead(dir, bert, head)).keys()],
    ['classifier.weight', 'classifier.bias'],
  );
  const two = head.map((spec) => ({ ...spec, shape: [2, ...spec.shape.slice(1)] }));
  let message = '';
  try {
    await readPeftHead(dir, bert, two);
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(
    message,
    /tensor "base_model\.model\.classifier\.weight" has shape \[3, 22\], \[2, 22\] was expected/,
  );
  await configure(dir, { modules_to_save: null });
  assert.is((await readPeftHead(dir, bert, head)).size, 0);
});

test('no setting that would change the numbers is ignored', async ({ dir }) => {
  for (const [change, message] of [
    [
      { init_lora_weights: 'pissa_niter_4' },
      'init_lora_weights "pissa_niter_4" is not implemented: ' +
        'its factors belong to a base model from which a part was subtracted',
    ],
    [{ init_lora_weights: 'corda' }, /init_lora_weights "corda"/],
    [{ lora_bias: true }, /lora_bias true is not implemented/],
    [{ use_qalora: true }, /use_qalora true/],
    [{ layer_replication: [[0, 2]] }, /layer_replication \[\[0,2\]\]/],
    [{ trainable_token_indices: [3] }, /trainable_token_indices/],
    [{ target_parameters: ['x'] }, /target_parameters/],
    [{ a_setting_of_tomorrow: 2 }, /a_setting_of_tomorrow 2 is not implemented/],
    [{ task_type: 'TOKEN_CLS' }, /task_type "TOKEN_CLS"/],
    [{ modules_to_save: ['classifier', 'pooler'] }, /modules_to_save "pooler" is not implemented/],
    [{ bias: 'some' }, /bias "some" is not implemented/],
    [
      { bias: 'all' },
      /lacks the bias of "embeddings\.LayerNorm", but bias in adapter_config\.json is "all"/,
    ],
    [{ target_modules: null }, /target_modules null names no module/],
    [
      { target_modules: ['query'] },
      /factors of "bert\.encoder\.layer\.0\.attention\.self\.key", which target_modules/,
    ],
    [{ lora_dropout: 1 }, /lora_dropout 1/],
    [{ rank_pattern: { query: '4' } }, /rank_pattern \{"query":"4"\}/],
    [
      { exclude_modules: ['query'] },
      /factors of "bert\.encoder\.layer\.0\.attention\.self\.query"/,
    ],
    [{ layers_to_transform: [0] }, /factors of "bert\.encoder\.layer\.1/],
    [
      { modules_to_save: null },
      /tensor "base_model\.model\.classifier\.bias" does not belong to this model/,
    ],
  ] as const) {
    const before = await readFile(join(dir, 'adapter_config.json'));
    await configure(dir, change);
    await rejects(dir, message);
    await writeFile(join(dir, 'adapter_config.json'), before);
  }
  const path = join(dir, 'adapter_model.safetensors'),
    tensors = new Map(await readSafetensors(path));
  for (const part of ['A', 'B'])
    tensors.delete(`base_model.model.bert.pooler.dense.lora_${part}.weight`);
  await writeSafetensors(path, tensors);
  await rejects(
    dir,
    /has no factors of "bert\.pooler\.dense", which target_modules in adapter_config\.json names/,
  );
});

test('what is not implemented or does not fit is refused with file and tensor', async ({ dir }) => {
  await configure(dir, { use_dora: true });
  await rejects(dir, /has no lora_magnitude_vector of ".*query", and use_dora is true/);
  await configure(dir, { use_dora: false, peft_type: 'IA3' });
  await rejects(dir, /peft_type "IA3" is not implemented/);
  await configure(dir, { peft_type: 'LORA' });
  const path = join(dir, 'adapter_model.safetensors');
  const tensors = await readSafetensors(path);
  const half = new Map(tensors);
  half.delete('base_model.model.bert.pooler.dense.lora_B.weight');
  await writeSafetensors(path, half);
  await rejects(dir, /layer "pooler\.dense" has lora_A but not lora_B/);
  await writeSafetensors(
    path,
    new Map([
      ...tensors,
      [
        'base_model.model.bert.encoder.layer.9.output.dense.lora_A.weight',
        { shape: [5, 37], data: new Float32Array(185) },
      ],
    ]),
  );
  await rejects(
    dir,
    'encoder.layer.9.output.dense.lora_A.weight" does not belong to this model ' +
      'with this adapter_config.json',
  );
  await rm(path);
  await rejects(dir, /holds no adapter_model\.safetensors/);
  await rm(join(dir, 'adapter_config.json'));
  await rejects(dir, /holds no adapter_config\.json/);
});

test('the config says what PEFT needs to know of a family and its head', async ({ dir }) => {
  for (const [name, task, transposed, whole] of [
    ['gpt2-causal', 'CAUSAL_LM', true, null],
    ['gpt2-classifier', 'SEQ_CLS', true, ['score']],
    ['llama-causal', 'CAUSAL_LM', false, null],
    ['roberta-classifier', 'SEQ_CLS', false, ['classifier']],
    ['distilbert-classifier', 'SEQ_CLS', false, ['pre_classifier', 'classifier']],
    ['roberta-cloze', null, false, null],
  ] as const) {
    const { adapter: folder, architecture, checkpoint } = await openCase(name);
    const config = architecture.parseConfig(await readConfig(checkpoint), 3);
    const model = {
      architecture,
      linears: architecture.linears(config),
      parameters: architecture.parameters(config),
    };
    const adapter = await readPeft(folder, model),
      out = join(dir, name);
    await writePeft(out, adapter, architecture);
    const written = JSON.parse(await readFile(join(out, 'adapter_config.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    assert.equal(
      ['task_type', 'fan_in_fan_out', 'modules_to_save'].map((field) => written[field]),
      [task, transposed, whole],
      name,
    );
    assert.equal(await readPeft(out, model), adapter, name);
  }
});

test.run();
