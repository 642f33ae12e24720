/** Kernels of PyTorch against those of the first engine. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { vera } from '../../plugins/adapters/vera/vera.ts';
import { type BackendName, UserFault } from '../../src/api.ts';
import { at, named } from '../../src/base/lookup.ts';
import { premises } from '../../src/science/measures/ntk/delta.ts';
import { describeKernels } from '../../src/science/measures/ntk/files.ts';
import {
  type KernelModel,
  type KernelOptions,
  type KernelSet,
  kernelSet,
} from '../../src/science/measures/ntk/kernels.ts';
import { type Resume, resumeIn } from '../../src/science/measures/ntk/resume.ts';
import type { AdapterImplementation } from '../../src/science/models/adapter.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { type NetworkOptions, openNetwork } from '../../src/science/models/network.ts';
import { openTorchKernels } from '../../src/science/torch/kernels.ts';
import { readTorchStart } from '../../src/science/torch/model.ts';
import { adaptedModel } from '../../src/science/training/adapted-model.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { present } from '../rig/present.ts';
import { createProject } from '../rig/project.ts';
import { rejects } from '../rig/rejects.ts';
import { best, useBackend } from '../science/backend.ts';
import { openCase, optionsUnder } from '../science/family-cases.ts';
import { relative } from '../science/measures/ntk/fixture/compare.ts';
import { bitfit, lnTuning } from '../science/plain-adapters.ts';
import { checkpoint } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';

const test = suite('torch/kernels');
test.before(async () => {
  await useBackend(best);
});
test.after(async () => {
  await (await torchWorker()).end();
});

const near = (found: ArrayLike<number>, expected: ArrayLike<number>, what: string): void => {
  assert.is(found.length, expected.length, what);
  const error = relative(found, expected);
  assert.ok(error <= tolerance.family.kernel, `${what}: ${error}`);
};

async function both<T>(
  asked: NetworkOptions,
  use: (model: KernelModel) => Promise<T>,
): Promise<readonly [here: T, torch: T]> {
  const options = { ...asked, evaluation: true };
  const adapted = adaptedModel(await openNetwork(options));
  const models = [
    { ...adapted, kernels: (...[rows, asked]) => kernelSet(adapted, rows, asked) },
    await openTorchKernels(await readTorchStart(options)),
  ] satisfies KernelModel[];
  const found: T[] = [];
  for (const model of models) {
    found.push(await use(model));
    model.dispose();
  }
  return [at(found, 0), at(found, 1)];
}

function same(torch: KernelSet, here: KernelSet): void {
  for (const kind of ['full', 'lora'] as const) {
    const expected = here[kind],
      found = torch[kind];
    assert.is(found === null, expected === null, kind);
    if (found === null || expected === null) continue;
    near(found.data, expected.data, kind);
    assert.is(found.error, null);
    const traces = (set: KernelSet): number[] => set.layers.map((layer) => layer[kind] ?? -1);
    near(traces(torch), traces(here), `traces, ${kind}`);
    assert.equal([...(found.blocks?.keys() ?? [])], [...(expected.blocks?.keys() ?? [])]);
    for (const [layer, block] of expected.blocks ?? [])
      near(present(found.blocks?.get(layer)), block, `${kind} of ${layer}`);
  }
  near(torch.logits, here.logits, 'logits');
  const shape = ({ rows, classes, outputs, layers }: KernelSet): object => ({
    ...{ rows, classes, outputs },
    layers: layers.map(({ layer }) => layer),
  });
  assert.equal(shape(torch), shape(here));
}

/** Megabytes that a few layers of a tiny checkpoint fill. */
const SMALL = 0.02;

const rank = { rank: 2, alpha: 4, targets: 'all-linear' };
const drawn = { distribution: 'uniform', variance: '1/(3d)' };
const ADAPTERS: { readonly [name: string]: readonly [AdapterImplementation, object?] } = {
  'full fine-tuning': [full, {}],
  LoRA: [lora],
  'LoRA at its start': [lora, { ...rank, init: drawn }],
  'LoRA-FA': [lora, { ...rank, freeze_a: true, init: { distribution: 'olora' } }],
  'PiSSA, rank-stabilised, every bias': [
    lora,
    { ...rank, rslora: true, bias: 'all', init: { distribution: 'pissa' } },
  ],
  DoRA: [lora, { ...rank, use_dora: true, init: { distribution: 'olora' } }],
  VeRA: [vera, { rank: 8, targets: 'all-linear' }],
  BitFit: [bitfit, {}],
  'norms alone': [lnTuning, {}],
};
const MAIN = ['full fine-tuning', 'LoRA', 'DoRA', 'VeRA', 'BitFit'];
const CASES: { readonly [name: string]: readonly string[] } = {
  'bert-classifier': Object.keys(ADAPTERS),
  'gpt2-classifier': Object.keys(ADAPTERS),
  // It has no biases.
  'llama-causal': [...MAIN.filter((adapter) => adapter !== 'BitFit'), 'norms alone'],
  'roberta-cloze': MAIN,
  'deberta-v3-classifier': MAIN,
  // Their files call parameters otherwise.
  'bert-cloze-gamma': ['norms alone'],
  'gpt2-causal-bare': ['LoRA'],
};

for (const [name, adapters] of Object.entries(CASES))
  for (const adapter of adapters) {
    const [implementation, params] = present(ADAPTERS[adapter]);
    test(`${name}, ${adapter}: the kernels are the same`, async () => {
      const own = await openCase(name);
      const from = params === undefined ? { folder: own.adapter } : { params: { ...params } };
      const [here, torch] = await both(
        await optionsUnder(own, implementation, from),
        async (model) => ({
          names: model.layers.map((layer) => model.weightName(layer.name)),
          premises: await premises(model, { asDrawn: true }),
          found: await model.kernels(own.rows.slice(0, 4)),
        }),
      );
      same(torch.found, here.found);
      assert.equal([torch.names, torch.premises], [here.names, here.premises]);
    });
  }

test('each layer has its block, in as many passes as the memory asks for', async () => {
  const own = await openCase('bert-classifier');
  const options = await optionsUnder(own, lora, { folder: own.adapter });
  const [here, torch] = await both(options, (model) =>
    model.kernels(own.rows, { perLayer: true, memoryMB: SMALL }),
  );
  same(torch, here);
  const { lines, record } = describeKernels(torch, null);
  assert.is(lines[0], 'K_LoRA: 26 terms, by PyTorch from the gradients of each row');
  const ofWeights = { operations: null, error: null };
  assert.equal(record['kernels'], { lora: ofWeights, full: ofWeights });
  assert.ok(torch.groups.length > 2, `${torch.groups.length} passes`);
});

test('a kernel that is not finite is told as the other engine tells it', async () => {
  const own = await openCase('bert-classifier');
  const options = await optionsUnder(own, full, { params: {} });
  const head = new Map([
    ['classifier.weight', { shape: [3, 16], data: new Float32Array(48).fill(NaN) }],
  ]);
  const told = await both({ ...options, head }, (model) =>
    model.kernels(own.rows).then(
      () => null,
      (error: unknown) => error,
    ),
  );
  const [here, torch] = told.map((error) => {
    assert.instance(error, UserFault);
    const { message, hint } = error as UserFault;
    return { message, hint };
  });
  assert.equal(torch, here);
  assert.match(present(torch).message, /^The kernel of .* is not finite\.$/);
});

test('kernels that were cut short go on to the same bits', async () => {
  const own = await openCase('bert-classifier');
  const options = await optionsUnder(own, lora, { folder: own.adapter });
  const model = await openTorchKernels(await readTorchStart(options));
  const resume = resumeIn(mkdtempSync(join(tmpdir(), 'dosimeter-kernels-')), () => undefined);
  const passes: number[] = [];
  const computed = (more: KernelOptions): Promise<KernelSet> =>
    model.kernels(own.rows, { perLayer: true, memoryMB: SMALL, ...more });
  const save: Resume['save'] = async (groups, parts) => {
    await resume.save(groups, parts);
    if (groups === 2) throw new Error('cut short');
  };
  const progress = (done: number): void => {
    passes.push(done);
  };
  await rejects(computed({ resume: { ...resume, save }, progress }), /^cut short$/);
  const again = await computed({ resume, progress }),
    whole = await computed({});
  const bits = ({ full: ofWeights, lora: ofFactors, layers, terms, logits }: KernelSet) => ({
    ...{ ofWeights, ofFactors, layers, terms, logits },
  });
  assert.equal(bits(again), bits(whole));
  assert.equal(
    passes,
    [...whole.groups.keys()].map((g) => g + 1),
  );
  model.dispose();
});

const WORDS = ['the', 'film', 'was', 'a', 'good', 'bad', 'plot'];
const SPEC = `name: engines
seeds: [1]
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:more.tsv" } }
adapter: [{ type: full }, { type: lora, rank: 2, targets: all-linear }]
train: { steps: 6, batch_size: 4, max_length: 16, learning_rate: 1e-3 }
ntk: { rows: 6 }
stages: [train, evaluate, ntk, fisher, report]
`;
const tsv = (rows: number, shift: number): string =>
  Array.from({ length: rows }, (_, i) => {
    const text = Array.from({ length: 3 + (i % 4) }, (_unused, k) =>
      at(WORDS, (shift + i * 3 + k * 5) % WORDS.length),
    );
    return `${text.join(' ')}\t${i % 2}\n`;
  }).join('');

test('an experiment has the same results under both backends', async () => {
  const project = createProject();
  project.write('spec.yaml', SPEC);
  for (const [name, shift] of [
    ['rows.tsv', 0],
    ['more.tsv', 1],
  ] as const)
    project.write(name, `text\tlabel\n${tsv(20, shift)}`);
  const results = async (backend: BackendName): Promise<Map<string, number>> => {
    await project.succeeds('run', 'spec.yaml', '--backend', backend);
    const rows = await project.results('spec.yaml', '--backend', backend);
    return new Map(
      rows.flatMap(({ cell, metric, seed, stage, value }) =>
        /second|memory/.test(metric) ? [] : [[JSON.stringify([cell, seed, stage, metric]), value]],
      ),
    );
  };
  const here = await results(best),
    torch = await results('torch');
  assert.equal([...torch.keys()], [...here.keys()]);
  assert.ok([...here.keys()].some((key) => key.includes('information_bits')));
  for (const [key, value] of here) {
    const off = Math.abs(named(torch, key) - value);
    assert.ok(off <= tolerance.engines.metric * Math.abs(value), `${key}: off by ${off}`);
  }
  const refused = await project.dosimeter(
    ...['plan', 'spec.yaml', '--backend', 'torch', '--set', 'ntk.method=projected'],
    ...['--set', 'stages=[train, ntk]'],
  );
  assert.match(refused.stderr, 'the backend torch computes kernels exactly');
});

test.run();
