import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import fisher from '../../../plugins/stages/fisher/index.ts';
import kernel from '../../../plugins/stages/kernel/index.ts';
import ntk from '../../../plugins/stages/ntk/index.ts';
import theoryMap from '../../../plugins/stages/theory-map/index.ts';
import type { TheoryMap } from '../../../plugins/stages/theory-map/map.ts';
import train from '../../../plugins/stages/train/index.ts';
import { type Cell, UserFault } from '../../../src/api.ts';
import type { FisherSummary } from '../../../src/science/measures/fisher.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { file, openChain } from './kernel-chain.ts';
import { modelAsset, poisonedFolder, type Ran, runStage, spokenRows, tinyCell } from './rig.ts';

const test = suite('theory-map stage');
test.before(async () => {
  await useBackend('cpu');
});

const near = (a: number, b: number): void =>
  assert.ok(Math.abs(a - b) < 1e-5 * Math.max(1, Math.abs(b)), `${a} is not ${b}`);
const define = (cell: Cell) => theoryMap.define([cell], { with: {}, goals: [] });

test('it is of the model at its start: no attack, adapter or schedule moves it', () => {
  const key = (change: { [section in keyof Cell]?: unknown }): string => {
    const { params, inputs, assets } = define(tinyCell(change));
    return JSON.stringify([
      params,
      present(inputs['rows']).kind,
      present(inputs['rows']).with,
      assets,
    ]);
  };
  assert.is(key({ poisoning: { attack: 'badnets', rate: 0.1 } }), key({}));
  assert.is(key({ adapter: { type: 'full' } }), key({}));
  assert.is(key({ train: { ...tinyCell().train, learning_rate: 1 } }), key({}));
  assert.is.not(key({ seed: 2 }), key({}));
  assert.is.not(key({ ntk: { ...tinyCell().ntk, rows: 5 } }), key({}));
});

test('weights that the model does not hold in float32 are refused: K_FT would not be theirs', () => {
  const { model } = tinyCell();
  for (const [field, value] of [
    ['dtype', 'bf16'],
    ['quantize', 'nf4'],
  ] as const)
    assert.throws(
      () => define(tinyCell({ model: { ...model, [field]: value } })),
      (error: unknown) =>
        error instanceof UserFault &&
        error.path?.join('.') === `model.${field}` &&
        /sets K_LoRA beside K_FT/.test(error.message),
    );
});

test('published, exact, drawn and measured values over rank and scale', async () => {
  const cell = tinyCell({ theory: { ...tinyCell().theory, map_ranks: [7, 2, 31] } });
  const ran = await runStage(theoryMap, cell, { rows: await poisonedFolder(spokenRows(9)) });
  assert.equal((await readdir(ran.dir)).sort(), ['map.json', 'metrics.json']);
  const map = JSON.parse(await readFile(join(ran.dir, 'map.json'), 'utf8')) as TheoryMap & {
    readonly init: string;
  };
  assert.equal(
    [map.init, map.rows, map.classes, map.width, map.points.length],
    ['pretrained', 4, 2, 31, 2 * 3 * 2],
  );
  assert.equal(
    [...new Set(map.points.map(({ rank, model }) => `${rank} ${model === null}`))],
    ['2 false', '7 false', '31 true'],
  );
  assert.match(ran.log.join('\n'), /ranks above 22, the model's narrowest layer/);
  const metrics = JSON.parse(await readFile(join(ran.dir, 'metrics.json'), 'utf8')) as Record<
    string,
    number
  >;
  // Two rows' classes: σ² ten times smaller moves H₂ by 2 log 10 and IB by count/2 · log 10.
  const [low, high] = [
    present(metrics['normal.r2.scale0.1.h2']),
    present(metrics['normal.r2.scale2.h2']),
  ];
  assert.ok(Math.abs(low - high - 2 * Math.log(20)) < 1e-9);
  assert.ok(
    present(metrics['full.count']) <= 4 && present(metrics['uniform.r7.scale2.count']) <= 4,
  );
});

test("where training starts from an adapter's folder, the map is of that model", async () => {
  const chain = await openChain();
  const json = async <T>(ran: Ran, name: string): Promise<T> =>
    JSON.parse(await readFile(file(ran, name), 'utf8')) as T;
  const trained = await chain.train(
    tinyCell({
      adapter: {
        type: 'lora',
        rank: 3,
        alpha: 6,
        bias: 'all',
        init: { distribution: 'kaiming-uniform' },
      },
    }),
  );
  const folder = join(trained.dir, 'adapter');
  const cell = tinyCell({
    adapter: { type: 'lora', init_from: folder },
    ntk: { ...tinyCell().ntk, at: ['init'] },
  });
  const { inputs, assets } = define(cell);
  assert.equal(
    [present(inputs['start']).kind, present(inputs['start']).cell.train.steps],
    ['train', 0],
  );
  assert.equal(Object.keys(assets ?? {}), ['model']);
  const start = await runStage(
    train,
    present(inputs['start']).cell,
    { data: chain.data },
    {},
    { adapter: { ...modelAsset, path: folder } },
  );

  const map = await json<TheoryMap>(
    await runStage(theoryMap, cell, { rows: chain.data, start: start.dir }),
    'map.json',
  );
  // ntk and fisher measure the same kernel in another way: over the full weights, at the start.
  const kernelAtStart = await chain.run(
    kernel,
    cell,
    { model: start.dir, rows: chain.data },
    { at: 'init' },
  );
  const spectra = await chain.run(fisher, cell, {
    ntk: (await chain.run(ntk, cell, { init: kernelAtStart.dir })).dir,
  });
  const { full } = await json<{ full: FisherSummary }>(spectra, join('init', 'fisher.json'));
  near(present(map.full.information_bits), present(full.true.information_bits));
  near(map.full.h2, present(full.true.renyi.raw['2']));

  const untouched = await json<TheoryMap>(
    await runStage(theoryMap, tinyCell(), { rows: chain.data }),
    'map.json',
  );
  assert.ok(Math.abs(untouched.full.h2 - map.full.h2) > 0.01, 'the folder changes the model');
});

test.run();
