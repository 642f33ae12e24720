/** Where a training starts: heads and adapters from folders, and what is checked beforehand. */
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import train from '../../../plugins/stages/train/index.ts';
import type { Asset, BackendName, Cell, JsonObject } from '../../../src/api.ts';
import { readSafetensors, writeSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { bf16Fault, probeOne } from '../../../src/tensor/backend.ts';
import { useBackend } from '../../science/backend.ts';
import { adapterFolder, checkpoint } from '../../science/tiny-bert.ts';
import { mlmCheckpoint } from '../../science/tiny-mlm.ts';
import { faultOf, jsonOf } from './outputs.ts';
import { assetAt, poisonedFolder, tempFolder, tinyCell, withTrain } from './rig.ts';
import { data, define, preflight, rows, trainOn } from './train-rig.ts';

const test = suite('start of a training');
test.before(async () => {
  await useBackend('cpu');
});

const THREE_CLASSES = await poisonedFolder(rows, undefined, ['a', 'b', 'c']);
const WEIGHTS = 'adapter_model.safetensors';
const given = assetAt(adapterFolder, 'given');
const fromAdapter = withTrain({ steps: 0 }, { adapter: { type: 'lora', init_from: '/a' } });
const fromBoth = { ...fromAdapter, head: { ...fromAdapter.head, init_from: '/h' } };

const weightsOf = (dir: string) => readSafetensors(join(dir, 'adapter', WEIGHTS));
const GIVEN_WEIGHTS = await readSafetensors(join(adapterFolder, WEIGHTS));

test('head and adapter are taken from the folders that are given', async () => {
  const inputs = { data: THREE_CLASSES };
  const { dir } = await trainOn(fromBoth, inputs, { adapter: given, head: given });
  assert.equal(await weightsOf(dir), GIVEN_WEIGHTS);
});

test('an adapter brings its head where no other is named, if it fits the classes', async () => {
  const { dir } = await trainOn(fromAdapter, { data: THREE_CLASSES }, { adapter: given });
  assert.equal(await weightsOf(dir), GIVEN_WEIGHTS);
  const other = await trainOn(fromAdapter, { data }, { adapter: given });
  const head = (await weightsOf(other.dir)).get('base_model.model.classifier.weight');
  assert.equal(head?.shape, [2, 22], 'a head for three classes is left aside');
});

test('a head of its own folder must fit the classes', async () => {
  assert.match(
    await faultOf(trainOn(fromBoth, { data }, { adapter: given, head: given })),
    /classifier\.weight" has shape \[3, 22\], \[2, 22\] was expected/,
  );
});

/** The tiny BERT with names for the classes of its head. */
async function checkpointOf(labels: readonly string[]): Promise<Asset> {
  const dir = await tempFolder();
  await cp(checkpoint, dir, { recursive: true });
  const config = await jsonOf(dir, 'config.json');
  const id2label = Object.fromEntries(labels.map((label, id) => [id, label]));
  await writeFile(join(dir, 'config.json'), JSON.stringify({ ...config, id2label }));
  return assetAt(dir, labels.join());
}

const full = withTrain({ steps: 0 }, { adapter: { type: 'full' } });

test("a classifier of the data's classes in another order is refused", async () => {
  const turned = await checkpointOf(['B', 'A', 'C']);
  assert.match(
    await faultOf(trainOn(full, { data: THREE_CLASSES }, { model: turned })),
    /config\.json: the classifier's classes are B, A, C in this order, the data's a, b, c$/,
  );
  const withHead = { ...full, head: { ...full.head, init_from: '/h' } };
  assert.match(
    await faultOf(trainOn(withHead, { data: THREE_CLASSES }, { head: turned })),
    /B, A, C in this order/,
  );
});

test("an adapter's head for the data's classes in another order is refused", async () => {
  // `dosimeter export` writes the classes of an adapter's head beside it, in a config.json.
  const exported = async (labels: readonly string[]): Promise<Asset> => {
    const dir = await tempFolder();
    await cp(adapterFolder, dir, { recursive: true });
    const id2label = Object.fromEntries(labels.map((label, id) => [id, label]));
    await writeFile(join(dir, 'config.json'), JSON.stringify({ id2label }));
    return assetAt(dir, labels.join());
  };
  const turned = await exported(['B', 'A', 'C']);
  const swapped = /config\.json: the classifier's classes are B, A, C in this order/;
  assert.match(
    await faultOf(trainOn(fromAdapter, { data: THREE_CLASSES }, { adapter: turned })),
    swapped,
  );
  assert.match(
    await faultOf(trainOn(fromBoth, { data: THREE_CLASSES }, { adapter: given, head: turned })),
    swapped,
  );
  const same = await exported(['A', 'B', 'C']);
  await trainOn(fromAdapter, { data: THREE_CLASSES }, { adapter: same });
  // A head for another number of classes is left aside, and so is their order.
  await trainOn(fromAdapter, { data }, { adapter: turned });
});

test('a classifier of the same order, of no names, or for other classes is taken', async () => {
  for (const labels of [
    ['A', 'B', 'C'],
    ['LABEL_0', 'LABEL_1', 'LABEL_2'],
    ['b', 'a', 'd'],
  ])
    await trainOn(full, { data: THREE_CLASSES }, { model: await checkpointOf(labels) });
  const other = await checkpointOf(['positive', 'negative', 'neither']);
  await trainOn(full, { data }, { model: other });
});

test('a pooler that is drawn, and that the adapter does not save, is warned of', async () => {
  const poolerless = assetAt(mlmCheckpoint, 'mlm');
  const check = (adapter: object) => preflight(tinyCell({ adapter }), poolerless);
  const warning =
    'warning model.source: the checkpoint has no pooler.dense: it is drawn from the seed, ' +
    'and stays frozen under the adapter';
  assert.equal(await check({ type: 'lora', rank: 3 }), [warning]);
  assert.equal(await check({ type: 'lora', rank: 3, targets: ['query'], bias: 'all' }), [warning]);
  for (const type of ['full', 'bitfit', 'head-only'])
    assert.equal(await check({ type }), [], `${type} leaves a folder that holds it`);
});

test('rank, length and checkpoints are checked before anything runs', async () => {
  assert.equal(await preflight(tinyCell()), []);
  const wide = { adapter: { type: 'lora', rank: 40 } };
  assert.equal(await preflight(withTrain({ max_length: 99 }, wide)), [
    'train.max_length: rows of 99 tokens do not fit the model, which has 53 positions',
    'adapter.rank: rank 40 is above the width of layer ' +
      'encoder.layer.0.attention.self.query (22 → 22)',
  ]);
  assert.equal(await preflight(withTrain({ checkpoints: [2, 7] })), [
    'train.checkpoints: train.checkpoints asks for step 7, but there are 6 steps',
  ]);
});

test('a warm-up and evaluations beyond the last step are warned of', async () => {
  assert.equal(await preflight(withTrain({ warmup: 5, evaluate_every: 6 })), []);
  assert.equal(await preflight(withTrain({ warmup: 6, evaluate_every: 8 })), [
    'warning train.warmup: the training ends after 6 steps, within its warm-up of 6: ' +
      'it never reaches its learning rate',
    'warning train.evaluate_every: the training ends after 6 steps, before step 8: ' +
      'only the start and the end are evaluated',
  ]);
  const clean = { params: { share: 0.2 }, assets: {}, dir: null };
  assert.equal(
    await preflight(withTrain({ warmup: 6 }), undefined, { upstream: { data: clean } }),
    [
      "warning train.warmup: the defence's training on clean rows ends after 6 steps, within its " +
        'warm-up of 6: it never reaches its learning rate',
    ],
  );
});

test('products in bfloat16 are refused before anything runs where they are not offered', async () => {
  const bf16 = withTrain({ precision: 'bf16' });
  assert.equal(await preflight(bf16, undefined, { backend: 'wasm' }), [
    'train.precision: the matrix products of train.precision: bf16 need the backend tensorflow, ' +
      'and this is wasm',
  ]);
  const fault = await bf16Fault('tensorflow');
  const message = `train.precision: the matrix products of train.precision: bf16 ${fault?.message}`;
  const onTensorflow = (runsHere?: boolean): Promise<string[]> =>
    preflight(bf16, undefined, {
      backend: 'tensorflow',
      ...(runsHere === undefined ? {} : { runsHere }),
    });
  assert.equal(await onTensorflow(true), fault === null ? [] : [message]);
  assert.equal(await onTensorflow(), fault === null ? [] : [`warning ${message}`]);
  assert.equal(await onTensorflow(false), []);
  assert.equal(await preflight(withTrain({ precision: 'bf16', steps: 0 })), []);
});

test('a stage refuses on its own machine what that does not offer', async () => {
  const on = (cell: Cell): Promise<string> => faultOf(trainOn(cell, { data }));
  assert.match(
    await on(withTrain({ precision: 'bf16' })),
    /^the matrix products of train\.precision: bf16 need the backend tensorflow, and this is cpu/,
  );
  assert.match(await on(packed({})), /^train\.packing puts .* to one length on the backend cpu/);
});

const packed = (train: object): Cell =>
  withTrain({ packing: true, ...train }, { head: { type: 'causal-lm', template: '{prompt}' } });

test('rows are packed only where attention pads none of them', async () => {
  const faultsOn = async (backend: BackendName, train: object = {}): Promise<string[]> =>
    (await preflight(packed(train), undefined, { backend })).filter((problem) =>
      problem.includes('train.packing:'),
    );
  const fault = 'train.packing: train.packing puts many rows into a batch, and attention pads them';
  for (const backend of ['wasm', 'cpu'] as const)
    assert.equal(await faultsOn(backend), [`${fault} to one length on the backend ${backend}`]);
  assert.equal(await faultsOn('tensorflow', { dropout: 0.1 }), [
    `${fault} to one length under train.dropout`,
  ]);
  assert.equal(await faultsOn('torch', { dropout: 0.1 }), []);
  const { gpu } = await probeOne('tensorflow');
  assert.equal(
    await faultsOn('tensorflow'),
    gpu ? [`warning ${fault} to one length in TensorFlow's build for GPUs`] : [],
  );
});

test('a precision of float32 is in no key, and bf16 is', () => {
  const paramsOf = (change: object) => define(withTrain(change)).params['train'] as JsonObject;
  const { precision, ...plain } = paramsOf({ precision: 'bf16' });
  assert.is(precision, 'bf16');
  assert.equal(paramsOf({ precision: 'float32' }), plain);
  assert.equal(train.precision?.(define(withTrain({ precision: 'bf16' })).params), ['bf16']);
  assert.equal(train.precision?.(define(withTrain({})).params), []);
});

test('tokenizer and weights are checked before anything runs', async () => {
  const dir = await tempFolder();
  await cp(checkpoint, dir, { recursive: true });
  const firstFault = async (content: string) =>
    (await preflight(tinyCell(), assetAt(dir, content)))[0] ?? 'nothing is wrong';

  const tokenizer = (await jsonOf(dir, 'tokenizer.json')) as { added_tokens: object[] };
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  tokenizer.added_tokens.push({ id: 101, content: '[NEW]', special: true, ...flags });
  await writeFile(join(dir, 'tokenizer.json'), JSON.stringify(tokenizer));
  assert.match(
    await firstFault('tokenizer'),
    /^model\.source: .*tokenizer\.json has ids up to 101, but config\.json's vocab_size is 101/,
  );

  const weights = join(dir, 'model.safetensors');
  await writeFile(weights, (await readFile(weights)).subarray(0, 60000));
  assert.match(
    await firstFault('truncated'),
    /^model\.source: .*model\.safetensors: tensor ".*it is truncated/,
  );
  await rm(weights);
  assert.match(await firstFault('absent'), /^model\.source: /);
});

test('the log names what of the checkpoint is not read', async () => {
  const dir = await tempFolder(),
    weights = join(dir, 'model.safetensors');
  await cp(checkpoint, dir, { recursive: true });
  const extra = { shape: [2], data: new Float32Array(2) };
  const layer = 'bert.encoder.layer.9.output.dense';
  await writeSafetensors(
    weights,
    new Map([
      ...(await readSafetensors(weights)),
      ...[1, 2, 3, 4, 5, 6].map((i) => [`${layer}.${i}`, extra] as const),
      ['cls.seq_relationship.bias', extra],
    ]),
  );
  const { log, warned } = await trainOn(full, { data }, { model: assetAt(dir, 'more tensors') });
  const names = [1, 2, 3, 4, 5].map((i) => `${layer}.${i}`).join(', ');
  assert.ok(
    warned.includes(
      '6 tensors of the checkpoint are not read, since config.json describes a model ' +
        `without: ${names}, …`,
    ),
    warned.join('\n'),
  );
  assert.ok(log.some((line) => /other heads are not read: .*cls\.seq_relationship/.test(line)));
  const plain = await trainOn(full, { data });
  assert.equal(plain.warned, []);
});

test.run();
