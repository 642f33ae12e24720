import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import fisher from '../../../plugins/stages/fisher/index.ts';
import { UserFault } from '../../../src/api.ts';
import type { FisherSummary } from '../../../src/science/measures/fisher.ts';
import { writeNpy } from '../../../src/science/models/io/npy.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { type Chain, file, fisherOf, openChain } from './kernel-chain.ts';
import { contextOf, tempFolder, tinyCell } from './rig.ts';

const test = suite('fisher stage');
let chain: Chain;
test.before(async () => {
  await useBackend('cpu');
  chain = await openChain();
});

const cell = tinyCell({ fisher: { tolerance: 1e-6, alphas: [0.5, 1, 2, 3, 'inf'] } });
const json = async <T>(path: string): Promise<T> => JSON.parse(await readFile(path, 'utf8')) as T;

test('it reads the kernels and its own settings', () => {
  const { params, inputs } = fisher.define([cell], { with: {}, goals: [] });
  assert.equal(params, { tolerance: 1e-6, alphas: [0.5, 1, 2, 3, 'inf'] });
  assert.equal([present(inputs['ntk']).kind, present(inputs['ntk']).cell], ['ntk', cell]);
});

test('fisher.json has the documented shape, metrics.json its numbers by flat names', async () => {
  const ran = await chain.fisher(cell);
  const metrics = await json<Record<string, number>>(file(ran, 'metrics.json'));
  for (const at of ['init', 'final']) {
    const found = await json<Record<'lora' | 'full', FisherSummary>>(file(ran, at, 'fisher.json'));
    assert.equal(Object.keys(found).sort(), ['full', 'lora', 'outputs']);
    for (const kind of ['lora', 'full'] as const) {
      assert.equal(Object.keys(found[kind]).sort(), ['by_rows', 'empirical', 'true']);
      assert.equal(
        found[kind].by_rows.map(({ rows: some }) => some),
        [1, 2, 3, 4],
      );
      assert.equal(
        [found[kind].true.spectrum.length, found[kind].empirical.spectrum.length],
        [8, 4],
      ); // N·C and N
      for (const which of ['true', 'empirical'] as const) {
        const { spectrum, count, tolerance, renyi, ...rest } = found[kind][which];
        assert.equal(Object.keys(rest).sort(), [
          'information_bits',
          'information_bits_normalised',
          'sensitivity',
        ]);
        assert.equal(
          spectrum,
          [...spectrum].sort((a, b) => b - a),
        );
        assert.is(count, spectrum.filter((value) => value > 1e-6 * present(spectrum[0])).length);
        assert.ok(count >= 2 && count <= 4 && tolerance === 1e-6);
        assert.equal(Object.keys(renyi.raw).sort(), ['0.5', '2', '3', 'inf']);
        assert.equal(Object.keys(renyi.normalised).sort(), ['0.5', '1', '2', '3', 'inf']);
        const name = `${at}.${kind}.${which}`;
        assert.is(metrics[`${name}.information_bits`], rest.information_bits);
        assert.is(metrics[`${name}.renyi_normalised_2`], renyi.normalised['2']);
        assert.is(metrics[`${name}.renyi_raw_inf`], renyi.raw['inf']);
        assert.is(metrics[`${name}.count`], count);
      }
    }
    const spectra = await json<Record<string, number[]>>(file(ran, at, 'kernel-spectrum.json'));
    assert.equal([present(spectra['lora']).length, present(spectra['full']).length], [8, 8]);
  }
  assert.ok(Object.values(metrics).every(Number.isFinite));
});

test('for classes too, the empirical Fisher can be asked for alone', async () => {
  const alone = tinyCell({ fisher: { tolerance: 1e-6, alphas: [2], information: 'empirical' } });
  const ran = await chain.fisher(alone);
  const both = await chain.fisher(tinyCell());
  const read = (of: typeof ran) =>
    json<{ outputs: string; lora: FisherSummary }>(file(of, 'init', 'fisher.json'));
  const found = await read(ran);
  assert.is(found.outputs, 'class logits');
  assert.equal(found.lora, { empirical: (await read(both)).lora.empirical });
});

test('of a kept step as of the ends', async () => {
  const stepped = tinyCell({
    train: { ...tinyCell().train, checkpoints: [3] },
    ntk: { ...tinyCell().ntk, at: ['init', 3, 'final'] },
    fisher: { tolerance: 1e-6, alphas: [2] },
  });
  const ran = await chain.fisher(stepped);
  const metrics = await json<Record<string, number>>(file(ran, 'metrics.json'));
  const found = await json<Record<'lora' | 'full', FisherSummary>>(
    file(ran, 'step-3', 'fisher.json'),
  );
  assert.is(metrics['step-3.lora.true.information_bits'], found.lora.true.information_bits);
  const bits = ['init', 'step-3', 'final'].map((at) =>
    present(metrics[`${at}.lora.true.information_bits`]),
  );
  assert.is(new Set(bits).size, 3);
});

test('by hand: one row, two classes, K = diag(3, 1), even odds', async () => {
  const dir = await tempFolder();
  const at = join(dir, 'ntk', 'final');
  await mkdir(at, { recursive: true });
  await writeNpy(join(at, 'kernel-full.npy'), {
    shape: [1, 2, 1, 2],
    data: Float64Array.of(3, 0, 0, 1),
  });
  await writeNpy(join(at, 'logits.npy'), { shape: [1, 2], data: Float32Array.of(5, 5) });
  await writeFile(join(at, 'rows.json'), '[{"id": "a", "label": 1, "tokens": 3}]');
  await fisherOf(cell, join(dir, 'ntk'), join(dir, 'out'));
  const { full } = await json<{ full: FisherSummary }>(join(dir, 'out', 'final', 'fisher.json'));
  // diag(p) − ppᵀ = ¼[[1, −1], [−1, 1]]: λ = tr(KLLᵀ) = (3 + 1)/4.
  // r = (½, −½): rᵀKr = (3 + 1)/4.
  for (const { spectrum, count, information_bits: bits } of [full.true, full.empirical]) {
    assert.ok(Math.abs(present(spectrum[0]) - 1) < 1e-14);
    assert.ok(count === 1 && Math.abs(present(bits)) < 1e-14);
  }
  assert.equal([full.true.spectrum.length, full.empirical.spectrum.length], [2, 1]);
  await rm(dir, { recursive: true });
});

test("by hand: the empirical Fisher is at each row's own label, the true one at none", async () => {
  const dir = await tempFolder();
  const at = join(dir, 'ntk', 'final');
  await mkdir(at, { recursive: true });
  const K = new Float64Array(16);
  [3, 1, 10, 2].forEach((value, i) => {
    K[i * 5] = value;
  });
  await writeNpy(join(at, 'kernel-full.npy'), { shape: [2, 2, 2, 2], data: K });
  await writeNpy(join(at, 'logits.npy'), {
    shape: [2, 2],
    data: Float64Array.of(5, 5, Math.log(3), 0),
  });
  await writeFile(
    join(at, 'rows.json'),
    '[{"id": "a", "label": 1, "tokens": 3}, {"id": "b", "label": 0, "tokens": 3}]',
  );
  await fisherOf(cell, join(dir, 'ntk'), join(dir, 'out'));
  const { full } = await json<{ full: FisherSummary }>(join(dir, 'out', 'final', 'fisher.json'));
  const near = (found: readonly number[], expected: readonly number[]): void => {
    expected.forEach((value, i) => {
      assert.ok(Math.abs(present(found[i]) - value) < 1e-14, `${found[i]} for ${value}`);
    });
  };
  // r = (½, −½) and (−¼, ¼): (3 + 1)/4 and (10 + 2)/16, over N = 2.
  // With the other labels the second would be 9·12/16.
  near(full.empirical.spectrum, [1 / 2, 3 / 8]);
  // p(1 − p) = ¼ and 3/16: 4/4 and 3·12/16, over N.
  near(full.true.spectrum, [9 / 8, 1 / 2, 0, 0]);
  await rm(dir, { recursive: true });
});

test('projected kernels are refused, before anything runs and by their folder', async () => {
  const projected = tinyCell({
    ntk: {
      ...tinyCell().ntk,
      at: ['init'],
      method: 'projected',
      projection: { dimension: 4, replicates: 3 },
    },
  });
  const definition = fisher.define([projected], { with: {}, goals: [] });
  const [problem, ...more] = await fisher.preflight!(contextOf(definition));
  assert.equal([present(problem).path, more.length], [['ntk', 'method'], 0]);
  assert.match(
    present(problem).message,
    /not computed from projected kernels: their noise biases log-determinants and entropies/,
  );
  assert.match(present(problem).hint ?? '', /ntk\.method: auto/);
  assert.equal(
    await fisher.preflight!(contextOf(fisher.define([cell], { with: {}, goals: [] }))),
    [],
  );

  // The projected kernels are results all the same, each with its error beside it.
  const ran = await chain.ntk(projected);
  const metrics = await json<Record<string, number>>(file(ran, 'metrics.json'));
  const { kernels } = await json<{ kernels: Record<string, { error: number }> }>(
    file(ran, 'init', 'methods.json'),
  );
  assert.ok(present(metrics['init.lora.error']) > 0.01);
  assert.equal(
    [metrics['init.lora.error'], metrics['init.full.error']],
    [present(kernels['lora']).error, present(kernels['full']).error],
  );
  const dir = await tempFolder();
  let fault: unknown = null;
  try {
    await fisherOf(cell, ran.dir, join(dir, 'out'));
  } catch (error) {
    fault = error;
  }
  assert.instance(fault, UserFault);
  assert.match((fault as Error).message, /methods\.json, init: a standard error of [\d.]+%/);
});

test('kernels and logits of different rows are refused', async () => {
  const dir = await tempFolder();
  const at = join(dir, 'ntk', 'init');
  await mkdir(at, { recursive: true });
  await writeNpy(join(at, 'kernel-full.npy'), {
    shape: [1, 2, 1, 2],
    data: Float64Array.of(3, 0, 0, 1),
  });
  await writeNpy(join(at, 'logits.npy'), { shape: [2, 2], data: Float32Array.of(5, 5, 1, 2) });
  await writeFile(
    join(at, 'rows.json'),
    '[{"id": "a", "label": 1, "tokens": 3}, {"id": "b", "label": 0, "tokens": 3}]',
  );
  let message = '';
  try {
    await fisherOf(cell, join(dir, 'ntk'), join(dir, 'out'));
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /has the shape \[1, 2, 1, 2\], its logits \[2, 2\]/);
  await rm(dir, { recursive: true });
});

test.run();
