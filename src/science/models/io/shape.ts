/** Comparing the shape and the dtype of a tensor in a file with the expected ones. */
import { UserFault } from '../../../api.ts';
import type { TensorEntry } from './safetensors.ts';

export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((x, i) => x === b[i]);

/** Throws UserFault naming file and tensor where the shapes differ. */
export function checkShape(
  path: string,
  name: string,
  found: readonly number[],
  expected: readonly number[],
  hint?: string,
): void {
  if (sameShape(found, expected)) return;
  throw new UserFault(
    `${path}: tensor "${name}" has shape [${found.join(', ')}], ` +
      `[${expected.join(', ')}] was expected`,
    hint,
  );
}

const FLOATS = ['F64', 'F32', 'F16', 'BF16'];

/** What to do about a checkpoint whose weights are quantised. */
export const UNQUANTISED =
  'Name the unquantised checkpoint, or dequantise this one with transformers: ' +
  'model.dequantize() and model.save_pretrained(NEW_DIR).';

export const isFloat = ({ dtype }: TensorEntry): boolean => FLOATS.includes(dtype);

/**
 * Throws UserFault where a weight is stored as anything but floats: the numbers of a quantised
 * weight mean nothing without the scales beside it.
 */
export function checkFloat(path: string, name: string, entry: TensorEntry): void {
  if (!isFloat(entry))
    throw new UserFault(
      `${path}: tensor "${name}" has dtype ${entry.dtype.slice(0, 20)}, and weights are floats ` +
        `(${FLOATS.join(', ')}): it is quantised`,
      UNQUANTISED,
    );
}
