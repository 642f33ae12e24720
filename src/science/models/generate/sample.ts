/** Draws a token from the logits of one position, as transformers' `generate` does. */
import type { RandomStream } from '../../../base/random.ts';

/** How tokens are drawn. Without it, the likeliest token is taken (greedy decoding). */
export interface Sampling {
  /** Divides the logits. */
  readonly temperature: number;
  /** Only this many of the likeliest tokens are drawn from. Default: all. */
  readonly top_k?: number;
  /**
   * Only the likeliest tokens whose probabilities together reach this are drawn from (nucleus
   * sampling, Holtzman et al. 2020). Default: all.
   */
  readonly top_p?: number;
}

/**
 * Yields the tokens from the likeliest on, those of one logit by their ids. A heap orders as many
 * as are asked for: a vocabulary of 10⁵ tokens is sorted for a few of them otherwise.
 */
function* likeliestFirst(logits: Float32Array): Generator<number, void> {
  const heap = Int32Array.from(logits.keys());
  let size = heap.length;
  const isBefore = (a: number, b: number): boolean =>
    logits[a]! > logits[b]! || (logits[a] === logits[b] && a < b);
  const sink = (from: number): void => {
    const own = heap[from]!;
    let place = from;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= size) break;
      if (child + 1 < size && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, own)) break;
      heap[place] = heap[child]!;
      place = child;
    }
    heap[place] = own;
  };
  for (let place = (size >> 1) - 1; place >= 0; place--) sink(place);
  while (size > 0) {
    yield heap[0]!;
    heap[0] = heap[--size]!;
    sink(0);
  }
}

/** @param logits (V) */
export function drawToken(
  logits: Float32Array,
  { temperature, top_k: most = logits.length, top_p: share = 1 }: Sampling,
  random: RandomStream,
): number {
  const order = likeliestFirst(logits);
  const first = order.next().value ?? 0,
    highest = logits[first]!;
  const weightOf = (id: number): number => Math.exp((logits[id]! - highest) / temperature);
  const likely = [{ id: first, weight: 1 }];
  /** Adds the next token in order; false where there is none. */
  const add = (): boolean => {
    const { value: id } = order.next();
    if (id === undefined || likely.length >= most) return false;
    likely.push({ id, weight: weightOf(id) });
    return true;
  };
  let mass = 0;
  if (most >= logits.length) for (let id = 0; id < logits.length; id++) mass += weightOf(id);
  else {
    while (add());
    mass = likely.reduce((sum, { weight }) => sum + weight, 0);
  }
  // The nucleus holds each token before which less than `share` of the probability lies.
  let nucleus = Infinity;
  if (share < 1) {
    let before = 0,
      count = 0;
    do {
      if (count === likely.length && !add()) break;
      before += likely[count++]!.weight;
    } while (before < share * mass);
    mass = before;
    nucleus = count;
  }
  let left = random.uniform() * mass;
  for (let k = 0; k < nucleus && (k < likely.length || add()); k++) {
    const { id, weight } = likely[k]!;
    left -= weight;
    if (left < 0) return id;
  }
  return likely[Math.min(nucleus, likely.length) - 1]!.id;
}
