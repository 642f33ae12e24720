import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type JsonObject, UserFault } from '../../../api.ts';
import { readNpy } from '../../models/io/npy.ts';
import type { OutputsOf } from '../../models/types.ts';
import type { Premise } from './delta.ts';
import type { KernelSet } from './kernels.ts';
import type { Projection, TermRecord } from './layer.ts';
import type { KernelKind } from './terms.ts';

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
  /** The outputs that the kernels are of and that `logits` holds. */
  readonly outputs: OutputsOf;
  /** K_ff; null where the folder does not have it. */
  readonly full: Float64Array | null; // (N, C, N, C)
  /** The adapter's kernel; null where the folder does not have it. */
  readonly lora: Float64Array | null; // (N, C, N, C)
  readonly logits: Float64Array; // (N, C)
  /** The labels of the rows; empty in a completion task. */
  readonly labels: readonly number[]; // (N)
  /** The standard error of each kernel as a share of ‖K‖_F; null if it is exact. */
  readonly errors: { readonly full: number | null; readonly lora: number | null };
}

/**
 * Reads `methods.json`. If it is absent, another program wrote the kernels: they count as exact,
 * and as kernels of class logits.
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

/** Reads `premise.json`; empty if it is absent. */
export async function readPremises(dir: string): Promise<readonly Premise[]> {
  const path = join(dir, 'premise.json');
  return existsSync(path) ? (JSON.parse(await readFile(path, 'utf8')) as readonly Premise[]) : [];
}

/**
 * Reads the kernels of one checkpoint. Throws UserFault where the shapes or numbers of rows in its
 * files differ.
 */
export async function readKernels(dir: string): Promise<StoredKernels> {
  const logits = await readNpy(join(dir, 'logits.npy'));
  const [rows = 0, classes = 0] = logits.shape;
  /** Reads a kernel in double precision; null if the folder does not have it. */
  const readKernel = async (name: string): Promise<Float64Array | null> => {
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
    full: await readKernel('kernel-full.npy'),
    lora: await readKernel('kernel-lora.npy'),
    logits: Float64Array.from(logits.data),
    labels: list.flatMap(({ label }) => label ?? []),
    ...(await readMethods(dir)),
  };
}

/** Returns a kernel's name. The adapter's is K_LoRA if it is over factors, otherwise K_adapter. */
function kernelName(kind: KernelKind, terms: readonly TermRecord[]): string {
  if (kind === 'full') return 'K_ff';
  const hasFactors = terms.some(({ parameter }) => parameter === 'A' || parameter === 'B');
  return hasFactors ? 'K_LoRA' : 'K_adapter';
}

const inGiga = (operations: number): string => (operations / 1e9).toPrecision(3);

const sum = (terms: readonly TermRecord[], of: (term: TermRecord) => number): number =>
  terms.reduce((total, term) => total + of(term), 0);

/**
 * Returns the operations that are counted for the contraction of a term: those of `gram` if it was
 * used, otherwise those of `explicit`; 0 where none are counted.
 */
const spentOperations = ({ method, operations }: TermRecord): number =>
  operations?.[method === 'gram' ? 'gram' : 'explicit'] ?? 0;

/**
 * Tells by which method a kernel's terms were computed, and in how many operations: `explicit`, by
 * gradients; `gram`, by token pairs; `zero`, not at all, since the term is zero. Beside that, how
 * many operations each of the two methods would take for all terms.
 */
function describeContraction(terms: readonly TermRecord[]): string {
  if (terms.every(({ method }) => method === 'torch'))
    return `${terms.length} terms, by PyTorch from the gradients of each row`;
  const countOf = (method: TermRecord['method']): number =>
    terms.filter((term) => term.method === method).length;
  const none = countOf('zero') === 0 ? '' : `${countOf('zero')} zero, `;
  return (
    `${terms.length} terms, ${countOf('explicit')} by gradients and ${countOf('gram')} ` +
    `by token pairs, ${none}${inGiga(sum(terms, spentOperations))} G operations ` +
    `(all by gradients ${inGiga(sum(terms, ({ operations }) => operations?.explicit ?? 0))}, all ` +
    `by token pairs ${inGiga(sum(terms, ({ operations }) => operations?.gram ?? 0))})`
  );
}

/**
 * Returns log lines on how kernels were computed, and the content of `methods.json`.
 * @param projection the settings asked for; null where the kernels are exact
 */
export function describeKernels(
  found: KernelSet,
  projection: Projection | null,
): { readonly lines: readonly string[]; readonly record: JsonObject } {
  const lines: string[] = [];
  const kinds = (['lora', 'full'] as const).filter((kind) => found[kind] !== null);
  const kernels: Record<string, JsonObject> = {};
  for (const kind of kinds) {
    const terms = found.terms.filter((term) => term.kernel === kind);
    const name = kernelName(kind, terms);
    lines.push(`${name}: ${describeContraction(terms)}`);
    const { error } = found[kind]!;
    const counted = terms.every(({ operations }) => operations !== null);
    kernels[kind] = { operations: counted ? sum(terms, spentOperations) : null, error };
    if (error !== null && projection !== null) {
      lines.push(
        `${name} is an estimate: gradients projected to ${projection.dimension} × ` +
          `${projection.dimension}, the mean of ${projection.replicates}; its standard error is ` +
          `${(100 * error).toPrecision(2)}% of its norm`,
      );
    }
  }
  const mega = Math.max(...found.groups.map(({ bytes }) => bytes)) / 2 ** 20;
  lines.push(
    `${found.groups.length} ${found.groups.length === 1 ? 'pass' : 'passes'} over the rows, at ` +
      `most ${mega.toFixed(0)} MB of layer inputs and derivatives at once`,
  );
  const record: JsonObject = {
    outputs: found.outputs,
    kernels,
    projection:
      projection === null
        ? null
        : {
            dimension: projection.dimension,
            replicates: projection.replicates,
            seed: projection.seed,
          },
    groups: found.groups.map(({ layers, bytes }) => ({ layers, bytes })),
    terms: found.terms.map(({ layer, kernel, parameter, method, projected, operations }) => ({
      layer,
      kernel,
      parameter,
      method,
      projected,
      operations:
        operations === null ? null : { explicit: operations.explicit, gram: operations.gram },
    })),
  };
  return { lines, record };
}
