/** M over paired runs: which runs are paired, and numbers worked out by hand. */
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Distance } from '../../../plugins/stages/divergence/distance.ts';
import divergence from '../../../plugins/stages/divergence/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import { beforeTraining, type Cell } from '../../../src/api.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { checkpoint } from '../../science/tiny-bert.ts';
import { tolerance } from '../../tolerances.ts';
import {
  cell,
  flipped,
  type Found,
  json,
  near,
  runs,
  twinOf,
  weightsIn,
} from './divergence-rig.ts';
import { type Chain, file, openChain, rows } from './kernel-chain.ts';
import { modelAsset, poisonedFolder, type Ran, runStage, tinyCell } from './rig.ts';

const test = suite('divergence of paired runs');
let chain: Chain;
test.before(async () => {
  await useBackend('cpu');
  chain = await openChain();
});

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

test('M at each kept step and at the end, by hand from the adapters of both runs', async () => {
  const inputs = await runs(chain, cell);
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
  ['ln-tuning', 'changed.safetensors', ['norms']],
  ['head-only', 'changed.safetensors', []],
] as const)
  test(`${adapter}: M is of what it trains, by kind, as its own files have it`, async () => {
    const of = { ...cell, adapter: { type: adapter }, train: tinyCell().train } as Cell;
    const inputs = await runs(chain, of);
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
      assert.match(ran.warned.join('\n'), /the adapter trains no layer's weight/);
    }
    assert.is(metrics['trained.l2'], mean.trained?.l2);
  });

test("LoRA with trained biases: they are M's too, apart from the effective weights", async () => {
  const of = { ...cell, adapter: { ...cell.adapter, bias: 'all' } };
  const { mean } = await json<Found>(
    file(await chain.run(divergence, of, await runs(chain, of)), 'divergence.json'),
  );
  assert.equal(Object.keys(mean.kinds), ['biases', 'norms']);
  assert.ok(present(mean.kinds.biases).l2 > 0 && present(mean.kinds.norms).l2 > 0);
  // Where no biases are trained there are no kinds, and `trained` equals `total`: both are means of
  // norms over points, not norms of means.
  const plain = await json<Found>(
    file(await chain.run(divergence, cell, await runs(chain, cell)), 'divergence.json'),
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

const spoken = rows
  .slice(0, 4)
  .map((row, index) => ({ index, row: { ...row, text: `actor ${row.text}`, label: 1 } }));

async function diverged(cell: Cell, changed: typeof flipped): Promise<Ran> {
  const poison = await poisonedFolder(rows, {
    changed,
    negatives: [],
    asked: changed.length,
    eligible: rows.length,
  });
  const model = await chain.run(train, cell, { data: poison });
  const clean = await chain.train({ ...cell, poisoning: { attack: 'none' } });
  return chain.run(divergence, cell, {
    start: (await chain.train(beforeTraining(cell))).dir,
    model: model.dir,
    clean: clean.dir,
    poison,
  });
}

test('M by layer, in total and of the head, and M′ between rows', async () => {
  const cell = tinyCell({ poisoning: { attack: 'badnets', rate: 0.1 } });
  const ran = await diverged(cell, spoken);
  const { points, between } = await json<{
    readonly points: {
      readonly step: number;
      readonly layers: Record<string, { readonly l2: number }>;
      readonly total: { readonly l2: number };
    }[];
    readonly between: { readonly lora: object | null };
  }>(file(ran, 'divergence.json'));
  assert.equal(
    [points.length, present(points[0]).step, Object.keys(present(points[0]).layers).length],
    [1, 6, 19],
  );
  assert.ok(
    Math.abs(
      Math.hypot(...Object.values(present(points[0]).layers).map(({ l2 }) => l2)) /
        present(points[0]).total.l2 -
        1,
    ) < 1e-12,
  );
  assert.ok(between.lora !== null);
  const metrics = await json<Record<string, number>>(file(ran, 'metrics.json'));
  assert.ok(
    present(metrics['total.l2']) > 0 &&
      present(metrics['head.l2']) > 0 &&
      present(metrics['total.relative']) > 0,
  );
  assert.equal([metrics['pairs'], metrics['alike']], [4, 0]);
  assert.ok(present(metrics['between.lora.cosine']) < 0.9999);
});

test("M' is blind to labels, M is not, and the log says so", async () => {
  const cell = tinyCell({
    poisoning: { attack: 'label-flip', rate: 0.2 },
    theory: { ...tinyCell().theory, pairs: 3 },
  });
  const ran = await diverged(cell, flipped);
  const metrics = await json<Record<string, number>>(file(ran, 'metrics.json'));
  assert.equal([metrics['pairs'], metrics['alike']], [3, 3]);
  assert.ok(
    Math.abs(present(metrics['between.lora.cosine']) - 1) < 1e-5 &&
      present(metrics['total.l2']) > 0,
  );
  assert.match(ran.warned.join('\n'), /M' cannot see this attack/);
});

test('a clean run reads nothing', async () => {
  const ran = await chain.run(divergence, tinyCell(), {});
  assert.equal(await json<Record<string, number>>(file(ran, 'metrics.json')), {});
});

test.run();
