/**
 * The stages of theory in a completion task: what they compute, of which outputs, what they refuse.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import delta from '../../../plugins/stages/delta/index.ts';
import divergence from '../../../plugins/stages/divergence/index.ts';
import fisher from '../../../plugins/stages/fisher/index.ts';
import kernel from '../../../plugins/stages/kernel/index.ts';
import ntk from '../../../plugins/stages/ntk/index.ts';
import regime from '../../../plugins/stages/regime/index.ts';
import spectrum from '../../../plugins/stages/spectrum/index.ts';
import theoryMap from '../../../plugins/stages/theory-map/index.ts';
import { type JsonObject, type StageDescriptor, UserFault } from '../../../src/api.ts';
import type { SpectrumSummary } from '../../../src/science/measures/fisher.ts';
import { readKernels } from '../../../src/science/measures/ntk/files.ts';
import { readNpy } from '../../../src/science/models/io/npy.ts';
import { symmetricEigenvalues } from '../../../src/tensor/linalg.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { relative } from '../../science/measures/ntk/fixture/compare.ts';
import { tolerance } from '../../tolerances.ts';
import { type CompletionRig, openCompletionRig } from './completion-rig.ts';
import { contextOf, lookUp, type Ran, runStage } from './rig.ts';

const LOG_P = 'log p(answer)';
const test = suite('theory of a completion task');
let rig: CompletionRig;
test.before(async () => {
  await useBackend('cpu');
  rig = await openCompletionRig();
});

const json = async <T = Record<string, unknown>>(ran: Ran, ...file: string[]): Promise<T> =>
  JSON.parse(await readFile(join(ran.dir, ...file), 'utf8')) as T;
const metricsOf = (ran: Ran): Promise<Record<string, number>> => json(ran, 'metrics.json');
const run = (
  stage: StageDescriptor,
  inputs: { readonly [name: string]: string },
  request: JsonObject = {},
  cell = rig.cell(),
): Promise<Ran> => runStage(stage, cell, inputs, request, { model: rig.model });

const kernelAt = (at: 'init' | 'final'): Promise<Ran> =>
  run(kernel, { model: at === 'init' ? rig.start : rig.end, rows: rig.data }, { at });
const kernels = async (): Promise<Ran> =>
  run(ntk, { init: (await kernelAt('init')).dir, final: (await kernelAt('final')).dir });

test('a kernel has one output a row, says what it is, and its rows have no label', async () => {
  const ran = await kernelAt('final');
  assert.is((await json(ran, 'methods.json'))['outputs'], LOG_P);
  const stored = await readKernels(ran.dir);
  assert.equal([stored.outputs, stored.rows, stored.classes], [LOG_P, 4, 1]);
  assert.equal([present(stored.full).length, present(stored.lora).length], [16, 16]);
  assert.ok(
    stored.logits.every((value) => value < 0),
    'logarithms of probabilities',
  );
  assert.equal(stored.labels, []);
  const [first] = await json<Record<string, unknown>[]>(ran, 'rows.json');
  // 'say yes', 'yes' and the end
  assert.equal(first, { id: 'r0', tokens: 11 });
  assert.match(ran.log.join('\n'), /4 rows, log p\(answer\), 14 layers/);
});

test('ntk compares the kernels of its points', async () => {
  const metrics = await metricsOf(await kernels());
  assert.ok(present(metrics['full.drift']) > 0 && present(metrics['lora.drift']) > 0);
  assert.ok(present(metrics['final.alignment']) > 0);
});

test('the empirical Fisher information is the kernel by N, and the true one is refused', async () => {
  const folder = await kernels();
  const ran = await run(fisher, { ntk: folder.dir });
  const found = await json<{
    readonly outputs: string;
    readonly full: { readonly empirical: SpectrumSummary };
  }>(ran, 'final', 'fisher.json');
  assert.is(found.outputs, LOG_P);
  assert.equal(Object.keys(found.full), ['empirical']);
  const { full } = await readKernels(join(folder.dir, 'final'));
  const expected = [...symmetricEigenvalues(present(full).slice(), 4)]
    .map((value) => value / 4)
    .sort((a, b) => b - a);
  assert.ok(relative(found.full.empirical.spectrum, expected) < tolerance.double);
  const metrics = await metricsOf(ran);
  assert.ok('final.full.empirical.information_bits' in metrics);
  assert.not.ok(Object.keys(metrics).some((name) => name.includes('.true.')));

  const both = rig.cell({ fisher: { tolerance: 1e-6, alphas: [2], information: 'both' } });
  for (const stage of [fisher, theoryMap] as StageDescriptor[]) {
    const definition = stage.define([both], { with: {}, goals: [], plugin: lookUp });
    const [problem, ...more] = await stage.preflight!(contextOf(definition));
    assert.equal([problem?.path, more.length], [['fisher', 'information'], 0], stage.name);
    assert.match(
      present(problem).message,
      /true Fisher .* in a completion task that is every text/,
    );
    assert.match(present(problem).hint ?? '', /fisher\.information: empirical/);
    const allowed = stage.define([rig.cell()], { with: {}, goals: [], plugin: lookUp });
    assert.equal(await stage.preflight!(contextOf(allowed)), []);
  }
  let fault: unknown = null;
  await run(fisher, { ntk: folder.dir }, {}, both).catch((error: unknown) => {
    fault = error;
  });
  assert.instance(fault, UserFault);
});

test('Δ_r where training starts: the identity leaves rounding', async () => {
  const ran = await run(delta, { model: rig.start, rows: rig.data });
  const found = await json<{ readonly outputs: string; readonly classes: number }>(
    ran,
    'delta.json',
  );
  assert.equal([found.outputs, found.classes], [LOG_P, 1]);
  const metrics = await metricsOf(ran);
  assert.ok(present(metrics['residual']) < 1e-5);
  assert.is(metrics['trace_from_b'], 0);
});

test('regime: the linearised log p(answer) beside the trained one, and no agreement', async () => {
  const ran = await run(regime, {
    start: rig.start,
    model: rig.end,
    ntk: (await kernels()).dir,
    rows: rig.data,
  });
  const found = await json<{
    readonly outputs: string;
    readonly linear: Record<string, number | null>;
  }>(ran, 'regime.json');
  assert.is(found.outputs, LOG_P);
  assert.equal([found.linear['agreement'], found.linear['agreement_start']], [null, null]);
  const metrics = await metricsOf(ran);
  assert.ok('linear.relative_error' in metrics && !('linear.agreement' in metrics));
  const at = async (name: string) => readNpy(join(ran.dir, `logits-${name}.npy`));
  const [init, final] = [await at('init'), await at('final')];
  assert.equal(
    [init.shape, final.shape],
    [
      [4, 1],
      [4, 1],
    ],
  );
  const ofKernel = await readNpy(join((await kernelAt('final')).dir, 'logits.npy'));
  assert.ok(relative(final.data, ofKernel.data) < tolerance.rounding);
});

test("divergence: M of the weights, and M' of each row's own answer", async () => {
  const cell = rig.cell({
    poisoning: { attack: 'badnets', rate: 0.25, target: 'no', mode: 'dirty', triggers: ['cf'] },
    theory: { ...rig.cell().theory, noise_floor: false },
  });
  const ran = await run(
    divergence,
    { start: rig.start, model: rig.end, clean: rig.clean, poison: rig.poison },
    {},
    cell,
  );
  const { between } = await json<{
    readonly between: { readonly outputs: string; readonly pairs: number; readonly alike: number };
  }>(ran, 'divergence.json');
  assert.equal([between.outputs, between.pairs, between.alike], [LOG_P, 1, 0]);
  const metrics = await metricsOf(ran);
  assert.ok(present(metrics['total.l2']) > 0);
  assert.ok(Math.abs(present(metrics['between.full.cosine'])) < 0.999);
});

test('spectrum: of ΔW; a decoder has no masked-LM loss', async () => {
  const ran = await run(spectrum, { start: rig.start, model: rig.end, rows: rig.data });
  const metrics = await metricsOf(ran);
  assert.is(metrics['layers'], 14);
  assert.ok(present(metrics['effective_rank_largest']) <= 2, 'the rank of LoRA');
  assert.not.ok('forgetting' in metrics);
});

test('theory-map measures the empirical Fisher information, as fisher does', async () => {
  const ran = await run(theoryMap, { rows: rig.data });
  const map = await json<{
    readonly outputs: string;
    readonly information: string;
    readonly full: { readonly information_bits: number };
  }>(ran, 'map.json');
  assert.equal([map.outputs, map.information], [LOG_P, 'empirical']);
  // At B = 0 the model is the checkpoint, so that the full kernel is that of `init`.
  const ofFisher = await metricsOf(await run(fisher, { ntk: (await kernels()).dir }));
  const expected = present(ofFisher['init.full.empirical.information_bits']);
  assert.ok(Math.abs(map.full.information_bits - expected) < 1e-3 * Math.abs(expected));
});

test.run();
