/**
 * The initial A over the distributions and variances of Figure 5 in the paper (arXiv 2505.12871)
 * and the ranks of Figure 4.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type Distribution,
  drawA,
  initialVariance,
  parseVariance,
  presets,
} from '../../../plugins/adapters/lora/init.ts';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { type JsonObject, UserFault } from '../../../src/api.ts';
import { at } from '../../../src/base/lookup.ts';
import { readConfig } from '../../../src/science/models/head.ts';
import type { ModelShape } from '../../../src/science/models/types.ts';
import { present } from '../../rig/present.ts';
import { bert } from '../../science/families.ts';
import { checkpoint } from '../../science/tiny-bert.ts';

const variance = (values: ArrayLike<number>): number => {
  const all = Array.from(values),
    mean = all.reduce((a, b) => a + b, 0) / all.length;
  return all.reduce((sum, x) => sum + (x - mean) ** 2, 0) / all.length;
};

test('a variance is a number, or k/d with the fan-in of the layer', () => {
  assert.is(parseVariance('1/d', 384), 1 / 384);
  assert.is(parseVariance('1/(3d)', 384), 1 / (3 * 384));
  assert.is(parseVariance('2/(3*d)', 10), 2 / 30);
  assert.is(parseVariance(' 0.5 / d ', 10), 0.05);
  assert.is(parseVariance('0.25', 7), 0.25);
  assert.is(parseVariance(0.25, 7), 0.25);
  for (const bad of ['d', '1/n', '-1/d', '0', 0, -1, '', 'kaiming', '1/0d', NaN])
    assert.is(parseVariance(bad, 10), null, String(bad));
});

test('presets have the variance of the initialiser that they name', () => {
  const of = (distribution: keyof typeof presets): number =>
    initialVariance({ distribution }, 384, 8);
  // kaiming_uniform_(a=√5) has the bound 1/√n and the variance bound²/3.
  assert.is(of('kaiming-uniform'), 1 / (3 * 384));
  assert.is(of('uniform'), 1 / (3 * 384));
  assert.is(of('xavier'), 2 / 392); // bound √(6/(n+r))
  assert.is(of('gaussian'), 1 / 64); // PEFT: std 1/r
  assert.is(initialVariance({ distribution: 'gaussian', variance: '1/d' }, 384, 8), 1 / 384);
  assert.throws(
    () => initialVariance({ distribution: 'normal', variance: 'much' }, 384, 8),
    (e: unknown) => e instanceof UserFault,
  );
});

test('A has the requested variance, and a uniform A its bound', () => {
  const n = 997,
    r = 31,
    v = 1 / n;
  const uniform = drawA('x', n, r, 'uniform', v, 1).data,
    normal = drawA('x', n, r, 'normal', v, 1).data;
  // With 30,907 draws the standard error of the variance is 0.5% (uniform) or 0.8% (normal).
  assert.ok(Math.abs(variance(uniform) / v - 1) < 0.02, String(variance(uniform) / v));
  assert.ok(Math.abs(variance(normal) / v - 1) < 0.032, String(variance(normal) / v));
  const bound = Math.sqrt(3 * v);
  assert.ok(
    Math.max(...uniform) <= bound * (1 + 1e-6) &&
      Math.max(...uniform) > 0.999 * bound &&
      Math.max(...normal) > 2 * bound,
  );
});

test('A is nested in the rank, scaled by σ, and differs between layers and seeds', () => {
  for (const shape of ['uniform', 'normal'] as const) {
    const four = drawA('q', 23, 4, shape, 1, 7).data,
      eight = drawA('q', 23, 8, shape, 1, 7).data;
    assert.equal([...four], [...eight.subarray(0, 4 * 23)]);
    assert.equal(
      drawA('q', 23, 4, shape, 0.25, 7).data,
      four.map((x) => x / 2),
    );
    assert.not.equal([...drawA('k', 23, 4, shape, 1, 7).data], [...four]);
    assert.not.equal([...drawA('q', 23, 4, shape, 1, 8).data], [...four]);
  }
});

/** A BERT that is wide enough for statistics, with the fan-ins 97 · 2 and 211. */
async function wide(): Promise<ModelShape> {
  const config = bert.parseConfig(
    {
      ...((await readConfig(checkpoint)) as object),
      hidden_size: 194,
      intermediate_size: 211,
      num_attention_heads: 2,
    },
    2,
  );
  return { architecture: bert, linears: bert.linears(config), parameters: bert.parameters(config) };
}
const model = await wide();

/** The entries of A in all layers with this fan-in. */
async function allA(params: JsonObject, fanIn: number, seed = 3): Promise<Float64Array> {
  const start = (await lora.create(params, model)).initial(seed);
  return Float64Array.from(
    [...start].flatMap(([name, { shape, data }]) =>
      name.endsWith('.lora_A') && shape[1] === fanIn ? [...data] : [],
    ),
  );
}
const farthestRatio = (a: Float64Array, b: Float64Array, ratio: number): number =>
  a.reduce(
    (worst, x, i) => Math.max(worst, Math.abs(x / at(b, i) / ratio - 1)),
    a.length === b.length ? 0 : Infinity,
  );

const SCALES = ['2/d', '1.5/d', '1/d', '0.667/d', '0.333/d', '0.1/d', '0.001/d', '0.0001/d'];

test('over the grid, every distribution has the requested variance and its own shape', async () => {
  for (const distribution of Object.keys(presets) as Distribution[]) {
    const { shape } = presets[distribution];
    for (const fanIn of [194, 211]) {
      const of = (asked?: string | number): Promise<Float64Array> =>
        allA(
          { rank: 8, init: { distribution, ...(asked === undefined ? {} : { variance: asked }) } },
          fanIn,
        );
      const unit = await of(1),
        count = unit.length;
      assert.is(count, fanIn === 211 ? 3 * 8 * 211 : 16 * 8 * 194);
      const mean = unit.reduce((a, b) => a + b) / count,
        central = (k: number): number => unit.reduce((sum, x) => sum + (x - mean) ** k, 0) / count;
      // With variance 1, the fourth moment is 9/5 for a uniform and 3 for a normal distribution, so
      // the standard error of the variance is √(4/5 /N) or √(2/N).
      assert.ok(Math.abs(mean) < 5 / Math.sqrt(count), `${distribution}: mean ${mean}`);
      assert.ok(
        Math.abs(central(2) - 1) < 5 * Math.sqrt((shape === 'uniform' ? 0.8 : 2) / count),
        `${distribution}: variance ${central(2)}`,
      );
      assert.ok(
        Math.abs(central(4) - (shape === 'uniform' ? 1.8 : 3)) < 0.4,
        `${distribution}: fourth moment ${central(4)}`,
      );
      // The paper's code uses a value as the standard deviation (Gaussian) or its root as a gain
      // (Xavier), and limits the scale of kaiming to 2/d.
      for (const asked of [...SCALES, '1/(3d)', 0.02, '0.5'])
        assert.ok(
          farthestRatio(await of(asked), unit, Math.sqrt(present(parseVariance(asked, fanIn)))) <
            1e-6,
          `${distribution} ${asked}`,
        );
      assert.ok(
        farthestRatio(await of(), unit, Math.sqrt(presets[distribution].variance(fanIn, 8))) < 1e-6,
        `${distribution}, its own variance`,
      );
    }
  }
});

test('at a given variance all uniform presets are equal, and so are all normal ones', async () => {
  const of = (distribution: Distribution): Promise<Float64Array> =>
    allA({ rank: 8, init: { distribution, variance: '1/d' } }, 194);
  const uniform = await of('uniform'),
    normal = await of('normal');
  assert.equal([await of('kaiming-uniform'), await of('xavier')], [uniform, uniform]);
  assert.equal(await of('gaussian'), normal);
  assert.not.equal(normal, uniform);
});

test('with alpha r over ranks, s stays 1, A is nested, and presets keep their rules', async () => {
  const layer = 'encoder.layer.0.output.dense',
    largest = present(
      (await lora.create({ rank: 128, alpha: 'r', init: { variance: '1/d' } }, model))
        .initial(3)
        .get(`${layer}.lora_A`),
    ).data;
  for (const rank of [4, 8, 16, 32, 64, 128]) {
    const adapter = await lora.create({ rank, alpha: 'r', init: { variance: '1/d' } }, model);
    assert.ok(adapter.targets.every((name) => present(adapter.factors(name)).scale === 1));
    assert.equal(
      present(adapter.initial(3).get(`${layer}.lora_A`)).data,
      largest.slice(0, rank * 211),
    );
    const fixed = await lora.create({ rank, alpha: 16 }, model);
    assert.ok(fixed.targets.every((name) => present(fixed.factors(name)).scale === 16 / rank));
    const [gaussian, other] = [
      await allA({ rank, init: { distribution: 'gaussian' } }, 211),
      await allA({ rank, init: { distribution: 'normal', variance: 1 } }, 211),
    ];
    assert.ok(farthestRatio(gaussian, other, 1 / rank) < 1e-6, "PEFT's gaussian: deviation 1/r");
  }
});

test.run();
