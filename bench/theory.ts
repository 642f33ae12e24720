/**
 * Compares kernels with those of PyTorch, computed in two ways: torch.func's Jacobians, and hooks
 * that keep h and δ of one batched forward pass. MiniLM, SST-2 rows, rank 8, one thread. Both
 * sides' kernels are compared entry by entry, since a fast wrong kernel is worthless.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomStream } from '../src/base/random.ts';
import { findModelDir } from '../src/data/model-folder.ts';
import { openTokenizer } from '../src/science/text/tokenizer.ts';
import { type Claim, makeClaim, median } from './claims.ts';
import { benchModel, sst2 } from './inputs.ts';
import { benchDir, buildOwn, measure, peerPython } from './processes.ts';
import type { PeerResult, TheoryJob, TheoryResult } from './theory-job.ts';

interface Case {
  readonly kernel: TheoryJob['kernel'];
  readonly N: number;
  /** Whether B is zero, as where training starts. */
  readonly init?: boolean;
  /** The ratio to reach against each peer. */
  readonly goals: Readonly<Partial<Record<'func' | 'hooks', number>>>;
  readonly memoryMB: number;
  /** Peak memory in MB to stay within. */
  readonly peakMB?: number;
  readonly rounds: number;
}

const cases: readonly Case[] = [
  { kernel: 'lora', N: 64, goals: { func: 4, hooks: 2.5 }, memoryMB: 1024, rounds: 3 },
  { kernel: 'full', N: 64, goals: { func: 4 }, memoryMB: 1024, peakMB: 2000, rounds: 1 },
  { kernel: 'lora', N: 1024, goals: { hooks: 2 }, memoryMB: 2048, peakMB: 4000, rounds: 1 },
  { kernel: 'lora', N: 1024, init: true, goals: { hooks: 3 }, memoryMB: 2048, rounds: 1 },
];

const peers = { func: 'torch.func', hooks: 'hooks' } as const;

/** Only N = 16, to see that the bench works. */
const quickCases: readonly Case[] = [
  { kernel: 'lora', N: 16, goals: { func: 4, hooks: 2.5 }, memoryMB: 1024, rounds: 1 },
  { kernel: 'lora', N: 16, init: true, goals: { hooks: 3 }, memoryMB: 1024, rounds: 1 },
  { kernel: 'full', N: 16, goals: { func: 4 }, memoryMB: 1024, rounds: 1 },
];

/** Returns ‖K − K'‖_F/‖K'‖_F of the two kernel files. */
async function distance(own: string, other: string): Promise<number> {
  const [a, b] = await Promise.all(
    [own, other].map(async (file) => {
      const bytes = await readFile(file);
      return new Float64Array(
        bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength),
      );
    }),
  );
  if (a!.length !== b!.length)
    throw new Error(`${a!.length} entries of a kernel against ${b!.length}`);
  let difference = 0,
    size = 0;
  for (let k = 0; k < a!.length; k++) {
    difference += (a![k]! - b![k]!) ** 2;
    size += b![k]! ** 2;
  }
  return Math.sqrt(difference / size);
}

interface BenchOptions {
  /** Replaces the number of rounds of each case. */
  readonly rounds?: number;
  /** Runs the smallest sizes only, to see that the bench works. */
  readonly quick?: boolean;
  /** Includes the full kernel of 1,024 rows, which takes minutes. */
  readonly slow?: boolean;
}

type Method = keyof typeof peers;

/** How each side computes a kernel, and where it leaves it. */
interface Sides {
  readonly job: (kernel: TheoryJob['kernel'], N: number, memoryMB: number) => TheoryJob;
  readonly own: (job: TheoryJob) => Promise<TheoryResult>;
  readonly peer: (job: TheoryJob, method: Method) => Promise<PeerResult>;
  /** Returns the file of a kernel: of `own`, or of a method of the peer. */
  readonly kernelOf: (who: string) => string;
}

async function openSides(dir: string): Promise<Sides> {
  const model = await findModelDir(await benchModel());
  const tokenizer = await openTokenizer(model);
  const rows = (await sst2('train', 1024)).map(({ text }) => ({
    ids: [...tokenizer.encode(text, undefined, 128).ids],
  }));
  const stream = randomStream(0, 'bench', 'head');
  const head = [0, 1].map(() => Array.from({ length: 384 }, () => stream.normal() * 0.02));
  const env = { TF_NUM_INTRAOP_THREADS: '1', TF_NUM_INTEROP_THREADS: '1', OMP_NUM_THREADS: '1' };
  const kernelOf = (who: string): string => join(dir, who);
  const python = peerPython(),
    ours = await buildOwn('theory.ts');
  return {
    kernelOf,
    job: (kernel, N, memoryMB) => ({
      model,
      kernel,
      threads: 1,
      rank: 8,
      alpha: 16,
      init: false,
      rows: rows.slice(0, N),
      head,
      warmup: Math.min(N, 16),
      memory_mb: memoryMB,
      fisher: false,
      out: kernelOf('own'),
    }),
    own: (job) => measure<TheoryResult>(process.execPath, [ours], job, env),
    peer: (job, method) =>
      measure<PeerResult>(
        python,
        [join(benchDir, 'peers', 'theory_torch.py')],
        { ...job, method, out: kernelOf(method) },
        env,
      ),
  };
}

/** Yields a claim as each case is done. */
export async function* bench(options: BenchOptions = {}): AsyncGenerator<Claim> {
  const dir = await mkdtemp(join(tmpdir(), 'dosimeter-bench-'));
  try {
    const sides = await openSides(dir);
    for (const one of options.quick === true ? quickCases : cases)
      yield* againstPeers(sides, one, options);
    yield* growth(sides, options);
    yield* projected(sides, options);
  } finally {
    await rm(dir, { recursive: true });
  }
}

interface Found {
  readonly own: readonly TheoryResult[];
  readonly theirs: ReadonlyMap<Method, readonly PeerResult[]>;
}

/** Computes a case on both sides. Throws if the kernels differ. */
async function measured(
  sides: Sides,
  job: TheoryJob,
  name: string,
  methods: readonly Method[],
  rounds: number,
): Promise<Found> {
  const own: TheoryResult[] = [],
    theirs = new Map<Method, PeerResult[]>(methods.map((method) => [method, []]));
  for (let round = 0; round < rounds; round++) {
    // in turn, so that a drift of the machine's speed affects all alike
    own.push(await sides.own(job));
    for (const [method, results] of theirs) results.push(await sides.peer(job, method));
  }
  for (const method of methods) {
    const gap = await distance(sides.kernelOf('own'), sides.kernelOf(method));
    if (!(gap < 1e-3))
      throw new Error(`${name}: it differs from ${peers[method]}'s by ${gap} of its norm`);
  }
  return { own, theirs };
}

const peakOf = (results: readonly { readonly peak_memory_mb: number }[]): number =>
  Math.max(...results.map(({ peak_memory_mb: peak }) => peak));
const secondsOf = (results: readonly { readonly seconds: number }[]): number =>
  median(results.map(({ seconds }) => seconds));

/** Compares time and memory of one kernel with each peer, and with the limit of the case. */
async function* againstPeers(
  sides: Sides,
  { kernel, N, init = false, goals, memoryMB, peakMB, rounds: usual }: Case,
  { rounds = usual, quick = false }: BenchOptions,
): AsyncGenerator<Claim> {
  const job = {
    ...sides.job(kernel, N, memoryMB),
    init,
    fisher: !init && (quick || N === 1024),
  };
  const what = kernel === 'lora' ? 'LoRA kernel' : 'full kernel of the same layers',
    name = `${what}, N = ${N}${init ? ', B = 0' : ''}`;
  const methods = Object.keys(goals) as Method[];
  const { own, theirs } = await measured(sides, job, name, methods, rounds);
  const value = secondsOf(own),
    memory = peakOf(own);
  for (const [method, results] of theirs) {
    const goal = goals[method];
    const peer = `${peers[method]}, PyTorch ${results[0]?.versions['torch'] ?? ''}`;
    yield makeClaim('theory', {
      claim: name,
      unit: 's',
      sense: 'cost',
      ...(goal === undefined ? {} : { goal }),
      peer,
      value,
      peerValue: secondsOf(results),
    });
    yield makeClaim('theory', {
      claim: `${name}: peak memory`,
      unit: 'MB',
      sense: 'cost',
      peer,
      value: memory,
      peerValue: peakOf(results),
    });
  }
  if (peakMB !== undefined)
    yield makeClaim('theory', {
      claim: `${name}: peak memory`,
      unit: 'MB',
      sense: 'cost',
      goal: 1,
      peer: 'the limit',
      value: memory,
      peerValue: peakMB,
    });
  if (job.fisher)
    yield makeClaim('theory', {
      claim: `Fisher spectra, true and empirical, N = ${N}`,
      unit: 's',
      sense: 'cost',
      goal: 1,
      peer: 'the kernel that they are of',
      value: median(own.map((result) => result.fisher_seconds)),
      peerValue: value,
    });
}

/**
 * Tests the growth against the cost model that chooses the contraction: the seconds per
 * giga-operation, and the memory beyond the plan, must stay within one range.
 */
async function* growth(
  { own, job }: Sides,
  { quick = false, slow = false }: BenchOptions,
): AsyncGenerator<Claim> {
  for (const kernel of ['lora', 'full'] as const) {
    let first: TheoryResult | null = null;
    for (const N of quick
      ? [16, 32]
      : [16, 64, 256, ...(kernel === 'lora' || slow ? [1024] : [])]) {
      const found = await own(job(kernel, N, 2048));
      first ??= found;
      const name = `growth of the ${kernel === 'lora' ? 'LoRA' : 'full'} kernel, N = ${N}`;
      yield makeClaim('theory', {
        claim:
          `${name}: ${(found.operations / 1e9).toPrecision(3)} G operations, ` +
          `${found.by_pairs} of ${found.terms} terms by token pairs, ${found.groups} pass(es)`,
        unit: 's',
        sense: 'cost',
        peer: 'the cost model, from N = 16',
        value: found.seconds,
        peerValue: (first.seconds * found.operations) / first.operations,
      });
      yield makeClaim('theory', {
        claim: `${name}: peak memory`,
        unit: 'MB',
        sense: 'cost',
        peer: 'the plan, from N = 16',
        value: found.peak_memory_mb,
        peerValue: first.peak_memory_mb + found.planned_mb - first.planned_mb,
      });
    }
  }
}

/** Compares a projected kernel with the exact one, in time and in entries. */
async function* projected(
  { own, job, kernelOf }: Sides,
  { quick = false }: BenchOptions,
): AsyncGenerator<Claim> {
  const N = quick ? 32 : 256;
  const estimate = await own({
      ...job('full', N, 2048),
      projection: { dimension: 64, replicates: 4 },
      out: kernelOf('estimate'),
    }),
    exact = await own(job('full', N, 2048));
  const error = estimate.error ?? NaN,
    off = await distance(kernelOf('estimate'), kernelOf('own'));
  if (!(off < 4 * error))
    throw new Error(
      `the projected kernel is ${off} of its norm off, its own standard error is ${error}`,
    );
  yield makeClaim('theory', {
    claim:
      `full kernel projected to 64 × 64, four times, N = ${N} ` +
      `(${(100 * off).toPrecision(2)}% of ‖K‖ off, its own standard error ` +
      `${(100 * error).toPrecision(2)}%)`,
    unit: 's',
    sense: 'cost',
    peer: 'the exact one',
    value: estimate.seconds,
    peerValue: exact.seconds,
  });
}
