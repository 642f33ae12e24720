/**
 * Trainings that PyTorch replays: the start is written in the formats of PEFT and transformers, and
 * both sides open it.
 */
import { join } from 'node:path';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import type { JsonObject } from '../../src/api.ts';
import { randomStream } from '../../src/base/random.ts';
import type { Adapter, AdapterImplementation } from '../../src/science/models/adapter.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { readConfig, readHead } from '../../src/science/models/head.ts';
import { type Network, openNetwork } from '../../src/science/models/network.ts';
import type { Architecture } from '../../src/science/models/types.ts';
import { type LabelledRow, train, type TrainSettings } from '../../src/science/training/loop.ts';
import { saveTrained } from '../../src/science/training/session.ts';
import { bert } from '../science/families.ts';

export interface Start {
  readonly checkpoint: string;
  /** A PEFT folder, including the head; null where the checkpoint has everything. */
  readonly adapter: string | null;
  readonly classes: number;
  readonly architecture: Architecture;
  open(): Promise<Network>;
}

export interface StartOptions {
  readonly checkpoint: string;
  readonly classes: number;
  readonly implementation: AdapterImplementation;
  /** Default: BERT with a classifier. */
  readonly architecture?: Architecture;
  readonly params?: JsonObject;
  /** Standard deviation of B. Default: B = 0, as at LoRA's start. */
  readonly B?: number;
}

/** Returns the adapter with a drawn B, so that A has a gradient. */
function withB(adapter: Adapter, deviation: number): Adapter {
  return {
    ...adapter,
    initial: (seed) =>
      new Map(
        [...adapter.initial(seed)].map(([name, { shape, data }]) => {
          const stream = randomStream(seed, 'B', name);
          return [
            name,
            {
              shape,
              data: name.endsWith('.lora_B')
                ? Float32Array.from(data, () => deviation * stream.normal())
                : data,
            },
          ];
        }),
      ),
  };
}

/** Writes a start as `steps: 0` does; it is opened as `init_from` does. */
export async function writeStart(
  dir: string,
  { checkpoint, classes, implementation, architecture = bert, params = {}, B }: StartOptions,
): Promise<Start> {
  const config = architecture.parseConfig(await readConfig(checkpoint), classes),
    labels = Array.from({ length: classes }, (_, i) => `class ${i}`);
  const shape = {
    architecture,
    linears: architecture.linears(config),
    parameters: architecture.parameters(config),
  };
  const model = (path: string) => ({ path, digest: `peers:${path}` });
  const isLora = implementation === lora;
  const drawn = await (isLora ? lora : full).create(isLora ? params : {}, shape);
  const network = await openNetwork({
    architecture,
    model: model(checkpoint),
    classes,
    seed: 1,
    adapter: B === undefined ? drawn : withB(drawn, B),
  });
  await saveTrained(network, null, dir, checkpoint, labels);
  network.dispose();
  if (isLora) {
    const folder = join(dir, 'adapter');
    return {
      checkpoint,
      adapter: folder,
      classes,
      architecture,
      open: async () =>
        openNetwork({
          architecture,
          model: model(checkpoint),
          classes,
          seed: 2,
          adapter: await lora.create(params, { ...shape, initFrom: folder }),
          head: await readHead(folder, { architecture, config, classes }),
        }),
    };
  }
  const whole = join(dir, 'model');
  return {
    checkpoint: whole,
    adapter: null,
    classes,
    architecture,
    open: async () =>
      openNetwork({
        architecture,
        model: model(whole),
        classes,
        seed: 2,
        adapter: await implementation.create(params, shape),
      }),
  };
}

export interface Replay {
  readonly start: Start;
  readonly rows: readonly LabelledRow[];
  readonly settings: TrainSettings;
  /** What PyTorch trains: a key of TRAINED in parity_peer.py. */
  readonly trained: 'adapter' | 'all' | 'head' | 'biases' | 'all but A';
}

/** AdamW in file order, a linear schedule, no dropout. */
export const settings = (learningRate: number, batchSize: number, steps = 50): TrainSettings => ({
  steps,
  batchSize,
  learningRate,
  optimizer: 'adamw',
  weightDecay: 0.01,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  schedule: 'linear',
  warmup: 5,
  shuffle: false,
  dropout: 0,
  seed: 1,
});

export const asJson = (rows: readonly LabelledRow[]): object[] =>
  rows.map(({ ids, typeIds, label, mask = null }) => ({
    ids: [...ids],
    typeIds: [...typeIds],
    label,
    mask,
  }));

/** A job of parity_peer.losses. */
export function jobOf({
  start: {
    checkpoint,
    adapter,
    classes,
    architecture: { head },
  },
  rows,
  settings: { steps, batchSize, learningRate, weightDecay, warmup },
  trained,
}: Replay): object {
  return {
    checkpoint,
    adapter,
    classes,
    verbalizer: head.type === 'cloze' ? head.tokens : null,
    trained,
    rows: asJson(rows),
    steps,
    batch_size: batchSize,
    learning_rate: learningRate,
    weight_decay: weightDecay,
    warmup,
  };
}

/**
 * @param change makes the wrong variants; `enough` ends the training early
 */
export async function lossesOf(
  { start, rows, settings: given }: Replay,
  change: {
    readonly settings?: Partial<TrainSettings>;
    readonly network?: (network: Network) => Network;
    readonly enough?: (losses: readonly number[]) => boolean;
  } = {},
): Promise<number[]> {
  const network = await start.open(),
    losses: number[] = [];
  try {
    const trained = await train(
      change.network?.(network) ?? network,
      rows,
      { ...given, ...change.settings },
      {
        onStep: ({ loss }) => {
          losses.push(loss);
        },
        onWeights: {
          wants: () => change.enough?.(losses) ?? false,
          see: () => Promise.resolve('stop'),
        },
      },
    );
    trained.forEach((tensor) => tensor.dispose());
    return losses;
  } finally {
    network.dispose();
  }
}

/** Returns the network with the parameters below `classifier` frozen. */
export function withFrozenHead(network: Network): Network {
  const initial = new Map([...network.initial].filter(([name]) => !name.startsWith('classifier.')));
  return { ...network, trainable: [...initial.keys()], initial };
}
