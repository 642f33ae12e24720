/**
 * The job of each side of the training bench, and its result. Rows, order, labels and starting
 * weights come from the bench, so both sides have the same.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { lora } from '../plugins/adapters/lora/lora.ts';
import { randomStream } from '../src/base/random.ts';
import { readConfig } from '../src/science/models/head.ts';
import type { HostTensor } from '../src/science/models/types.ts';
import { bert } from '../test/science/families.ts';

export interface TrainCell {
  /** The PEFT folder that the cell starts from, including its head; null unless it trains LoRA. */
  readonly adapter: string | null;
  /** The rows in the order of training, which starts again with the first after the last. */
  readonly rows: readonly { readonly index: number; readonly label: number }[];
}

export interface TrainJob {
  readonly model: string;
  readonly mode: 'lora' | 'full' | 'evaluate';
  readonly backend: 'tensorflow' | 'wasm' | 'torch';
  readonly threads: number;
  /** Whether our side compiles its steps, as `dosimeter run` does without `--no-compile`. */
  readonly compile: boolean;
  /**
   * If set, products are computed in bfloat16: on our side as under `train.precision: bf16`, on the
   * peer's under torch.autocast.
   */
  readonly precision?: 'bf16';
  readonly batch_size: number;
  readonly learning_rate: number;
  /**
   * The number of steps of each cell before the first turn (`warmup`) and in each turn, and the
   * number of turns. A process that waited for the others' turns works more slowly at first: turns
   * have to take longer than that.
   */
  readonly warmup: number;
  readonly steps: number;
  readonly rounds: number;
  /** Token ids. */
  readonly texts: readonly (readonly number[])[];
  /** The classifier's weight where no adapter folder holds it; its bias is 0. (2, h) */
  readonly head: readonly (readonly number[])[];
  readonly cells: readonly TrainCell[];
}

export interface TrainTurn {
  readonly seconds: number;
  readonly last: boolean;
}

export interface TrainResult {
  /** The losses by cell and step. */
  readonly losses: readonly (readonly number[])[];
  /** Tensor operations of one step of every cell, however many of them are compiled. */
  readonly operations: number | null;
  /**
   * The floating-point operations of a step's matrix products on average, and those that the
   * processor makes each second in one product of 1,024 × 1,024 matrices on the job's threads: the
   * median of what it makes after each turn. Only our side counts them.
   */
  readonly products?: { readonly flops: number; readonly peak: number } | null;
  readonly peak_memory_mb: number;
  readonly versions: Readonly<Record<string, string>>;
}

export interface CellPlan {
  readonly rank: number;
  readonly alpha: number;
  readonly variance: string;
  /** The share of rows whose label is flipped. */
  readonly poison: number;
  readonly seed: number;
}

const flat = (values: readonly (readonly number[])[]): HostTensor => ({
  shape: [values.length, values[0]!.length],
  data: Float32Array.from(values.flat()),
});

/** Writes an adapter as `dosimeter` starts it (A drawn, B = 0) with this head, as PEFT has it. */
export async function writeStart(
  dir: string,
  model: string,
  { rank, alpha, variance, seed }: CellPlan,
  head: TrainJob['head'],
): Promise<string> {
  const config = bert.parseConfig(await readConfig(model), 2),
    linears = bert.linears(config),
    parameters = bert.parameters(config);
  const adapter = await lora.create(
    { rank, alpha, targets: 'all-linear', init: { distribution: 'uniform', variance } },
    { architecture: bert, linears, parameters },
  );
  const tensors = new Map<string, HostTensor>([
    ...adapter.initial(seed),
    ['classifier.weight', flat(head)],
    ['classifier.bias', { shape: [2], data: new Float32Array(2) }],
  ]);
  await mkdir(dir, { recursive: true });
  await adapter.save(dir, {
    architecture: bert,
    modelDir: model,
    classes: ['negative', 'positive'],
    parameters,
    changed: [],
    read: (name) => Promise.resolve(tensors.get(name)!),
  });
  return join(dir, 'adapter');
}

/** Returns a cell's rows, shuffled by its seed where `shuffled`, with some labels flipped. */
export function cellRows(
  labels: readonly number[],
  { poison, seed }: CellPlan,
  shuffled: boolean,
): TrainCell['rows'] {
  const stream = randomStream(seed, 'bench', 'poison');
  const flipped = labels.map((label) => (stream.uniform() < poison ? 1 - label : label));
  const order = shuffled
    ? [...randomStream(seed, 'bench', 'order').permutation(labels.length)]
    : labels.map((_, i) => i);
  return order.map((index) => ({ index, label: flipped[index]! }));
}
