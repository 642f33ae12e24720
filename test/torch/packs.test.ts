/** Trainings that take their steps together have the losses and files that they have alone. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import type { JsonObject } from '../../src/api.ts';
import { meeting, type Seat } from '../../src/base/meeting.ts';
import { readSafetensors } from '../../src/science/models/io/safetensors.ts';
import { openTorchTrainer } from '../../src/science/torch/trainer.ts';
import type { LabelledRow, TrainSettings } from '../../src/science/training/loop.ts';
import type { TrainerHooks } from '../../src/science/training/session.ts';
import { listFiles } from '../../src/store/files.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { present } from '../rig/present.ts';
import { type FamilyCase, openCase, optionsUnder } from '../science/family-cases.ts';
import { plainTraining } from '../science/plain-training.ts';
import { farthest } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { recordingInto } from './rig.ts';

const test = suite('torch/packs');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-packs-'));
test.after(async () => {
  await (await torchWorker()).end();
});

interface Member {
  readonly adapter?: JsonObject;
  readonly seed?: number;
  readonly settings?: Partial<TrainSettings>;
  readonly rows?: readonly LabelledRow[];
  readonly hooks?: Partial<TrainerHooks>;
}

interface Course {
  readonly losses: readonly number[];
  readonly folder: string;
  /** With how many, and itself, it took steps together. */
  readonly packed: number | undefined;
  readonly alone: string | null | undefined;
}

const rank = { rank: 2, alpha: 4, targets: 'all-linear' };
const STEPS = 50;
let folders = 0;

async function train(
  own: FamilyCase,
  { adapter = {}, seed = 1, settings = {}, rows = own.rows, hooks = {} }: Member,
  together?: Seat,
): Promise<Course> {
  try {
    const options = await optionsUnder(own, lora, { params: { ...rank, ...adapter } });
    const classes = ['a', 'b', 'c'].slice(0, own.classes);
    const trainer = await openTorchTrainer({
      ...options,
      seed,
      savedAs: { modelDir: own.checkpoint, classes },
    });
    const losses: number[] = [];
    const whole = {
      ...plainTraining,
      steps: STEPS,
      learningRate: own.golden.training.lr,
      batchSize: 2,
      weightDecay: 0.01,
      schedule: 'linear',
      warmup: 5,
      shuffle: true,
      seed,
      ...settings,
    } as const;
    const model = await trainer.train(rows, whole, {
      ...recordingInto(losses),
      together,
      ...hooks,
    });
    const folder = join(dir, String(folders++));
    await model.save(folder);
    model.dispose();
    return { losses, folder, packed: model.packed?.members, alone: model.packed?.alone };
  } finally {
    together?.leave();
  }
}

const alone = async (own: FamilyCase, members: readonly Member[]): Promise<Course[]> => {
  const courses: Course[] = [];
  for (const member of members) courses.push(await train(own, member));
  return courses;
};
const packed = (own: FamilyCase, members: readonly Member[]): Promise<Course[]> => {
  const seats = meeting(members.length);
  return Promise.all(members.map((member, i) => train(own, member, seats[i])));
};

async function assertSame(courses: readonly Course[], expected: readonly Course[]): Promise<void> {
  for (const [i, { losses, folder }] of courses.entries()) {
    const other = present(expected[i]);
    assert.is(losses.length, other.losses.length);
    const off = farthest(losses, other.losses);
    assert.ok(off <= tolerance.engines.loss, `member ${i}: losses off by ${off}`);
    for (const { path } of listFiles(folder).filter(({ path }) => path.endsWith('.safetensors'))) {
      const theirs = await readSafetensors(join(other.folder, path));
      for (const [name, { data }] of await readSafetensors(join(folder, path))) {
        const far = farthest(data, present(theirs.get(name)).data);
        assert.ok(far <= tolerance.engines.weights, `member ${i}: ${name} off by ${far}`);
      }
    }
  }
}

/** Four cells of a grid, which differ in all in which members of a pack may. */
const GRID: readonly Member[] = [
  {},
  { adapter: { rank: 4, alpha: 16 }, seed: 2, settings: { clipNorm: 0.5, steps: 30 } },
  {
    adapter: { rslora: true, lora_plus_ratio: 4 },
    seed: 3,
    settings: { accumulate: 2, weightDecay: 0.1 },
  },
  {
    adapter: { rank: 3, freeze_a: true },
    seed: 4,
    settings: { schedule: 'constant', batchSize: 1 },
  },
];

for (const name of [
  'bert-classifier',
  'roberta-classifier',
  'roberta-cloze',
  'distilbert-classifier',
  'gpt2-classifier',
  'gpt2-causal',
  'gemma-causal',
  'llama-classifier',
  'llama-causal',
  'modernbert-cloze',
])
  test(`${name}: each member has the losses and the files that it has alone`, async () => {
    const own = await openCase(name);
    const courses = await packed(own, GRID);
    assert.equal(
      courses.map((course) => course.packed),
      [4, 4, 4, 4],
    );
    await assertSame(courses, await alone(own, GRID));
  });

test('cells that read each other are trained alone, and say why', async () => {
  // DeBERTa's keys and queries read the distances between tokens too, which belong to no row.
  const own = await openCase('deberta-v2-classifier');
  const few = GRID.slice(0, 2).map((member) => ({ ...member, settings: { steps: 10 } }));
  const courses = await packed(own, few);
  for (const { packed: members, alone: why } of courses)
    assert.equal([members, why], [1, 'a layer is not given the rows of the batch']);
  const expected = await alone(own, few);
  assert.equal(
    courses.map(({ losses }) => losses),
    expected.map(({ losses }) => losses),
  );
});

test('other forms of LoRA, dropout and other trained layers are not packed', async () => {
  const own = await openCase('bert-classifier');
  for (const [adapter, why] of [
    [{ use_dora: true }, /has another form of LoRA$/],
    [{ dropout: 0.1 }, /^LoRA's dropout draws masks$/],
    [{ bias: 'all' }, /^other parameters are trained$/],
    [{ init: { distribution: 'pissa' } }, /^their frozen weights differ: /],
  ] as const) {
    const some = { settings: { steps: 2 } };
    const [course] = await packed(own, [{ ...some, adapter }, some]);
    assert.is(course?.packed, 1);
    assert.match(course?.alone ?? '', why);
  }
});

test('a loss that is not finite ends its member, and leaves the bits of the others', async () => {
  const own = await openCase('bert-classifier');
  const bad = { seed: 9, settings: { learningRate: 1e30, warmup: 0, clipNorm: 0 } };
  const others = GRID.slice(0, 2);
  const run = async (last: Member) => {
    const seats = meeting(3);
    const courses = others.map((member, i) => train(own, member, seats[i]));
    const third = await train(own, last, seats[2]).then(
      () => '',
      (error: unknown) => (error as Error).message,
    );
    return { third, courses: await Promise.all(courses) };
  };
  const { third, courses } = await run(bad);
  const [, step] = /^the loss is \S+ at step (\d+);/.exec(third) ?? [];
  // The same pack up to that step, whose third member is then at its end.
  const { courses: expected } = await run({
    seed: 9,
    settings: { steps: Number(step), warmup: 0 },
  });
  for (const [i, { losses }] of courses.entries()) assert.equal(losses, expected[i]?.losses);
  await assertSame(courses, await alone(own, others));
});

test('members that are cut short go on to the bits of the whole', async () => {
  const own = await openCase('llama-causal');
  const run = (
    folder: string,
    stop: number,
    seats: readonly Seat[] = meeting(2),
  ): Promise<PromiseSettledResult<Course>[]> => {
    return Promise.allSettled(
      GRID.slice(2).map((member, i) => {
        const cut = new AbortController();
        const hooks: Partial<TrainerHooks> = {
          signal: cut.signal,
          wants: (step) => step === stop,
          see: () => {
            cut.abort();
            return Promise.resolve(undefined);
          },
          resume: {
            dir: join(dir, `${folder}-${i}`),
            log: () => undefined,
            complete: () => true,
            gathered: () => ({}),
            restore: () => undefined,
          },
        };
        return train(own, { ...member, hooks }, seats[i]);
      }),
    );
  };
  const lossesOf = (settled: readonly PromiseSettledResult<Course>[]) =>
    settled.map((one) => (one.status === 'fulfilled' ? one.value.losses : String(one.reason)));
  const whole = lossesOf(await run('whole', -1));
  for (const stopped of lossesOf(await run('cut', 20))) assert.match(String(stopped), /AbortError/);
  assert.equal(
    lossesOf(await run('cut', -1)),
    whole.map((losses) => losses.slice(20)),
  );
  await run('apart', 20);
  for (const one of await run('apart', -1, []))
    assert.is(one.status === 'fulfilled' && one.value.packed, 2, 'it goes on to say so alone');
});

test.run();
