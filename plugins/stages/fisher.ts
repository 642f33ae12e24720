import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject, PreflightContext, Problem, RunContext } from '../../src/api.ts';
import { defineStage, pointName, pointsIn, UserFault } from '../../src/api.ts';
import type { Alpha } from '../../src/science/fisher/entropy.ts';
import type { SpectrumSummary } from '../../src/science/fisher/fisher.ts';

interface Params {
  readonly tolerance: number;
  readonly alphas: readonly Alpha[];
  /** Present where the kernels would be estimates, which are refused. */
  readonly method?: 'projected';
}

/**
 * A logarithm does not let a kernel's noise average out, and the standard error of ‖K‖ says nothing of its small
 * eigenvalues. Measured (bench/projected-fisher.ts; MiniLM, LoRA r = 8 at its start, 4 replicates, means over projections
 * less the exact value, in nats): of 32 rows at dimension 64 normalised information bits are off by +0.6 for LoRA and by −0.9
 * for full, where the verdict rule's margin is 0.7; of 128 rows at dimension 16 raw ones by −1.4 and by −35, which LoRA − full
 * then is off by. It grows with the square of the rows, and seeds share it, so that no interval over them covers it.
 */
const REFUSED =
  "Fisher information is not made of projected kernels: their noise biases log-determinants and entropies, by an amount that the kernels' standard error does not tell and that is another one for LoRA than for full fine-tuning";
const WAY_OUT =
  'Write ntk.method: auto, whose kernels are exact (fewer ntk.rows make them cheaper), or leave `fisher` out of `stages`.';

async function preflight({ params }: PreflightContext): Promise<readonly Problem[]> {
  return (params as unknown as Params).method === 'projected'
    ? [{ path: ['ntk', 'method'], message: REFUSED, hint: WAY_OUT }]
    : [];
}

/** Numbers of one spectrum under flat names. */
function flatten(
  prefix: string,
  {
    spectrum,
    count,
    information_bits: bits,
    information_bits_normalised: normalised,
    renyi,
  }: SpectrumSummary,
): Record<string, number> {
  const out: Record<string, number> = {
    count,
    trace: spectrum.reduce((a, b) => a + b, 0),
    largest: spectrum[0] ?? 0,
  };
  if (bits !== null) out['information_bits'] = bits;
  if (normalised !== null) out['information_bits_normalised'] = normalised;
  for (const kind of ['raw', 'normalised'] as const)
    for (const [alpha, value] of Object.entries(renyi[kind])) out[`renyi_${kind}_${alpha}`] = value;
  return Object.fromEntries(
    Object.entries(out).map(([name, value]) => [`${prefix}.${name}`, value]),
  );
}

async function run(context: RunContext): Promise<void> {
  const [{ readKernels }, { fisher, spectrumOf }] = await Promise.all([
    import('../../src/science/ntk/files.ts'),
    import('../../src/science/fisher/fisher.ts'),
  ]);
  const { tolerance, alphas } = context.params as unknown as Params;
  const ntk = context.inputs['ntk']!.dir;
  const metrics: Record<string, number> = {};
  for (const at of pointsIn(await readdir(ntk)).map(pointName)) {
    const { rows, classes, full, lora, logits, labels, errors } = await readKernels(join(ntk, at));
    const error = errors.lora ?? errors.full;
    if (error !== null)
      throw new UserFault(
        `${REFUSED} (methods.json, ${at}: a standard error of ${(100 * error).toPrecision(2)}%)`,
        WAY_OUT,
      );
    const summaries: Record<string, unknown> = {},
      spectra: Record<string, readonly number[]> = {};
    for (const [name, kernel] of Object.entries({ lora, full })) {
      if (kernel === null) continue;
      const summary = fisher(kernel, logits, labels, { tolerance, alphas });
      summaries[name] = summary;
      // Beside the Fisher's: after training that one is dominated by p(1 − p), which is by confidence.
      spectra[name] = spectrumOf({ n: rows * classes, data: kernel, zeros: 0 });
      Object.assign(
        metrics,
        flatten(`${at}.${name}.true`, summary.true),
        flatten(`${at}.${name}.empirical`, summary.empirical),
      );
      context.log(
        `${at}, ${name}: ${summary.true.count} of ${summary.true.spectrum.length} eigenvalues count, information bits ${summary.true.information_bits?.toFixed(3) ?? 'none'}`,
      );
      context.signal.throwIfAborted();
    }
    await mkdir(join(context.outDir, at));
    await writeFile(
      join(context.outDir, at, 'fisher.json'),
      `${JSON.stringify(summaries, null, 2)}\n`,
    );
    await writeFile(
      join(context.outDir, at, 'kernel-spectrum.json'),
      `${JSON.stringify(spectra, null, 2)}\n`,
    );
  }
  await writeFile(join(context.outDir, 'metrics.json'), `${JSON.stringify(metrics, null, 2)}\n`);
}

export default defineStage({
  name: 'fisher',
  summary:
    'Computes the spectra of the true and the empirical Fisher information from the kernels, their information bits and their Rényi entropies.',
  compute: true,
  scope: 'cell',
  define([one]) {
    const cell = one!;
    return {
      params: {
        tolerance: cell.fisher.tolerance,
        alphas: cell.fisher.alphas,
        ...(cell.ntk.method === 'projected' ? { method: 'projected' as const } : {}),
      } satisfies Params,
      inputs: { ntk: { kind: 'ntk', cell } },
    };
  },
  resources: () => ({ cpu: 1 }),
  preflight,
  run,
});
