/**
 * Computes M′: the kernel, at the start of training, between this attack's poisoned rows and their
 * originals.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunContext } from '../../../src/api.ts';
import type { Receipt } from '../../../src/poisoning/receipt.ts';
import type { AdaptedModel, OutputsOf } from '../../../src/science/models/types.ts';
import { openRowEncoder } from '../../../src/science/training/adapted-model.ts';
import { inputDir } from '../shared/files.ts';
import type { Params } from './index.ts';
import { type PairKernel, pairKernels } from './pairs.ts';
import type { Training } from './trainings.ts';

/** The field `between` of `divergence.json`. */
export interface Between {
  /** What the kernel is of: class logits, or log p(answer) of each row's own answer. */
  readonly outputs: OutputsOf;
  readonly pairs: number;
  /**
   * The number of pairs whose two texts (and answers) are the same to the model, because only the
   * label was poisoned or the change lies beyond max_length.
   */
  readonly alike: number;
  readonly full: PairKernel;
  readonly lora: PairKernel | null;
}

/** Returns M′, or null if the attack changes no row and only adds some. */
export async function kernelsBetween(
  context: RunContext<Params>,
  start: Training,
  model: AdaptedModel,
): Promise<Between | null> {
  const { pairs, max_length: maxLength } = context.params;
  const file = join(inputDir(context, 'poison'), 'receipt.json');
  const receipt = JSON.parse(await readFile(file, 'utf8')) as Receipt;
  const rows = receipt.rows.slice(0, pairs);
  if (rows.length === 0) return null;
  const encode = await openRowEncoder(start.dir, { path: start.modelPath });
  const originals = rows.map(({ original }) => encode(original, maxLength));
  const poisoned = rows.map(({ new: changed }) => encode(changed, maxLength));
  const alike = originals.filter(
    ({ ids, answer }, i) =>
      answer === poisoned[i]?.answer && ids.join() === poisoned[i]?.ids.join(),
  );
  return {
    outputs: model.outputsOf,
    pairs: rows.length,
    alike: alike.length,
    ...(await pairKernels(model, originals, poisoned, { signal: context.signal })),
  };
}
