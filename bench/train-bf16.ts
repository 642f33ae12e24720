/**
 * The cases of the training bench with products in bfloat16, against the faster of PyTorch in
 * float32 and under torch.autocast, and against ourselves in float32.
 */
import { type Claim, makeClaim } from './claims.ts';
import { type Opening, openInTime } from './processes.ts';
import {
  contest,
  gridJobs,
  type Inputs,
  one,
  type Outcome,
  own,
  peer,
  type Side,
} from './train.ts';
import type { TrainJob } from './train-job.ts';

/**
 * How much longer than the slowest of the other ways autocast may take to start and warm up, and
 * how many seconds it has at least. On some processors it crawls. This bounds its turns, too: the
 * longest has one and a half times the steps of the warm-up.
 */
const PATIENCE = { times: 4, least: 60 };

/** The most that the loss of a step may differ between two ways: two spacings of bfloat16 at 1. */
const GAP = 2 ** -6;

/** Throws where a loss is not that of the same step in another way. */
function compare(name: string, a: Outcome, b: Outcome): void {
  const [left, right] = [a, b].map(({ results }) => results.flatMap(({ losses }) => losses.flat()));
  left?.forEach((loss, i) => {
    const gap = Math.abs(loss - (right?.[i] ?? NaN));
    if (!(gap < GAP)) throw new Error(`${name}: two losses of one step differ by ${gap}`);
  });
}

/** @param ways ours in bfloat16, ours in float32, and the peer's */
async function claimsOf(
  claim: string,
  job: TrainJob,
  ways: readonly Opening<Side>[],
  goal?: number,
): Promise<Claim[]> {
  const say = (text: string): boolean => process.stderr.write(`${claim}: ${text}\n`);
  say('warming up …');
  const opened = (await openInTime(ways, PATIENCE)).map((side, i) => ({ ...ways[i]!, side }));
  for (const { name, side } of opened)
    if (side === null)
      say(`${name} is left out: it was not warm in ${PATIENCE.times} times the time of the others`);
  const playing = opened.flatMap(({ name, side }) => (side === null ? [] : [{ name, side }]));
  const outcomes = await contest(
    playing.map(({ side }) => side),
    job,
    job.cells.length * job.steps * job.batch_size,
  );
  const [mine, ...others] = playing.map(({ name }, i) => ({ name, outcome: outcomes[i]! }));
  others.forEach(({ outcome }) => compare(claim, mine!.outcome, outcome));
  const best = Math.max(...others.slice(1).map(({ outcome }) => outcome.rate));
  return others.map(({ name, outcome: { rate } }) =>
    makeClaim('train', {
      claim,
      unit: 'examples/s',
      sense: 'rate',
      peer: name,
      value: mine!.outcome.rate,
      peerValue: rate,
      ...(goal !== undefined && rate === best ? { goal } : {}),
    }),
  );
}

const PRECISIONS = [
  { what: 'float32', precision: {}, bounded: false },
  { what: 'autocast', precision: { precision: 'bf16' }, bounded: true },
] as const;

/** One training on one thread. */
async function soloClaims({ base, cell }: Inputs, batch: number, quick: boolean): Promise<Claim[]> {
  const job: TrainJob = {
    ...base,
    mode: 'lora',
    backend: 'tensorflow',
    threads: 1,
    compile: true,
    batch_size: batch,
    learning_rate: 3e-5,
    steps: quick ? 2 : batch === 8 ? 24 : 8,
    cells: [await cell(one, false)],
  };
  return claimsOf(`LoRA r 8, batch ${batch}, 1 thread, bf16`, job, [
    { name: 'dosimeter, bf16', open: () => own([{ ...job, precision: 'bf16' }]) },
    { name: 'dosimeter, float32', open: () => own([job]) },
    ...PRECISIONS.map(({ what, precision, bounded }) => ({
      name: `PyTorch + PEFT, ${what}`,
      bounded,
      open: (signal?: AbortSignal) => peer([{ ...job, ...precision }], signal),
    })),
  ]);
}

/** The grid of eight cells on two cores, placed as in float32. */
async function gridClaims(inputs: Inputs, quick: boolean): Promise<Claim[]> {
  const { job, halves } = await gridJobs(inputs, quick);
  const bf16 = halves.map((half): TrainJob => ({ ...half, precision: 'bf16' }));
  return claimsOf(
    'grid of 8 LoRA cells, batch 8, 2 cores, bf16',
    job,
    [
      { name: 'dosimeter, bf16', open: () => own(bf16) },
      { name: 'dosimeter, float32', open: () => own(halves) },
      ...PRECISIONS.flatMap(({ what, precision, bounded }) => [
        {
          name: `PyTorch + PEFT, ${what}, 2 processes of 1 thread`,
          bounded,
          open: (signal?: AbortSignal) =>
            peer(
              halves.map((half) => ({ ...half, ...precision })),
              signal,
            ),
        },
        {
          name: `PyTorch + PEFT, ${what}, one after another on 2 threads`,
          bounded,
          open: (signal?: AbortSignal) => peer([{ ...job, threads: 2, ...precision }], signal),
        },
      ]),
    ],
    4,
  );
}

export async function* bf16Claims(inputs: Inputs, quick: boolean): AsyncGenerator<Claim> {
  yield* await gridClaims(inputs, quick);
  for (const batch of [8, 32]) yield* await soloClaims(inputs, batch, quick);
}
