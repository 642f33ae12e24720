import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  informationBits,
  nonzeroEigenvalues,
  normalised,
  renyi,
  summariseSpectrum,
} from '../../../../src/science/measures/fisher.ts';
import { present } from '../../../rig/present.ts';

const test = suite('entropy');
const near = (a: number | null | undefined, b: number): void =>
  assert.ok(typeof a === 'number' && Math.abs(a - b) < 1e-12, `${a} is not ${b}`);

test('eigenvalues above the tolerance count, those at it do not', () => {
  assert.equal(nonzeroEigenvalues([8, 4, 8e-3, 7.9e-3, 0, -1e-9], 1e-3), [8, 4]);
  assert.equal(nonzeroEigenvalues([8, 4, 8.1e-3, 8e-3], 1e-3), [8, 4, 8.1e-3]);
  assert.equal(nonzeroEigenvalues([0, 0], 1e-6), []);
  assert.equal(nonzeroEigenvalues([-1, -2], 0), []);
});

test('information bits are half the log of the product', () => {
  near(informationBits([4, 2, 0.5]), Math.log(4) / 2); // 4 · 2 · ½ = 4
  near(informationBits(normalised([4, 2, 2])), Math.log(1 / 32) / 2); // ½ · ¼ · ¼
});

test('Rényi entropies of a small spectrum, by hand', () => {
  const raw = [4, 1];
  near(renyi(raw, 0.5), 2 * Math.log(3)); // (2 + 1)²
  near(renyi(raw, 2), -Math.log(17)); // 16 + 1
  near(renyi(raw, 3), -Math.log(65) / 2); // 64 + 1
  near(renyi(raw, 'inf'), -Math.log(4));
  assert.is(renyi(raw, 1), null, 'the limit α → 1 exists for a distribution only');
  const shares = normalised(raw); // 4/5, 1/5
  near(renyi(shares, 0.5), 2 * Math.log((2 + 1) / Math.sqrt(5)));
  near(renyi(shares, 1), -(0.8 * Math.log(0.8) + 0.2 * Math.log(0.2)));
  near(renyi(shares, 2), -Math.log(17 / 25));
  near(renyi(shares, 'inf'), -Math.log(0.8));
});

test('every entropy of a uniform distribution is log n, and entropies fall with α', () => {
  const uniform = normalised([3, 3, 3, 3, 3]);
  for (const alpha of [0.5, 1, 2, 3, 'inf'] as const) near(renyi(uniform, alpha), Math.log(5));
  const shares = normalised([7, 5, 3, 2]);
  const values = ([0.5, 1, 2, 3, 'inf'] as const).map((alpha) => present(renyi(shares, alpha)));
  values.slice(1).forEach((value, i) => assert.ok(value < present(values[i])));
});

test(
  'a scaled spectrum moves the raw values by the known amounts and the normalised ones not at ' +
    'all',
  () => {
    const options = { tolerance: 1e-6, alphas: [0.5, 1, 2, 3, 'inf'] as const };
    const one = summariseSpectrum([5, 3, 0.25, 1e-9], options),
      two = summariseSpectrum([35, 21, 1.75, 7e-9], options);
    assert.is(one.count, 3);
    near(present(two.information_bits) - present(one.information_bits), (3 / 2) * Math.log(7));
    near(two.information_bits_normalised, present(one.information_bits_normalised));
    for (const alpha of [0.5, 2, 3])
      near(
        present(two.renyi.raw[alpha]) - present(one.renyi.raw[alpha]),
        (alpha / (1 - alpha)) * Math.log(7),
      );
    for (const alpha of ['0.5', '1', '2', '3', 'inf'])
      near(two.renyi.normalised[alpha], present(one.renyi.normalised[alpha]));
    assert.equal(Object.keys(one.renyi.raw).sort(), ['0.5', '2', '3', 'inf']);
  },
);

test('eigenvalues that do not count enter no summary', () => {
  const options = { tolerance: 0.1, alphas: [0.5, 1, 2, 3, 'inf'] as const };
  const {
    spectrum: _whole,
    sensitivity: _sensitivity,
    ...cut
  } = summariseSpectrum([4, 1, 0.39, 0.2, -0.1], options);
  const { spectrum: _same, sensitivity: _too, ...alone } = summariseSpectrum([4, 1], options);
  assert.equal(cut, alone);
});

test('a spectrum of zeros has null entropies', () => {
  const none = summariseSpectrum([0, 0], { tolerance: 1e-6, alphas: [2] });
  assert.equal(
    [none.count, none.information_bits, none.information_bits_normalised],
    [0, null, null],
  );
  assert.equal(none.renyi, { raw: {}, normalised: {} });
});

test('information bits are given at several tolerances', () => {
  const { sensitivity } = summariseSpectrum([1, 1e-3, 5e-6, 5e-8], {
    tolerance: 1e-6,
    alphas: [2],
  });
  assert.equal(
    sensitivity.map(({ tolerance, count }) => [tolerance, count]),
    [
      [1e-4, 2],
      [1e-5, 2],
      [1e-6, 3],
      [1e-7, 3],
      [1e-8, 4],
    ],
  );
});

test.run();
