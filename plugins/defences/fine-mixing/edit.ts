import { UserFault } from '../../../src/api.ts';
import { named } from '../../../src/base/lookup.ts';
import type { ModelEdit, WeightsContext } from '../../../src/science/measures/weights/edit.ts';
import { within } from '../../../src/science/models/names.ts';
import type { HostTensor } from '../../../src/science/models/types.ts';
import { mixedChange, purifiedRows } from './mixing.ts';

export interface Params {
  readonly share: number;
  readonly purify: number;
  readonly epochs: number;
  readonly learning_rate?: number;
}

type Context = WeightsContext<Params>;

const changeOf = (end: HostTensor, start: HostTensor): Float64Array =>
  Float64Array.from(end.data, (value, i) => value - start.data[i]!);

/** Returns how often each of V tokens occurs in the clean rows. */
function frequencies({ model, clean }: Context, vocabulary: number): Float64Array {
  if (model === undefined) throw new Error('fine-mixing needs the trained model');
  const counts = new Float64Array(vocabulary);
  for (const row of clean) for (const id of model.encode(row).ids) counts[id]!++;
  return counts;
}

/**
 * Sets the change of the token embeddings that E-PUR resets to zero, in place. Returns how many
 * they are.
 */
function purified(context: Context, change: Float64Array, vocabulary: number): number {
  const rows = purifiedRows(change, frequencies(context, vocabulary), context.params.purify);
  const width = change.length / vocabulary;
  for (const row of rows) change.fill(0, row * width, (row + 1) * width);
  return rows.length;
}

/**
 * Mixes every parameter below the head, which the pretrained model does not have. The embeddings
 * are purified before they are mixed.
 */
function edit(context: Context): ReturnType<ModelEdit['edit']> {
  const { model, before, after, params, random } = context;
  if (model === undefined) throw new Error('fine-mixing needs the trained model');
  const { headModules, tokenTable } = model.network.architecture;
  if (params.purify > 0 && tokenTable === null)
    throw new UserFault(
      `the ${model.network.architecture.head.type} head reads the token embeddings too, which ` +
        'purify resets',
      'Write purify: 0.',
      ['defence', 'purify'],
    );
  const changed = new Map<string, HostTensor>();
  let reset = 0;
  for (const [name, end] of after) {
    if (within(name, headModules)) continue;
    const start = named(before, name),
      change = changeOf(end, start);
    if (change.every((value) => value === 0)) continue;
    if (name === tokenTable) reset = purified(context, change, end.shape[0] ?? 0);
    const mixed = mixedChange(change, params.share, random('mix', name));
    changed.set(name, {
      shape: end.shape,
      data: Float32Array.from(mixed, (value, i) => start.data[i]! + value),
    });
  }
  return { changed, record: { share: params.share, embeddings_reset: reset } };
}

export const fineMixing: ModelEdit<Params> = { edit };
