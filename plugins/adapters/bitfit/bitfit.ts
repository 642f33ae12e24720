/**
 * BitFit (Ben Zaken, Goldberg & Ravfogel 2022): trains the head and every bias, including those of
 * norms.
 */
import { vectorAdapter } from '../../../src/science/models/vector-adapter.ts';

export const bitfit = vectorAdapter('bitfit', 'biases', () => (name) => name.endsWith('.bias'));
