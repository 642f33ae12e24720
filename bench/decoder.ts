/**
 * Compares LoRA steps and generation of a decoder of GPT-2's shape with PyTorch, PEFT and
 * transformers, on one thread. The weights are random: they cost what trained ones cost. Both sides
 * read the same files, are warmed up and take turns; losses and new tokens are compared as well.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomStream } from '../src/base/random.ts';
import { type Claim, makeClaim, median } from './claims.ts';
import type { DecoderJob, DecoderResult, DecoderShape, DecoderTurn } from './decoder-job.ts';
import { benchDir, buildOwn, measure, openPlayer, peerPython, type Player } from './processes.ts';

/** GPT-2 of 124 M parameters. */
const GPT2: DecoderShape = {
  n_layer: 12,
  n_embd: 768,
  n_head: 12,
  n_positions: 1024,
  vocab_size: 50257,
};
const BATCH = 8,
  PROMPTS = 16;
/** The least and the most tokens of a row, of its answer, and of a prompt. */
const LENGTHS = { row: [32, 128], answer: [16, 48], prompt: [8, 64] } as const;
/** Bound on the difference of the losses of a step. */
const LOSS_GAP = 1e-4;

const stream = randomStream(0, 'bench', 'decoder');
const between = ([least, most]: readonly [number, number]): number =>
  least + Math.floor(stream.uniform() * (most - least + 1));
const tokens = (count: number, vocabulary: number): number[] =>
  Array.from({ length: count }, () => Math.floor(stream.uniform() * vocabulary));

/** Returns random rows whose answers leave at least one token before them. */
const makeRows = (count: number, vocabulary: number): DecoderJob['rows'] =>
  Array.from({ length: count }, () => {
    const length = between(LENGTHS.row);
    return {
      ids: tokens(length, vocabulary),
      answer: Math.max(1, length - between(LENGTHS.answer)),
    };
  });

type Side = Player<DecoderTurn, DecoderResult>;

const peerScript = join(benchDir, 'peers', 'decoder_peft.py');

async function openSides(job: DecoderJob): Promise<readonly [own: Side, peer: Side]> {
  const script = await buildOwn('decoder.ts'),
    threads = String(job.threads);
  // The environment of a worker of `dosimeter run`.
  const own = await openPlayer<DecoderTurn, DecoderResult>(process.execPath, [script], job, {
    TF_NUM_INTRAOP_THREADS: threads,
    TF_NUM_INTEROP_THREADS: '1',
    OMP_NUM_THREADS: threads,
    MALLOC_ARENA_MAX: '1',
    TF_CPP_MIN_LOG_LEVEL: '1',
  });
  const peer = await openPlayer<DecoderTurn, DecoderResult>(peerPython(), [peerScript], job, {
    OMP_NUM_THREADS: threads,
  });
  return [own, peer];
}

interface Outcome extends DecoderResult {
  /** Median over the turns. */
  readonly seconds: number;
}

/** The sides take turns, so that a drift of the machine's speed affects both alike. */
async function contest(job: DecoderJob): Promise<readonly [own: Outcome, peer: Outcome]> {
  const [own, peer] = await openSides(job),
    ours: number[] = [],
    theirs: number[] = [];
  for (let round = 0; round < job.rounds; round++) {
    ours.push((await own.turn()).seconds);
    theirs.push((await peer.turn()).seconds);
  }
  return [
    { ...(await own.end), seconds: median(ours) },
    { ...(await peer.end), seconds: median(theirs) },
  ];
}

/** Throws where the losses of a step differ. */
function compareLosses(ours: readonly number[], theirs: readonly number[]): void {
  if (ours.length !== theirs.length)
    throw new Error(`${ours.length} steps against the peer's ${theirs.length}`);
  ours.forEach((loss, step) => {
    const gap = Math.abs(loss - theirs[step]!);
    if (!(gap <= LOSS_GAP)) throw new Error(`the losses of step ${step + 1} differ by ${gap}`);
  });
}

/** The number of prompts that both sides continue alike. */
const alike = (ours: DecoderResult['ids'], theirs: DecoderResult['ids']): number =>
  ours.filter((ids, i) => JSON.stringify(ids) === JSON.stringify(theirs[i])).length;

/** The claims of a case, which handles `amount` of `unit` in a turn. */
function claimsOf(
  claim: string,
  [own, peer]: readonly [own: Outcome, peer: Outcome],
  { unit, amount, goal }: { readonly unit: string; readonly amount: number; readonly goal: number },
): Claim[] {
  const { torch, transformers, peft } = peer.versions;
  const label = `PyTorch ${torch}, transformers ${transformers}, PEFT ${peft}`;
  return [
    makeClaim('decoder', {
      claim,
      unit: `${unit}/s`,
      sense: 'rate',
      goal,
      peer: label,
      value: amount / own.seconds,
      peerValue: amount / peer.seconds,
    }),
    makeClaim('decoder', {
      claim: `${claim}: peak memory`,
      unit: 'MB',
      sense: 'cost',
      peer: label,
      value: own.peak_memory_mb,
      peerValue: peer.peak_memory_mb,
    }),
  ];
}

/**
 * Yields the claims of training, then those of generation. A `quick` bench has two layers and only
 * shows that it works; its numbers mean nothing.
 */
export async function* bench({
  rounds = 3,
  quick = false,
}: { readonly rounds?: number; readonly quick?: boolean } = {}): AsyncGenerator<Claim> {
  const shape = quick ? { ...GPT2, n_layer: 2 } : GPT2,
    folder = await mkdtemp(join(tmpdir(), 'dosimeter-bench-'));
  const base = {
    shape,
    model: join(folder, 'model'),
    adapter: join(folder, 'adapter'),
    threads: 1,
    batch_size: BATCH,
    learning_rate: 1e-4,
    warmup: 2,
    steps: 2,
    rounds: quick ? 2 : rounds,
    rows: [],
    prompts: [],
    new_tokens: quick ? 16 : 64,
  };
  try {
    await measure(peerPython(), [peerScript], { ...base, mode: 'write' } satisfies DecoderJob);
    const steps = base.warmup + base.rounds * base.steps;
    const training = await contest({
      ...base,
      mode: 'train',
      rows: makeRows(steps * BATCH, shape.vocab_size),
    });
    compareLosses(training[0].losses, training[1].losses);
    yield* claimsOf('LoRA r 8 on c_attn, loss on answers, batch 8, 1 thread', training, {
      unit: 'examples',
      amount: base.steps * BATCH,
      goal: 1.3,
    });
    const generation = await contest({
      ...base,
      mode: 'generate',
      prompts: Array.from({ length: PROMPTS }, () =>
        tokens(between(LENGTHS.prompt), shape.vocab_size),
      ),
    });
    const same = alike(generation[0].ids, generation[1].ids);
    yield* claimsOf(
      `${base.new_tokens} tokens of each of ${PROMPTS} prompts, greedy, 1 thread ` +
        `(${same} of ${PROMPTS} texts the same)`,
      generation,
      { unit: 'tokens', amount: base.new_tokens * PROMPTS, goal: 1 },
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
