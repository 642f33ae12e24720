/** A training whose memory is bounded: what it says when that runs out, and what needs less. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { openTorchTrainer } from '../../src/science/torch/trainer.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { openCase, optionsUnder } from '../science/family-cases.ts';
import { plainTraining } from '../science/plain-training.ts';
import { program, real, temporary } from './rig.ts';

const test = suite('torch/memory');
const dir = temporary();
test.before(() => {
  process.env['DOSIMETER_PYTHON'] = program('python', `echo $$ > ${dir}/pid; exec ${real} "$@"`);
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
  const pid = readFileSync(join(dir, 'pid'), 'utf8').trim();
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const held = Number(/^VmSize:\s+(\d+)/m.exec(status)?.[1]) * 1024;
  execFileSync('prlimit', ['--pid', pid, `--as=${held + HEADROOM}`]);
}

test('less memory than a training needs is told with the ways out, one of which does', async () => {
  execFileSync(real, ['-c', DEEP]);
  const own = { ...(await openCase('llama-causal')), checkpoint: join(dir, 'checkpoint') };
  const params = { rank: 2, alpha: 4, targets: 'all-linear' };
  const trainer = await openTorchTrainer({
    ...(await optionsUnder(own, lora, { params })),
    savedAs: { modelDir: own.checkpoint, classes: [] },
  });
  const rows = Array.from({ length: ROWS }, (_, i) => ({
    ids: Int32Array.from({ length: TOKENS }, (_, t) => (7 * i + t) % 67),
    typeIds: new Int32Array(TOKENS),
    answer: TOKENS - 4,
    label: 0,
  }));
  const trained = async (gradientCheckpointing: boolean): Promise<number> => {
    const losses: number[] = [];
    const settings = {
      ...plainTraining,
      steps: 1,
      batchSize: ROWS,
      weightDecay: 0.01,
      learningRate: 1e-3,
      gradientCheckpointing,
    };
    const model = await trainer.train(rows, settings, {
      onStep: ({ loss }) => Promise.resolve(void losses.push(loss)),
      wants: () => false,
      see: () => Promise.resolve(undefined),
      signal: new AbortController().signal,
    });
    model.dispose();
    return losses[0] ?? NaN;
  };
  await bound();
  const fault = (await trained(false).then(
    () => null,
    (error: unknown) => error,
  )) as { readonly name: string; readonly message: string; readonly hint: string } | null;
  assert.is(fault?.name, 'UserFault', fault?.message);
  assert.match(fault?.message ?? '', /^memory ran out: .*(can't|cannot) allocate memory/i);
  for (const way of ['batch_size', 'accumulate', 'gradient_checkpointing', 'dtype', 'quantize'])
    assert.match(fault?.hint ?? '', way);
  await bound(); // another process
  assert.ok(Number.isFinite(await trained(true)));
});

test.run();
