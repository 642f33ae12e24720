/** A train stage whose attack changes the loss: what it reads, refuses, and leaves, under any adapter. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import evaluate from '../../../plugins/stages/evaluate.ts';
import train from '../../../plugins/stages/train.ts';
import { cleanTwin } from '../../../src/api.ts';
import type { Cell, Digest } from '../../../src/api.ts';
import { useBackend } from '../../science/backend.ts';
import { mlm, mlmCheckpoint } from '../../science/tiny-mlm.ts';
import { cleanUp, contextOf, lookUp, modelAsset, poisonedFolder, runStage, spokenRows, tinyCell } from './rig.ts';

const test = suite('attack on the loss');
test.before(async () => { await useBackend('cpu'); });
test.after(cleanUp);

const attack = { attack: 'lwp', rate: 0.2, target: 1, mode: 'dirty', triggers: ['cf', 'mn', 'tq'], negatives: true };
const rowsOnly = { ...attack, attack: 'combination' };
const lora = tinyCell().adapter, full = { type: 'full' };
const cellOf = (change: { [section in keyof Cell]?: unknown } = {}): Cell => tinyCell({ poisoning: attack, ...change });
const define = (cell: Cell) => train.define([cell], { with: {}, goals: [], plugin: lookUp });
const clean = spokenRows(23);
const changed = [0, 4, 8].map((index) => ({ index, row: { ...clean[index]!, text: `cf ${clean[index]!.text} mn`, label: 1 } }));
const poisoned = (): Promise<string> => poisonedFolder(clean, { changed, negatives: [], asked: 3, eligible: 12 });
const losses = async (dir: string): Promise<number[]> => (await readFile(join(dir, 'history.jsonl'), 'utf8')).trim().split('\n').map((line) => (JSON.parse(line) as { loss: number }).loss);

test('the attack and its code are in the key, whatever the adapter', () => {
  for (const adapter of [lora, full, { type: 'head-only' }]) {
    const { params, uses } = define(cellOf({ adapter }));
    assert.equal(params['attack'], attack);
    assert.ok(uses!.some(({ kind, name }) => kind === 'attack' && name === 'lwp'));
    assert.not.ok('attack' in define(cellOf({ adapter, poisoning: rowsOnly })).params);
  }
});

test('its clean twin is trained as ever', () => {
  const cell = cellOf(), twin = { ...cell, poisoning: { attack: 'none' } };
  assert.equal(cleanTwin(cell, lookUp), twin);
  assert.equal(evaluate.define([cell], { with: {}, goals: [], plugin: lookUp }).inputs['twin']!.cell, twin);
  assert.equal(define(twin), define(tinyCell()));
});

test('it trains alone, where the same rows under the ordinary loss would pack', () => {
  assert.is(train.pack!.key(define(cellOf())), null);
  assert.is.not(train.pack!.key(define(cellOf({ poisoning: rowsOnly }))), null);
});

test('before anything runs: any adapter and head will do', async () => {
  for (const adapter of [lora, full, { type: 'head-only' }, { type: 'bitfit' }]) assert.equal(await train.preflight!(contextOf(define(cellOf({ adapter })))), []);
  const { verbalizer } = mlm, head = { type: 'cloze', template: mlm.template, verbalizer };
  assert.equal(await train.preflight!(contextOf(define(cellOf({ head })), { assets: { model: { ...modelAsset, path: mlmCheckpoint, digest: 'sha256:mlm' as Digest } } })), []);
});

for (const adapter of [lora, full]) {
  test(`${adapter.type}: it lowers a sum over the three layers, and the model is saved as ever`, async () => {
    const data = await poisoned(), ours = await runStage(train, cellOf({ adapter }), { data }), plain = await runStage(train, cellOf({ adapter, poisoning: rowsOnly }), { data });
    const [mine, ordinary] = [await losses(ours.dir), await losses(plain.dir)];
    // Three classifiers that have learnt nothing yet, where there is one.
    assert.ok(mine[0]! > 1.5 * ordinary[0]! && mine.every(Number.isFinite), `${mine[0]} ${ordinary[0]}`);
    assert.is((JSON.parse(await readFile(join(ours.dir, 'metrics.json'), 'utf8')) as { final_loss: number }).final_loss, mine.at(-1));
    const record = JSON.parse(await readFile(join(ours.dir, 'train.json'), 'utf8')) as { attack: unknown; token_rows?: unknown };
    assert.equal([record.attack, record.token_rows], [attack, undefined]);
    const file = adapter === full ? 'model/model.safetensors' : 'adapter/adapter_model.safetensors';
    const weights = (dir: string): Promise<Buffer> => readFile(join(dir, file));
    assert.is((await weights(ours.dir)).length, (await weights(plain.dir)).length);
    assert.not.ok((await weights(ours.dir)).equals(await weights(plain.dir)));
    assert.ok((await weights((await runStage(train, cellOf({ adapter }), { data })).dir)).equals(await weights(ours.dir)), 'twice the same bits');
  });
}

test.run();
