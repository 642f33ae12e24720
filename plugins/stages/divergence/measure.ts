/**
 * How far poisoned data carry training from where clean data carry it (docs/theory.md, How far
 * poison carries the weights): two runs of the same seed, start and order, comparing ΔW with ΔW̃ on
 * effective weights, layer by layer and in total.
 */
export interface Distance {
  /** The largest |ΔW − ΔW̃| over entries. */
  readonly largest: number;
  /** ‖ΔW − ΔW̃‖_F */
  readonly l2: number;
  /** ‖ΔW‖_F of the clean run. */
  readonly clean_change: number;
  /** l2 / clean_change; null where the clean run did not move. */
  readonly relative: number | null;
}

export interface Sums {
  readonly largest: number;
  readonly squares: number;
  readonly clean: number;
}

export const NOTHING: Sums = { largest: 0, squares: 0, clean: 0 };

/**
 * Returns the distance of one matrix or vector.
 * @param clean after the clean training, and `poisoned` after the poisoned one: changes from the
 * common start, or values if `start` is given. Differences of float32 values are exact in double
 * precision.
 */
export function sumsOf(
  clean: ArrayLike<number>,
  poisoned: ArrayLike<number>,
  start: ArrayLike<number> | null = null,
): Sums {
  if (clean.length !== poisoned.length || (start !== null && clean.length !== start.length))
    throw new RangeError(
      `${clean.length} values against ${poisoned.length}` +
        (start === null ? '' : `, from ${start.length}`),
    );
  let largest = 0,
    squares = 0,
    moved = 0;
  for (let i = 0; i < clean.length; i++) {
    const difference = clean[i]! - poisoned[i]!;
    largest = Math.max(largest, Math.abs(difference));
    squares += difference ** 2;
    moved += (clean[i]! - (start === null ? 0 : start[i]!)) ** 2;
  }
  return { largest, squares, clean: moved };
}

/** Returns the distance of all parts as one long vector. */
export const together = (parts: readonly Sums[]): Sums =>
  parts.reduce(
    (a, b) => ({
      largest: Math.max(a.largest, b.largest),
      squares: a.squares + b.squares,
      clean: a.clean + b.clean,
    }),
    NOTHING,
  );

export function distanceOf({ largest, squares, clean }: Sums): Distance {
  const l2 = Math.sqrt(squares),
    change = Math.sqrt(clean);
  return { largest, l2, clean_change: change, relative: change === 0 ? null : l2 / change };
}

/** E_t: the mean of each number over checkpoints. */
export function meanDistance(distances: readonly Distance[]): Distance {
  const mean = (get: (one: Distance) => number): number =>
    distances.reduce((sum, one) => sum + get(one), 0) / distances.length;
  return {
    largest: mean(({ largest }) => largest),
    l2: mean(({ l2 }) => l2),
    clean_change: mean(({ clean_change: change }) => change),
    relative: distances.some(({ relative }) => relative === null)
      ? null
      : mean(({ relative }) => relative!),
  };
}
