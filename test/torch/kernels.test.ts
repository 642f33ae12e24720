/** Kernels of PyTorch against those of the first engine. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { vera } from '../../plugins/adapters/vera/vera.ts';
import { at } from '../../src/base/lookup.ts';
import { premises } from '../../src/science/measures/ntk/delta.ts';
import {
  type KernelModel,
  type KernelSet,
  kernelSet,
} from '../../src/science/measures/ntk/kernels.ts';
import type { AdapterImplementation } from '../../src/science/models/adapter.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { openNetwork } from '../../src/science/models/network.ts';
import { openTorchKernels } from '../../src/science/torch/kernels.ts';
import { readTorchStart } from '../../src/science/torch/model.ts';
import { adaptedModel } from '../../src/science/training/adapted-model.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { present } from '../rig/present.ts';
import { best, useBackend } from '../science/backend.ts';
import { type FamilyCase, type From, openCase, optionsUnder } from '../science/family-cases.ts';
import { relative } from '../science/measures/ntk/fixture/compare.ts';
import { bitfit, lnTuning } from '../science/plain-adapters.ts';
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
  own: FamilyCase,
  implementation: AdapterImplementation,
  from: From,
  use: (model: KernelModel) => Promise<T>,
): Promise<readonly [here: T, torch: T]> {
  const options = { ...(await optionsUnder(own, implementation, from)), evaluation: true };
  const adapted = adaptedModel(await openNetwork(options));
  const models = [
    { ...adapted, kernels: (...[rows, asked]) => kernelSet(adapted, rows, null, asked) },
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
  const shape = ({ rows, columns, classes, outputs, layers }: KernelSet): object => ({
    ...{ rows, columns, classes, outputs },
    layers: layers.map(({ layer }) => layer),
  });
  assert.equal(shape(torch), shape(here));
}

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
const FAMILIES = [
  'bert-classifier',
  'gpt2-classifier',
  'llama-causal',
  'roberta-cloze',
  'deberta-v3-classifier',
];

for (const name of FAMILIES)
  for (const [adapter, [implementation, params]] of Object.entries(ADAPTERS)) {
    // It has no biases.
    if (name === 'llama-causal' && implementation === bitfit) continue;
    test(`${name}, ${adapter}: the kernels are the same`, async () => {
      const own = await openCase(name);
      const from = params === undefined ? { folder: own.adapter } : { params: { ...params } };
      const [here, torch] = await both(own, implementation, from, async (model) => ({
        names: model.layers.map((layer) => model.weightName(layer.name)),
        premises: await premises(model, { asDrawn: true }),
        found: await model.kernels(own.rows.slice(0, 4)),
      }));
      same(torch.found, here.found);
      assert.equal([torch.names, torch.premises], [here.names, here.premises]);
    });
  }

test.run();
