/**
 * Fine-mixing (Zhang, Lyu, Ma, Wang and Sun 2022, Fine-mixing: Mitigating Backdoors in Fine-tuned
 * Language Models, Findings of EMNLP, section 4; arXiv 2210.09545): a suspicious model is mixed
 * with pretrained weights, and tuned on clean rows. A share ρ of the entries of each weight, drawn
 * at random, keeps its trained value, and the others return to the pretrained one:
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
import type { ModelEdit, WeightsContext } from '../../../src/science/measures/weights/edit.ts';
import { within } from '../../../src/science/models/modules.ts';
import type { HostTensor } from '../../../src/science/models/types.ts';

/**
 * Returns m ⊙ ΔW: a copy of ΔW with a share ρ of its entries, rounded down and drawn without
 * replacement, and with zeros elsewhere.
 * @param change ΔW, of any shape
 * @throws RangeError where the share is not in [0, 1]
 */
export function mixedChange(
  change: Float64Array,
  share: number,
  random: RandomStream,
): Float64Array {
  if (!(share >= 0 && share <= 1)) throw new RangeError(`ρ is in [0, 1], not ${share}`);
  const out = new Float64Array(change.length);
  for (const i of random.permutation(change.length).subarray(0, Math.floor(share * change.length)))
    out[i] = change[i]!;
  return out;
}

/** The floor of a frequency in E-PUR's score, as in the paper. */
const LEAST_FREQUENCY = 20;

/**
 * Returns the rows of an embedding table that changed most relative to their frequency, the largest
 * score first. Rows that did not change are left out.
 * @param change δ (V, h), row-major
 * @param frequencies f of each row, (V)
 * @throws RangeError where the sizes do not fit
 */
export function purifiedRows(
  change: Float64Array,
  frequencies: ArrayLike<number>,
  count: number,
): number[] {
  const V = frequencies.length,
    h = change.length / V;
  if (!Number.isInteger(h))
    throw new RangeError(`a table of ${change.length} entries does not have ${V} rows`);
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

export interface Params {
  readonly share: number;
  readonly purify: number;
  readonly epochs: number;
  readonly learning_rate?: number;
}

type Context = WeightsContext<Params>;

const weightChange = (end: HostTensor, start: HostTensor): Float64Array =>
  Float64Array.from(end.data, (value, i) => value - start.data[i]!);

/** Returns the number of times that each token of the vocabulary occurs in the clean rows, (V). */
function tokenCounts({ model, clean }: Context, vocabulary: number): Float64Array {
  if (model === undefined) throw new Error('fine-mixing needs the trained model');
  const counts = new Float64Array(vocabulary);
  for (const row of clean) for (const id of model.encode(row).ids) counts[id]!++;
  return counts;
}

/** Sets the rows of δ, (V, h), that E-PUR resets to zero, in place. Returns their number. */
function purifyEmbeddings(context: Context, change: Float64Array, vocabulary: number): number {
  const rows = purifiedRows(change, tokenCounts(context, vocabulary), context.params.purify);
  const width = change.length / vocabulary;
  for (const row of rows) change.fill(0, row * width, (row + 1) * width);
  return rows.length;
}

/**
 * Returns the mixed values of every parameter that changed. The head stays as it is, because the
 * pretrained model has none. The embeddings are purified before they are mixed.
 */
function edit(context: Context): ReturnType<ModelEdit['edit']> {
  const { model, before, after, params, random } = context;
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
  for (const [name, end] of after) {
    if (within(name, headModules)) continue;
    const start = named(before, name),
      change = weightChange(end, start);
    if (change.every((value) => value === 0)) continue;
    if (name === tokenTable) reset = purifyEmbeddings(context, change, end.shape[0] ?? 0);
    const mixed = mixedChange(change, params.share, random('mix', name));
    changed.set(name, {
      shape: end.shape,
      data: Float32Array.from(mixed, (value, i) => start.data[i]! + value),
    });
  }
  return { changed, record: { share: params.share, embeddings_reset: reset } };
}

export const fineMixing: ModelEdit<Params> = { edit };
