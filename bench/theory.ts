/**
 * Kernels against PyTorch, two ways: torch.func's Jacobians, and hooks that keep h and δ of one batched forward pass.
 * MiniLM, SST-2 rows, rank 8, one thread. Norms and traces of both sides are compared: a fast wrong kernel is worth nothing.
 */
import { join } from 'node:path';
import { findModelDir } from '../src/data/model-folder.ts';
import { randomStream } from '../src/random/random.ts';
import type { HostTensor } from '../src/science/nn/types.ts';
import { openTokenizer } from '../src/science/text/tokenizer.ts';
import { makeClaim, median, type Claim } from './claims.ts';
import { benchModel, sst2 } from './inputs.ts';
import { benchDir, measure, measureOwn, peerPython } from './processes.ts';

export interface TheoryJob {
  readonly model: string;
  readonly kernel: 'lora' | 'full';
  readonly method?: 'func' | 'hooks';
  readonly threads: number;
  readonly rank: number;
  readonly alpha: number;
  readonly rows: readonly { readonly ids: readonly number[] }[];
  readonly head: readonly (readonly number[])[];
  /** Rows that are computed before the clock starts. */
  readonly warmup: number;
  readonly memory_mb: number;
  readonly projection?: { readonly dimension: number; readonly replicates: number };
  /** Whether the true and empirical Fisher spectra are computed from the kernel, too. */
  readonly fisher: boolean;
}

interface PeerResult {
  readonly seconds: number;
  readonly peak_memory_mb: number;
  readonly trace: number;
  /** ‖K‖_F */
  readonly norm: number;
  readonly versions: Readonly<Record<string, string>>;
}

export interface TheoryResult extends PeerResult {
  readonly fisher_seconds: number;
  /** Of the cost model. */
  readonly operations: number;
  readonly error: number | null;
  readonly groups: number;
  readonly by_pairs: number;
  readonly terms: number;
}

/** As `wave` in peers/theory_torch.py: factors that both sides can make. */
export const wave = (rows: number, columns: number, scale: number, phase: number): HostTensor => ({
  shape: [rows, columns],
  data: Float32Array.from({ length: rows * columns }, (_, k) => scale * Math.sin(phase + 0.37 * (Math.floor(k / columns) + 1) * (k % columns + 2))),
});

interface Case {
  readonly kernel: TheoryJob['kernel'];
  readonly N: number;
  /** By peer: the ratio to reach. */
  readonly goals: Readonly<Partial<Record<'func' | 'hooks', number>>>;
  readonly memoryMB: number;
  /** Peak memory in MB to stay within. */
  readonly peakMB?: number;
  readonly rounds: number;
}

const cases: readonly Case[] = [
  { kernel: 'lora', N: 64, goals: { func: 2.5, hooks: 1.3 }, memoryMB: 1024, rounds: 3 },
  { kernel: 'full', N: 64, goals: { func: 4 }, memoryMB: 1024, peakMB: 2000, rounds: 1 },
  { kernel: 'lora', N: 1024, goals: { hooks: 1.3 }, memoryMB: 2048, peakMB: 4000, rounds: 1 },
];

const peers = { func: 'torch.func', hooks: 'hooks' } as const;

/** Yields a claim as each case is done. */
export async function* bench({ rounds }: { readonly rounds?: number } = {}): AsyncGenerator<Claim> {
  const model = await findModelDir(await benchModel());
  const tokenizer = await openTokenizer(model);
  const rows = (await sst2('train', 1024)).map(({ text }) => ({ ids: [...tokenizer.encode(text, undefined, 128).ids] }));
  const stream = randomStream(0, 'bench', 'head');
  const head = [0, 1].map(() => Array.from({ length: 384 }, () => stream.normal() * 0.02));
  const env = { TF_NUM_INTRAOP_THREADS: '1', TF_NUM_INTEROP_THREADS: '1', OMP_NUM_THREADS: '1' };
  const job = (kernel: TheoryJob['kernel'], N: number, memoryMB: number): TheoryJob =>
    ({ model, kernel, threads: 1, rank: 8, alpha: 16, rows: rows.slice(0, N), head, warmup: Math.min(N, 16), memory_mb: memoryMB, fisher: false });
  const own = (one: TheoryJob): Promise<TheoryResult> => measureOwn<TheoryResult>('theory.ts', one, env);
  const python = peerPython();
  const peer = (one: TheoryJob, method: 'func' | 'hooks'): Promise<PeerResult> => measure<PeerResult>(python, [join(benchDir, 'peers', 'theory_torch.py')], { ...one, method }, env);

  for (const { kernel, N, goals, memoryMB, peakMB, rounds: usual } of cases) {
    const one = { ...job(kernel, N, memoryMB), fisher: N === 1024 };
    const methods = Object.keys(goals) as (keyof typeof goals)[];
    const ours: TheoryResult[] = [], theirs = new Map<keyof typeof goals, PeerResult[]>(methods.map((method) => [method, []]));
    for (let round = 0; round < (rounds ?? usual); round++) { // in turn, so that a drift of the machine's speed meets all
      ours.push(await own(one));
      for (const method of methods) theirs.get(method)!.push(await peer(one, method));
    }
    const name = `${kernel === 'lora' ? 'LoRA kernel' : 'full kernel of the same layers'}, N = ${N}`;
    const value = median(ours.map(({ seconds }) => seconds)), memory = Math.max(...ours.map(({ peak_memory_mb: peak }) => peak));
    for (const [method, results] of theirs) {
      for (const of of ['trace', 'norm'] as const) {
        const gap = Math.abs(ours[0]![of] / results[0]![of] - 1);
        if (!(gap < 1e-3)) throw new Error(`${name}: ${of} differs from ${peers[method]}'s by ${gap} of it`);
      }
      const label = `${peers[method]}, PyTorch ${results[0]!.versions['torch']}`;
      yield makeClaim('theory', { claim: name, unit: 's', sense: 'cost', goal: goals[method]!, peer: label, value, peerValue: median(results.map(({ seconds }) => seconds)) });
      yield makeClaim('theory', { claim: `${name}: peak memory`, unit: 'MB', sense: 'cost', peer: label, value: memory, peerValue: Math.max(...results.map(({ peak_memory_mb: peak }) => peak)) });
    }
    if (peakMB !== undefined) yield makeClaim('theory', { claim: `${name}: peak memory`, unit: 'MB', sense: 'cost', goal: 1, peer: 'the limit', value: memory, peerValue: peakMB });
    if (one.fisher) yield makeClaim('theory', { claim: `Fisher spectra, true and empirical, N = ${N}`, unit: 's', sense: 'cost', goal: 1, peer: 'the kernel that they are of', value: median(ours.map((r) => r.fisher_seconds)), peerValue: value });
  }

  // Growth, against the cost model that chooses the contraction: seconds a giga-operation stay in one range.
  for (const kernel of ['lora', 'full'] as const) {
    let first: { readonly seconds: number; readonly operations: number } | null = null;
    for (const N of kernel === 'lora' ? [16, 64, 256, 1024] : [16, 64, 256]) {
      const found = await own(job(kernel, N, 2048));
      first ??= found;
      yield makeClaim('theory', {
        claim: `growth of the ${kernel === 'lora' ? 'LoRA' : 'full'} kernel, N = ${N}: ${(found.operations / 1e9).toPrecision(3)} G operations, ${found.by_pairs} of ${found.terms} terms by token pairs, ${found.groups} pass(es), ${found.peak_memory_mb.toFixed(0)} MB`,
        unit: 's', sense: 'cost', peer: 'the cost model, from N = 16', value: found.seconds, peerValue: first.seconds * found.operations / first.operations,
      });
    }
  }
  const exact = await own(job('full', 256, 2048)), estimate = await own({ ...job('full', 256, 2048), projection: { dimension: 64, replicates: 4 } });
  yield makeClaim('theory', {
    claim: `full kernel projected to 64 × 64, four times, N = 256 (its own standard error ${(100 * estimate.error!).toPrecision(2)}% of ‖K‖)`,
    unit: 's', sense: 'cost', peer: 'the exact one', value: estimate.seconds, peerValue: exact.seconds,
  });
}
