/**
 * Saves a long computation of kernels between groups of layers. A killed stage resumes with the
 * same bits, since sums are in double precision and added in the same order.
 */
import { readSafetensors, writeSafetensors } from '../../models/io/safetensors.ts';
import { findState, storeState } from '../../models/io/saved-state.ts';
import type { HostTensor } from '../../models/types.ts';
import type { KernelParts } from './kernels.ts';
import type { KernelKind } from './terms.ts';

export interface Resume {
  /**
   * Fills `into` from the saved state. Returns how many groups of layers the state covers; 0 if
   * there is no saved state.
   */
  load(into: KernelParts): Promise<number>;
  save(groups: number, parts: KernelParts): Promise<void>;
}

/** What a saved state holds beside sums and blocks. */
type Facts = Pick<KernelParts, 'layers' | 'terms'>;

/** Returns each sum, with the name that it has in a saved state. */
const namedSums = ({ totals }: KernelParts): [string, Float64Array][] =>
  [...totals].flatMap(([kind, { exact, replicates }]): [string, Float64Array][] => [
    [kind, exact.data],
    ...replicates.map(({ data }, r): [string, Float64Array] => [`${kind}-${r}`, data]),
  ]);

// Our safetensors files have no doubles, so each is saved as a pair of int32.
const asPairs = ({ buffer, byteOffset, length }: Float64Array): HostTensor => ({
  shape: [2 * length],
  data: new Int32Array(buffer, byteOffset, 2 * length),
});
const asDoubles = ({ data: { buffer, byteOffset, length } }: HostTensor): Float64Array =>
  new Float64Array(buffer, byteOffset, length / 2);

/**
 * Returns a `Resume` that saves states in `dir`, and loads the last one. A state with a changed
 * byte is not resumed from. `load` throws an Error if the state has a sum that `into` lacks.
 * @param log called if a state is damaged
 */
export const resumeIn = (dir: string, log: (message: string) => void): Resume => ({
  async load(into) {
    const found = await findState(dir, log, () => 'the saved state of this kernel');
    if (found === null) return 0;
    const sums = new Map(namedSums(into));
    for (const [name, tensor] of await readSafetensors(found.path)) {
      const values = asDoubles(tensor),
        [kind, layer] = name.split(/\/(.*)/s);
      if (layer !== undefined) into.blocks.get(kind as KernelKind)?.set(layer, values);
      else if (sums.get(name)?.length === values.length) sums.get(name)?.set(values);
      else throw new Error(`${found.path}: ${name} is no sum of this kernel`);
    }
    const { layers, terms } = found.facts as unknown as Facts;
    into.layers.push(...layers);
    into.terms.push(...terms);
    return found.step;
  },
  async save(groups, parts) {
    const arrays = [
      ...namedSums(parts),
      ...[...parts.blocks].flatMap(([kind, byLayer]) =>
        [...byLayer].map(([layer, data]): [string, Float64Array] => [`${kind}/${layer}`, data]),
      ),
    ];
    const tensors = new Map(arrays.map(([name, data]) => [name, asPairs(data)]));
    const facts: Facts = { layers: parts.layers, terms: parts.terms };
    await storeState(dir, groups, facts, (path, metadata) =>
      writeSafetensors(path, tensors, metadata),
    );
  },
});
