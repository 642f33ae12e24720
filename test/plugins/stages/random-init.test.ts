/** A model drawn from its config alone, through the stages. */
import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import evaluate from '../../../plugins/stages/evaluate/index.ts';
import kernel from '../../../plugins/stages/kernel/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import type { Cell, Digest } from '../../../src/api.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { checkpoint, farthest } from '../../science/tiny-bert.ts';
import { tolerance } from '../../tolerances.ts';
import { logitsOf as logitsIn } from './outputs.ts';
import {
  assetAt,
  contextOf,
  datasetFolder,
  poisonedFolder,
  runStage,
  spokenRows,
  tempFolder,
  tinyCell,
} from './rig.ts';

await useBackend('cpu');
const dir = await tempFolder();
for (const name of ['config.json', 'tokenizer.json'])
  await cp(join(checkpoint, name), join(dir, name));
const model = assetAt(dir, 'config');
const rows = spokenRows(11),
  data = await poisonedFolder(rows),
  validation = await datasetFolder(rows);

const cellOf = (seed: number, steps: number, adapter: object, init = 'random'): Cell =>
  tinyCell({
    seed,
    model: { source: model.uri, architecture: 'bert', init },
    adapter,
    train: { ...tinyCell().train, steps },
  });
const lora = { type: 'lora', rank: 3, alpha: 'r' };
const trained = async (cell: Cell): Promise<string> =>
  (await runStage(train, cell, { data }, {}, { model })).dir;
const logitsOf = async (cell: Cell, from: string): Promise<number[]> => {
  const { dir } = await runStage(evaluate, cell, { model: from, validation }, {}, { model });
  return logitsIn(dir);
};

test('a seed draws one model, under every adapter and in evaluation', async () => {
  const [low, whole, other] = [
    cellOf(1, 0, lora),
    cellOf(1, 0, { type: 'full' }),
    cellOf(2, 0, lora),
  ];
  const start = await logitsOf(low, await trained(low));
  assert.ok(farthest(await logitsOf(whole, await trained(whole)), start) < tolerance.rounding);
  assert.ok(farthest(await logitsOf(other, await trained(other)), start) > 1e-3);
});

test('it trains, and its kernel is taken where it came to', async () => {
  const cell = cellOf(1, 8, lora),
    from = await trained(cell);
  assert.ok(
    farthest(await logitsOf(cell, from), await logitsOf(cell, await trained(cellOf(1, 0, lora)))) >
      1e-3,
  );
  const { dir: out } = await runStage(
    kernel,
    cell,
    { model: from, rows: validation },
    { at: 'final' },
    { model },
  );
  assert.is(
    Object.keys(JSON.parse(await readFile(join(out, 'layers.json'), 'utf8')) as object)[0],
    'bert.encoder.layer.0.attention.self.query.weight',
  );
});

test('the draw is in the key, and only there where it is one', () => {
  const params = (cell: Cell) => train.define([cell], { with: {}, goals: [] }).params;
  assert.is(params(cellOf(1, 8, lora))['init'], 'random');
  assert.not.ok('init' in params(cellOf(1, 8, lora, 'pretrained')));
});

test('missing weights are a fault where they are read, a missing tokenizer always', async () => {
  const check = async (cell: Cell): Promise<string[]> =>
    (
      await train.preflight!(
        contextOf(train.define([cell], { with: {}, goals: [] }), { assets: { model } }),
      )
    ).map(({ path, message, hint }) => `${path.join('.')}: ${message} ${hint}`);
  assert.equal(await check(cellOf(1, 8, lora)), []);
  assert.match(
    present((await check(cellOf(1, 8, lora, 'pretrained')))[0]),
    /^model\.source: .* holds no model\.safetensors .* write model\.init: random/,
  );
  const bare = await tempFolder();
  await cp(join(dir, 'config.json'), join(bare, 'config.json'));
  const cell = cellOf(1, 8, lora);
  const [fault] = await train.preflight!(
    contextOf(train.define([cell], { with: {}, goals: [] }), {
      assets: { model: { ...model, path: bare, digest: 'sha256:bare' as Digest } },
    }),
  );
  assert.match(present(fault).message, /tokenizer\.json can't be read/);
  await rm(bare, { recursive: true });
});

test.run();
