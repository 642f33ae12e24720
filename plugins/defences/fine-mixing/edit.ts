/**
 * Fine-mixing (Zhang et al. 2022, section 4; arXiv 2210.09545): a suspicious model is mixed with
 * pretrained weights, and tuned on clean rows. A share ρ of the entries of each weight, drawn at
 * random, keeps the trained value w_B, and the others return to the pretrained value w₀:
 *
 *     w = w₀ + m ⊙ (w_B − w₀),  m ∈ {0, 1}.
 *
 * Before that, embedding purification (E-PUR) resets the embeddings that changed most relative to
 * their frequency: those with the largest ‖δ_i‖₂ / log max(f_i, 20), with δ_i the change of
 * word i's embedding and f_i its frequency in a large clean corpus; the paper resets 200.
 */
import { UserFault } from '../../../src/api.ts';
import { named } from '../../../src/base/lookup.ts';
import type { RandomStream } from '../../../src/base/random.ts';
import { flooredShare } from '../../../src/base/rounding.ts';
import type { CleanTraining } from '../../../src/defences/parameters.ts';
import { weightChange } from '../../../src/defences/prune.ts';
import type {
  EditedModel,
  ModelEdit,
  WeightsContext,
} from '../../../src/science/measures/weights/edit.ts';
import { within } from '../../../src/science/models/modules.ts';
import type { HostTensor, TokenRow } from '../../../src/science/models/types.ts';

/**
 * Returns m ⊙ ΔW: ⌊share·n⌋ of the n entries of ΔW, drawn at random, and zeros in place of the
 * others.
 */
export function mixedChange(
  change: Float64Array,
  share: number,
  random: RandomStream,
): Float64Array {
  const out = new Float64Array(change.length);
  const kept = flooredShare(share, change.length);
  for (const i of random.permutation(change.length).subarray(0, kept)) out[i] = change[i]!;
  return out;
}

/** Smaller frequencies count as this one in E-PUR's score, as in the paper. */
const LEAST_FREQUENCY = 20;

/**
 * Returns the indexes of the `count` rows of an embedding table that changed most relative to their
 * frequency, the largest score first. Rows that did not change are left out.
 * @param change δ of V tokens, (V, h), row-major
 * @param frequencies f of each row, (V)
 */
export function purifiedRows(
  change: Float64Array,
  frequencies: ArrayLike<number>,
  count: number,
): number[] {
  const V = frequencies.length,
    h = change.length / V;
  const scores = Float64Array.from({ length: V }, (_, i) => {
    let squares = 0;
    for (let j = i * h; j < (i + 1) * h; j++) squares += change[j]! ** 2;
    return Math.sqrt(squares) / Math.log(Math.max(frequencies[i]!, LEAST_FREQUENCY));
  });
  return Array.from(scores.keys())
    .filter((i) => scores[i]! > 0)
    .sort((a, b) => scores[b]! - scores[a]!)
    .slice(0, count);
}

export interface Params extends CleanTraining {
  readonly share: number;
  readonly purify: number;
}

/**
 * Sets to zero, in place, the rows of δ (V, h) that E-PUR resets, and returns how many these are.
 * @param change δ, row-major
 * @param vocabulary V
 * @param tokens the clean rows, in which the frequencies of tokens are counted
 * @param count the most rows to reset
 */
function purifyEmbeddings(
  change: Float64Array,
  vocabulary: number,
  tokens: readonly TokenRow[],
  count: number,
): number {
  const frequencies = new Float64Array(vocabulary);
  for (const { ids } of tokens) for (const id of ids) frequencies[id]!++;
  const rows = purifiedRows(change, frequencies, count);
  const width = change.length / vocabulary;
  for (const row of rows) change.fill(0, row * width, (row + 1) * width);
  return rows.length;
}

/**
 * Purifies the embeddings, and mixes every parameter except those of the head, which were not
 * pretrained. Parameters that the training did not change are left out. Throws `UserFault` if
 * embeddings are to be purified, but the head reads them too.
 */
function edit(context: WeightsContext<Params>): EditedModel {
  const { model, before, after, params, random, clean } = context;
  if (model === undefined) throw new Error('fine-mixing needs the trained model');
  const { headModules, tokenTable } = model.architecture;
  if (params.purify > 0 && tokenTable === null)
    throw new UserFault(
      `the ${model.architecture.head.type} head reads the token embeddings too, which ` +
        'purify resets',
      'Write purify: 0.',
      ['defence', 'purify'],
    );
  const changed = new Map<string, HostTensor>();
  let reset = 0;
  for (const [name, { shape }] of after) {
    if (within(name, headModules)) continue;
    const change = weightChange(context, name);
    if (change.every((value) => value === 0)) continue;
    if (name === tokenTable)
      reset = purifyEmbeddings(change, shape[0] ?? 0, clean.map(model.encode), params.purify);
    const mixed = mixedChange(change, params.share, random('mix', name));
    const start = named(before, name).data;
    changed.set(name, { shape, data: Float32Array.from(mixed, (value, i) => start[i]! + value) });
  }
  return { changed, record: { share: params.share, embeddings_reset: reset } };
}

export const fineMixing: ModelEdit<Params> = { edit };
