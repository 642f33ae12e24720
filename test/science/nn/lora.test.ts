import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault, type JsonObject } from '../../../src/api.ts';
import { bert } from '../../../src/science/nn/bert.ts';
import { drawA, initialVariance, parseVariance, presets } from '../../../src/science/nn/lora-init.ts';
import { lora } from '../../../src/science/nn/lora.ts';
import { adapterFolder, linears } from '../tiny-bert.ts';

const context = { architecture: bert, linears };
const variance = (values: ArrayLike<number>): number => {
  const all = Array.from(values), mean = all.reduce((a, b) => a + b, 0) / all.length;
  return all.reduce((sum, x) => sum + (x - mean) ** 2, 0) / all.length;
};

test('variances are read as numbers and as k/d of the layer\'s own fan-in', () => {
  assert.is(parseVariance('1/d', 384), 1 / 384);
  assert.is(parseVariance('1/(3d)', 384), 1 / (3 * 384));
  assert.is(parseVariance('2/(3*d)', 10), 2 / 30);
  assert.is(parseVariance(' 0.5 / d ', 10), 0.05);
  assert.is(parseVariance('0.25', 7), 0.25);
  assert.is(parseVariance(0.25, 7), 0.25);
  for (const bad of ['d', '1/n', '-1/d', '0', 0, -1, '', 'kaiming', '1/0d', NaN]) assert.is(parseVariance(bad, 10), null, String(bad));
});

test('presets have the variance of the initialiser they name', () => {
  const of = (distribution: keyof typeof presets): number => initialVariance({ distribution }, 384, 8);
  assert.is(of('kaiming-uniform'), 1 / (3 * 384)); // kaiming_uniform_(a=√5): bound 1/√n, variance bound²/3
  assert.is(of('uniform'), 1 / (3 * 384));
  assert.is(of('xavier'), 2 / 392); // bound √(6/(n+r))
  assert.is(of('gaussian'), 1 / 64); // PEFT: std 1/r
  assert.is(initialVariance({ distribution: 'gaussian', variance: '1/d' }, 384, 8), 1 / 384);
  assert.throws(() => initialVariance({ distribution: 'normal', variance: 'much' }, 384, 8), (e: unknown) => e instanceof UserFault);
});

test('A has the variance asked for, and a uniform one its bound', () => {
  const n = 997, r = 31, v = 1 / n;
  const uniform = drawA('x', n, r, 'uniform', v, 1).data, normal = drawA('x', n, r, 'normal', v, 1).data;
  // 30,907 draws: the variance's standard error is 0.5% (uniform) and 0.8% (normal) of it
  assert.ok(Math.abs(variance(uniform) / v - 1) < 0.02, String(variance(uniform) / v));
  assert.ok(Math.abs(variance(normal) / v - 1) < 0.032, String(variance(normal) / v));
  const bound = Math.sqrt(3 * v);
  assert.ok(Math.max(...uniform) <= bound * (1 + 1e-6) && Math.max(...uniform) > 0.999 * bound && Math.max(...normal) > 2 * bound);
});

test('A is nested in rank, scaled by σ, and differs by layer and seed', () => {
  for (const shape of ['uniform', 'normal'] as const) {
    const four = drawA('q', 23, 4, shape, 1, 7).data, eight = drawA('q', 23, 8, shape, 1, 7).data;
    assert.equal([...four], [...eight.subarray(0, 4 * 23)]);
    assert.equal(drawA('q', 23, 4, shape, 0.25, 7).data, four.map((x) => x / 2));
    assert.not.equal([...drawA('k', 23, 4, shape, 1, 7).data], [...four]);
    assert.not.equal([...drawA('q', 23, 4, shape, 1, 8).data], [...four]);
  }
});

test('all-linear is every linear layer but the head; B starts at zero; the scale is α/r or α/√r', async () => {
  const adapter = await lora.create({ rank: 4, alpha: 6 }, context);
  assert.is(adapter.targets.length, 3 * 6 + 1);
  assert.ok(adapter.targets.includes('pooler.dense') && !adapter.targets.includes('classifier'));
  const start = adapter.initial(3);
  assert.is(start.size, 2 * 19);
  assert.equal(start.get('encoder.layer.1.output.dense.lora_A')!.shape, [4, 37]);
  assert.equal(start.get('encoder.layer.1.output.dense.lora_B')!.shape, [22, 4]);
  assert.ok([...start].every(([name, { data }]) => name.endsWith('_A') ? data.some((x) => x !== 0) : data.every((x) => x === 0)));
  assert.is(adapter.factors('pooler.dense')!.scale, 1.5);
  assert.is(adapter.factors('classifier'), null);
  assert.not.ok(adapter.trains('pooler.dense.weight'));
  assert.is((await lora.create({ rank: 4, alpha: 6, rslora: true }, context)).factors('pooler.dense')!.scale, 3);
  assert.is((await lora.create({ rank: 4, alpha: 'r' }, context)).factors('pooler.dense')!.scale, 1);
  assert.is((await lora.create({}, context)).factors('pooler.dense')!.scale, 1); // PEFT's defaults: r 8, α 8
});

test('targets are names or their dotted ends, as PEFT matches them', async () => {
  const targets = async (list: string[]): Promise<readonly string[]> => (await lora.create({ rank: 2, targets: list }, context)).targets;
  assert.equal(await targets(['query', 'value']), [0, 1, 2].flatMap((i) => ['query', 'value'].map((name) => `encoder.layer.${i}.attention.self.${name}`)));
  assert.equal(await targets(['bert.encoder.layer.1.output.dense']), ['encoder.layer.1.output.dense']);
  assert.is((await targets(['dense'])).length, 3 * 3 + 1);
  assert.equal(await targets(['attention.output.dense']), [0, 1, 2].map((i) => `encoder.layer.${i}.attention.output.dense`));
});

const problems = async (params: JsonObject, initFrom?: string): Promise<string[]> =>
  (await lora.check(params, { ...context, ...(initFrom === undefined ? {} : { initFrom }) })).map(({ path, message }) => `${path.join('.')}: ${message}`);

test('a rank above a targeted layer\'s width, unknown targets and bad variances are problems with their place', async () => {
  assert.equal(await problems({ rank: 22 }), []);
  assert.equal(await problems({ rank: 23 }), ['adapter.rank: rank 23 is above the width of layer encoder.layer.0.attention.self.query (22 → 22)']);
  assert.equal(await problems({ rank: 2, targets: ['query', 'quary', 'classifier'] }), [
    'adapter.targets.1: no linear layer is named "quary"', 'adapter.targets.2: "classifier" is the classification head, which is always trained in full',
  ]);
  assert.equal(await problems({ init: { variance: '1/n' } }), ['adapter.init.variance: the variance "1/n" is no positive number and no k/d']);
  let error: unknown = null;
  try { await lora.create({ rank: 23 }, context); } catch (thrown) { error = thrown; }
  assert.instance(error, UserFault);
});

test('init_from brings its own rank, alpha and layers, and a spec that contradicts it is a problem', async () => {
  const adapter = await lora.create({}, { ...context, initFrom: adapterFolder });
  assert.equal(adapter.initial(1).get('pooler.dense.lora_A')!.shape, [5, 22]);
  assert.is(adapter.factors('pooler.dense')!.scale, 7 / 5);
  assert.is(adapter.targets.length, 19);
  assert.equal(await problems({ rank: 5, alpha: 7, targets: 'all-linear', rslora: false }, adapterFolder), []);
  assert.equal(await problems({ rank: 8, alpha: 'r', rslora: true, targets: ['query'] }, adapterFolder), [
    'adapter.rank: rank is 8 here, but 5 in the adapter that init_from names',
    'adapter.alpha: alpha is r here, but 7 in the adapter that init_from names',
    'adapter.rslora: rslora is true here, but false in the adapter that init_from names',
    'adapter.targets: targets is ["query"] here, but 19 layers are adapted in the adapter that init_from names',
  ]);
});

test.run();
