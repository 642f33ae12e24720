import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fisher } from '../../../../src/science/measures/fisher.ts';
import type { Accumulator } from '../../../../src/science/measures/ntk/accumulator.ts';
import { describeKernels } from '../../../../src/science/measures/ntk/files.ts';
import { type KernelSet, kernelSet } from '../../../../src/science/measures/ntk/kernels.ts';
import { addReplicates } from '../../../../src/science/measures/ntk/layer.ts';
import { present } from '../../../rig/present.ts';
import { tolerance } from '../../../tolerances.ts';
import { useBackend } from '../../backend.ts';
import { relative } from './fixture/compare.ts';
import { frobenius } from './fixture/matrices.ts';
import { mlpRows, tokenMlp } from './fixture/token-mlp.ts';

const test = suite('projected kernels');
test.before(async () => {
  await useBackend('cpu');
});

const rows = mlpRows([3, 1, 7, 5, 2]);
const lora = { rank: 2, scale: 1.5 };
const SEEDS = 300;

test('a projection as wide as the layers changes nothing and has no standard error', async () => {
  const model = tokenMlp({ lora });
  const exact = await kernelSet(model, rows),
    wide = await kernelSet(model, rows, {
      projection: { dimension: 11, replicates: 2, seed: 1 },
    });
  assert.equal(present(wide.full).data, present(exact.full).data);
  assert.is(present(wide.full).error, null);
  assert.is(
    wide.terms.some(({ projected }) => projected),
    false,
  );
  model.dispose();
});

test('unbiased, and the standard error that is told is right, over 300 seeds of three replicates', async () => {
  const model = tokenMlp({ lora });
  const whole = await kernelSet(model, rows),
    estimates: KernelSet[] = [];
  for (let seed = 1; seed <= SEEDS; seed++)
    estimates.push(
      await kernelSet(model, rows, {
        projection: { dimension: 3, replicates: 3, seed },
      }),
    );
  for (const kind of ['full', 'lora'] as const) {
    const exact = present(whole[kind]).data;
    const found = estimates.map((estimate) => {
      const { data, error } = present(estimate[kind]);
      return { data, error: present(error) };
    });
    // Unbiased: the mean over seeds lies within its own standard errors of the kernel, entry by
    // entry and as a whole.
    const mean = exact.map((_, k) =>
      found.reduce((sum, { data }) => sum + present(data[k]) / SEEDS, 0),
    );
    let largest = 0,
      distance = 0,
      spread = 0;
    mean.forEach((value, k) => {
      const variance =
        found.reduce((sum, { data }) => sum + (present(data[k]) - value) ** 2, 0) /
        (SEEDS * (SEEDS - 1));
      largest = Math.max(largest, Math.abs(value - present(exact[k])) / Math.sqrt(variance));
      distance += (value - present(exact[k])) ** 2;
      spread += variance;
    });
    assert.ok(largest < 5, `${kind}: an entry is ${largest} standard errors off`);
    assert.ok(
      distance / spread < 3,
      `${kind}: ${distance / spread} of the variance that chance gives`,
    );
    // The squared standard error's mean is the expected squared distance: with three
    // replicates, dividing by R instead of R − 1 would show.
    const told = found.reduce((sum, { data, error }) => sum + (error * frobenius(data)) ** 2, 0);
    const made = found.reduce(
      (sum, { data }) => sum + frobenius(data.map((value, k) => value - present(exact[k]))) ** 2,
      0,
    );
    assert.ok(
      Math.abs(told / made - 1) < 0.2,
      `${kind}: the errors told are ${told / made} of those made`,
    );
    // For most seeds, the estimate lies within two of its own standard errors.
    const covered =
      found.filter(
        ({ data, error }) =>
          frobenius(data.map((value, k) => value - present(exact[k]))) <=
          2 * error * frobenius(data),
      ).length / SEEDS;
    assert.ok(covered > 0.8, `${kind}: ${covered}`);
  }
  model.dispose();
});

test(
  'information bits of projected kernels are biased low though the kernels are not: they are ' +
    'why fisher refuses them',
  async () => {
    const model = tokenMlp({ lora });
    const labels = rows.map((_, i) => i % 2);
    const of = ({ full, logits }: KernelSet): { bits: number; trace: number } => {
      const { true: facts } = fisher(present(full).data, logits, labels, {
        tolerance: 1e-6,
        alphas: [2],
      });
      return {
        bits: present(facts.information_bits),
        trace: facts.spectrum.reduce((sum, value) => sum + value, 0),
      };
    };
    const exact = of(await kernelSet(model, rows, { which: ['full'] }));
    const found: { bits: number; trace: number }[] = [];
    for (let seed = 1; seed <= SEEDS; seed++)
      found.push(
        of(
          await kernelSet(model, rows, {
            which: ['full'],
            projection: { dimension: 3, replicates: 3, seed },
          }),
        ),
      );
    /** How many standard errors the mean lies from the exact value. */
    const off = (get: (one: { bits: number; trace: number }) => number): number => {
      const mean = found.reduce((sum, one) => sum + get(one) / SEEDS, 0);
      const variance =
        found.reduce((sum, one) => sum + (get(one) - mean) ** 2, 0) / (SEEDS * (SEEDS - 1));
      return (mean - get(exact)) / Math.sqrt(variance);
    };
    assert.ok(Math.abs(off(({ trace }) => trace)) < 5, 'a trace is linear in the kernel');
    assert.ok(off(({ bits }) => bits) < -10, `${off(({ bits }) => bits)} standard errors`);
    model.dispose();
  },
);

test('the standard error by hand: off-diagonal entries count twice', () => {
  const sum = (...data: number[]): Accumulator => ({
    size: 2,
    data: Float64Array.from(data),
  });
  const error = addReplicates(sum(0, 0, 0, 0), [sum(1, 0, 2, 3), sum(3, 0, 4, 3)]);
  // Means 2, 3 (off the diagonal), 3; squared distances 2, 2, 0. √(Σ/(R(R − 1)))/‖K‖.
  assert.ok(Math.abs(error - Math.sqrt((2 + 2 * 2) / 2 / (4 + 2 * 9 + 9))) < 1e-15);
});

test(
  "signs are the seed's: the same estimate again, another one for another seed, positive " +
    'semi-definite in either',
  async () => {
    const model = tokenMlp();
    const estimate = (seed: number): Promise<KernelSet> =>
      kernelSet(model, rows, { projection: { dimension: 2, replicates: 2, seed } });
    const [first, again, other] = [await estimate(1), await estimate(1), await estimate(2)];
    assert.equal(present(again.full).data, present(first.full).data);
    assert.ok(relative(present(other.full).data, present(first.full).data) > 0.01);
    const { symmetricEigenvalues } = await import('../../../../src/tensor/linalg.ts');
    const spectrum = symmetricEigenvalues(present(first.full).data, rows.length * model.outputs);
    assert.ok(present(spectrum.at(-1)) > -tolerance.rounding * present(spectrum[0]));
    model.dispose();
  },
);

test("the log and methods.json give an estimated kernel's standard error", async () => {
  const model = tokenMlp({ lora });
  const projection = { dimension: 3, replicates: 4, seed: 1 };
  const found = await kernelSet(model, rows, { projection });
  const { lines, record } = describeKernels(found, projection);
  assert.match(
    lines.join('\n'),
    /K_ff is an estimate: gradients projected to 3 × 3, the mean of 4; its standard error is [\d.]+% of its norm/,
  );
  assert.equal(
    present((record['kernels'] as Record<string, { error: number }>)['full']).error,
    present(found.full).error,
  );
  assert.match(
    describeKernels(await kernelSet(model, rows), null).lines.join('\n'),
    /^K_LoRA: 6 terms, \d by gradients and \d by token pairs, [\d.e-]+ G operations/,
  );
  model.dispose();
});

test.run();
