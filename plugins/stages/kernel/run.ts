import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Row, RunContext } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { premises } from '../../../src/science/measures/ntk/delta.ts';
import { describeKernels } from '../../../src/science/measures/ntk/files.ts';
import {
  type Kernel,
  type KernelModel,
  type KernelSet,
  kernelSet,
} from '../../../src/science/measures/ntk/kernels.ts';
import { resumeIn } from '../../../src/science/measures/ntk/resume.ts';
import { hasOwn, type KernelKind } from '../../../src/science/measures/ntk/terms.ts';
import { writeNpy } from '../../../src/science/models/io/npy.ts';
import type { TokenRow } from '../../../src/science/models/types.ts';
import { openRowEncoder, readTrainRecord } from '../../../src/science/training/adapted-model.ts';
import { inputDir, writeJson } from '../shared/files.ts';
import { readKernelRows } from '../shared/kernel-rows.ts';
import { checkClasses, modelParts, openForKernels } from '../shared/trained-model.ts';
import type { Params } from './index.ts';
import { fewerRowsWarning } from './preflight.ts';

/**
 * Writes the kernels, the model's outputs on the rows, and how each was computed. Warns if the
 * split has fewer rows than asked for.
 */
export async function run(context: RunContext<Params>): Promise<void> {
  const { params, outDir } = context;
  const { rows, classes } = await readKernelRows(context, 'whose kernel is computed');
  const parts = await modelParts(context);
  const trainDir = inputDir(context, 'model');
  const record = await readTrainRecord(trainDir);
  checkClasses("the kernel's rows", classes, record.classes);
  const at = defined({ at: params.step });
  const opened = await openForKernels(context, { ...parts, trainDir, ...at });
  const adapted: KernelModel =
    'kernels' in opened
      ? opened
      : { ...opened, kernels: (some, asked) => kernelSet(opened, some, asked) };
  try {
    const encode = await openRowEncoder(trainDir, parts.model);
    const encoded = rows.map((row) => encode(row, params.max_length));
    const started = performance.now();
    const found = await computeKernels(context, adapted, encoded);
    await writeKernels(outDir, found);
    const shape = [rows.length, adapted.outputs];
    await writeNpy(join(outDir, 'logits.npy'), { shape, data: found.logits });
    const traces = found.layers.map(({ layer, full, lora }): [string, object] => [
      adapted.weightName(layer),
      defined({ full: full ?? undefined, lora: lora ?? undefined }),
    ]);
    await writeJson(outDir, 'layers.json', Object.fromEntries(traces));
    const how = describeKernels(found, params.method === 'projected' ? params.projection : null);
    await writeJson(outDir, 'methods.json', how.record);
    await writeRowList(outDir, rows, encoded);
    const facts = await premises(adapted, { asDrawn: record.steps === 0 });
    if (facts.length > 0) await writeJson(outDir, 'premise.json', facts);
    if (rows.length < params.rows) context.warn(fewerRowsWarning(rows.length, params));
    for (const line of how.lines) context.log(line);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    const { outputsOf, outputs } = adapted;
    const what = outputsOf === 'class logits' ? `${outputs} classes` : outputsOf;
    context.log(`${rows.length} rows, ${what}, ${found.layers.length} layers in ${seconds} s`);
  } finally {
    adapted.dispose();
  }
}

/** Returns the kernels that are asked for; only the full one if the adapter adds no parameters. */
function computeKernels(
  { params, progress, signal, resumeDir, log }: RunContext<Params>,
  adapted: KernelModel,
  rows: readonly TokenRow[],
): Promise<KernelSet> {
  // If the adapter adds no parameters, there is only the full kernel, whatever was asked for.
  const hasFactors = adapted.layers.some(hasOwn);
  return adapted.kernels(rows, {
    which: hasFactors ? params.kernels : ['full'],
    perLayer: params.per_layer,
    memoryMB: params.memory_mb,
    progress,
    signal,
    ...(resumeDir && { resume: resumeIn(resumeDir, log) }),
    ...(params.method === 'projected'
      ? { projection: params.projection }
      : { method: params.method }),
  });
}

/**
 * Writes each kernel, (N, C, N, C), as .npy. If the kernels of its L layers were kept, writes these
 * too, as one array (L, N, C, N, C).
 */
async function writeKernels(outDir: string, found: KernelSet): Promise<void> {
  const { rows: N, classes: C } = found;
  const write = async (kind: KernelKind, { data, blocks }: Kernel): Promise<void> => {
    await writeNpy(join(outDir, `kernel-${kind}.npy`), { shape: [N, C, N, C], data });
    if (blocks === null) return;
    const L = blocks.size;
    const stacked = new Float64Array(L * (N * C) ** 2); // (L, N, C, N, C), in layers.json's order
    for (const [l, block] of [...blocks.values()].entries()) stacked.set(block, l * block.length);
    const file = join(outDir, `kernel-${kind}-layers.npy`);
    await writeNpy(file, { shape: [L, N, C, N, C], data: stacked });
  };
  for (const kind of ['full', 'lora'] as const)
    if (found[kind] !== null) await write(kind, found[kind]);
}

/**
 * Writes `rows.json`: the kernel's rows in order, one a line. A row with an answer has no label.
 */
async function writeRowList(
  outDir: string,
  rows: readonly Row[],
  encoded: readonly TokenRow[],
): Promise<void> {
  const lines = rows.map(({ id, label, answer }, i) =>
    JSON.stringify({
      id,
      label: answer === undefined ? label : undefined, // JSON leaves out what is undefined
      tokens: encoded[i]?.ids.length,
    }),
  );
  await writeFile(join(outDir, 'rows.json'), `[\n${lines.join(',\n')}\n]\n`);
}
