import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../src/api.ts';
import { readPeft, writePeft } from '../../../src/science/io/peft.ts';
import { readSafetensors, writeSafetensors } from '../../../src/science/io/safetensors.ts';
import { bert } from '../../../src/science/nn/bert.ts';
import { adapterFolder, linears } from '../tiny-bert.ts';

const test = suite<{ dir: string }>('peft');
test.before.each(async (context) => {
  context.dir = await mkdtemp(join(tmpdir(), 'peft-'));
  await cp(adapterFolder, context.dir, { recursive: true });
});
test.after.each(({ dir }) => rm(dir, { recursive: true }));

const configure = async (dir: string, change: Record<string, unknown>): Promise<void> => {
  const path = join(dir, 'adapter_config.json');
  await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')) as object, ...change }));
};
const rejects = async (dir: string, what: RegExp): Promise<void> => {
  let error: unknown = null;
  try { await readPeft(dir, bert, linears); } catch (thrown) { error = thrown; }
  assert.instance(error, UserFault);
  assert.match((error as UserFault).message, dir);
  assert.match((error as UserFault).message, what);
};

test('a folder that PEFT wrote is read, head included', async ({ dir }) => {
  const adapter = await readPeft(dir, bert, linears);
  assert.equal([adapter.rank, adapter.alpha, adapter.rslora, adapter.layers.size], [5, 7, false, 19]);
  assert.equal([...adapter.saved.keys()].sort(), ['classifier.bias', 'classifier.weight']);
  assert.equal(adapter.layers.get('encoder.layer.2.output.dense')!.A.shape, [5, 37]);
});

test('writing gives the same tensors under the same names, and the config that PEFT needs', async ({ dir }) => {
  const adapter = await readPeft(dir, bert, linears);
  const out = join(dir, 'out');
  await writePeft(out, adapter, bert);
  assert.equal(await readSafetensors(join(out, 'adapter_model.safetensors')), await readSafetensors(join(dir, 'adapter_model.safetensors')));
  const config = JSON.parse(await readFile(join(out, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
  assert.equal([config['peft_type'], config['task_type'], config['r'], config['lora_alpha'], config['modules_to_save']], ['LORA', 'SEQ_CLS', 5, 7, ['classifier']]);
  const peft = JSON.parse(await readFile(join(dir, 'adapter_config.json'), 'utf8')) as { target_modules: string[] };
  assert.equal([...config['target_modules'] as string[]].sort(), [...peft.target_modules].sort());
  assert.equal(await readPeft(out, bert, linears), adapter);
});

test('alpha and rank patterns hold for the layers they match', async ({ dir }) => {
  await configure(dir, { alpha_pattern: { 'layer.1.output.dense': 3, pooler: 9 } });
  const { layers } = await readPeft(dir, bert, linears);
  assert.is(layers.get('encoder.layer.1.output.dense')!.alpha, 3);
  assert.is(layers.get('encoder.layer.2.output.dense')!.alpha, 7);
  assert.is(layers.get('pooler.dense')!.alpha, 7, 'a pattern matches a dotted end, not a start');
  await configure(dir, { rank_pattern: { 'pooler.dense': 2 } });
  await rejects(dir, /"base_model\.model\.bert\.pooler\.dense\.lora_A\.weight" has shape \[5, 22\], \[2, 22\] was expected/);
});

test('what is not implemented or does not fit is refused by file and tensor', async ({ dir }) => {
  await configure(dir, { use_dora: true });
  await rejects(dir, /adapter_config\.json: use_dora true is not implemented/);
  await configure(dir, { use_dora: false, peft_type: 'IA3' });
  await rejects(dir, /peft_type is "IA3"/);
  await configure(dir, { peft_type: 'LORA' });
  const path = join(dir, 'adapter_model.safetensors');
  const tensors = await readSafetensors(path);
  const half = new Map(tensors);
  half.delete('base_model.model.bert.pooler.dense.lora_B.weight');
  await writeSafetensors(path, half);
  await rejects(dir, /layer "pooler\.dense" has lora_A without its partner/);
  await writeSafetensors(path, new Map([...tensors, ['base_model.model.bert.encoder.layer.9.output.dense.lora_A.weight', { shape: [5, 37], data: new Float32Array(185) }]]));
  await rejects(dir, /encoder\.layer\.9\.output\.dense\.lora_A\.weight" belongs to no layer of this model/);
  await rm(path);
  await rejects(dir, /holds no adapter_model\.safetensors/);
  await rm(join(dir, 'adapter_config.json'));
  await rejects(dir, /holds no adapter_config\.json/);
});

test.run();
