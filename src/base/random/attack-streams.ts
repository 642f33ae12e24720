/** The random streams of an attack. */
import { type RandomStream, randomStream } from './random.ts';

/**
 * Returns an attack's streams at a seed, both for `poison` in training and for `trigger` in
 * evaluation. They depend on (seed, attack, purpose, name) only, never on the dose or the cell.
 */
export function attackStreams(
  seed: number,
  attack: string,
): (purpose: string, name?: string) => RandomStream {
  return (purpose, name = '') => randomStream(seed, `attack.${attack}.${purpose}`, name);
}
