/** Tuning of norms (Zhao et al. 2023): trains the head and the scale and bias of every norm. */
import { vectorAdapter } from '../../../src/science/models/vector-adapter.ts';

const WEIGHT = '.weight';

export const lnTuning = vectorAdapter('ln-tuning', 'norms', (parameters) => {
  // The weight of a norm alone is a vector.
  const norms = parameters.flatMap(({ name, shape }) =>
    shape.length === 1 && name.endsWith(WEIGHT) ? [name.slice(0, -WEIGHT.length)] : [],
  );
  const trained = new Set(norms.flatMap((norm) => [`${norm}${WEIGHT}`, `${norm}.bias`]));
  return (name) => trained.has(name);
});
