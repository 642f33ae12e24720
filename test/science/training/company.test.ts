/**
 * Trainings that take their steps together have the bits that they have alone: losses, trained
 * values and faults, whoever else takes part.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../../src/base/lookup.ts';
import { lora } from '../../../src/science/models/lora.ts';
import { type Network, openNetwork } from '../../../src/science/models/network.ts';
import type { Architecture } from '../../../src/science/models/types.ts';
import { openGathering } from '../../../src/science/training/company.ts';
import {
  type LabelledRow,
  type StepRecord,
  train,
  type TrainHooks,
  type TrainSettings,
} from '../../../src/science/training/loop.ts';
import type { Meeting } from '../../../src/science/training/pack-meeting.ts';
import { hasFusedBf16 } from '../../../src/tensor/fused.ts';
import { FLOAT32_SETS, withInstructions } from '../../tensor/instructions.ts';
import { useBackend } from '../backend.ts';
import { caseNames, type FamilyCase, openCase } from '../family-cases.ts';
import { memberTraining as settings } from '../plain-training.ts';
import { everySecond } from './resumed-run.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'company-'));
test.after(() => rmSync(dir, { recursive: true }));

/** Sizes by their names in config.json. Like those of real models they are multiples of 16. */
const WIDE: Readonly<Record<string, number>> = {
  hidden_size: 64,
  n_embd: 64,
  dim: 64,
  pooler_hidden_size: 64,
  intermediate_size: 96,
  n_inner: 96,
  hidden_dim: 96,
  num_attention_heads: 2,
  n_head: 2,
  n_heads: 2,
  num_key_value_heads: 1,
  head_dim: 32,
};

/** A random model of a family. */
interface Wide {
  readonly own: FamilyCase;
  readonly dir: string;
  readonly architecture: Architecture;
}

async function wide(name: string): Promise<Wide> {
  const own = await openCase(name),
    to = mkdtempSync(path.join(dir, 'model-'));
  const given = JSON.parse(
    readFileSync(path.join(own.checkpoint, 'config.json'), 'utf8'),
  ) as Record<string, unknown>;
  const config = Object.fromEntries(
    Object.entries(given).map(([field, value]) => [field, WIDE[field] ?? value]),
  );
  writeFileSync(path.join(to, 'config.json'), JSON.stringify(config));
  return { own, dir: to, architecture: own.architecture };
}

async function open({ own, dir: model, architecture }: Wide, adapter: object): Promise<Network> {
  const { classes } = own,
    config = architecture.parseConfig(
      JSON.parse(readFileSync(path.join(model, 'config.json'), 'utf8')),
      classes,
    );
  return openNetwork({
    architecture,
    model: { path: model, digest: model, init: 'random' },
    classes,
    seed: 1,
    adapter: await lora.create(
      { targets: 'all-linear', ...adapter },
      {
        architecture,
        linears: architecture.linears(config),
        parameters: architecture.parameters(config),
      },
    ),
  });
}

interface Trial {
  readonly open: () => Promise<Network>;
  readonly rows: readonly LabelledRow[];
  readonly settings: TrainSettings;
  readonly hooks?: TrainHooks;
}

interface Course {
  readonly history: readonly StepRecord[];
  readonly values: Readonly<Record<string, readonly number[]>>;
  readonly error: string | null;
}

interface Followed extends Course {
  /** How many trainings took each step together; undefined for one that is alone. */
  readonly packed: readonly (number | undefined)[];
}

/** What a training does. */
async function follow(trial: Trial, trainer: typeof train): Promise<Followed> {
  const network = await trial.open(),
    history: StepRecord[] = [],
    packed: (number | undefined)[] = [];
  try {
    const trained = await trainer(network, trial.rows, trial.settings, {
      ...trial.hooks,
      onStep: async (record, batch) => {
        history.push(record);
        packed.push(batch.packed);
        await trial.hooks?.onStep?.(record, batch);
      },
    });
    const values = Object.fromEntries(
      [...trained].map(([name, tensor]) => [name, [...tensor.dataSync()]]),
    );
    trained.forEach((tensor) => tensor.dispose());
    return { history, values, error: null, packed };
  } catch (error) {
    return { history, values: {}, error: (error as Error).message, packed };
  } finally {
    network.dispose();
  }
}

const trainerOf =
  (gathering: Meeting, seat: number): typeof train =>
  (...call) =>
    gathering.train(seat, ...call);

async function together(some: readonly Trial[]): Promise<Followed[]> {
  const gathering = openGathering(some.length);
  return Promise.all(some.map((trial, k) => follow(trial, trainerOf(gathering, k))));
}

/** Compares all but the numbers of members. */
function equal(found: Followed, expected: Followed): void {
  const course = ({ history, values, error }: Course): Course => ({ history, values, error });
  assert.equal(course(found), course(expected));
}

/** Unlike in rank, scale, variance, rows, rates, schedule, optimiser, batches and steps. */
interface Size {
  /** The layers under LoRA; the others multiply the rows of all members at once. */
  readonly targets: string | readonly string[];
  /** What the numbers of rows are multiplied by. */
  readonly times: number;
}

async function unlike(
  { targets, times }: Size = { targets: 'all-linear', times: 1 },
): Promise<readonly Trial[]> {
  const model = await wide('bert-classifier'),
    { classes } = model.own,
    rows = Array.from({ length: times }, () => model.own.rows).flat();
  const under = (adapter: object) => () => open(model, { targets, ...adapter });
  const flipped = rows.map((row, i) =>
    i % 3 === 0 ? { ...row, label: (row.label + 1) % classes } : row,
  );
  const trials: readonly Trial[] = [
    { open: under({ rank: 2 }), rows, settings },
    {
      open: under({ rank: 5, alpha: 16, init: { variance: '2/d' } }),
      rows: flipped,
      settings: { ...settings, seed: 4, learningRate: 3e-3, schedule: 'linear', warmup: 2 },
    },
    {
      open: under({ rank: 17, rslora: true, lora_plus_ratio: 4 }),
      rows: rows.slice(0, 5 * times),
      settings: { ...settings, seed: 5, weightDecay: 0, batchSize: 3, steps: 4, clipNorm: 0.1 },
    },
    {
      open: under({ rank: 7, rank_pattern: { value: 1 } }),
      rows: flipped.slice(2),
      settings: {
        ...settings,
        seed: 6,
        optimizer: 'sgd',
        batchSize: 3,
        classWeights: [1, 2, 0.5].slice(0, classes),
      },
    },
  ];
  return trials.map((trial) => ({
    ...trial,
    settings: { ...trial.settings, batchSize: times * trial.settings.batchSize },
  }));
}

const SIZES: readonly Size[] = [
  { targets: 'all-linear', times: 1 },
  { targets: ['query', 'value'], times: 5 },
];
const KERNELS = [
  ...FLOAT32_SETS.map((set) => ({ set, precision: 'float32' }) as const),
  { set: 'avx512_bf16', precision: 'bf16' } as const,
];
for (const { set, precision } of KERNELS)
  test(`each has the bits that it has alone: ${precision}, ${set}`, () =>
    withInstructions(set, async () => {
      for (const of of SIZES) await compareUnlike(precision, of);
    }));

async function compareUnlike(precision: 'float32' | 'bf16', of: Size): Promise<void> {
  const some = (await unlike(of)).map((trial) => ({
    ...trial,
    settings: { ...trial.settings, precision },
  }));
  const alone: Followed[] = [];
  for (const trial of some) alone.push(await follow(trial, train));
  const before = tf.memory().numTensors;
  const courses = await together(some);
  assert.is(tf.memory().numTensors, before, 'no tensor is left');
  for (const [k, course] of courses.entries()) equal(course, at(alone, k));
  // On processors with tiles (AMX), TensorFlow computes the products in bf16, and each trains
  // alone.
  const shares = precision === 'float32' || hasFusedBf16();
  assert.equal(at(courses, 0).packed, shares ? [4, 4, 4, 4, 3, 3, 3] : at(alone, 0).packed);
  assert.equal(at(courses, 2).packed, shares ? [4, 4, 4, 4] : at(alone, 2).packed);
  assert.equal(at(alone, 0).packed[0], undefined);
  assert.not.equal(at(courses, 0).history, at(courses, 1).history);
}

/** What pads its attention, for relative positions, is computed alone. */
const ALONE = /^deberta/;

for (const name of caseNames)
  test(`${name}: the bits of each`, async () => {
    for (const set of FLOAT32_SETS) await withInstructions(set, () => compareFamily(name));
  });

async function compareFamily(name: string): Promise<void> {
  const model = await wide(name);
  await compareAll(model, model.own.rows, 2, ALONE.test(name) ? undefined : 3);
}

/** @param packed how many share a step */
async function compareAll(
  model: Wide,
  rows: readonly LabelledRow[],
  batchSize: number,
  packed: number | undefined,
): Promise<void> {
  const some = [1e-3, 3e-3, 2e-3].map((learningRate, k): Trial => ({
    open: () => open(model, { rank: 3 + k }),
    rows: rows.slice(k % 2),
    settings: { ...settings, batchSize: batchSize + (k % 2), steps: 5, learningRate, seed: k },
  }));
  const courses = await together(some);
  for (const [k, trial] of some.entries()) equal(at(courses, k), await follow(trial, train));
  assert.equal(at(courses, 0).packed, Array(5).fill(packed));
}

test('a mean over tokens does not depend on how many there are in the other rows', async () => {
  await useBackend('tensorflow');
  const model = await wide('modernbert-classifier-mean'),
    [first] = model.own.rows;
  // More than a product sums in one block.
  const long = Array.from({ length: 9 }, (_, b) => ({
    ...first!,
    ids: Int32Array.from({ length: 30 }, (_, t) => 3 + ((7 * b + 5 * t) % 60)),
    typeIds: new Int32Array(30),
  }));
  await compareAll(model, long, 6, 3);
});

test('one that diverges fails as it does alone, and the others go on', async () => {
  await useBackend('tensorflow');
  const [first, second, third] = (await unlike()) as [Trial, Trial, Trial];
  const wild = {
    ...second,
    settings: { ...second.settings, schedule: 'constant', warmup: 0, learningRate: 1e30 },
  } as const;
  const courses = await together([first, wild, third]);
  assert.match(at(courses, 1).error ?? '', /^the loss is NaN at step 2; the last finite one was/);
  for (const [k, trial] of [first, wild, third].entries())
    equal(at(courses, k), await follow(trial, train));
});

test('one that was interrupted goes on with others that begin', async () => {
  await useBackend('tensorflow');
  const [first, second] = (await unlike()) as [Trial, Trial];
  const whole = await follow(first, train),
    state = mkdtempSync(path.join(dir, 'state-'));
  const losses: number[] = [];
  const resumable = (signal?: AbortSignal): Trial => ({
    ...first,
    hooks: {
      resume: everySecond(state, losses),
      ...(signal === undefined ? {} : { signal }),
      onStep: ({ loss }) => {
        losses.push(loss);
      },
    },
  });
  const stop = new AbortController();
  const begun = resumable(stop.signal);
  const stopped = await together([
    {
      ...begun,
      hooks: {
        ...begun.hooks,
        onStep: ({ step, loss }) => {
          losses.push(loss);
          if (step === 4) stop.abort(new Error('stopped'));
        },
      },
    },
    second,
  ]);
  assert.is(at(stopped, 0).error, 'stopped');
  equal(at(stopped, 1), await follow(second, train));
  const [rest, other] = await together([resumable(), second]);
  assert.equal(rest!.values, whole.values);
  assert.equal(
    losses,
    whole.history.map(({ loss }) => loss),
  );
  equal(other!, at(stopped, 1));
});

test('no step waits for one that does not come, or trains alone', async () => {
  await useBackend('tensorflow');
  const [first, second, third] = (await unlike()) as [Trial, Trial, Trial];
  const alone = { ...third, settings: { ...third.settings, accumulate: 2 } };
  const gathering = openGathering(4);
  const courses = [first, alone, second].map((trial, k) => follow(trial, trainerOf(gathering, k)));
  gathering.leave();
  for (const [k, trial] of [first, alone, second].entries())
    equal(await courses[k]!, await follow(trial, train));
  assert.equal((await courses[0]!).packed, Array(7).fill(2));
  assert.equal((await courses[1]!).packed, Array(4).fill(undefined));
});

test('steps of many tokens are taken apart', async () => {
  await useBackend('tensorflow');
  const [first] = (await unlike()) as [Trial];
  const long = { ...first.rows[0]!, ids: new Int32Array(30).fill(5), typeIds: new Int32Array(30) };
  const of = (batchSize: number): Trial => ({
    ...first,
    rows: Array.from({ length: 2 * batchSize }, () => long),
    settings: { ...settings, steps: 2, batchSize },
  });
  const packedOf = async (...sizes: number[]): Promise<unknown[]> =>
    (await together(sizes.map(of))).map(({ packed }) => packed[0]);
  assert.equal(await packedOf(30, 30, 30), [2, 2, 1]);
  assert.equal(await packedOf(30, 40, 20), [2, undefined, 2]);
});

test.run();
