/**
 * Compares training and evaluation with PyTorch + PEFT, on MiniLM and SST-2 rows. Both sides start
 * from the same weights, use the rows in the same order, are warmed up, and take turns. The losses
 * of both sides are compared as well, since a fast wrong step is worthless.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomStream } from '../src/base/random.ts';
import { findModelDir } from '../src/data/model-folder.ts';
import { openTokenizer } from '../src/science/text/tokenizer.ts';
import { type Claim, makeClaim, median } from './claims.ts';
import { benchModel, sst2 } from './inputs.ts';
import { benchDir, buildOwn, openPlayer, ownScript, peerPython, type Player } from './processes.ts';
import { bf16Claims } from './train-bf16.ts';
import {
  type CellPlan,
  cellRows,
  type TrainCell,
  type TrainJob,
  type TrainResult,
  type TrainTurn,
  writeStart,
} from './train-job.ts';

interface Case {
  readonly mode: TrainJob['mode'];
  readonly batch: number;
  readonly threads: number;
  readonly goal?: number;
  readonly backend?: TrainJob['backend'];
}

const cases: readonly Case[] = [
  { mode: 'lora', batch: 8, threads: 1, goal: 2 },
  { mode: 'lora', batch: 32, threads: 1, goal: 2.5 },
  { mode: 'lora', batch: 8, threads: 2, goal: 1.2 },
  { mode: 'lora', batch: 32, threads: 2, goal: 1.5 },
  { mode: 'full', batch: 8, threads: 1, goal: 2 },
  { mode: 'evaluate', batch: 32, threads: 1, goal: 2.5 },
  { mode: 'lora', batch: 8, threads: 1, backend: 'wasm' },
];
/** The worker of `--backend torch` does the peer's own work: what it adds may cost 5%. */
const torchCases: readonly Case[] = [
  { mode: 'lora', batch: 8, threads: 1, backend: 'torch', goal: 0.95 },
  { mode: 'full', batch: 8, threads: 1, backend: 'torch', goal: 0.95 },
];

const PARTS: readonly string[] = ['grid', 'single', 'bf16', 'torch'];

export const one: CellPlan = { rank: 8, alpha: 16, variance: '1/(3d)', poison: 0, seed: 0 };
/** Two ranks, two variances, two poison rates, each with its own seed. */
const grid: readonly CellPlan[] = [0, 0.1]
  .flatMap((poison) =>
    [4, 16].flatMap((rank) =>
      ['1/(3d)', '1/d'].map((variance): CellPlan => ({
        rank,
        alpha: rank,
        variance,
        poison,
        seed: 0,
      })),
    ),
  )
  .map((plan, seed) => ({ ...plan, seed }));

export type Side = readonly Player<TrainTurn, TrainResult>[];

/** The environment of a worker of `dosimeter run`. */
const ownEnv = ({ threads, compile, backend }: TrainJob): Record<string, string> => ({
  ...(backend === 'torch'
    ? { DOSIMETER_PYTHON: peerPython(), DOSIMETER_THREADS: String(threads) }
    : {}),
  DOSIMETER_COMPILE: compile ? '1' : '0',
  TF_NUM_INTRAOP_THREADS: String(threads),
  TF_NUM_INTEROP_THREADS: '1',
  OMP_NUM_THREADS: String(threads),
  MALLOC_ARENA_MAX: '1',
  TF_CPP_MIN_LOG_LEVEL: '1',
});
export const own = async (jobs: readonly TrainJob[]): Promise<Side> => {
  const script = await buildOwn('train.ts');
  return Promise.all(
    jobs.map((job) =>
      openPlayer<TrainTurn, TrainResult>(
        process.execPath,
        // A bundle does not lie beside the worker's Python files.
        job.backend === 'torch' ? ownScript('train.ts') : [script],
        job,
        ownEnv(job),
      ),
    ),
  );
};
export const peer = (jobs: readonly TrainJob[], signal?: AbortSignal): Promise<Side> => {
  const python = peerPython();
  return Promise.all(
    jobs.map((job) =>
      openPlayer<TrainTurn, TrainResult>(
        python,
        [join(benchDir, 'peers', 'train_peft.py')],
        job,
        { OMP_NUM_THREADS: String(job.threads) },
        signal,
      ),
    ),
  );
};

export interface Outcome {
  /** Median over the turns. */
  readonly rate: number;
  readonly results: readonly TrainResult[];
}

/**
 * The sides take turns, so that a drift of the machine's speed affects all alike; the processes of
 * one side work at the same time.
 */
export async function contest(
  sides: readonly Side[],
  { rounds }: TrainJob,
  examples: number,
): Promise<Outcome[]> {
  const rates: number[][] = sides.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (const [i, side] of sides.entries()) {
      const turns = await Promise.all(side.map((player) => player.turn()));
      rates[i]!.push(examples / Math.max(...turns.map(({ seconds }) => seconds)));
    }
  }
  return Promise.all(
    sides.map(async (side, i) => ({
      rate: median(rates[i]!),
      results: await Promise.all(side.map(({ end }) => end)),
    })),
  );
}

const STEPS_COMPARED = 50;

/** Throws where the losses of the same cells differ. */
function compare(name: string, a: Outcome, b: Outcome): void {
  const [left, right] = [a, b].map(({ results }) => results.flatMap(({ losses }) => losses)) as [
    number[][],
    number[][],
  ];
  left.forEach((losses, k) =>
    losses.slice(0, STEPS_COMPARED).forEach((loss, step) => {
      const gap = Math.abs(loss - right[k]![step]!);
      if (!(gap < 1e-3))
        throw new Error(
          `${name}: the losses of cell ${k + 1} differ by ${gap} at step ${step + 1}`,
        );
    }),
  );
}

/** Throws where a compiled step's loss is not that of the operations carried out one by one. */
function compareBits(name: string, compiled: Outcome, eager: Outcome): void {
  const [a, b] = [compiled, eager].map(({ results }) =>
    JSON.stringify(results.map(({ losses }) => losses)),
  );
  if (a !== b) throw new Error(`${name}: the losses of compiled and eager steps differ`);
}

const eagerClaim = (name: string, mine: Outcome, eager: Outcome): Claim =>
  makeClaim('train', {
    claim: `${name}: compiled steps`,
    unit: 'examples/s',
    sense: 'rate',
    peer: 'the same with --no-compile',
    value: mine.rate,
    peerValue: eager.rate,
  });

/**
 * The claim of how much of the processor's matrix peak a case reaches; none on WebAssembly.
 * @param goal the share to reach
 */
function peakClaims(
  name: string,
  { rate, results }: Outcome,
  job: TrainJob,
  goal?: number,
): Claim[] {
  const products = results.flatMap((result) => result.products ?? []);
  if (products.length < results.length) return [];
  const examples = job.batch_size * results.reduce((cells, { losses }) => cells + losses.length, 0);
  return [
    makeClaim('train', {
      claim: `${name}: matrix products`,
      unit: 'GFLOP/s',
      sense: 'rate',
      peer: 'one product of 1,024 × 1,024 matrices a process',
      value: ((rate / examples) * sum(products.map(({ flops }) => flops))) / 1e9,
      peerValue: sum(products.map(({ peak }) => peak)) / 1e9,
      ...(goal === undefined ? {} : { goal }),
    }),
  ];
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

export interface Inputs {
  readonly base: Pick<TrainJob, 'model' | 'texts' | 'head' | 'warmup' | 'rounds'>;
  /** @param shuffled by the cell's own seed; otherwise the rows are in file order */
  readonly cell: (plan: CellPlan, shuffled: boolean) => Promise<TrainCell>;
}

const SUFFIX = { tensorflow: '', wasm: ', WebAssembly', torch: ', --backend torch' } as const;

async function soloClaims(
  { mode, batch, threads, goal, backend = 'tensorflow' }: Case,
  { base, cell }: Inputs,
  quick: boolean,
): Promise<Claim[]> {
  const lora = await cell(one, false);
  const job: TrainJob = {
    ...base,
    mode,
    backend,
    threads,
    compile: true,
    batch_size: batch,
    learning_rate: mode === 'full' ? 3e-6 : 3e-5,
    steps: quick ? 2 : backend === 'wasm' ? 4 : batch === 8 ? 48 : 16,
    cells: [mode === 'lora' ? lora : { ...lora, adapter: null }],
  };
  const sides = await Promise.all([
    own([job]),
    peer([{ ...job, backend: 'tensorflow' }]),
    ...(backend === 'tensorflow' ? [own([{ ...job, compile: false }])] : []),
  ]);
  const [mine, theirs, eager] = (await contest(sides, job, job.steps * batch)) as [
    Outcome,
    Outcome,
    Outcome?,
  ];
  const what = { lora: 'LoRA r 8', full: 'full fine-tuning', evaluate: 'evaluation' }[mode];
  const name =
    `${what}, batch ${batch}, ${threads} ` + `thread${threads === 1 ? '' : 's'}${SUFFIX[backend]}`;
  compare(name, mine, theirs);
  if (eager !== undefined) compareBits(name, mine, eager);
  const { versions, operations, peak_memory_mb: memory } = theirs.results[0]!,
    [result] = mine.results,
    label = `PyTorch ${versions['torch']} + PEFT ${versions['peft']}`;
  return [
    makeClaim('train', {
      claim: name,
      unit: 'examples/s',
      sense: 'rate',
      peer: label,
      value: mine.rate,
      peerValue: theirs.rate,
      ...(goal === undefined ? {} : { goal }),
    }),
    ...(eager === undefined ? [] : [eagerClaim(name, mine, eager)]),
    ...peakClaims(name, mine, job),
    ...(mode === 'evaluate' || backend !== 'tensorflow'
      ? []
      : [
          makeClaim('train', {
            claim: `${name}: peak memory`,
            unit: 'MB',
            sense: 'cost',
            goal: 1 / 1.2,
            peer: label,
            value: result!.peak_memory_mb,
            peerValue: memory,
          }),
        ]),
    ...(threads > 1 || result!.operations === null
      ? []
      : [
          makeClaim('train', {
            claim: `${name}: operations a step`,
            unit: 'operations',
            sense: 'cost',
            peer: label,
            value: result!.operations,
            peerValue: operations!,
          }),
        ]),
  ];
}

/** The job of the grid's eight cells together, and those of its halves. */
export async function gridJobs(
  { base, cell }: Inputs,
  quick: boolean,
): Promise<{ readonly job: TrainJob; readonly halves: readonly TrainJob[] }> {
  const cells: TrainCell[] = [];
  for (const plan of grid) cells.push(await cell(plan, true));
  const job: TrainJob = {
    ...base,
    mode: 'lora',
    backend: 'tensorflow',
    threads: 1,
    compile: true,
    batch_size: 8,
    learning_rate: 3e-5,
    // V8 compiles until a function has run some hundred times.
    warmup: quick ? 2 : 24,
    steps: quick ? 1 : 24,
    cells,
  };
  const halves = [cells.slice(0, 4), cells.slice(4)].map((half): TrainJob => ({
    ...job,
    cells: half,
  }));
  return { job, halves };
}

/**
 * Eight cells on two cores: two workers of ours with four each, one after another, as in
 * `dosimeter run`.
 */
async function gridClaims(inputs: Inputs, quick: boolean): Promise<Claim[]> {
  const { job, halves } = await gridJobs(inputs, quick);
  const sides = await Promise.all([
    own(halves),
    peer(halves),
    peer([{ ...job, threads: 2 }]),
    own(halves.map((half) => ({ ...half, compile: false }))),
  ]);
  const [mine, processes, threads, eager] = (await contest(
    sides,
    job,
    job.cells.length * job.steps * job.batch_size,
  )) as [Outcome, Outcome, Outcome, Outcome];
  compareBits('grid', mine, eager);
  compare('grid', mine, processes);
  compare('grid', mine, threads);
  const { versions } = threads.results[0]!,
    label = `PyTorch ${versions['torch']} + PEFT ${versions['peft']}`;
  const best = Math.max(processes.rate, threads.rate),
    claim = 'grid of 8 LoRA cells, batch 8, 2 cores';
  const against = (way: string, { rate }: Outcome): Claim =>
    makeClaim('train', {
      claim: `${claim}, against ${way}`,
      unit: 'examples/s',
      sense: 'rate',
      peer: `${label}, ${way}`,
      value: mine.rate,
      peerValue: rate,
      ...(rate === best ? { goal: 2.5 } : {}),
    });
  const operations = (outcome: Outcome): number =>
    sum(outcome.results.map((result) => result.operations!));
  return [
    against('2 processes of 1 thread', processes),
    against('one after another on 2 threads', threads),
    eagerClaim(claim, mine, eager),
    ...peakClaims(claim, mine, job, 0.6),
    makeClaim('train', {
      claim: `${claim}: operations a step of all`,
      unit: 'operations',
      sense: 'cost',
      peer: label,
      value: operations(mine),
      peerValue: operations(processes),
    }),
  ];
}

/**
 * Yields a claim as each case is done. A `quick` bench only shows that it works; its numbers mean
 * nothing.
 * @param options.only runs one of PARTS alone
 */
export async function* bench({
  rounds = 3,
  quick = false,
  only,
}: {
  readonly rounds?: number;
  readonly quick?: boolean;
  readonly only?: string;
} = {}): AsyncGenerator<Claim> {
  if (only !== undefined && !PARTS.includes(only))
    throw new Error(`train has the parts ${PARTS.join(', ')}, not "${only}"`);
  const runs = (part: string): boolean => only === undefined || only === part;
  const model = await findModelDir(await benchModel());
  const tokenizer = await openTokenizer(model);
  const rows = await sst2('train', 512),
    labels = rows.map(({ label }) => label);
  const stream = randomStream(0, 'bench', 'head');
  const head = [0, 1].map(() => Array.from({ length: 384 }, () => stream.normal() * 0.02));
  const folder = await mkdtemp(join(tmpdir(), 'dosimeter-bench-'));
  const inputs: Inputs = {
    base: {
      model,
      head,
      texts: rows.map(({ text }) => [...tokenizer.encode(text, undefined, 128).ids]),
      // By then every shape is compiled, and reads packed weights.
      warmup: quick ? 2 : 16,
      rounds: quick ? 1 : rounds,
    },
    cell: async (plan, shuffled) => ({
      adapter: await writeStart(
        join(folder, JSON.stringify(plan).replace(/[^\w.]+/g, '-')),
        model,
        plan,
        head,
      ),
      rows: cellRows(labels, plan, shuffled),
    }),
  };
  try {
    if (runs('grid')) yield* await gridClaims(inputs, quick);
    if (runs('single')) for (const own of cases) yield* await soloClaims(own, inputs, quick);
    if (runs('bf16')) yield* bf16Claims(inputs, quick);
    if (runs('torch')) for (const own of torchCases) yield* await soloClaims(own, inputs, quick);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
