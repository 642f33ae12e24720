/** Our side of the theory bench: the same kernel as bench/peers/theory_torch.py, on TensorFlow. */
import { writeFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import full from '../../plugins/adapters/full.ts';
import lora from '../../plugins/adapters/lora/index.ts';
import bert from '../../plugins/models/bert.ts';
import { fisher } from '../../src/science/measures/fisher.ts';
import { type KernelOptions, kernelSet } from '../../src/science/measures/ntk/kernels.ts';
import { readConfig } from '../../src/science/models/head.ts';
import { openNetwork } from '../../src/science/models/network.ts';
import type { HostTensor } from '../../src/science/models/types.ts';
import { adaptedModel } from '../../src/science/training/adapted-model.ts';
import { loadBackend } from '../../src/tensor/load.ts';
import { type TheoryJob, type TheoryResult, wave } from '../theory-job.ts';

const job = JSON.parse(await text(process.stdin)) as TheoryJob;
const info = await loadBackend('tensorflow', { threads: job.threads });
const architecture = await bert.load();
const config = architecture.parseConfig(await readConfig(job.model), 2);
const shape = {
  architecture,
  linears: architecture.linears(config),
  parameters: architecture.parameters(config),
};
const adapted = shape.linears.filter(({ adaptable }) => adaptable);
const implementation = await (job.kernel === 'lora' ? lora : full).load();
const created = await implementation.create(
  job.kernel === 'lora' ? { rank: job.rank, alpha: job.alpha } : {},
  shape,
);
const factors = new Map<string, HostTensor>(
  adapted.flatMap(({ name, in: n, out: m }, index): [string, HostTensor][] => {
    const names = created.factors(name);
    return names === null
      ? []
      : [
          [names.A, wave(job.rank, n, 0.05, index)],
          [names.B, wave(m, job.rank, job.init ? 0 : 0.01, index + 0.5)],
        ];
  }),
);
const adapter = { ...created, initial: () => factors };
const head = new Map<string, HostTensor>([
  [
    'classifier.weight',
    { shape: [2, job.head[0]!.length], data: Float32Array.from(job.head.flat()) },
  ],
  ['classifier.bias', { shape: [2], data: new Float32Array(2) }],
]);
const network = await openNetwork({
  architecture,
  model: { path: job.model, digest: null },
  adapter,
  classes: 2,
  seed: 0,
  head,
  evaluation: true,
});
const model = adaptedModel(network);
const rows = job.rows.map(({ ids }) => ({
  ids: Int32Array.from(ids),
  typeIds: new Int32Array(ids.length),
}));
const options: KernelOptions = {
  which: [job.kernel],
  memoryMB: job.memory_mb,
  ...(job.projection === undefined ? {} : { projection: { ...job.projection, seed: 1 } }),
};

if (job.warmup > 0) await kernelSet(model, rows.slice(0, job.warmup), options);
const started = performance.now();
const found = await kernelSet(model, rows, options);
const seconds = (performance.now() - started) / 1000;
const kernel = found[job.kernel]!;
const spectrum = performance.now();
if (job.fisher)
  fisher(
    kernel.data,
    Float64Array.from(found.logits),
    rows.map((_, i) => i % 2),
    { tolerance: 1e-6, alphas: [0.5, 2] },
  );
const fisherSeconds = (performance.now() - spectrum) / 1000;
const operations = found.terms.reduce(
  (sum, { method, operations: of }) => sum + (of?.[method === 'gram' ? 'gram' : 'explicit'] ?? 0),
  0,
);
await writeFile(job.out, kernel.data);
const result: TheoryResult = {
  seconds,
  error: kernel.error,
  operations,
  planned_mb:
    (Math.max(...found.groups.map(({ bytes }) => bytes)) + 2 * kernel.data.byteLength) / 2 ** 20,
  fisher_seconds: fisherSeconds,
  groups: found.groups.length,
  by_pairs: found.terms.filter(({ method }) => method === 'gram').length,
  terms: found.terms.length,
  peak_memory_mb: process.resourceUsage().maxRSS / 1024,
  versions: { backend: info.name },
};
process.stdout.write(`${JSON.stringify(result)}\n`);
