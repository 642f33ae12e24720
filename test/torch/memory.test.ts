/** A training whose memory is bounded: what it says when that runs out, and what needs less. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { openTorchTrainer } from '../../src/science/torch/trainer.ts';
import type { TrainSettings } from '../../src/science/training/loop.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { openCase, optionsUnder } from '../science/family-cases.ts';
import { plainTraining } from '../science/plain-training.ts';
import { program, real, temporary } from './rig.ts';

const test = suite('torch/memory');
const dir = temporary();
test.before(() => {
  process.env['DOSIMETER_PYTHON'] = program('python', `echo $$ > ${dir}/pid; exec ${real} "$@"`);
  execFileSync(real, ['-c', DEEP]);
});
test.after(async () => {
  await (await torchWorker()).end();
  process.env['DOSIMETER_PYTHON'] = real;
});

/** Activations of a token take 70 KB, and 9 KB where those of a layer are computed again. */
const DEEP = `
import torch
from transformers import LlamaConfig, LlamaForCausalLM
torch.manual_seed(0)
config = LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=16, vocab_size=67,
    num_attention_heads=4, max_position_embeddings=64)
LlamaForCausalLM(config).save_pretrained('${dir}/checkpoint')`;
const ROWS = 300,
  TOKENS = 60,
  HEADROOM = 2 ** 30;

/** Starts the process, and lets it have no more than it has now and the headroom. */
async function bound(): Promise<void> {
  await torchWorker();
  limit(pidOfWorker(), HEADROOM);
}

const pidOfWorker = (): string => readFileSync(join(dir, 'pid'), 'utf8').trim();

/** Lets a process have no more memory than it has now and the headroom. */
function limit(pid: string, headroom: number): void {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const held = Number(/^VmSize:\s+(\d+)/m.exec(status)?.[1]) * 1024;
  execFileSync('prlimit', ['--pid', pid, `--as=${held + headroom}`]);
}

/** Trains a model on batches whose rows have so many tokens, and returns the last loss. */
async function trained(
  settings: Partial<TrainSettings>,
  lengths: readonly number[] = [TOKENS],
  onStep: () => void = () => undefined,
): Promise<number> {
  const own = { ...(await openCase('llama-causal')), checkpoint: join(dir, 'checkpoint') };
  const params = { rank: 2, alpha: 4, targets: 'all-linear' };
  const trainer = await openTorchTrainer({
    ...(await optionsUnder(own, lora, { params })),
    savedAs: { modelDir: own.checkpoint, classes: [] },
  });
  const rows = lengths.flatMap((length) =>
    Array.from({ length: ROWS }, (_, i) => ({
      ids: Int32Array.from({ length }, (_, t) => (7 * i + t) % 67),
      typeIds: new Int32Array(length),
      answer: length - 4,
      label: 0,
    })),
  );
  const losses: number[] = [];
  const whole = {
    ...plainTraining,
    steps: lengths.length,
    batchSize: ROWS,
    weightDecay: 0.01,
    learningRate: 1e-3,
    ...settings,
  };
  const model = await trainer.train(rows, whole, {
    onStep: ({ loss }) => Promise.resolve(void losses.push(loss)).then(onStep),
    wants: () => false,
    see: () => Promise.resolve(undefined),
    signal: new AbortController().signal,
  });
  model.dispose();
  return losses.at(-1) ?? NaN;
}

interface Fault {
  readonly name: string;
  readonly message: string;
  readonly hint: string;
}
const faultOf = (training: Promise<unknown>): Promise<Fault | null> =>
  training.then(
    () => null,
    (error: unknown) => error as Fault,
  );

test('less memory than a training needs is told with the ways out, one of which does', async () => {
  await bound();
  const fault = await faultOf(trained({}));
  assert.is(fault?.name, 'UserFault', fault?.message);
  assert.match(fault?.message ?? '', /^memory ran out: .*(can't|cannot) allocate memory/i);
  for (const way of ['batch_size', 'accumulate', 'gradient_checkpointing', 'dtype', 'quantize'])
    assert.match(fault?.hint ?? '', way);
  await bound(); // another process
  assert.ok(Number.isFinite(await trained({ gradientCheckpointing: true })));
});

test('so is less than one process of a training needs', async () => {
  await (await torchWorker()).end(); // which is bound
  const fault = await faultOf(
    trained({ devices: 2, shuffle: false }, [5, TOKENS], () => {
      const children = `/proc/${pidOfWorker()}/task/${pidOfWorker()}/children`;
      limit(readFileSync(children, 'utf8').trim(), 2 ** 24);
    }),
  );
  assert.is(fault?.name, 'UserFault', fault?.message);
  assert.match(fault?.message ?? '', /^memory ran out: process 2 of 2 of the training: /);
  assert.match(fault?.hint ?? '', 'batch_size');
});

test.run();
