/** Our side of the decoder bench: the same job as bench/peers/decoder_peft.py. */
import { createInterface } from 'node:readline';
import none from '../../plugins/adapters/full.ts';
import lora from '../../plugins/adapters/lora/index.ts';
import gpt2 from '../../plugins/models/gpt2.ts';
import { generate } from '../../src/science/models/generate.ts';
import { readConfig } from '../../src/science/models/head.ts';
import { openNetwork } from '../../src/science/models/network.ts';
import type { TokenRow } from '../../src/science/models/types.ts';
import { train } from '../../src/science/training/loop.ts';
import { loadBackend } from '../../src/tensor/load.ts';
import type { DecoderJob, DecoderResult, DecoderTurn } from '../decoder-job.ts';
import { PLAIN } from './settings.ts';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (what: DecoderTurn | DecoderResult | { readonly ready: true }): void => {
  process.stdout.write(`${JSON.stringify(what)}\n`);
};
const job = JSON.parse((await lines.next()).value as string) as DecoderJob;

const { name: backend } = await loadBackend('tensorflow', { threads: job.threads });
const architecture = (await gpt2.load()).withHead({ type: 'causal-lm' });
const config = architecture.parseConfig(await readConfig(job.model), 0);
const shape = {
  architecture,
  linears: architecture.linears(config),
  parameters: architecture.parameters(config),
};
const trains = job.mode === 'train';
const implementation = await (trains ? lora : none).load();
const network = await openNetwork({
  architecture,
  model: { path: job.model, digest: 'bench' },
  adapter: await implementation.create(
    {},
    { ...shape, ...(trains ? { initFrom: job.adapter } : {}) },
  ),
  classes: 0,
  seed: 0,
  evaluation: !trains,
});

const rowOf = (ids: readonly number[]): TokenRow => ({
  ids: Int32Array.from(ids),
  typeIds: new Int32Array(ids.length),
});

/** Waits for the bench to ask for a turn; returns when that was. */
async function asked(): Promise<number> {
  if ((await lines.next()).done === true) process.exit(1); // the bench has ended
  return performance.now();
}
const since = (start: number): number => (performance.now() - start) / 1000;

const losses: number[] = [];
let ids: readonly (readonly number[])[] = [];

if (trains) {
  const total = job.warmup + job.rounds * job.steps;
  let started = 0;
  await train(
    network,
    job.rows.map(({ ids: own, answer }) => ({ ...rowOf(own), answer, label: 0 })),
    {
      ...PLAIN,
      steps: total,
      batchSize: job.batch_size,
      learningRate: job.learning_rate,
    },
    {
      onStep: async ({ step, loss }) => {
        losses.push(loss);
        const into = step - job.warmup;
        if (into < 0 || into % job.steps !== 0) return;
        if (into === 0) say({ ready: true });
        else say({ seconds: since(started), last: step === total });
        if (step < total) started = await asked();
      },
    },
  );
} else {
  const prompts = job.prompts.map(rowOf);
  const go = async (maxNewTokens: number): Promise<void> => {
    const texts = await generate(network, prompts, {
      maxNewTokens,
      stops: [],
      batchSize: prompts.length,
    });
    ids = texts.map((text) => text.ids);
  };
  await go(job.warmup);
  say({ ready: true });
  for (let turn = 0; turn < job.rounds; turn++) {
    const start = await asked();
    await go(job.new_tokens);
    say({ seconds: since(start), last: turn === job.rounds - 1 });
  }
}
say({
  losses,
  ids,
  peak_memory_mb: process.resourceUsage().maxRSS / 1024,
  versions: { backend },
});
process.exit(0);
