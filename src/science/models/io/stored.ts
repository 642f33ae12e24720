/** The form in which checkpoints hold parameters, where it is not that of the model. */
import { named } from '../../../base/lookup.ts';
import type { Architecture, HostTensor, ParameterSpec } from '../types.ts';

/** The shape of the parameter in a checkpoint's file. */
export const storedShape = ({ shape, stored }: ParameterSpec): readonly number[] =>
  stored === 'transposed' ? [...shape].reverse() : shape;

function transposed({ shape, data }: HostTensor): HostTensor {
  const [rows = 0, columns = 0] = shape,
    out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j]!;
  return { shape: [columns, rows], data: out };
}

/** A tensor of a file in the form of the model, and the reverse. */
export const turned = ({ stored }: ParameterSpec, tensor: HostTensor): HostTensor =>
  stored === 'transposed' ? transposed(tensor) : tensor;

/**
 * Tensors by their names in transformers and in the form of its checkpoints.
 * @param tensors by canonical name
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
