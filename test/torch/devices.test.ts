/** A training of several processes has the losses and the weights that it has in one. */
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { FREE } from '../../src/run/crosscheck.ts';
import type { AdapterImplementation } from '../../src/science/models/adapter.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { readSafetensors } from '../../src/science/models/io/safetensors.ts';
import { openTorchTrainer } from '../../src/science/torch/trainer.ts';
import type { TrainSettings } from '../../src/science/training/loop.ts';
import type { TrainedModel, TrainerHooks } from '../../src/science/training/session.ts';
import { listFiles } from '../../src/store/files.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { present } from '../rig/present.ts';
import { type FamilyCase, openCase, optionsUnder } from '../science/family-cases.ts';
import { plainTraining } from '../science/plain-training.ts';
import { farthest } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { recordingInto } from './rig.ts';

const test = suite('torch/devices');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-devices-'));
test.after(async () => {
  await (await torchWorker()).end();
});

const rank = { rank: 2, alpha: 4, targets: 'all-linear' };
const STEPS = 20;

interface Course {
  readonly losses: readonly number[];
  readonly outputs: readonly number[];
  readonly folder: string;
}

async function train(
  own: FamilyCase,
  [implementation, params]: readonly [AdapterImplementation, object],
  settings: Partial<TrainSettings>,
  name: string,
  hooks: Partial<TrainerHooks> = {},
  look: (model: TrainedModel) => Promise<readonly number[]> = (model) => outputsOf(own, model),
): Promise<Course> {
  const trainer = await openTorchTrainer({
    ...(await optionsUnder(own, implementation, { params: { ...params } })),
    savedAs: { modelDir: own.checkpoint, classes: ['a', 'b', 'c'].slice(0, own.classes) },
  });
  const losses: number[] = [];
  const whole = {
    ...plainTraining,
    steps: STEPS,
    learningRate: own.golden.training.lr,
    batchSize: 3,
    weightDecay: 0.01,
    shuffle: true,
    clipNorm: 0.5,
    ...settings,
  };
  const model = await trainer.train(own.rows, whole, {
    ...recordingInto(losses),
    ...hooks,
  });
  try {
    const folder = join(dir, name);
    await model.save(folder);
    return { losses, outputs: await look(model), folder };
  } finally {
    model.dispose();
  }
}

const outputsOf = async (own: FamilyCase, model: TrainedModel): Promise<readonly number[]> =>
  own.golden.head === 'causal-lm'
    ? (await model.answers(own.rows, 2)).map(({ loss }) => loss)
    : [...(await model.logits(own.rows, 2))];

async function assertSame(course: Course, expected: Course): Promise<void> {
  assert.is(course.losses.length, STEPS);
  const near = (a: ArrayLike<number>, b: ArrayLike<number>, bound: number, what: string): void => {
    assert.ok(farthest(a, b) <= bound, `${what}: off by ${farthest(a, b)}`);
  };
  near(course.losses, expected.losses, tolerance.engines.loss, 'losses');
  near(course.outputs, expected.outputs, tolerance.engines.logits, 'outputs');
  for (const { path } of listFiles(course.folder).filter((file) => /safetensors$/.test(file.path)))
    for (const [name, { data, shape }] of await readSafetensors(join(course.folder, path))) {
      const other = present((await readSafetensors(join(expected.folder, path))).get(name));
      assert.equal(shape, other.shape);
      if (FREE.test(name)) continue; // its gradient is zero but for rounding
      near(data, other.data, tolerance.engines.weights, name);
    }
}

const weighted = { classWeights: [1, 2, 3], accumulate: 2 };
/** Each step goes a tenth along the gradient, which is longer: AdamW hides how it is scaled. */
const clipped = { optimizer: 'sgd', clipNorm: 0.1, learningRate: 1 } as const;
const CASES: readonly (readonly [
  string,
  readonly [AdapterImplementation, object],
  Partial<TrainSettings>,
])[] = [
  ['bert-classifier', [full, {}], { devices: 2, ...weighted }],
  ['bert-classifier', [full, {}], { devices: 3, fsdp: true, ...weighted }],
  ['llama-causal', [lora, rank], { devices: 2 }],
  [
    'llama-causal',
    [full, {}],
    { devices: 2, fsdp: true, gradientCheckpointing: true, batchSize: 2, packing: 30 },
  ],
  ['gpt2-classifier', [full, {}], { devices: 2, fsdp: true, ...clipped }],
  ['roberta-cloze', [full, {}], { devices: 2, fsdp: true }],
  ['llama-causal', [lora, rank], { devices: 2, precision: 'bf16' }],
];
for (const [name, adapter, settings] of CASES) {
  const { devices, fsdp, ...alone } = settings;
  const how = [adapter[0] === full ? 'full' : 'LoRA', fsdp ? 'FSDP' : 'data parallel'].join(', '),
    what = [name, how, alone.precision ?? 'float32'].join(', ');
  test(`${what}, ${devices} processes: losses, outputs and files are the same`, async () => {
    const own = await openCase(name);
    const several = await train(own, adapter, settings, `${what}-several`),
      one = await train(own, adapter, alone, `${what}-one`);
    if (settings.precision !== 'bf16') return assertSame(several, one);
    const off = farthest(several.losses, one.losses);
    assert.ok(off <= tolerance.bf16 * Math.max(...one.losses), `off by ${off}`);
  });
}

test('each process draws masks of dropout of its own', async () => {
  const own = await openCase('bert-classifier'),
    same = { ...own, rows: [own.rows[0], own.rows[0]].map(present) };
  const lossOf = async (settings: Partial<TrainSettings>, name: string): Promise<number> => {
    const dropping = { dropout: 0.1, steps: 1, ...settings };
    return present((await train(same, [full, {}], dropping, name)).losses[0]);
  };
  const one = await lossOf({ batchSize: 1 }, 'mask-one'),
    both = await lossOf({ batchSize: 2, devices: 2 }, 'mask-both');
  assert.ok(Math.abs(both - one) > 1e-4, `${both} is the mean of ${one} and ${one}`);
});

test('a sequence of several rows is read by one process', async () => {
  const own = await openCase('llama-causal');
  const rows = own.rows.slice(0, 3),
    packing = rows.reduce((sum, { ids }) => sum + ids.length, 0);
  const lossOf = async (devices: number): Promise<number> => {
    const dropping = { dropout: 0.5, steps: 1, batchSize: 1, packing, devices };
    return present(
      (await train({ ...own, rows }, [full, {}], dropping, `whole-${devices}`)).losses[0],
    );
  };
  // Rows that another process read would have masks of its own.
  const off = Math.abs((await lossOf(2)) - (await lossOf(1)));
  assert.ok(off <= tolerance.engines.loss, `off by ${off}`);
});

test('one that is cut short goes on to the same bits', async () => {
  const own = await openCase('bert-classifier');
  const at = (stop: number, folder: string, signal: AbortController): Promise<Course> =>
    train(
      own,
      [full, {}],
      { devices: 2, fsdp: true, dropout: 0.1 },
      folder,
      {
        wants: (step) => step === 4 || step === stop,
        see: async (step, model) => {
          if (step === 4) await model.keep();
          if (step === stop) signal.abort();
          return undefined;
        },
        resume: {
          dir: join(dir, `${folder}-state`),
          log: () => undefined,
          complete: () => true,
          gathered: () => ({}),
          restore: () => undefined,
        },
        signal: signal.signal,
      },
      async (model) => [
        ...(await outputsOf(own, model)),
        ...(await outputsOf(own, await model.useKept())),
      ],
    );
  const whole = await at(-1, 'whole', new AbortController());
  const stopped = await at(8, 'cut', new AbortController()).then(
    () => null,
    (error: unknown) => error as Error,
  );
  assert.is(stopped?.name, 'AbortError');
  const again = await at(-1, 'cut', new AbortController());
  assert.equal(again.losses, whole.losses.slice(8));
  assert.equal(again.outputs, whole.outputs);
});

/** The state and the parent of a process; null if it is gone. */
function lookAt(pid: number): { readonly ends: boolean; readonly parent: number } | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state = '', parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { ends: 'ZX'.includes(state), parent: Number(parent) };
  } catch {
    return null;
  }
}

/** The processes that the children of this one have started. */
const others = (): number[] => {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger);
  const children = pids.filter((pid) => lookAt(pid)?.parent === process.pid);
  return pids.filter((pid) => children.includes(lookAt(pid)?.parent ?? 0));
};

/** Resolves when no such process runs. */
async function gone(pids: readonly number[]): Promise<void> {
  while (pids.some((pid) => lookAt(pid)?.ends === false)) await new Promise(setImmediate);
}

test('one that is killed ends the training with its cause, and leaves none', async () => {
  const own = await openCase('bert-classifier');
  const left: number[] = [];
  const fault = await train(own, [full, {}], { devices: 3 }, 'killed', {
    wants: (step) => step === 2,
    see: () => {
      left.push(...others());
      process.kill(present(left[0]), 'SIGKILL');
      return Promise.resolve(undefined);
    },
  }).then(
    () => null,
    (error: unknown) => error as Error & { readonly hint?: string },
  );
  assert.is(left.length, 2);
  assert.is(fault?.name, 'UserFault', fault?.message);
  assert.match(
    fault?.message ?? '',
    /^process \d of 3 of the training was ended by SIGKILL, as the system does when memory runs/,
  );
  assert.match(fault?.hint ?? '', /train\.batch_size/);
  await gone(left);
});

test('one that diverges is told as that of one process', async () => {
  const own = await openCase('bert-classifier');
  const told = (settings: Partial<TrainSettings>): Promise<string> =>
    train(own, [full, {}], { ...settings, learningRate: 1e30 }, 'diverges').then(
      () => 'no fault',
      (error: unknown) => (error as Error).message.replace(/[\d.]+(?= at step)/, 'x'),
    );
  const alone = await told({});
  assert.match(alone, /is NaN at step|not finite/);
  assert.is(await told({ devices: 2 }), alone);
});

test.run();
