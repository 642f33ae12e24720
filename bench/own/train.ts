/**
 * Our side of the training bench: the same job as bench/peers/train_peft.py. Several cells take
 * turns.
 */
import { createInterface } from 'node:readline';
import * as tf from '@tensorflow/tfjs-core';
import full from '../../plugins/adapters/full.ts';
import lora from '../../plugins/adapters/lora/index.ts';
import bert from '../../plugins/models/bert.ts';
import { readConfig, readHead } from '../../src/science/models/head.ts';
import { crossEntropy } from '../../src/science/models/loss.ts';
import { type NetworkOptions, openNetwork } from '../../src/science/models/network.ts';
import type { HostTensor } from '../../src/science/models/types.ts';
import { openTorchTrainer } from '../../src/science/torch/trainer.ts';
import { train } from '../../src/science/training/loop.ts';
import type { LabelledRow, TrainSettings } from '../../src/science/training/settings.ts';
import { compiled } from '../../src/tensor/compiled/compiled.ts';
import { withoutFused } from '../../src/tensor/fused.ts';
import { loadBackend } from '../../src/tensor/load.ts';
import { tensorflowBackend } from '../../src/tensor/operation.ts';
import { matmul } from '../../src/tensor/products.ts';
import { median } from '../claims.ts';
import type { TrainCell, TrainJob, TrainResult, TrainTurn } from '../train-job.ts';
import { PLAIN } from './settings.ts';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (what: TrainTurn | TrainResult | { readonly ready: true }): void => {
  process.stdout.write(`${JSON.stringify(what)}\n`);
};
const job = JSON.parse((await lines.next()).value as string) as TrainJob;
const total = job.warmup + job.rounds * job.steps;

const info = await loadBackend(job.backend, { threads: job.threads });
const architecture = await bert.load();
const implementation = await (job.mode === 'lora' ? lora : full).load();
const config = architecture.parseConfig(await readConfig(job.model), 2);
const shape = {
  architecture,
  linears: architecture.linears(config),
  parameters: architecture.parameters(config),
};

async function optionsOf({ adapter: folder }: TrainCell): Promise<NetworkOptions> {
  const adapter = await implementation.create(
    {},
    { ...shape, ...(folder === null ? {} : { initFrom: folder }) },
  );
  const head: ReadonlyMap<string, HostTensor> =
    folder !== null
      ? await readHead(folder, { architecture, config, classes: 2 })
      : new Map([
          [
            'classifier.weight',
            { shape: [2, job.head[0]!.length], data: Float32Array.from(job.head.flat()) },
          ],
          ['classifier.bias', { shape: [2], data: new Float32Array(2) }],
        ]);
  return {
    architecture,
    model: { path: job.model, digest: 'bench' },
    adapter,
    classes: 2,
    seed: 0,
    head,
    evaluation: job.mode === 'evaluate',
  };
}

/** Returns a cell's rows in the order of its batches. */
const rowsOf = ({ rows }: TrainCell): LabelledRow[] =>
  Array.from({ length: total * job.batch_size }, (_, i) => {
    const { index, label } = rows[i % rows.length]!,
      ids = Int32Array.from(job.texts[index]!);
    return { ids, typeIds: new Int32Array(ids.length), label };
  });

interface Count {
  readonly operations: number;
  readonly flops: number;
}

interface Called {
  readonly attributes: readonly { readonly name: string; readonly value: unknown }[];
  readonly inputs: readonly tf.TensorInfo[];
  readonly outputs: readonly tf.TensorInfo[];
}

const size = (shape: readonly number[]): number => shape.reduce((x, y) => x * y, 1);

const isSet = ({ attributes }: Called, wanted: string): boolean =>
  attributes.some(({ name, value }) => name === wanted && value === true);

/** The multiplications of a product whose first factor may be transposed. */
const ofProduct = (called: Called, transposed: string): number =>
  size(called.outputs[0]!.shape) * called.inputs[0]!.shape.at(isSet(called, transposed) ? -2 : -1)!;

/** The multiplications of each operation that computes products. */
const MULTIPLICATIONS: Readonly<Record<string, (called: Called) => number>> = {
  MatMul: (called) => ofProduct(called, 'transpose_a'),
  BatchMatMulV2: (called) => ofProduct(called, 'adj_x'),
  FusedProduct: (called) => ofProduct(called, 'transpose_a'),
  FusedLinear: (called) => ofProduct(called, ''),
  FusedLora: ofLora,
  FusedLoraBias: ofLora,
  FusedLoraGrad: ofLoraGradient,
};

/** The multiplications of a LoRA layer; `down` is x·Aᵀ. */
function ofLora(called: Called): number {
  const [y, down] = called.outputs as [tf.TensorInfo, tf.TensorInfo];
  return ofProduct(called, '') + size(down.shape) * (called.inputs[0]!.shape[1]! + y.shape[1]!);
}

function ofLoraGradient(called: Called): number {
  const [S, m] = called.inputs[0]!.shape as [number, number],
    n = called.inputs[1]!.shape[1]!,
    down = called.inputs.at(-1)!; // x·Aᵀ
  const ofX = isSet(called, 'of_x'),
    ofA = isSet(called, 'of_a');
  return (
    (ofX ? S * n * m : 0) +
    size(down.shape) *
      ((ofX || ofA ? m : 0) + (ofX ? n : 0) + (ofA ? n : 0) + (isSet(called, 'of_b') ? m : 0))
  );
}

/** Counts the operations that are asked of TensorFlow from now on, until the result is called. */
function countOperations(): () => Count | null {
  if (job.backend !== 'tensorflow') return () => null;
  const backend = tensorflowBackend(),
    single = backend.executeSingleOutput.bind(backend),
    multiple = backend.executeMultipleOutputs.bind(backend);
  let operations = 0,
    flops = 0;
  const add = (name: string, called: Called): void => {
    operations++;
    flops += 2 * (MULTIPLICATIONS[name]?.(called) ?? 0);
  };
  backend.executeSingleOutput = (name, attributes, inputs) => {
    const output = single(name, attributes, inputs);
    add(name, { attributes, inputs, outputs: [output] });
    return output;
  };
  backend.executeMultipleOutputs = (name, attributes, inputs, count) => {
    const outputs = multiple(name, attributes, inputs, count);
    add(name, { attributes, inputs, outputs });
    return outputs;
  };
  return () => {
    Object.assign(backend, { executeSingleOutput: single, executeMultipleOutputs: multiple });
    return { operations, flops };
  };
}

/** The floating-point operations a second of TensorFlow's large products, the fastest of twenty. */
function matrixPeak(): number {
  const extent = 1024;
  return tf.tidy(() => {
    const a = tf.randomUniform([extent, extent]),
      seconds = Array.from({ length: 20 }, () => {
        const start = performance.now();
        tf.dispose(withoutFused(() => matmul(a, a)));
        return (performance.now() - start) / 1000;
      });
    return (2 * extent ** 3) / Math.min(...seconds);
  });
}

let started = 0,
  counting: (() => Count | null) | null = null,
  /** The last step of all cells before the turns; null where none was counted. */
  counted: Count | null = null;
/** The peak after each turn, as the machine was then. */
const peaks: number[] = [];

/** Called after each step of a cell. */
function countStep(step: number): void {
  if (step === job.warmup - 1) counting = countOperations();
  if (step !== job.warmup) return;
  const { operations, flops } = counting!() ?? {};
  if (operations === undefined || flops === undefined) return;
  counted = {
    operations: operations + (counted?.operations ?? 0),
    flops: flops + (counted?.flops ?? 0),
  };
}

/** Whether a turn, or what precedes the first, ends with this step. */
const endsTurn = (step: number): boolean =>
  step >= job.warmup && (step - job.warmup) % job.steps === 0;

/** Called when all cells have taken the steps of a turn; waits for the next one. */
async function turnDone(done: number): Promise<void> {
  const seconds = (performance.now() - started) / 1000;
  if (done === job.warmup) say({ ready: true });
  else {
    if (counted !== null) peaks.push(matrixPeak());
    say({ seconds, last: done === total });
  }
  if (done === total) return;
  if ((await lines.next()).done === true) process.exit(1); // the bench has ended
  started = performance.now();
}

const losses: number[][] = job.cells.map(() => []);
const options = await Promise.all(job.cells.map(optionsOf));
const networks = job.backend === 'torch' ? [] : await Promise.all(options.map(openNetwork));
const settings: TrainSettings = {
  ...PLAIN,
  steps: total,
  batchSize: job.batch_size,
  learningRate: job.learning_rate,
  ...(job.precision === undefined ? {} : { precision: job.precision }),
};
if (job.mode === 'evaluate') {
  const rows = rowsOf(job.cells[0]!);
  for (let step = 0; step < total; step++) {
    const batch = rows.slice(step * job.batch_size, (step + 1) * job.batch_size);
    losses[0]!.push(
      compiled(() =>
        tf.tidy(
          () =>
            crossEntropy(
              networks[0]!.forward(batch),
              batch.map(({ label }) => label),
            ).dataSync()[0]!,
        ),
      ),
    );
    countStep(step + 1);
    if (endsTurn(step + 1)) await turnDone(step + 1);
  }
} else if (job.backend === 'torch') {
  const trainer = await openTorchTrainer({
    ...options[0]!,
    savedAs: { modelDir: job.model, classes: ['negative', 'positive'] },
  });
  await trainer.train(rowsOf(job.cells[0]!), settings, {
    onStep: ({ loss }) => {
      losses[0]!.push(loss);
      return Promise.resolve();
    },
    // A request for several steps ends with a turn.
    wants: endsTurn,
    see: async (step) => {
      await turnDone(step);
      return undefined;
    },
    signal: new AbortController().signal,
  });
} else {
  // One cell after another takes the steps of a turn.
  const last = job.cells.length - 1,
    goOn: (() => void)[] = [];
  const wait = (k: number): Promise<void> =>
    new Promise((resolve) => {
      goOn[k] = resolve;
    });
  const trainings = job.cells.map(async (cell, k) => {
    if (k > 0) await wait(k);
    const trained = await train(networks[k]!, rowsOf(cell), settings, {
      onStep: async ({ step, loss }) => {
        losses[k]!.push(loss);
        countStep(step);
        if (step === total || !endsTurn(step)) return;
        if (k === last) await turnDone(step);
        if (last === 0) return;
        const turn = wait(k);
        goOn[k === last ? 0 : k + 1]!();
        await turn;
      },
    });
    tf.dispose([...trained.values()]);
    if (k === last) await turnDone(total);
    else goOn[k + 1]!();
  });
  await Promise.all(trainings);
}

/** The tokens of a step of all cells, counted from one. */
function tokensOf(step: number): number {
  let tokens = 0;
  for (const { rows } of job.cells)
    for (let i = (step - 1) * job.batch_size; i < step * job.batch_size; i++)
      tokens += job.texts[rows[i % rows.length]!.index]!.length;
  return tokens;
}

/**
 * The operations of the products of a step of the turns, on average. Those of the step that was
 * counted are in proportion to its tokens.
 */
function flopsOfStep({ flops }: Count): number {
  const turns = Array.from({ length: total - job.warmup }, (_, i) => tokensOf(job.warmup + i + 1));
  const mean = turns.reduce((a, b) => a + b, 0) / turns.length;
  return (flops * mean) / tokensOf(job.warmup);
}

// Assigned in functions, which TypeScript does not follow.
const ended = counted as Count | null;
say({
  losses,
  operations: ended?.operations ?? null,
  peak_memory_mb: process.resourceUsage().maxRSS / 1024,
  products: ended === null ? null : { flops: flopsOfStep(ended), peak: median(peaks) },
  versions: { backend: info.name },
});
process.exit(0);
