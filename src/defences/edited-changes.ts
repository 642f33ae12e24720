/** Edits of what a training changed in the weights of the layers, ΔW = W − W₀. */
import { named } from '../base/lookup.ts';
import type { EditedModel, TrainedWeights } from '../science/measures/weights/edit.ts';
import type { HostTensor, LinearLayer } from '../science/models/types.ts';

/**
 * Returns W₀ + edit(ΔW) of each layer below the head that the training changed.
 * @param edit is given ΔW (out, in), row-major, and returns as many numbers
 */
export function withEditedChanges(
  { after, before, layers }: Pick<TrainedWeights, 'after' | 'before' | 'layers'>,
  edit: (change: Float64Array, layer: LinearLayer) => Float64Array,
): EditedModel {
  const changed = new Map<string, HostTensor>();
  let entries = 0,
    kept = 0;
  for (const layer of layers) {
    const name = `${layer.name}.weight`;
    const { data: end, shape } = named(after, name),
      { data: start } = named(before, name);
    const change = Float64Array.from(end, (value, i) => value - start[i]!);
    if (change.every((value) => value === 0)) continue;
    const edited = edit(change, layer);
    if (edited.length !== change.length)
      throw new Error(`${name} has ${change.length} entries, and was edited to ${edited.length}`);
    entries += change.length;
    for (const value of edited) if (value !== 0) kept++;
    changed.set(name, { shape, data: Float32Array.from(edited, (value, i) => start[i]! + value) });
  }
  return {
    changed,
    record: { layers: changed.size, entries, entries_kept: kept },
  };
}
