/** How checkpoints hold parameters: in which shape, maybe transposed, and in which dtype. */
import { UserFault } from '../../../api.ts';
import { named } from '../../../base/lookup.ts';
import type { Architecture, HostTensor, ParameterSpec } from '../types.ts';
import type { TensorEntry } from './safetensors.ts';

/** The shape of the parameter in a checkpoint's file. */
export const storedShape = ({ shape, stored }: ParameterSpec): readonly number[] =>
  stored === 'transposed' ? [...shape].reverse() : shape;

/** (rows, columns) → (columns, rows) */
function transposed({ shape, data }: HostTensor): HostTensor {
  const [rows = 0, columns = 0] = shape,
    out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j]!;
  return { shape: [columns, rows], data: out };
}

/**
 * Transposes the tensor of a parameter that checkpoints hold transposed, from the file's form to
 * the model's or back. Returns the tensor of any other parameter as it is.
 */
export const turned = ({ stored }: ParameterSpec, tensor: HostTensor): HostTensor =>
  stored === 'transposed' ? transposed(tensor) : tensor;

/**
 * Returns tensors, which are given by canonical name, as transformers' checkpoints hold them: by
 * transformers' names, and transposed where the checkpoints hold them transposed.
 */
export function forTransformers(
  architecture: Architecture,
  parameters: readonly ParameterSpec[],
  tensors: ReadonlyMap<string, HostTensor>,
): Map<string, HostTensor> {
  const specs = new Map(parameters.map((spec) => [spec.name, spec]));
  return new Map(
    [...tensors].map(([name, tensor]) => [
      architecture.externalName(name),
      turned(named(specs, name), tensor),
    ]),
  );
}

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
 * Throws UserFault for a weight whose dtype is not a float: it is quantised, and means nothing
 * without its scales.
 */
export function checkFloat(path: string, name: string, entry: TensorEntry): void {
  if (!isFloat(entry))
    throw new UserFault(
      `${path}: tensor "${name}" has dtype ${entry.dtype.slice(0, 20)}, and weights are floats ` +
        `(${FLOATS.join(', ')}): it is quantised`,
      UNQUANTISED,
    );
}
