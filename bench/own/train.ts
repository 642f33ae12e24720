/** Our side of the training bench: the same job as bench/peers/train_peft.py, on TensorFlow. */
import { text } from 'node:stream/consumers';
import * as tf from '@tensorflow/tfjs-core';
import { loadBackend } from '../../src/compute/backend.ts';
import full from '../../plugins/adapters/full.ts';
import lora from '../../plugins/adapters/lora.ts';
import bert from '../../plugins/models/bert.ts';
import { readConfig } from '../../src/science/nn/head.ts';
import { crossEntropy } from '../../src/science/nn/loss.ts';
import { openNetwork } from '../../src/science/nn/network.ts';
import type { Architecture } from '../../src/science/nn/types.ts';
import { train } from '../../src/science/train/loop.ts';
import type { TrainJob, TrainResult } from '../train.ts';

const job = JSON.parse(await text(process.stdin)) as TrainJob;
const info = await loadBackend(job.backend ?? 'tensorflow', { threads: job.threads });
const architecture = await bert.load() as Architecture;
const implementation = await (job.mode === 'lora' ? lora : full).load();
const config = architecture.parseConfig(await readConfig(job.model), 2);
const shape = { architecture, linears: architecture.linears(config), parameters: architecture.parameters(config) };
const adapter = await implementation.create(job.mode === 'lora' ? { rank: job.rank, alpha: job.alpha } : {}, shape);
const head = new Map([
  ['classifier.weight', { shape: [2, job.head[0]!.length], data: Float32Array.from(job.head.flat()) }],
  ['classifier.bias', { shape: [2], data: new Float32Array(2) }],
]);
const network = await openNetwork({ architecture, model: { path: job.model, digest: null }, adapter, classes: 2, seed: 0, head, evaluation: job.mode === 'evaluate' });
const rows = job.rows.map(({ ids, label }) => ({ ids: Int32Array.from(ids), typeIds: new Int32Array(ids.length), label }));
const batchAt = (step: number): typeof rows => Array.from({ length: job.batch_size }, (_, i) => rows[(step * job.batch_size + i) % rows.length]!);

const losses: number[] = [];
let started = 0, stopped = 0;
const total = job.warmup + job.steps;
const timed = (loss: number): void => {
  losses.push(loss);
  if (losses.length === job.warmup) started = performance.now();
  if (losses.length === total) stopped = performance.now();
};
if (job.mode === 'evaluate') {
  for (let step = 0; step < total; step++) {
    const batch = batchAt(step);
    timed(tf.tidy(() => crossEntropy(network.forward(batch), batch.map(({ label }) => label)).dataSync()[0]!));
  }
} else {
  const sequence = Array.from({ length: total }, (_, step) => batchAt(step)).flat();
  await train(network, sequence, {
    steps: total, batchSize: job.batch_size, optimizer: 'adamw', learningRate: job.learning_rate, weightDecay: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8,
    schedule: 'constant', warmup: 0, shuffle: false, dropout: 0, seed: 0,
  }, { onStep: ({ loss }) => timed(loss) });
}
const seconds = (stopped - started) / 1000;
const result: TrainResult = {
  losses, seconds, examples_per_second: job.steps * job.batch_size / seconds,
  peak_memory_mb: process.resourceUsage().maxRSS / 1024, versions: { backend: info.name },
};
process.stdout.write(`${JSON.stringify(result)}\n`);
