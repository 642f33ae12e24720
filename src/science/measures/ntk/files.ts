/** Reads the output of a kernel stage. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../../api.ts';
import { readNpy } from '../../models/io/npy.ts';
import type { OutputsOf } from '../../models/types.ts';
import type { Premise } from './delta.ts';

/**
 * Every file that a kernel stage may write. A folder has only the kernels that were asked for.
 * Under full fine-tuning it has no LoRA kernel and no premise.
 */
export const KERNEL_FILES = [
  'kernel-full.npy',
  'kernel-lora.npy',
  'kernel-full-layers.npy',
  'kernel-lora-layers.npy',
  'logits.npy',
  'layers.json',
  'methods.json',
  'rows.json',
  'premise.json',
] as const;

export interface StoredKernels {
  readonly rows: number; // N
  /** The number of outputs of a row: 1 if they are log p(answer). */
  readonly classes: number; // C
  /** What the kernels are kernels of, and `logits` the values of. */
  readonly outputs: OutputsOf;
  /** K_ff; null where it was not asked for. */
  readonly full: Float64Array | null; // (N, C, N, C)
  /** K_LoRA; null where it was not asked for, and for full fine-tuning. */
  readonly lora: Float64Array | null; // (N, C, N, C)
  readonly logits: Float64Array; // (N, C)
  /** Empty in a completion task. */
  readonly labels: readonly number[]; // (N)
  /**
   * The standard error of each kernel's estimate by random projection, as a share of ‖K‖_F; null
   * where it is exact.
   */
  readonly errors: { readonly full: number | null; readonly lora: number | null };
}

/**
 * Returns what `methods.json` says of the kernels: their outputs and their standard errors. Where
 * the folder lacks that file, another program made the kernels: of class logits, without errors.
 */
async function readMethods(dir: string): Promise<Pick<StoredKernels, 'outputs' | 'errors'>> {
  const path = join(dir, 'methods.json');
  if (!existsSync(path)) return { outputs: 'class logits', errors: { full: null, lora: null } };
  const { outputs, kernels } = JSON.parse(await readFile(path, 'utf8')) as {
    readonly outputs: OutputsOf;
    readonly kernels: {
      readonly [K in 'full' | 'lora']?: { readonly error: number | null };
    };
  };
  const errors = { full: kernels.full?.error ?? null, lora: kernels.lora?.error ?? null };
  return { outputs, errors };
}

/** Reads the premise facts of each adapted layer; empty for full fine-tuning. */
export async function readPremises(dir: string): Promise<readonly Premise[]> {
  const path = join(dir, 'premise.json');
  return existsSync(path) ? (JSON.parse(await readFile(path, 'utf8')) as readonly Premise[]) : [];
}

/** Reads a checkpoint's folder. Throws UserFault where its files do not belong together. */
export async function readKernels(dir: string): Promise<StoredKernels> {
  const logits = await readNpy(join(dir, 'logits.npy'));
  const [rows = 0, classes = 0] = logits.shape;
  const kernel = async (name: string): Promise<Float64Array | null> => {
    const path = join(dir, name);
    if (!existsSync(path)) return null;
    const { shape, data } = await readNpy(path);
    if (shape.join() !== [rows, classes, rows, classes].join())
      throw new UserFault(
        `${path} has the shape [${shape.join(', ')}], its logits [${logits.shape.join(', ')}]`,
      );
    return data instanceof Float64Array ? data : Float64Array.from(data);
  };
  const list = JSON.parse(await readFile(join(dir, 'rows.json'), 'utf8')) as readonly {
    readonly label?: number;
  }[];
  if (list.length !== rows)
    throw new UserFault(`${dir}/rows.json lists ${list.length} rows, the logits have ${rows}`);
  return {
    rows,
    classes,
    full: await kernel('kernel-full.npy'),
    lora: await kernel('kernel-lora.npy'),
    logits: Float64Array.from(logits.data),
    labels: list.flatMap(({ label }) => label ?? []),
    ...(await readMethods(dir)),
  };
}
