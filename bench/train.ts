/**
 * Training and evaluation against PyTorch + PEFT: MiniLM, SST-2 rows in the same order, both sides warmed up, in turn.
 * The losses of both sides are compared too: a fast wrong step would be worth nothing.
 */
import { randomStream } from '../src/random/random.ts';
import { findModelDir } from '../src/data/model-folder.ts';
import { openTokenizer } from '../src/science/text/tokenizer.ts';
import { makeClaim, median, type Claim } from './claims.ts';
import { measure, measureOwn, peerPython, benchDir } from './processes.ts';
import { benchModel, sst2 } from './inputs.ts';
import { join } from 'node:path';

export interface TrainJob {
  readonly model: string;
  readonly mode: 'lora' | 'full' | 'evaluate';
  readonly rank: number;
  readonly alpha: number;
  readonly threads: number;
  readonly batch_size: number;
  readonly learning_rate: number;
  readonly warmup: number;
  readonly steps: number;
  readonly rows: readonly { readonly ids: readonly number[]; readonly label: number }[];
  readonly head: readonly (readonly number[])[];
  readonly backend?: 'tensorflow' | 'wasm';
}

export interface TrainResult {
  readonly losses: readonly number[];
  readonly seconds: number;
  readonly examples_per_second: number;
  readonly peak_memory_mb: number;
  readonly versions: Readonly<Record<string, string>>;
}

interface Case {
  readonly mode: TrainJob['mode'];
  readonly batch: number;
  readonly threads: number;
  readonly goal: number;
}

const cases: readonly Case[] = [
  { mode: 'lora', batch: 8, threads: 1, goal: 1.5 },
  { mode: 'lora', batch: 32, threads: 1, goal: 1.5 },
  { mode: 'lora', batch: 8, threads: 2, goal: 1.0 },
  { mode: 'lora', batch: 32, threads: 2, goal: 1.0 },
  { mode: 'full', batch: 8, threads: 1, goal: 1.2 },
  { mode: 'evaluate', batch: 32, threads: 1, goal: 1.5 },
];

/** Yields a claim as each case is done. */
export async function* bench({ rounds = 3 }: { readonly rounds?: number } = {}): AsyncGenerator<Claim> {
  const model = await findModelDir(await benchModel());
  const tokenizer = await openTokenizer(model);
  const rows = (await sst2('train', 512)).map(({ text, label }) => ({ ids: [...tokenizer.encode(text, undefined, 128).ids], label }));
  const stream = randomStream(0, 'bench', 'head');
  const head = [0, 1].map(() => Array.from({ length: 384 }, () => stream.normal() * 0.02));
  const python = peerPython();
  for (const { mode, batch, threads, goal } of cases) {
    const steps = batch === 8 ? 24 : 8;
    const job: TrainJob = { model, mode, rank: 8, alpha: 16, threads, batch_size: batch, learning_rate: mode === 'full' ? 3e-6 : 3e-5, warmup: 4, steps, rows, head };
    const env = { TF_NUM_INTRAOP_THREADS: String(threads), TF_NUM_INTEROP_THREADS: '1', OMP_NUM_THREADS: String(threads) };
    const own: TrainResult[] = [], peer: TrainResult[] = [];
    for (let round = 0; round < rounds; round++) { // in turn, so that a drift of the machine's speed meets both
      own.push(await measureOwn<TrainResult>('train.ts', job, env));
      peer.push(await measure<TrainResult>(python, [join(benchDir, 'peers', 'train_peft.py')], job, env));
    }
    // LoRA draws its own A on each side: with B = 0 the first loss must agree; full fine-tuning and evaluation agree throughout.
    const compared = mode === 'lora' ? 1 : own[0]!.losses.length;
    for (let i = 0; i < compared; i++) {
      const gap = Math.abs(own[0]!.losses[i]! - peer[0]!.losses[i]!);
      if (!(gap < 1e-3)) throw new Error(`${mode}: the losses differ by ${gap} at step ${i + 1}`);
    }
    const name = `${mode === 'lora' ? 'LoRA r 8' : mode === 'full' ? 'full fine-tuning' : 'evaluation'}, batch ${batch}, ${threads} thread${threads === 1 ? '' : 's'}`;
    const versions = peer[0]!.versions, label = `PyTorch ${versions['torch']} + PEFT ${versions['peft']}`;
    yield makeClaim('train', {
      claim: name, unit: 'examples/s', sense: 'rate', goal, peer: label,
      value: median(own.map((r) => r.examples_per_second)), peerValue: median(peer.map((r) => r.examples_per_second)),
    });
    if (mode !== 'evaluate') {
      yield makeClaim('train', {
        claim: `${name}: peak memory`, unit: 'MB', sense: 'cost', goal: 1 / 1.2, peer: label,
        value: Math.max(...own.map((r) => r.peak_memory_mb)), peerValue: Math.max(...peer.map((r) => r.peak_memory_mb)),
      });
    }
  }
}
