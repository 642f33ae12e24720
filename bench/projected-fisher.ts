/**
 * The evidence for refusing to compute Fisher information from projected kernels: how far its
 * numbers are from the exact ones, in the mean over projections (bias) and between projections
 * (spread). Uses MiniLM, SST-2 rows, and LoRA with r = 8 and α = r at the start of training.
 *
 *     DOSIMETER_GLUE=… npx tsx bench/projected-fisher.ts [rows] [seeds]
 */
import lora from '../plugins/adapters/lora/index.ts';
import bert from '../plugins/models/bert.ts';
import { findModelDir } from '../src/data/model-folder.ts';
import { fisher } from '../src/science/measures/fisher.ts';
import { type KernelSet, kernelSet } from '../src/science/measures/ntk/kernels.ts';
import { readConfig } from '../src/science/models/head.ts';
import { openNetwork } from '../src/science/models/network.ts';
import { rowEncoder } from '../src/science/text/encoder.ts';
import { openTokenizer } from '../src/science/text/tokenizer.ts';
import { adaptedModel } from '../src/science/training/adapted-model.ts';
import { loadBackend } from '../src/tensor/load.ts';
import { benchModel, sst2 } from './inputs.ts';

const [count = 32, seeds = 8] = process.argv.slice(2).map(Number);
await loadBackend('tensorflow', { threads: 2 });
const path = await findModelDir(await benchModel());
const architecture = await bert.load();
const config = architecture.parseConfig(await readConfig(path), 2);
const shape = {
  architecture,
  linears: architecture.linears(config),
  parameters: architecture.parameters(config),
};
const adapter = await (await lora.load()).create({ rank: 8, alpha: 'r' }, shape);
const model = adaptedModel(
  await openNetwork({
    architecture,
    model: { path, digest: null },
    adapter,
    classes: 2,
    seed: 1,
    evaluation: true,
  }),
);
const encode = rowEncoder(await openTokenizer(path), { type: 'classifier' });
const texts = await sst2('dev', count);
const rows = texts.map(({ text }) => encode({ text }, 64)),
  labels = texts.map(({ label }) => label);

type Numbers = Readonly<Record<string, number>>;
function numbersOf(found: KernelSet): Record<'lora' | 'full', Numbers> {
  const of = (kind: 'lora' | 'full'): Numbers => {
    const { true: facts } = fisher(found[kind]!.data, found.logits, labels, {
      tolerance: 1e-6,
      alphas: [0.5, 2],
    });
    return {
      error: found[kind]!.error ?? 0,
      trace: facts.spectrum.reduce((a, b) => a + b, 0),
      count: facts.count,
      IB: facts.information_bits!,
      'IB normalised': facts.information_bits_normalised!,
      'H½': facts.renyi.raw['0.5']!,
      'H½ normalised': facts.renyi.normalised['0.5']!,
      H2: facts.renyi.raw['2']!,
    };
  };
  return { lora: of('lora'), full: of('full') };
}

const exact = numbersOf(await kernelSet(model, rows, {}));
for (const kind of ['lora', 'full'] as const) console.log(`exact, ${kind}`, exact[kind]);
console.log('exact, LoRA − full: IB', exact.lora['IB']! - exact.full['IB']!);
for (const dimension of [16, 64, 128]) {
  const found: Record<'lora' | 'full', Numbers>[] = [];
  for (let seed = 1; seed <= seeds; seed++)
    found.push(
      numbersOf(await kernelSet(model, rows, { projection: { dimension, replicates: 4, seed } })),
    );
  for (const kind of ['lora', 'full'] as const)
    console.log(
      `dimension ${dimension}, 4 replicates, ${kind}:`,
      Object.keys(exact[kind])
        .map((name) => {
          const values = found.map((one) => one[kind][name]!),
            mean = values.reduce((a, b) => a + b, 0) / seeds,
            spread = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (seeds - 1));
          return name === 'error'
            ? `error told ${mean.toPrecision(2)}`
            : `${name} ${(mean - exact[kind][name]!).toPrecision(3)} ± ${spread.toPrecision(2)}`;
        })
        .join('; '),
    );
}
model.dispose();
