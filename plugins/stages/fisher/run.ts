import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pointName, pointsIn, type RunContext, UserFault } from '../../../src/api.ts';
import {
  type EmpiricalSummary,
  empiricalSummary,
  fisher,
  type FisherSummary,
  spectrumOf,
  type SpectrumSummary,
} from '../../../src/science/measures/fisher.ts';
import { readKernels } from '../../../src/science/measures/ntk/files.ts';
import { EMPIRICAL_ALONE, NO_TRUE_FISHER } from '../shared/definition.ts';
import {
  inputDir,
  type Metrics,
  numbersIn,
  prefixed,
  writeJson,
  writeMetrics,
} from '../shared/files.ts';
import { type Params, REFUSED, WAY_OUT } from './index.ts';

export async function run(context: RunContext<Params>): Promise<void> {
  const ntk = inputDir(context, 'ntk');
  const metrics: Metrics = {};
  for (const at of pointsIn(await readdir(ntk)).map(pointName))
    Object.assign(metrics, await writeFisher(context, join(ntk, at), at));
  await writeMetrics(context.outDir, metrics);
}

/**
 * Writes the Fisher information at the point `at` from the kernels in `dir`. Returns its metrics.
 */
async function writeFisher(
  { params, outDir, log, signal }: RunContext<Params>,
  dir: string,
  at: string,
): Promise<Metrics> {
  const { tolerance, alphas, information } = params;
  const { rows, classes, outputs, full, lora, logits, labels, errors } = await readKernels(dir);
  // The kernels' folder says which outputs they are of; this stage's parameters may not say it.
  if (outputs !== 'class logits' && information !== 'empirical')
    throw new UserFault(`${NO_TRUE_FISHER} (methods.json, ${at})`, EMPIRICAL_ALONE);
  const error = errors.lora ?? errors.full;
  if (error !== null) {
    const share = (100 * error).toPrecision(2);
    throw new UserFault(`${REFUSED} (methods.json, ${at}: a standard error of ${share}%)`, WAY_OUT);
  }
  const metrics: Metrics = {};
  const summaries: Record<string, EmpiricalSummary> = {};
  const spectra: Record<string, readonly number[]> = {};
  for (const [name, kernel] of Object.entries({ lora, full })) {
    if (kernel === null) continue;
    const classLabels = outputs === 'class logits' ? labels : null;
    const summary: EmpiricalSummary & Partial<FisherSummary> =
      classLabels === null || information === 'empirical'
        ? empiricalSummary(kernel, logits, classLabels, { tolerance, alphas })
        : fisher(kernel, logits, classLabels, { tolerance, alphas });
    summaries[name] = summary;
    // Record the kernel's own spectrum too: after training, the spectrum of the Fisher information
    // is dominated by p(1 − p), which follows the model's confidence.
    spectra[name] = spectrumOf({ n: rows * classes, data: kernel, zeros: 0 });
    if (summary.true) Object.assign(metrics, flatten(`${at}.${name}.true`, summary.true));
    Object.assign(metrics, flatten(`${at}.${name}.empirical`, summary.empirical));
    const { count, spectrum, information_bits: bits } = summary.true ?? summary.empirical;
    log(
      `${at}, ${name}, ${summary.true === undefined ? 'empirical' : 'true'} Fisher of ` +
        `${outputs}: ${count} of ${spectrum.length} eigenvalues count, ` +
        `information bits ${bits?.toFixed(3) ?? 'none'}`,
    );
    signal.throwIfAborted();
  }
  await mkdir(join(outDir, at));
  await writeJson(join(outDir, at), 'fisher.json', { outputs, ...summaries });
  await writeJson(join(outDir, at), 'kernel-spectrum.json', { outputs, ...spectra });
  return metrics;
}

/** Returns the numbers of a summary by name: `PREFIX.count`, `PREFIX.renyi_raw_2`, …. */
function flatten(prefix: string, summary: SpectrumSummary): Metrics {
  const { spectrum, count, information_bits, information_bits_normalised, renyi } = summary;
  const trace = spectrum.reduce((a, b) => a + b, 0);
  return numbersIn(
    {
      ...{ count, trace, largest: spectrum[0] ?? 0, information_bits, information_bits_normalised },
      ...prefixed(renyi.raw, 'renyi_raw_'),
      ...prefixed(renyi.normalised, 'renyi_normalised_'),
    },
    `${prefix}.`,
  );
}
