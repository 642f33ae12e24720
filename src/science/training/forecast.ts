/** Foretells what a training takes, from config.json and the settings alone. */
import { PACKED_BYTES } from '../../tensor/compiled/packs.ts';
import type { Adapter } from '../models/adapter.ts';
import type { ModelShape, ParameterSpec } from '../models/types.ts';
import type { ModelSizes } from './pack-memory.ts';

/** Bytes of a parameter's entry (float32). */
const FLOAT = 4;

const entries = (specs: readonly Pick<ParameterSpec, 'shape'>[]): number =>
  specs.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

/**
 * Returns the bytes of a saved training, about: what the adapter adds, and what it trains of the
 * model.
 */
export function savedBytes({ shape: { parameters }, adapter }: Trained): number {
  const trained = parameters.filter(({ name }) => adapter.trains(name));
  return FLOAT * (entries(adapter.parameters) + entries(trained));
}

interface Trained {
  readonly shape: Pick<ModelShape, 'linears' | 'parameters'>;
  readonly adapter: Pick<Adapter, 'parameters' | 'trains'>;
}

/**
 * Returns the bytes of the weights and of what training keeps beside them: each trained entry once
 * more, its gradient, and its moments, and the copies of frozen layers' weights that steps may
 * read, one forward and one backward.
 */
export function weightBytes(
  { shape: { linears, parameters }, adapter }: Trained,
  optimizer: 'adamw' | 'sgd',
): number {
  const trained = [
    ...parameters.filter(({ name }) => adapter.trains(name)),
    ...adapter.parameters.filter(({ name }) => adapter.trains(name)),
  ];
  const kept = optimizer === 'adamw' ? 4 : 2;
  const frozen = linears.filter(({ name }) => !adapter.trains(`${name}.weight`));
  const packed = 2 * FLOAT * frozen.reduce((sum, { in: n, out: m }) => sum + n * m, 0);
  return (
    FLOAT * (entries(parameters) + entries(adapter.parameters) + kept * entries(trained)) +
    Math.min(packed, PACKED_BYTES)
  );
}

/**
 * Returns the floating-point operations of a step whose rows have T = `length` tokens each: two for
 * each entry of a linear layer and token forward, as many backward, and as many again where its
 * weight is trained; and those of QKᵀ and PV in each layer.
 * @param rows in a step
 * @param vocabulary V, where each token may be one of an answer; 0 for other heads
 */
export function stepOperations(
  { shape: { linears }, adapter }: Trained,
  { width: h, layers }: Pick<ModelSizes, 'width' | 'layers'>,
  { rows, length, vocabulary }: { rows: number; length: number; vocabulary: number },
): number {
  const ofLinears = linears.reduce(
    (sum, { name, in: n, out: m }) => sum + 2 * (adapter.trains(`${name}.weight`) ? 3 : 2) * n * m,
    0,
  ); // An output that is tied to the token table is not a layer of its own.
  const ofOutput = linears.some(({ out }) => out === vocabulary) ? 0 : 4 * vocabulary * h;
  const ofAttention = 8 * length * h * layers;
  return rows * length * (ofLinears + ofOutput + ofAttention);
}
