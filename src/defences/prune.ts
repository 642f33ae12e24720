/**
 * Pruning of what training changed. The change of a weight is ΔW = W − W₀, with W₀ its value before
 * the training, which the defender trusts. The entries of ΔW with the smallest scores are set to
 * zero, so that these entries of W return to W₀. The score of an entry is:
 *
 * - magnitude: |ΔW_ij|, compared within the whole matrix (Han et al. 2015).
 * - Wanda: |ΔW_ij|·‖X_j‖₂, compared within each output i, with X_j the j-th input feature over all
 *   tokens of clean rows (Sun et al. 2024, equation 1; arXiv 2306.11695; they score W itself, not
 *   ΔW).
 */
import { UserFault } from '../api.ts';
import { named } from '../base/lookup.ts';
import { flooredShare } from '../base/rounding.ts';
import type { EditedModel, ModelEdit, TrainedWeights } from '../science/measures/weights/edit.ts';
import type { HostTensor, LinearLayer } from '../science/models/types.ts';

export interface PruningParams {
  readonly share: number;
}

/**
 * Sets to zero, of the n values from index `from` on, the ⌊share·n⌋ with the smallest scores; of
 * values with equal scores, the first ones. Throws a RangeError for a score that is NaN.
 */
function dropSmallest(
  values: Float64Array,
  scores: Float64Array,
  from: number,
  n: number,
  share: number,
): void {
  const own = scores.slice(from, from + n);
  if (own.some(Number.isNaN)) throw new RangeError('a score of a weight is NaN');
  const count = flooredShare(share, n);
  if (count === 0) return;
  const bound = own.slice().sort()[count - 1]!;
  let equal = count - own.reduce((sum, score) => sum + (score < bound ? 1 : 0), 0);
  own.forEach((score, i) => {
    if (score < bound || (score === bound && equal-- > 0)) values[from + i] = 0;
  });
}

/**
 * Returns ΔW with the ⌊share·m·n⌋ entries of smallest absolute value set to zero.
 * @param change ΔW (m, n)
 */
export function prunedByMagnitude(change: Float64Array, share: number): Float64Array {
  const out = change.slice();
  dropSmallest(out, change.map(Math.abs), 0, change.length, share);
  return out;
}

/**
 * Returns ΔW with, in each row, the ⌊share·n⌋ entries of smallest Wanda score set to zero.
 * @param change ΔW (m, n), row-major
 * @param inputNorms ‖X_j‖₂ of each input feature, (n); a common factor does not matter
 */
export function prunedByWanda(
  change: Float64Array,
  inputNorms: Float64Array,
  share: number,
): Float64Array {
  const n = inputNorms.length;
  const out = change.slice(),
    scores = change.map((value, at) => Math.abs(value) * inputNorms[at % n]!);
  for (let from = 0; from < change.length; from += n) dropSmallest(out, scores, from, n, share);
  return out;
}

/** Returns ΔW of a parameter, row-major. */
export function weightChange(
  { after, before }: Pick<TrainedWeights, 'after' | 'before'>,
  name: string,
): Float64Array {
  const start = named(before, name).data;
  return Float64Array.from(named(after, name).data, (value, i) => value - start[i]!);
}

/**
 * Returns W₀ + edit(ΔW) for each layer below the head that the training changed. The record counts
 * these layers, their entries, and the entries of edit(ΔW) that are not zero. Throws an Error if
 * `edit` returns another number of entries.
 * @param edit is given ΔW (out, in), row-major, and returns as many numbers
 */
function withEditedChanges(
  weights: Pick<TrainedWeights, 'after' | 'before' | 'layers'>,
  edit: (change: Float64Array, layer: LinearLayer) => Float64Array,
): EditedModel {
  const changed = new Map<string, HostTensor>();
  let entries = 0,
    kept = 0;
  for (const layer of weights.layers) {
    const name = `${layer.name}.weight`;
    const change = weightChange(weights, name);
    if (change.every((value) => value === 0)) continue;
    const edited = edit(change, layer);
    if (edited.length !== change.length)
      throw new Error(`${name} has ${change.length} entries, and was edited to ${edited.length}`);
    entries += change.length;
    for (const value of edited) if (value !== 0) kept++;
    const { data: start, shape } = named(weights.before, name);
    changed.set(name, { shape, data: Float32Array.from(edited, (value, i) => start[i]! + value) });
  }
  return { changed, record: { layers: changed.size, entries, entries_kept: kept } };
}

export const magnitudePruning: ModelEdit<PruningParams> = {
  edit: (context) =>
    withEditedChanges(context, (change) => prunedByMagnitude(change, context.params.share)),
};

/**
 * Prunes the change of each layer by Wanda's scores. Throws `UserFault` if there are no clean rows.
 */
export const wanda: ModelEdit<PruningParams> = {
  edit: async (context) => {
    if (context.clean.length === 0) throw new UserFault('wanda has no clean rows');
    const norms = await context.inputNorms(context.clean);
    return withEditedChanges(context, (change, { name }) =>
      prunedByWanda(change, named(norms, name), context.params.share),
    );
  },
};
