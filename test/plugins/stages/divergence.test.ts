/** M over paired runs: which runs are paired, and numbers worked out by hand. */
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import divergence from '../../../plugins/stages/divergence/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import { beforeTraining, type Cell, UserFault } from '../../../src/api.ts';
import { readSafetensors } from '../../../src/science/io/safetensors.ts';
import type { Distance } from '../../../src/science/weights/divergence.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { checkpoint } from '../../science/tiny-bert.ts';
import { tolerance } from '../../tolerances.ts';
import { type Chain, file, openChain, rows } from './kernel-chain.ts';
import { modelAsset, poisonedFolder, type Ran, runStage, tinyCell } from './rig.ts';

const test = suite('divergence of paired runs');
let chain: Chain;
test.before(async () => {
  await useBackend('cpu');
  chain = await openChain();
});
test.after(async () => {
  await chain.clean();
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

const twinOf = (of: Cell): Cell => ({ ...of, poisoning: { attack: 'none' } });

interface Parts {
  readonly total: Distance | null;
  readonly trained: Distance | null;
  readonly kinds: Partial<Record<'biases' | 'norms' | 'embeddings' | 'other', Distance>>;
  readonly head: Distance | null;
}
interface Found {
  readonly points: readonly (Parts & {
    readonly step: number;
    readonly layers: Record<string, Distance>;
    readonly floor: Parts | null;
  })[];
  readonly mean: Parts;
  readonly noise_floor:
    | { readonly measured: true; readonly method: string; readonly mean: Parts }
    | { readonly measured: false; readonly reason: string };
}
const json = async <T>(path: string): Promise<T> => JSON.parse(await readFile(path, 'utf8')) as T;

interface Runs {
  readonly [name: string]: string;
  readonly start: string;
  readonly model: string;
  readonly clean: string;
  readonly poison: string;
}

async function runs(of: Cell): Promise<Runs> {
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
    clean: (await chain.train(twinOf(of))).dir,
    ...(of.theory.noise_floor
      ? { again: (await chain.train(twinOf(of), { batch_rows: 'reversed' })).dir }
      : {}),
  };
}

test('it pairs a cell with itself but for the attack', () => {
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
  assert.equal(
    [present(inputs['start']).cell.seed, present(inputs['start']).cell.train.steps],
    [7, 0],
  );
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
    const B = present(held.get(name.replace('lora_A', 'lora_B'))),
      scale = 6 / 3;
    layers.set(
      name.replace('base_model.model.', '').replace('.lora_A.weight', '.weight'),
      Array.from({ length: present(B.shape[0]) * present(n) }, (_, at) => {
        let sum = 0;
        for (let q = 0; q < present(r); q++)
          sum +=
            present(B.data[Math.floor(at / present(n)) * present(r) + q]) *
            present(data[q * present(n) + (at % present(n))]);
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
  const difference = clean.map((value, i) => value - present(poisoned[i]));
  const expected = {
    largest: Math.max(...difference.map(Math.abs)),
    l2: size(difference),
    clean_change: size(clean),
    relative: size(difference) / size(clean),
  };
  for (const [name, value] of Object.entries(expected)) {
    const own = present(found[name as keyof Distance]);
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
    assert.is(present(clean).layers.size, 19);
    for (const [name, changed] of present(clean).layers)
      near(
        present(layers[name]),
        changed,
        present(present(poisoned).layers.get(name)),
        `step ${step}, ${name}`,
      );
    near(
      present(total),
      [...present(clean).layers.values()].flat(),
      [...present(clean).layers.keys()].flatMap((name) =>
        present(present(poisoned).layers.get(name)),
      ),
      `step ${step}, total`,
    );
    const moved = (values: readonly number[]): number[] =>
      values.map((value, i) => value - present(start.head[i]));
    near(
      present(head),
      moved(present(clean).head),
      moved(present(poisoned).head),
      `step ${step}, head`,
    );
  }
  assert.ok(present(points[0]!.total).l2 < present(points[2]!.total).l2);
  for (const name of ['largest', 'l2', 'clean_change', 'relative'] as const) {
    assert.ok(
      Math.abs(
        present(mean.total![name]) -
          points.reduce((sum, { total }) => sum + present(total![name]) / 3, 0),
      ) < 1e-12,
    );
  }
});

/** Every tensor that a run's folder holds below the head, and the head, by transformers' names. */
async function tensorsIn(dir: string, at: string): Promise<Map<string, ArrayLike<number>>> {
  const held = await readSafetensors(join(dir, at));
  return new Map([...held].map(([name, { data }]) => [name, data]));
}
const kindOf = (name: string): string =>
  name.startsWith('classifier.')
    ? 'head'
    : name.includes('LayerNorm')
      ? 'norms'
      : name.includes('embeddings')
        ? 'embeddings'
        : name.endsWith('.bias')
          ? 'biases'
          : 'total';

for (const [adapter, at, kinds] of [
  ['bitfit', 'changed.safetensors', ['biases', 'norms']],
  ['full', 'model/model.safetensors', ['biases', 'norms', 'embeddings']],
  ['head-only', 'changed.safetensors', []],
] as const)
  test(`${adapter}: M is of what it trains, by kind, as its own files have it`, async () => {
    const of = { ...cell, adapter: { type: adapter }, train: tinyCell().train } as Cell;
    const inputs = await runs(of);
    const ran = await chain.run(divergence, of, inputs);
    const { points, mean } = await json<Found>(file(ran, 'divergence.json'));
    const [clean, poisoned, start] = await Promise.all([
      tensorsIn(inputs.clean, at),
      tensorsIn(inputs.model, at),
      // The start folder of a head-only or BitFit training holds the checkpoint's values.
      tensorsIn(inputs.start, at),
    ]);
    const changes = (held: Map<string, ArrayLike<number>>, wanted: (kind: string) => boolean) =>
      [...held].flatMap(([name, values]) =>
        wanted(kindOf(name)) ? Array.from(values, (x, i) => x - present(start.get(name)![i])) : [],
      );
    const check = (found: Distance, wanted: (kind: string) => boolean, what: string): void =>
      near(found, changes(clean, wanted), changes(poisoned, wanted), what);
    assert.equal(Object.keys(mean.kinds), [...kinds]);
    for (const kind of kinds) check(present(mean.kinds[kind]), (own) => own === kind, kind);
    check(present(mean.head), (own) => own === 'head', 'head');
    if (adapter === 'head-only') assert.is(mean.trained, null);
    else {
      check(present(mean.trained), (own) => own !== 'head', 'trained');
      assert.ok(present(mean.trained).l2 > 0);
    }
    const metrics = await json<Record<string, number>>(file(ran, 'metrics.json'));
    if (adapter === 'full') {
      check(present(mean.total), (own) => own === 'total', 'total');
      assert.is(Object.keys(present(points[0]).layers).length, 19);
      assert.is(metrics['embeddings.l2'], present(mean.kinds.embeddings).l2);
    } else {
      // No layer's weight is trained: a zero would read as "poison did nothing".
      assert.equal([mean.total, present(points[0]).layers], [null, {}]);
      assert.not.ok(Object.keys(metrics).some((name) => name.startsWith('total.')));
      assert.match(ran.log.join('\n'), /the adapter trains no layer's weight/);
    }
    assert.is(metrics['trained.l2'], mean.trained?.l2);
  });

test("LoRA with trained biases: they are M's too, apart from the effective weights", async () => {
  const of = { ...cell, adapter: { ...cell.adapter, bias: 'all' } };
  const { mean } = await json<Found>(
    file(await chain.run(divergence, of, await runs(of)), 'divergence.json'),
  );
  assert.equal(Object.keys(mean.kinds), ['biases', 'norms']);
  assert.ok(present(mean.kinds.biases).l2 > 0 && present(mean.kinds.norms).l2 > 0);
  // Where no biases are trained there are no kinds, and `trained` equals `total`: both are means of
  // norms over points, not norms of means.
  const plain = await json<Found>(
    file(await chain.run(divergence, cell, await runs(cell)), 'divergence.json'),
  );
  assert.equal([plain.mean.kinds, plain.mean.trained], [{}, plain.mean.total]);
});

interface Golden {
  readonly steps: number;
  readonly batch_size: number;
  readonly learning_rate: number;
  readonly texts: readonly string[];
  readonly labels: readonly number[];
  readonly flipped: readonly (readonly [number, number])[];
  readonly runs: Readonly<Record<string, Readonly<Record<string, Distance>>>>;
}

test('M of full fine-tuning, LoRA and BitFit, by kind, is that of PyTorch and PEFT', async () => {
  const folder = dirname(checkpoint);
  const golden = await json<Golden>(join(folder, 'divergence.json'));
  const clean = golden.texts.map((text, i) => ({
    id: `r${i}`,
    text,
    label: present(golden.labels[i]),
  }));
  const changed = golden.flipped.map(([index, label]) => ({
    index,
    row: { ...present(clean[index]), label },
  }));
  const of = ['a', 'b', 'c'];
  const [data, poison] = await Promise.all([
    poisonedFolder(clean, undefined, of),
    poisonedFolder(clean, { changed, negatives: [], asked: 4, eligible: clean.length }, of),
  ]);
  for (const [type, expected] of Object.entries(golden.runs)) {
    const one = tinyCell({
      poisoning: { attack: 'label-flip', rate: 0.3 },
      adapter: { type, ...(type === 'lora' ? { init_from: join(folder, 'adapter') } : {}) },
      train: {
        ...tinyCell().train,
        steps: golden.steps,
        batch_size: golden.batch_size,
        learning_rate: golden.learning_rate,
        optimizer: 'sgd',
        weight_decay: 0,
        shuffle: false,
      },
    });
    const assets =
      type === 'lora' ? { adapter: { ...modelAsset, path: join(folder, 'adapter') } } : {};
    const trained = async (run: Cell, rowsDir: string): Promise<string> =>
      (await runStage(train, run, { data: rowsDir }, {}, assets)).dir;
    const { mean } = await json<Found>(
      file(
        await chain.run(divergence, one, {
          start: await trained(beforeTraining(one), data),
          model: await trained(one, poison),
          clean: await trained(twinOf(one), data),
          poison,
        }),
        'divergence.json',
      ),
    );
    const found: Record<string, Distance | null> = {
      ...mean.kinds,
      total: mean.total,
      trained: mean.trained,
      head: mean.head,
    };
    assert.equal(
      Object.keys(found)
        .filter((part) => found[part] !== null)
        .sort(),
      Object.keys(expected).sort(),
      type,
    );
    for (const [part, numbers] of Object.entries(expected)) {
      for (const [name, value] of Object.entries(numbers)) {
        const own = present(found[part]![name as keyof Distance]);
        assert.ok(
          Math.abs(own / value - 1) < tolerance.kernel,
          `${type}, ${part}.${name}: ${own}, PyTorch ${value}`,
        );
      }
    }
  }
});

const floored = (change: { [section in keyof Cell]?: unknown } = {}): Cell =>
  ({
    ...cell,
    theory: { ...cell.theory, noise_floor: true },
    ...change,
  }) as Cell;

test('the noise floor is the clean run against itself with its rows reversed', async () => {
  // It adds in float32, as TensorFlow and GPUs do. Plain JavaScript adds in double precision,
  // where the order of a sum hardly ever shows.
  await useBackend('wasm');
  const of = floored();
  const { inputs, params } = divergence.define([of], { with: {}, goals: [] });
  assert.equal(inputs['again'], {
    kind: 'train',
    cell: twinOf(of),
    with: { batch_rows: 'reversed' },
  });
  assert.not.ok('no_floor' in params);
  const given = await runs(of);
  const ran = await chain.run(divergence, of, given);
  const { points, mean, noise_floor: floor } = await json<Found>(file(ran, 'divergence.json'));
  if (!floor.measured) throw new Error(floor.reason);
  assert.match(floor.method, /rows of each batch in reverse order/);
  // The floor at the last point is computed by hand.
  const [clean, again] = await Promise.all([
    weightsIn(given.clean),
    weightsIn(present(given['again'])),
  ]);
  const flat = ({ layers }: { readonly layers: Map<string, number[]> }): number[] =>
    [...layers.values()].flat();
  near(present(points[2]!.floor!.total), flat(clean), flat(again), 'the floor');
  assert.ok(present(floor.mean.total).l2 > 0 && present(floor.mean.head).l2 > 0);
  assert.ok(
    present(floor.mean.total).l2 < 1e-3 * present(mean.total).l2,
    `${present(floor.mean.total).l2} is no rounding`,
  );
  const metrics = await json<Record<string, number>>(file(ran, 'metrics.json'));
  assert.is(metrics['floor.total.l2'], present(floor.mean.total).l2);
  const sum = (get: (point: Found['points'][number]) => number): number =>
    points.reduce((all, point) => all + get(point), 0);
  assert.ok(
    Math.abs(
      present(metrics['total.over_floor']) -
        sum(({ total }) => present(total).l2) / sum((point) => present(point.floor!.total).l2),
    ) <
      1e-9 * present(metrics['total.over_floor']),
  );
  assert.match(ran.log.join('\n'), /noise floor: the clean run, trained once more/);
  await useBackend('cpu');
});

test('M of a run and itself is zero, and its floor is rounding', async () => {
  const of = floored({ adapter: { type: 'full' }, train: tinyCell().train });
  const given = await runs(of);
  const { mean, noise_floor: floor } = await json<Found>(
    file(await chain.run(divergence, of, { ...given, model: given.clean }), 'divergence.json'),
  );
  if (!floor.measured) throw new Error(floor.reason);
  assert.is(present(mean.trained).l2, 0);
  assert.ok(present(floor.mean.trained).l2 > 0 && present(floor.mean.kinds.norms).l2 > 0);
});

test('where reversing rows is more than rounding, the result says why', async () => {
  const train = cell.train;
  for (const [change, reason] of [
    [{ theory: { ...cell.theory, noise_floor: false } }, /theory\.noise_floor is off/],
    [{ train: { ...train, batch_size: 1 } }, /the only row of a batch has no other order/],
    [{ train: { ...train, dropout: 0.1 } }, /dropout draws a mask for each place/],
    [{ adapter: { ...cell.adapter, dropout: 0.1 } }, /dropout draws a mask for each place/],
    // Train takes the folder's dropout where the spec has none.
    [
      { adapter: { type: 'lora', init_from: '/adapter' } },
      /init_from names may set a dropout[^]*write adapter\.dropout: 0/,
    ],
  ] as const) {
    const { inputs, params } = divergence.define([floored(change)], { with: {}, goals: [] });
    assert.not.ok('again' in inputs);
    assert.match(JSON.stringify(params['no_floor']), reason);
  }
  const log = async (of: Cell): Promise<string> =>
    (await chain.run(divergence, of, await runs(of))).log.join('\n');
  assert.match(
    await log({ ...cell, train: { ...train, dropout: 0.1 } }),
    /with dropout, M \(like accuracy_drop and asr_minus_clean\) also contains the effect of/,
  );
  assert.not.match(await log(cell), /with dropout/);
  const without = floored({ adapter: { type: 'lora', init_from: '/adapter', dropout: 0 } });
  assert.ok('again' in divergence.define([without], { with: {}, goals: [] }).inputs);
  const ran = await chain.run(divergence, cell, await runs(cell));
  const { noise_floor: floor, points } = await json<Found>(file(ran, 'divergence.json'));
  assert.equal([floor.measured, present(points[0]).floor], [false, null]);
  assert.match(ran.log.join('\n'), /noise floor not measured: theory\.noise_floor is off/);
  const metrics = await json<object>(file(ran, 'metrics.json'));
  assert.not.ok(Object.keys(metrics).some((name) => name.includes('floor')));
});

test('a training of reversed batches is in no pack, and says what it is', async () => {
  const { params, assets, inputs } = train.define([twinOf(cell)], {
    with: { batch_rows: 'reversed' },
    goals: [],
  });
  assert.is(params['batch_rows'], 'reversed');
  assert.is(
    present(train.pack).key({ params, inputs, ...(assets === undefined ? {} : { assets }) }),
    null,
  );
  assert.throws(
    () => train.define([cell], { with: { batch_rows: 'shuffled' }, goals: [] }),
    /batch_rows is reversed or left out/,
  );
  const ran = await chain.train(twinOf(cell), { batch_rows: 'reversed' });
  assert.is((await json<{ batch_rows: string }>(file(ran, 'train.json'))).batch_rows, 'reversed');
});

test('runs that end at different steps are compared at steps of both, or not at all', async () => {
  const inputs = await runs(cell);
  // The record is as an early stop leaves it: the run's last model is of step 4, or of step 3.
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
    'the poisoned run ends at step 6, its clean twin at step 3: ' +
      'M compares them at the steps that both kept (2, 4)',
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
