import { existsSync } from 'node:fs';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunContext } from '../../src/api.ts';
import { defineStage, pointName, pointsIn } from '../../src/api.ts';

type Kernels = Partial<Record<'full' | 'lora', Float64Array>>;
type Errors = Readonly<Record<'full' | 'lora', number | null>>;

async function run(context: RunContext): Promise<void> {
  const [{ KERNEL_FILES, readKernels, readPremises }, { cosine, drift, meanTrace }] =
    await Promise.all([
      import('../../src/science/ntk/files.ts'),
      import('../../src/science/ntk/compare.ts'),
    ]);
  const metrics: Record<string, number> = {};
  const kernels = new Map<string, Kernels>(),
    errorsAt = new Map<string, Errors>();
  for (const at of pointsIn(Object.keys(context.inputs)).map(pointName)) {
    const input = context.inputs[at]!;
    await mkdir(join(context.outDir, at));
    for (const name of KERNEL_FILES) {
      if (existsSync(join(input.dir, name)))
        await copyFile(join(input.dir, name), join(context.outDir, at, name));
    }
    const { rows, classes, full, lora, errors } = await readKernels(input.dir);
    errorsAt.set(at, errors);
    for (const kind of ['full', 'lora'] as const) {
      if (errors[kind] !== null) metrics[`${at}.${kind}.error`] = errors[kind];
    }
    kernels.set(at, { ...(full === null ? {} : { full }), ...(lora === null ? {} : { lora }) });
    metrics[`${at}.rows`] = rows;
    if (full !== null) metrics[`${at}.full.mean_trace`] = meanTrace(full, rows, classes);
    if (lora !== null) metrics[`${at}.lora.mean_trace`] = meanTrace(lora, rows, classes);
    if (lora !== null && full !== null) metrics[`${at}.alignment`] = cosine(lora, full);
    const premises = await readPremises(input.dir);
    if (premises.length > 0) {
      metrics[`${at}.delta.largest`] = Math.max(...premises.map(({ measured }) => measured.high));
      metrics[`${at}.delta.semidefinite_layers`] =
        premises.filter((layer) => layer.negative_semidefinite).length / premises.length;
    }
  }
  const start = kernels.get('init');
  for (const [at, now] of kernels) {
    if (at === 'init') continue;
    const prefix = at === 'final' ? '' : `${at}.`; // of the whole training, or up to a kept step
    for (const kind of ['full', 'lora'] as const) {
      const before = start?.[kind],
        after = now[kind];
      if (before === undefined || after === undefined) continue;
      metrics[`${prefix}${kind}.drift`] = drift(after, before);
      metrics[`${prefix}${kind}.rotation`] = 1 - cosine(after, before);
      const found = [at, 'init'].flatMap((point) => errorsAt.get(point)?.[kind] ?? []);
      if (found.length > 0) metrics[`${prefix}${kind}.error`] = Math.max(...found);
    }
  }
  await writeFile(join(context.outDir, 'metrics.json'), `${JSON.stringify(metrics, null, 2)}\n`);
}

export default defineStage({
  name: 'ntk',
  summary:
    "Gathers the kernels of the checkpoints, and measures how far LoRA's is from the full one and how far training moved each; of projected kernels, with their standard errors.",
  compute: false,
  scope: 'cell',
  define([one]) {
    const cell = one!;
    return {
      params: {},
      inputs: Object.fromEntries(
        cell.ntk.at.map((at) => [pointName(at), { kind: 'kernel', cell, with: { at } }]),
      ),
    };
  },
  resources: () => ({ cpu: 1 }),
  run,
});
