/** Which tensors of a checkpoint are read, and which are not. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { named } from '../../../src/base/lookup.ts';
import {
  openBase,
  resolveNames,
  type Unread,
  unreadTensors,
} from '../../../src/science/models/base.ts';
import { openCheckpoint } from '../../../src/science/models/io/checkpoint.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import type { HostTensor } from '../../../src/science/models/types.ts';
import { saveTrained } from '../../../src/science/training/session.ts';
import { useBackend } from '../backend.ts';
import { changedCheckpoint } from '../changed-checkpoint.ts';
import { caseNames, openCase, openFamily } from '../family-cases.ts';

const test = suite('tensors of a checkpoint');
test.before(async () => {
  await useBackend('cpu');
});

const vector = (length: number): HostTensor => ({
  shape: [length],
  data: new Float32Array(length).fill(0.5),
});

async function unreadOf(name: string, path: string, classes = 3): Promise<Unread> {
  const { architecture } = await openCase(name),
    checkpoint = await openCheckpoint(path);
  const specs = architecture.parameters(architecture.parseConfig(checkpoint.config, classes));
  const names = resolveNames(checkpoint, architecture, specs);
  return unreadTensors(checkpoint, architecture, names, classes);
}

const unreadWith = async (
  name: string,
  tensors: Readonly<Record<string, HostTensor>>,
): Promise<Unread> => unreadOf(name, await changedCheckpoint(name, { tensors }));

const NOTHING: Unread = { body: [], heads: [] };

test('every tensor of a checkpoint that transformers wrote is read', async () => {
  for (const name of caseNames)
    assert.equal(await unreadOf(name, (await openCase(name)).checkpoint), NOTHING, name);
});

test('a bias or a layer that config.json does not ask for is told by name', async () => {
  const bias = 'model.layers.0.self_attn.q_proj.bias',
    layer = 'model.layers.2.mlp.up_proj.weight';
  assert.equal(await unreadWith('llama-causal', { [bias]: vector(16), [layer]: vector(3) }), {
    body: [bias, layer],
    heads: [],
  });
});

test('heads of other tasks, or for other classes, are told by module', async () => {
  const extra = {
    'cls.seq_relationship.bias': vector(2),
    'qa_outputs.bias': vector(2),
    'qa_outputs.weight': vector(2),
  };
  assert.equal(await unreadWith('bert-classifier', extra), {
    body: [],
    heads: ['cls.seq_relationship', 'qa_outputs'],
  });
  const { checkpoint } = await openCase('bert-classifier');
  assert.equal(await unreadOf('bert-classifier', checkpoint, 2), {
    body: [],
    heads: ['classifier'],
  });
});

test("a cloze head leaves BERT's pooler aside, which is the classifier's", async () => {
  const pooler = { 'bert.pooler.dense.bias': vector(16) };
  assert.equal(await unreadWith('bert-cloze', pooler), {
    body: [],
    heads: ['bert.pooler.dense'],
  });
});

test('buffers, and other names of what is read, are not told', async () => {
  const bias = 'cls.predictions.bias';
  const held = await readSafetensors(
    `${(await openCase('bert-cloze')).checkpoint}/model.safetensors`,
  );
  const copies = {
    'bert.embeddings.position_ids': vector(4),
    'cls.predictions.decoder.bias': named(held, bias),
    'cls.predictions.decoder.weight': named(held, 'bert.embeddings.word_embeddings.weight'),
  };
  assert.equal(await unreadWith('bert-cloze', copies), NOTHING);
  for (const [name, buffer] of [
    ['llama-causal', 'model.layers.0.self_attn.rotary_emb.inv_freq'],
    ['gpt2-causal', 'transformer.h.0.attn.bias'],
    ['gpt2-causal', 'transformer.h.0.attn.masked_bias'],
    ['gpt-neox-causal', 'gpt_neox.layers.0.attention.bias'],
  ] as const)
    assert.equal(await unreadWith(name, { [buffer]: vector(4) }), NOTHING, buffer);
});

test('a tied output of the same values is read once; one of other values is refused', async () => {
  const name = 'llama-causal-tied',
    table = 'model.embed_tokens.weight';
  const { architecture, checkpoint } = await openCase(name);
  const E = named(await readSafetensors(`${checkpoint}/model.safetensors`), table);
  const open = async (tensors: Readonly<Record<string, HostTensor | null>>) =>
    openBase(
      { path: await changedCheckpoint(name, { tensors }), digest: null },
      architecture,
      0,
      1,
    );
  (await open({ 'lm_head.weight': E })).release();
  // Where only the output is there, it is the token table, as in transformers.
  const alone = await open({ [table]: null, 'lm_head.weight': E });
  assert.is(alone.fileNames.get('embed_tokens.weight'), 'lm_head.weight');
  alone.release();
  const other = { shape: E.shape, data: Float32Array.from(E.data, (x) => 2 * x) };
  let message = '';
  try {
    await open({ 'lm_head.weight': other });
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(
    message,
    /"model\.embed_tokens\.weight" and "lm_head\.weight" must be the same tensor, but their values/,
  );
});

test('a checkpoint is written with the tensors that it was read from, a tied table once', async () => {
  for (const name of ['gpt2-causal', 'llama-causal-tied', 'bert-cloze', 'modernbert-cloze']) {
    const own = await openCase(name),
      network = await openFamily(own, 'full'),
      folder = await changedCheckpoint(name, {});
    await saveTrained(network, null, folder, { modelDir: own.checkpoint, classes: [] });
    network.dispose();
    assert.equal(
      await readSafetensors(`${folder}/model/model.safetensors`),
      await readSafetensors(`${own.checkpoint}/model.safetensors`),
      name,
    );
  }
});

test.run();
