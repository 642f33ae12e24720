/**
 * The kernels of adapters over vectors of the model (BitFit, LN tuning, LoRA with biases): against
 * PyTorch in double precision (test/golden/vector_kernels.py), and K = J Jᵀ with J by automatic
 * differentiation of the network's own parameters.
 */
import { readFile } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../../../plugins/adapters/lora/lora.ts';
import { pairKernels } from '../../../../plugins/stages/divergence/between.ts';
import { UserFault } from '../../../../src/api.ts';
import { at, named } from '../../../../src/base/lookup.ts';
import { describeKernels } from '../../../../src/science/measures/ntk/files.ts';
import { type KernelOptions, kernelSet } from '../../../../src/science/measures/ntk/kernels.ts';
import type { AdapterImplementation } from '../../../../src/science/models/adapter.ts';
import { partialAdapter } from '../../../../src/science/models/fine-tuning.ts';
import { within } from '../../../../src/science/models/modules.ts';
import type { Network } from '../../../../src/science/models/network.ts';
import { outputsOf, rowOutputs } from '../../../../src/science/models/outputs.ts';
import type { TokenRow } from '../../../../src/science/models/types.ts';
import { adaptedModel } from '../../../../src/science/training/adapted-model.ts';
import { present } from '../../../rig/present.ts';
import { rejects } from '../../../rig/rejects.ts';
import { tolerance } from '../../../tolerances.ts';
import { backends, best, useBackend } from '../../backend.ts';
import { caseNames, openCase, openUnder } from '../../family-cases.ts';
import { bitfit, headOnly, lnTuning } from '../../plain-adapters.ts';
import { relative } from './fixture/compare.ts';

const test = suite('kernels over vectors');

type Golden = Readonly<Record<string, { readonly [of in 'bias' | 'norms']: number[][] | null }>>;
const golden = JSON.parse(
  await readFile(new URL('../../../golden/vector-kernels.json', import.meta.url), 'utf8'),
) as Golden;
const ADAPTERS = { bias: bitfit, norms: lnTuning } as const;

const near = (
  found: ArrayLike<number> | undefined,
  expected: ArrayLike<number>,
  within: number,
  what: string,
): void => {
  const error = relative(present(found), expected);
  assert.ok(error <= within, `${what}: ${error}`);
};

test('the golden file has every case', () => {
  assert.equal(Object.keys(golden).sort(), [...caseNames]);
});

for (const name of caseNames)
  for (const of of ['bias', 'norms'] as const)
    test(`${name}: the kernel over ${of === 'bias' ? 'biases' : 'norms'}`, async () => {
      await useBackend(best);
      const own = await openCase(name);
      const expected = named(new Map(Object.entries(golden)), name)[of];
      const open = (): Promise<Network> => openUnder(own, ADAPTERS[of], { params: {} }, true);
      if (expected === null && own.golden.head !== 'classifier') {
        await rejects(open(), /^bitfit trains the biases of a model, and this \S+ has none: with/);
        return;
      }
      const model = adaptedModel(await open());
      const rows = own.rows.slice(0, own.golden.kernel.rows);
      const { lora: found } = await kernelSet(model, rows, { which: ['lora'] });
      if (expected === null) assert.is(found, null);
      else near(found?.data, expected.flat(), tolerance.family.kernel, name);
      model.dispose();
    });

/**
 * J of the rows' outputs with respect to what the network trains below its head, (N·C, P), by one
 * backward pass a row and output.
 */
function jacobian(network: Network, rows: readonly TokenRow[]): Float64Array[] {
  const { count } = outputsOf(network);
  const names = network.trainable.filter((name) => !within(name, network.architecture.headModules));
  const values = new Map(names.map((name) => [name, tf.clone(network.frozen(name))]));
  const gradients = rows.flatMap((row) =>
    Array.from({ length: count }, (_, c) => {
      const flat = tf.tidy(() => {
        const dy = tf.tensor2d(
          Float32Array.from({ length: count }, (_, k) => Number(k === c)),
          [1, count],
        );
        const { grads } = tf
          .engine()
          .gradients(() => rowOutputs(network, [row], values), [...values.values()], dy, true);
        return Float32Array.from(
          names.flatMap((name, k) => {
            const gradient = grads[k] as Tensor | null | undefined;
            return [...(gradient ?? tf.zerosLike(named(values, name))).dataSync()];
          }),
        );
      });
      return Float64Array.from(flat);
    }),
  );
  tf.dispose([...values.values()]);
  return gradients;
}

const gramOf = (left: readonly Float64Array[], right = left): Float64Array =>
  Float64Array.from(
    left.flatMap((x) => right.map((y) => x.reduce((sum, value, k) => sum + value * at(y, k), 0))),
  );

/** Cases of every kind of norm and bias: per head, shared by the batch, after a pooling, tied. */
const CASES: Readonly<Record<string, readonly [AdapterImplementation, object]>> = {
  'bert-classifier': [bitfit, {}],
  'bert-cloze': [bitfit, {}],
  'roberta-cloze': [lnTuning, {}],
  'deberta-v3-classifier': [lnTuning, {}],
  'modernbert-classifier-mean': [lnTuning, {}],
  'qwen3-causal': [lnTuning, {}],
  'gpt2-classifier': [bitfit, {}],
  'gpt-neox-causal': [bitfit, {}],
};
const LORA = { rank: 2, init: { distribution: 'olora' } };
const WITH_BIASES: typeof CASES = {
  'distilbert-classifier': [lora, { ...LORA, bias: 'lora_only' }],
  'deberta-v3-cloze': [lora, { ...LORA, bias: 'all' }],
  'llama-causal-biases': [lora, { ...LORA, bias: 'all', targets: ['q_proj'] }],
};

/** These contain the others' operations. */
const EVERYWHERE = ['bert-cloze', 'qwen3-causal'];

for (const [name, [implementation, params]] of Object.entries({ ...CASES, ...WITH_BIASES }))
  for (const backend of EVERYWHERE.includes(name) ? backends : [best])
    test(`${name}: K = J Jᵀ, however it is contracted (${backend})`, async () => {
      await useBackend(backend);
      const own = await openCase(name);
      const open = (evaluation: boolean): Promise<Network> =>
        openUnder(own, implementation, { params: { ...params } }, evaluation);
      const rows = own.rows.slice(0, 4),
        network = await open(false),
        J = jacobian(network, rows);
      network.dispose();
      const model = adaptedModel(await open(true));
      const of = async (options: KernelOptions): Promise<Float64Array | undefined> =>
        (await kernelSet(model, rows, options)).lora?.data;
      const expected = gramOf(J);
      for (const method of ['auto', 'explicit', 'gram', 'plain'] as const)
        near(await of({ method, batchTokens: 20 }), expected, tolerance.family.kernel, method);
      near(
        await of({ which: ['lora'], memoryMB: 0.001 }),
        expected,
        tolerance.family.kernel,
        'alone, a layer at a time',
      );
      const { outputs: C } = model;
      const pairs = await pairKernels(model, rows.slice(0, 2), rows.slice(2));
      const raw = [0, 1].map((i) =>
        Array.from({ length: C }, (_, c) =>
          at(gramOf([at(J, i * C + c)], [at(J, (i + 2) * C + c)]), 0),
        ),
      );
      near(
        [present(pairs.lora).raw],
        [raw.flat().reduce((a, b) => a + b, 0) / 2],
        tolerance.family.kernel,
        'pairs',
      );
      model.dispose();
    });

test('the full kernel is over the same weights as without trained vectors', async () => {
  await useBackend(best);
  const own = await openCase('bert-classifier'),
    rows = own.rows.slice(0, 4);
  const of = async (implementation: AdapterImplementation) => {
    const model = adaptedModel(await openUnder(own, implementation, { params: {} }, true));
    const found = await kernelSet(model, rows);
    model.dispose();
    return found;
  };
  const beside = await of(bitfit),
    alone = await of(headOnly);
  assert.equal(beside.full?.data, alone.full?.data);
  assert.is(alone.lora, null);
});

test('layers and terms say what they are: norms and biases by their names in the file', async () => {
  await useBackend(best);
  const own = await openCase('bert-cloze');
  const model = adaptedModel(await openUnder(own, bitfit, { params: {} }, true));
  const found = await kernelSet(model, own.rows.slice(0, 2), { perLayer: true });
  const byName = new Map(found.layers.map((layer) => [model.weightName(layer.layer), layer]));
  const query = named(byName, 'bert.encoder.layer.0.attention.self.query.weight');
  assert.ok(present(query.full) > 0 && present(query.lora) > 0);
  for (const name of ['bert.embeddings.LayerNorm.bias', 'cls.predictions.bias']) {
    const { full, lora: bias } = named(byName, name);
    assert.ok(full === null && present(bias) > 0, name);
  }
  // ∂f_c/∂(the bias of class c's token) is 1.
  assert.is(named(byName, 'cls.predictions.bias').lora, 2 * model.outputs);
  assert.is(found.full?.blocks?.size, found.layers.filter(({ full }) => full !== null).length);
  assert.is(found.lora?.blocks?.size, found.layers.length);
  const { lines } = describeKernels(found, null);
  assert.match(present(lines[0]), /^K_adapter: \d+ terms/);
  assert.ok(
    found.terms.every(({ kernel, parameter }) => parameter === (kernel === 'full' ? 'W' : 'bias')),
  );
  model.dispose();
});

test('an adapter that also trains matrices of the model has no kernel of its own', async () => {
  await useBackend(best);
  const own = await openCase('bert-classifier');
  const trains = (name: string): boolean => name.endsWith('.bias') || name.endsWith('query.weight');
  const implementation: AdapterImplementation = {
    check: () => Promise.resolve([]),
    create: (_params, context) => Promise.resolve(partialAdapter(context, trains)),
  };
  const model = adaptedModel(await openUnder(own, implementation, { params: {} }, true));
  assert.is((await kernelSet(model, own.rows.slice(0, 2))).lora, null);
  model.dispose();
});

test('BitFit warns where the head alone is left, and is refused where nothing is', async () => {
  const problems = async (name: string) => {
    const { architecture, checkpoint, classes } = await openCase(name);
    const config = architecture.parseConfig(
      JSON.parse(await readFile(`${checkpoint}/config.json`, 'utf8')),
      classes,
    );
    return bitfit.check(
      {},
      {
        architecture,
        linears: architecture.linears(config),
        parameters: architecture.parameters(config),
      },
    );
  };
  assert.equal(await problems('bert-classifier'), []);
  const [head] = await problems('llama-classifier');
  assert.is(
    present(head).message,
    'bitfit trains the biases of a model, and this llama has none: the head alone is trained, ' +
      'as by head-only',
  );
  assert.is(present(head).warning, true);
  const [nothing] = await problems('llama-causal');
  assert.is(present(nothing).warning, undefined);
  assert.instance(
    await openUnder(await openCase('llama-causal'), bitfit, { params: {} }).catch(
      (error: unknown) => error,
    ),
    UserFault,
  );
});

test.run();
