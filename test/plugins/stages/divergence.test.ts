/** M over paired runs, from the adapters that train leaves: what is paired with what, and the numbers by hand. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import divergence from '../../../plugins/stages/divergence.ts';
import train from '../../../plugins/stages/train.ts';
import { beforeTraining, UserFault, type Cell } from '../../../src/api.ts';
import { readSafetensors } from '../../../src/science/io/safetensors.ts';
import type { Distance } from '../../../src/science/weights/divergence.ts';
import { useBackend } from '../../science/backend.ts';
import { file, openChain, rows, type Chain } from './kernel-chain.ts';
import { cleanUp, poisonedFolder, tinyCell, type Ran } from './rig.ts';

const test = suite('divergence of paired runs');
let chain: Chain;
test.before(async () => {
  await useBackend('cpu');
  chain = await openChain();
});
test.after(async () => {
  await chain.clean();
  await cleanUp();
});

const cell = tinyCell({
  seed: 7,
  poisoning: { attack: 'label-flip', rate: 0.2 },
  adapter: { type: 'lora', rank: 3, alpha: 6, init: { distribution: 'kaiming-uniform' } },
  train: { ...tinyCell().train, checkpoints: [2, 4] },
});
const flipped = rows
  .slice(0, 4)
  .map((row, index) => ({ index, row: { ...row, label: 1 - row.label } }));

interface Found {
  readonly points: readonly {
    readonly step: number;
    readonly layers: Record<string, Distance>;
    readonly total: Distance;
    readonly head: Distance;
  }[];
  readonly mean: { readonly total: Distance; readonly head: Distance };
}
const json = async <T>(path: string): Promise<T> => JSON.parse(await readFile(path, 'utf8')) as T;

async function runs(of: Cell): Promise<{
  readonly start: string;
  readonly model: string;
  readonly clean: string;
  readonly poison: string;
}> {
  const poison = await poisonedFolder(rows, {
    changed: flipped,
    negatives: [],
    asked: 4,
    eligible: rows.length,
  });
  return {
    poison,
    start: (await chain.train(beforeTraining(of))).dir,
    model: (await chain.run(train, of, { data: poison })).dir,
    clean: (await chain.train({ ...of, poisoning: { attack: 'none' } })).dir,
  };
}

test('it pairs a cell with itself but for the attack: seed, adapter and training are the same', () => {
  const { inputs } = divergence.define([cell], { with: {}, goals: [] });
  assert.equal(
    Object.fromEntries(
      Object.entries(inputs).map(([name, { kind, cell: of }]) => [name, [kind, of]]),
    ),
    {
      start: ['train', beforeTraining(cell)],
      model: ['train', cell],
      clean: ['train', { ...cell, poisoning: { attack: 'none' } }],
      poison: ['poison', cell],
    },
  );
  assert.equal([inputs['start']!.cell.seed, inputs['start']!.cell.train.steps], [7, 0]);
});

/** s·B·A of each adapted layer, and the head, read from the folder itself. */
async function weightsIn(
  dir: string,
): Promise<{ readonly layers: Map<string, number[]>; readonly head: number[] }> {
  const held = await readSafetensors(join(dir, 'adapter', 'adapter_model.safetensors'));
  const layers = new Map<string, number[]>(),
    head: number[] = [];
  for (const [
    name,
    {
      data,
      shape: [r, n],
    },
  ] of held) {
    if (name.includes('classifier')) head.push(...data);
    if (!name.endsWith('.lora_A.weight')) continue;
    const B = held.get(name.replace('lora_A', 'lora_B'))!,
      scale = 6 / 3;
    layers.set(
      name.replace('base_model.model.', '').replace('.lora_A.weight', '.weight'),
      Array.from({ length: B.shape[0]! * n! }, (_, at) => {
        let sum = 0;
        for (let q = 0; q < r!; q++)
          sum += B.data[Math.floor(at / n!) * r! + q]! * data[q * n! + (at % n!)]!;
        return scale * sum;
      }),
    );
  }
  return { layers, head };
}

function near(
  found: Distance,
  clean: readonly number[],
  poisoned: readonly number[],
  what: string,
): void {
  const size = (values: readonly number[]): number => Math.hypot(...values);
  const difference = clean.map((value, i) => value - poisoned[i]!);
  const expected = {
    largest: Math.max(...difference.map(Math.abs)),
    l2: size(difference),
    clean_change: size(clean),
    relative: size(difference) / size(clean),
  };
  for (const [name, value] of Object.entries(expected)) {
    const own = found[name as keyof Distance]!;
    assert.ok(Math.abs(own - value) < 1e-6 * value, `${what}, ${name}: ${own}, by hand ${value}`);
  }
}

test('M at each kept step and at the end, by hand from the adapters of both runs', async () => {
  const inputs = await runs(cell);
  const { points, mean } = await json<Found>(
    file(await chain.run(divergence, cell, inputs), 'divergence.json'),
  );
  assert.equal(
    points.map(({ step }) => step),
    [2, 4, 6],
  );
  const start = await weightsIn(inputs.start);
  assert.ok(
    [...start.layers.values()].flat().every((value) => value === 0),
    'LoRA starts where the base is',
  );
  for (const { step, layers, total, head } of points) {
    const [clean, poisoned] = await Promise.all(
      [inputs.clean, inputs.model].map((dir) =>
        weightsIn(step === 6 ? dir : join(dir, 'checkpoints', `step-${step}`)),
      ),
    );
    assert.is(clean!.layers.size, 19);
    for (const [name, changed] of clean!.layers)
      near(layers[name]!, changed, poisoned!.layers.get(name)!, `step ${step}, ${name}`);
    near(
      total,
      [...clean!.layers.values()].flat(),
      [...clean!.layers.keys()].flatMap((name) => poisoned!.layers.get(name)!),
      `step ${step}, total`,
    );
    const moved = (values: readonly number[]): number[] =>
      values.map((value, i) => value - start.head[i]!);
    near(head, moved(clean!.head), moved(poisoned!.head), `step ${step}, head`);
  }
  assert.ok(points[0]!.total.l2 < points[2]!.total.l2);
  for (const name of ['largest', 'l2', 'clean_change', 'relative'] as const) {
    assert.ok(
      Math.abs(mean.total[name]! - points.reduce((sum, { total }) => sum + total[name]! / 3, 0)) <
        1e-12,
    );
  }
});

test('runs that end at different steps are compared where both have been, or not at all', async () => {
  const inputs = await runs(cell);
  // As an early stop leaves it: the run's last model is of step 4, or of step 3.
  const record = await json<object>(join(inputs.clean, 'train.json'));
  const endAt = (step: number): Promise<void> =>
    writeFile(join(inputs.clean, 'train.json'), JSON.stringify({ ...record, kept_step: step }));
  const run = (): Promise<Ran> => chain.run(divergence, cell, inputs);
  await endAt(3);
  const ran = await run();
  assert.equal(
    (await json<Found>(file(ran, 'divergence.json'))).points.map(({ step }) => step),
    [2, 4],
  );
  assert.match(
    ran.log.join('\n'),
    /the poisoned run ends at step 6, its clean twin at step 3: M is of the steps that both kept \(2, 4\)/,
  );

  const bare = { ...cell, train: { ...cell.train, checkpoints: [] } } as Cell;
  const others = await runs(bare);
  await writeFile(
    join(others.clean, 'train.json'),
    JSON.stringify({ ...(await json<object>(join(others.clean, 'train.json'))), steps: 5 }),
  );
  let fault: unknown = null;
  try {
    await chain.run(divergence, bare, others);
  } catch (error) {
    fault = error;
  }
  assert.instance(fault, UserFault);
  assert.match(
    (fault as Error).message,
    /the poisoned run ends at step 6 and its clean twin at step 5, and they kept no step in common/,
  );
});

test.run();
