/**
 * Trainings of the tiny BERT that PyTorch replays: the start is written in the formats of PEFT and
 * transformers, and both sides open it.
 */
import { join } from 'node:path';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import type { JsonObject } from '../../src/api.ts';
import { randomStream } from '../../src/base/random.ts';
import type { Adapter, AdapterImplementation } from '../../src/science/models/adapter.ts';
import { readConfig, readHead } from '../../src/science/models/head.ts';
import { type Network, openNetwork } from '../../src/science/models/network.ts';
import { type LabelledRow, train, type TrainSettings } from '../../src/science/training/loop.ts';
import { saveTrained } from '../../src/science/training/session.ts';
import { bert as architecture } from '../science/families.ts';
import { checkpoint, classes, rows, shape } from '../science/tiny-bert.ts';

export interface Start {
  readonly checkpoint: string;
  /** A PEFT folder, including the head; null where the checkpoint has everything. */
  readonly adapter: string | null;
  open(): Promise<Network>;
}

/** Returns the adapter with B drawn with this standard deviation, so that A has a gradient. */
const withB = (adapter: Adapter, deviation: number): Adapter => ({
  ...adapter,
  initial: (seed) =>
    new Map(
      [...adapter.initial(seed)].map(([name, given]) => {
        const stream = randomStream(seed, 'B', name);
        const data = given.data.map(() => deviation * stream.normal());
        return [name, name.endsWith('.lora_B') ? { ...given, data } : given];
      }),
    ),
});

/**
 * Writes a start as `steps: 0` does; it is opened as `init_from` does.
 * @param B its standard deviation; by default B = 0, as at LoRA's start
 */
export async function writeStart(
  dir: string,
  implementation: AdapterImplementation,
  params: JsonObject = {},
  B?: number,
): Promise<Start> {
  const open = (
    path: string,
    seed: number,
    adapter: Adapter,
    more: Partial<Parameters<typeof openNetwork>[0]> = {},
  ): Promise<Network> =>
    openNetwork({
      architecture,
      model: { path, digest: `peers:${path}` },
      classes,
      seed,
      adapter,
      ...more,
    });
  const drawn = await implementation.create(params, shape);
  const network = await open(checkpoint, 1, B === undefined ? drawn : withB(drawn, B));
  const labels = Array.from({ length: classes }, (_, i) => `class ${i}`);
  await saveTrained(network, null, dir, { modelDir: checkpoint, classes: labels });
  network.dispose();
  if (implementation !== lora) {
    const whole = join(dir, 'model');
    return { checkpoint: whole, adapter: null, open: () => open(whole, 2, drawn) };
  }
  const adapter = join(dir, 'adapter'),
    config = architecture.parseConfig(await readConfig(checkpoint), classes);
  return {
    checkpoint,
    adapter,
    open: async () =>
      open(checkpoint, 2, await lora.create(params, { ...shape, initFrom: adapter }), {
        head: await readHead(adapter, { architecture, config, classes }),
      }),
  };
}

export interface Replay {
  readonly start: Start;
  readonly settings: TrainSettings;
}

/** AdamW on five rows a step in file order, a linear schedule, no dropout. */
export const replayOf = (start: Start, learningRate: number): Replay => ({
  start,
  settings: {
    steps: 50,
    batchSize: 5,
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
  },
});

export const asJson = (some: readonly LabelledRow[]): object[] =>
  some.map(({ ids, typeIds, label }) => ({ ids: [...ids], typeIds: [...typeIds], label }));

/** A job of parity_peer.losses. */
export const jobOf = ({
  start,
  settings: { steps, batchSize, learningRate, weightDecay, warmup },
}: Replay): object => ({
  checkpoint: start.checkpoint,
  adapter: start.adapter,
  classes,
  rows: asJson(rows),
  steps,
  batch_size: batchSize,
  learning_rate: learningRate,
  weight_decay: weightDecay,
  warmup,
});

/**
 * @param change makes the wrong variants; `enough` ends the training early
 */
export async function lossesOf(
  { start, settings: given }: Replay,
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
