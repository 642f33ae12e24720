import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { kernelSet, type KernelSet } from '../../../src/science/ntk/kernels.ts';
import { describeKernels } from '../../../src/science/ntk/describe.ts';
import { tolerance } from '../../tolerances.ts';
import { useBackend } from '../backend.ts';
import { relative } from './fixture/compare.ts';
import { mlpRows, tokenMlp } from './fixture/token-mlp.ts';

const test = suite('projected kernels');
test.before(async () => { await useBackend('cpu'); });

const rows = mlpRows([3, 1, 7, 5, 2]), others = mlpRows([2, 4], 2);
const lora = { rank: 2, scale: 1.5 };

test('a projection as wide as the layers changes nothing and has no error to tell', async () => {
  const model = tokenMlp({ lora });
  const exact = await kernelSet(model, rows, null), wide = await kernelSet(model, rows, null, { projection: { dimension: 11, replicates: 2, seed: 1 } });
  assert.equal(wide.full!.data, exact.full!.data);
  assert.is(wide.full!.error, null);
  assert.is(wide.terms.some(({ projected }) => projected), false);
  model.dispose();
});

test('the mean over replicates tends to the kernel as their error says, of a set and between sets', async () => {
  const model = tokenMlp({ lora });
  for (const right of [null, others]) {
    const exact = await kernelSet(model, rows, right);
    for (const kind of ['full', 'lora'] as const) {
      const shares: number[] = [];
      for (let seed = 1; seed <= 6; seed++) {
        const found = await kernelSet(model, rows, right, { which: [kind], projection: { dimension: 3, replicates: 60, seed } });
        const { data, error } = found[kind]!;
        assert.ok(error! > 0.01 && error! < 0.2, `${kind}: ${error}`);
        shares.push(relative(data, exact[kind]!.data) / error!);
      }
      // A mean's distance from the truth in its own standard errors: about 1, over six seeds far from 2.
      const mean = Math.sqrt(shares.reduce((sum, share) => sum + share ** 2, 0) / shares.length);
      assert.ok(mean > 0.5 && mean < 2, `${kind}: ${mean}`);
    }
  }
  model.dispose();
});

test('signs are the seed\'s: the same estimate again, another one for another seed, positive semi-definite in either', async () => {
  const model = tokenMlp();
  const estimate = (seed: number): Promise<KernelSet> => kernelSet(model, rows, null, { projection: { dimension: 2, replicates: 2, seed } });
  const [first, again, other] = [await estimate(1), await estimate(1), await estimate(2)];
  assert.equal(again.full!.data, first.full!.data);
  assert.ok(relative(other.full!.data, first.full!.data) > 0.01);
  const { symmetricEigenvalues } = await import('../../../src/science/linalg/eigenvalues.ts');
  const spectrum = symmetricEigenvalues(first.full!.data, rows.length * model.classes);
  assert.ok(spectrum.at(-1)! > -tolerance.rounding * spectrum[0]!);
  model.dispose();
});

test('what is logged and kept says that a kernel is an estimate, and how good it is', async () => {
  const model = tokenMlp({ lora });
  const projection = { dimension: 3, replicates: 4, seed: 1 };
  const found = await kernelSet(model, rows, null, { projection });
  const { lines, record } = describeKernels(found, projection);
  assert.match(lines.join('\n'), /K_ff is an estimate: gradients projected to 3 × 3, the mean of 4; its standard error is [\d.]+% of its norm/);
  assert.equal((record['kernels'] as Record<string, { error: number }>)['full']!.error, found.full!.error);
  assert.match(describeKernels(await kernelSet(model, rows, null), null).lines.join('\n'), /^K_LoRA: 6 terms, \d by gradients and \d by token pairs, [\d.e-]+ G operations/);
  model.dispose();
});

test.run();
