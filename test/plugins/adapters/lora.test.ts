import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { planDefaults } from '../../../plugins/adapters/lora/plan.ts';
import { type JsonObject, UserFault } from '../../../src/api.ts';
import { named } from '../../../src/base/lookup.ts';
import { present } from '../../rig/present.ts';
import { adapterFolder, shape as context } from '../../science/tiny-bert.ts';

test('all-linear means all layers but the head; B is zero, the scale α/r or α/√r', async () => {
  const adapter = await lora.create({ rank: 4, alpha: 6 }, context);
  assert.is(adapter.targets.length, 3 * 6 + 1);
  assert.ok(adapter.targets.includes('pooler.dense') && !adapter.targets.includes('classifier'));
  const start = adapter.initial(3);
  assert.is(start.size, 2 * 19);
  assert.equal(named(start, 'encoder.layer.1.output.dense.lora_A').shape, [4, 37]);
  assert.equal(named(start, 'encoder.layer.1.output.dense.lora_B').shape, [22, 4]);
  assert.ok(
    [...start].every(([name, { data }]) =>
      name.endsWith('_A') ? data.some((x) => x !== 0) : data.every((x) => x === 0),
    ),
  );
  assert.is(present(adapter.factors('pooler.dense')).scale, 1.5);
  assert.is(adapter.factors('classifier'), null);
  assert.not.ok(adapter.trains('pooler.dense.weight'));
  assert.is(
    present(
      (await lora.create({ rank: 4, alpha: 6, rslora: true }, context)).factors('pooler.dense'),
    ).scale,
    3,
  );
  assert.is(
    present((await lora.create({ rank: 4, alpha: 'r' }, context)).factors('pooler.dense')).scale,
    1,
  );
  // PEFT's defaults are r 8 and α 8.
  assert.is((await lora.create({}, context)).factors('pooler.dense')?.scale, 1);
});

test('targets are names or their dotted ends, as in PEFT', async () => {
  const targets = async (list: string[]): Promise<readonly string[]> =>
    (await lora.create({ rank: 2, targets: list }, context)).targets;
  assert.equal(
    await targets(['query', 'value']),
    [0, 1, 2].flatMap((i) =>
      ['query', 'value'].map((name) => `encoder.layer.${i}.attention.self.${name}`),
    ),
  );
  assert.equal(await targets(['bert.encoder.layer.1.output.dense']), [
    'encoder.layer.1.output.dense',
  ]);
  assert.is((await targets(['dense'])).length, 3 * 3 + 1);
  assert.equal(
    await targets(['attention.output.dense']),
    [0, 1, 2].map((i) => `encoder.layer.${i}.attention.output.dense`),
  );
});

test('a multiple of r uses the rank of each layer, and the folder has the number', async () => {
  const ranks = { rank: 4, rank_pattern: { 'pooler.dense': 6 } };
  for (const [alpha, scale] of [
    ['2r', 2],
    ['0.5r', 0.5],
    ['r/2', 0.5],
    ['3r/2', 1.5],
  ] as const) {
    const adapter = await lora.create({ ...ranks, alpha }, context);
    const scales = adapter.targets.map((name) => present(adapter.factors(name)).scale);
    assert.equal(new Set(scales), new Set([scale]), alpha);
    assert.is(planDefaults({ rank: 4, alpha }).alpha, 4 * scale);
  }
});

test('patterns set rank and alpha for each layer; alpha r is the rank of the layer', async () => {
  const adapter = await lora.create(
    {
      rank: 4,
      alpha: 6,
      rank_pattern: { query: 2, '.*layer.1.*': 3 },
      alpha_pattern: { 'layer.[01].output.dense': 9 },
    },
    context,
  );
  const rankOf = (layer: string): number =>
    present(adapter.parameters.find(({ name }) => name === `${layer}.lora_A`)!.shape[0]);
  assert.equal(
    [
      'encoder.layer.1.attention.self.query',
      'encoder.layer.1.output.dense',
      'encoder.layer.2.output.dense',
    ].map(rankOf),
    [2, 3, 4],
  );
  assert.equal(
    [
      'encoder.layer.1.attention.self.query',
      'encoder.layer.1.output.dense',
      'encoder.layer.2.output.dense',
    ].map((layer) => present(adapter.factors(layer)).scale),
    [3, 3, 1.5],
  );
  const same = await lora.create({ rank: 4, alpha: 'r', rank_pattern: { query: 2 } }, context);
  assert.equal(
    new Set(same.targets.map((layer) => present(same.factors(layer)).scale)),
    new Set([1]),
  );
  const eight = present(
    (await lora.create({ rank: 8 }, context))
      .initial(5)
      .get('encoder.layer.1.attention.self.query.lora_A'),
  ).data;
  assert.equal(
    [...present(adapter.initial(5).get('encoder.layer.1.attention.self.query.lora_A')).data],
    [...eight.subarray(0, 44)],
    'nested in rank still',
  );
});

test('layers can be excluded or selected by number', async () => {
  const { targets } = await lora.create(
    { rank: 2, exclude: ['pooler.dense', 'intermediate.dense'], layers: [1] },
    context,
  );
  assert.equal(
    targets,
    [
      'attention.self.query',
      'attention.self.key',
      'attention.self.value',
      'attention.output.dense',
      'output.dense',
    ].map((end) => `encoder.layer.1.${end}`),
  );
  assert.is(
    (await lora.create({ rank: 2, targets: '.*(query|value)' }, context)).targets.length,
    6,
  );
});

test('A is trained unless it is frozen, and so are the requested biases', async () => {
  const trained = async (params: JsonObject): Promise<string[]> => {
    const adapter = await lora.create(
      { rank: 2, targets: ['query'], layers: [0], ...params },
      context,
    );
    return [...adapter.parameters, ...context.parameters]
      .map(({ name }) => name)
      .filter((name) => adapter.trains(name));
  };
  const [query, A, B] = ['', '.lora_A', '.lora_B'].map(
    (end) => `encoder.layer.0.attention.self.query${end}`,
  );
  assert.equal(await trained({}), [A, B]);
  assert.equal(await trained({ freeze_a: true }), [B]);
  assert.equal(await trained({ bias: 'lora_only' }), [A, B, `${query}.bias`]);
  assert.equal(await trained({ bias: 'all' }), [
    A,
    B,
    ...context.parameters.map(({ name }) => name).filter((name) => name.endsWith('.bias')),
  ]);
});

const problems = async (params: JsonObject, initFrom?: string): Promise<string[]> =>
  (await lora.check(params, { ...context, ...(initFrom === undefined ? {} : { initFrom }) })).map(
    ({ path, message }) => `${path.join('.')}: ${message}`,
  );

test('high ranks, unknown targets and bad variances are reported with their path', async () => {
  assert.equal(await problems({ rank: 22 }), []);
  assert.equal(await problems({ rank: 23 }), [
    'adapter.rank: rank 23 is above the width of layer encoder.layer.0.attention.self.query ' +
      '(22 → 22)',
  ]);
  assert.equal(await problems({ rank: 2, targets: ['query', 'quary', 'classifier'] }), [
    'adapter.targets.1: no linear layer is named "quary"',
    'adapter.targets.2: "classifier" is the classification head, which is always trained in full',
  ]);
  assert.equal(await problems({ init: { variance: '1/n' } }), [
    'adapter.init.variance: the variance "1/n" is neither a positive number nor k/d',
  ]);
  assert.equal(
    await problems({
      rank: 2,
      rank_pattern: { query: 30, quary: 3 },
      alpha_pattern: { '.*': 1, value: 2 },
    }),
    [
      'adapter.rank_pattern.quary: no adapted layer takes its value from "quary"',
      'adapter.alpha_pattern.value: no adapted layer takes its value from "value"',
      'adapter.rank_pattern.query: rank 30 is above the width of layer ' +
        'encoder.layer.0.attention.self.query (22 → 22)',
    ],
  );
  assert.equal(await problems({ rank: 2, targets: 'query' }), [
    'adapter.targets: no linear layer\'s whole name matches the expression "query"',
  ]);
  assert.equal(await problems({ rank: 2, targets: '(' }), [
    'adapter.targets: "(" is not a regular expression that is understood here',
  ]);
  assert.equal(await problems({ rank: 2, layers: [3], exclude: ['quary'] }), [
    'adapter.exclude.0: no linear layer is named "quary"',
    'adapter.layers.0: the model has no layer 3',
  ]);
  assert.equal(await problems({ rank: 2, targets: ['query'], exclude: ['query'] }), [
    'adapter.exclude: no linear layer is left to adapt',
  ]);
  let error: unknown = null;
  try {
    await lora.create({ rank: 23 }, context);
  } catch (thrown) {
    error = thrown;
  }
  assert.instance(error, UserFault);
});

test('init_from determines rank, alpha and layers, and contradictions are reported', async () => {
  const adapter = await lora.create({}, { ...context, initFrom: adapterFolder });
  assert.equal(present(adapter.initial(1).get('pooler.dense.lora_A')).shape, [5, 22]);
  assert.is(present(adapter.factors('pooler.dense')).scale, 7 / 5);
  assert.is(adapter.targets.length, 19);
  assert.equal(
    await problems({ rank: 5, alpha: 7, targets: 'all-linear', rslora: false }, adapterFolder),
    [],
  );
  assert.equal(
    await problems({ rank: 8, alpha: 'r', rslora: true, targets: ['query'] }, adapterFolder),
    [
      'adapter.rank: rank is 8 here, but 5 in the adapter that init_from names',
      'adapter.alpha: alpha is r here, but 7 in the adapter that init_from names',
      'adapter.rslora: rslora is true here, but false in the adapter that init_from names',
      'adapter.targets: targets is ["query"] here, but 19 layers are adapted in the adapter ' +
        'that init_from names',
    ],
  );
  assert.equal(await problems({ dropout: 0.3, rank_pattern: { query: 5 } }, adapterFolder), []);
  assert.equal(
    await problems(
      { bias: 'all', layers: [0], rank_pattern: { query: 4 }, alpha_pattern: { dense: 2 } },
      adapterFolder,
    ),
    [
      'adapter.bias: bias is all here, but none in the adapter that init_from names',
      'adapter.layers: layers is [0] here, but 19 layers are adapted in the adapter that ' +
        'init_from names',
      'adapter.rank_pattern: rank_pattern is 4 for encoder.layer.0.attention.self.query ' +
        'here, but 5 in the adapter that init_from names',
      'adapter.alpha_pattern: alpha_pattern is 2 for encoder.layer.0.attention.output.dense ' +
        'here, but 7 in the adapter that init_from names',
    ],
  );
});

test.run();
