/**
 * LoRA trainings under `--backend torch` that take their steps together (`--pack`), against the
 * same one after another, on a model of all-MiniLM-L6's sizes that is drawn at random.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lora } from '../plugins/adapters/lora/lora.ts';
import bert from '../plugins/models/bert.ts';
import { meeting, type Seat } from '../src/base/meeting.ts';
import { openTorchTrainer } from '../src/science/torch/trainer.ts';
import type { LabelledRow } from '../src/science/training/settings.ts';
import { torchWorker } from '../src/torch/worker.ts';
import { type Claim, makeClaim, median } from './claims.ts';

const CONFIG = {
  model_type: 'bert',
  architectures: ['BertForSequenceClassification'],
  vocab_size: 30522,
  hidden_size: 384,
  intermediate_size: 1536,
  num_hidden_layers: 6,
  num_attention_heads: 12,
  max_position_embeddings: 512,
  type_vocab_size: 2,
  hidden_act: 'gelu',
  layer_norm_eps: 1e-12,
  pad_token_id: 0,
};

const MEMBERS = 8;
const WARM = 3;

/** Trains one member, and returns when its steps ended. */
async function train(
  folder: string,
  { batch, tokens, steps }: { batch: number; tokens: number; steps: number },
  seed: number,
  together?: Seat,
): Promise<number[]> {
  try {
    const family = await bert.load();
    const architecture = family.withHead({ type: 'classifier' });
    const config = architecture.parseConfig(CONFIG, 2);
    const adapter = await lora.create(
      { rank: seed % 2 === 0 ? 16 : 4, alpha: 16, targets: 'all-linear' },
      {
        architecture,
        linears: architecture.linears(config),
        parameters: architecture.parameters(config),
      },
    );
    const trainer = await openTorchTrainer({
      architecture,
      adapter,
      classes: 2,
      seed: 1, // all members have the same frozen weights
      model: { path: folder, digest: 'bench', init: 'random' },
      savedAs: { modelDir: folder, classes: ['a', 'b'] },
    });
    const rows: LabelledRow[] = Array.from({ length: batch * 4 }, (_, row) => ({
      ids: Int32Array.from({ length: tokens }, (_, t) => 1000 + ((row * 131 + t * 17) % 20_000)),
      typeIds: new Int32Array(tokens),
      label: row % 2,
    }));
    const ends: number[] = [];
    const model = await trainer.train(
      rows,
      {
        steps,
        seed,
        batchSize: batch,
        learningRate: 1e-4,
        optimizer: 'adamw',
        schedule: 'constant',
        warmup: 0,
        weightDecay: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        dropout: 0,
        shuffle: true,
      },
      {
        onStep: () => {
          ends.push(performance.now());
          return Promise.resolve();
        },
        // A request for each step, so that all of them are timed alike.
        wants: () => true,
        see: () => Promise.resolve(undefined),
        signal: new AbortController().signal,
        together,
      },
    );
    if (together !== undefined && model.packed?.members !== MEMBERS)
      throw new Error(`the members were not packed: ${model.packed?.alone}`);
    model.dispose();
    trainer.dispose();
    return ends;
  } finally {
    together?.leave();
  }
}

/** The median seconds of a step, or of one step of each member. */
const seconds = (ends: readonly number[]): number =>
  median(ends.slice(WARM).map((end, i) => (end - (ends[WARM + i - 1] ?? end)) / 1000));

export async function* bench({ quick = false }): AsyncGenerator<Claim> {
  const folder = await mkdtemp(join(tmpdir(), 'dosimeter-packs-'));
  try {
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'config.json'), JSON.stringify(CONFIG));
    const began = performance.now();
    const { facts } = await torchWorker();
    process.stderr.write(
      `PyTorch's process started in ${((performance.now() - began) / 1000).toFixed(1)} s: ` +
        `${facts.gpu ?? facts.device}, ${facts.threads} threads\n`,
    );
    for (const [batch, tokens] of [
      [2, 16],
      [8, 24],
      [8, 128],
    ] as const) {
      const task = { batch, tokens, steps: WARM + (quick ? 4 : 40) };
      const seats = meeting(MEMBERS);
      const packed = await Promise.all(seats.map((seat, i) => train(folder, task, i, seat)));
      const alone: number[] = [];
      for (let i = 0; i < MEMBERS; i++) alone.push(seconds(await train(folder, task, i)));
      const rows = MEMBERS * batch;
      yield makeClaim('packs', {
        claim: `${MEMBERS} LoRA trainings, ${batch} rows of ${tokens} tokens each`,
        unit: 'examples/s',
        sense: 'rate',
        value: rows / seconds(packed[0] ?? []),
        peer: 'one after another',
        peerValue: rows / alone.reduce((a, b) => a + b, 0),
      });
    }
    await (await torchWorker()).end();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
