/** Which parts of a model an adapter moves: every trained parameter is in exactly one part. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../../../plugins/adapters/lora/lora.ts';
import { movedBy } from '../../../../plugins/stages/divergence/distance.ts';
import type { Adapter, AdapterImplementation } from '../../../../src/science/models/adapter.ts';
import { full, partialAdapter } from '../../../../src/science/models/fine-tuning.ts';
import { readJson } from '../../../../src/science/models/io/checkpoint.ts';
import { within } from '../../../../src/science/models/modules.ts';
import type { Network } from '../../../../src/science/models/network.ts';
import type { Head, ModelShape } from '../../../../src/science/models/types.ts';
import { standIn } from '../../../rig/stand-in.ts';
import { bert } from '../../families.ts';
import { bitfit, headOnly } from '../../plain-adapters.ts';
import { checkpoint } from '../../tiny-bert.ts';

const json = await readJson(`${checkpoint}/config.json`);
function shapeOf(head: Head): ModelShape {
  const architecture = bert.withHead(head),
    config = architecture.parseConfig(json, 2);
  return {
    architecture,
    linears: architecture.linears(config),
    parameters: architecture.parameters(config),
  };
}
const classifier = shapeOf({ type: 'classifier' }),
  cloze = shapeOf({ type: 'cloze', tokens: [5, 7] });

/** The part of a network that `movedBy` reads. */
const networkOf = (shape: ModelShape, adapter: Adapter): Network =>
  standIn<Network>({
    ...shape,
    adapter,
    parameters: [...shape.parameters, ...adapter.parameters],
  });

const norms: AdapterImplementation = {
  check: () => Promise.resolve([]),
  create: (_params, context) =>
    Promise.resolve(partialAdapter(context, (name) => /LayerNorm/.test(name))),
};

for (const [what, shape] of [
  ['a classifier', classifier],
  ['a cloze head', cloze],
] as const)
  test(`under ${what}, the moved parameters are the trained ones, each listed once`, async () => {
    for (const [name, implementation, params, kinds] of [
      ['full', full, {}, ['embeddings', 'norms', 'biases']],
      ['bitfit', bitfit, {}, ['norms', 'biases']],
      ['norm-tuning', norms, {}, ['norms']],
      ['lora', lora, { rank: 2 }, []],
      ['lora with biases', lora, { rank: 2, bias: 'all' }, ['norms', 'biases']],
      ...(shape === cloze ? [] : [['head-only', headOnly, {}, []] as const]),
    ] as const) {
      const adapter = await implementation.create(params, shape);
      const network = networkOf(shape, adapter);
      const { layers, parameters, head } = movedBy(network, [adapter]);
      assert.equal([...parameters.keys()], [...kinds], name);
      const factors = new Map(
        layers.flatMap((layer) => {
          const names = adapter.factors(layer.name);
          return names === null ? [] : [[layer.name, [names.A, names.B]]];
        }),
      );
      const found = [
        ...layers.flatMap((layer) => factors.get(layer.name) ?? [`${layer.name}.weight`]),
        ...[...parameters.values()].flat().map((spec) => spec.name),
        ...head.map((spec) => spec.name),
      ];
      const trained = network.parameters
        .map((spec) => spec.name)
        .filter((own) => within(own, shape.architecture.headModules) || adapter.trains(own));
      assert.equal([...found].sort(), trained.sort(), name);
      assert.is(head.length, shape === cloze ? 0 : 2, name);
    }
  });

test("the kinds of a cloze head's own parameters", async () => {
  const adapter = await full.create({}, cloze);
  const { parameters, layers } = movedBy(networkOf(cloze, adapter), [adapter]);
  const names = (kind: 'biases' | 'norms'): string[] =>
    (parameters.get(kind) ?? []).flatMap(({ name }) => (name.startsWith('cls.') ? [name] : []));
  assert.equal(names('biases'), ['cls.predictions.transform.dense.bias', 'cls.predictions.bias']);
  assert.equal(names('norms'), [
    'cls.predictions.transform.LayerNorm.weight',
    'cls.predictions.transform.LayerNorm.bias',
  ]);
  assert.ok(layers.some(({ name }) => name === 'cls.predictions.transform.dense'));
});

test(
  "with a base's adapter, the parameters that either trained; parameters outside any layer are " +
    'refused',
  async () => {
    const [own, base] = [await bitfit.create({}, classifier), await full.create({}, classifier)];
    const { layers, parameters } = movedBy(networkOf(classifier, own), [own, base]);
    assert.is(layers.length, classifier.linears.length - 1);
    assert.ok(parameters.has('embeddings'));
    const prompt: Adapter = {
      ...own,
      targets: [],
      parameters: [{ name: 'prompt', shape: [3, 22] }],
      trains: (name) => name === 'prompt',
    };
    assert.throws(
      () => movedBy(networkOf(classifier, prompt), [prompt]),
      /trains "prompt", a parameter of its own, and names no layer/,
    );
  },
);

test.run();
