/**
 * Returns a function that calls `compute` when it first gets an argument, and from then on returns
 * the same result for it. `compute` must not return undefined.
 * @param most how many results are remembered; before a further one, all are forgotten
 */
export function memoized<A, B>(compute: (argument: A) => B, most = Infinity): (argument: A) => B {
  const known = new Map<A, B>();
  return (argument) => {
    const found = known.get(argument);
    if (found !== undefined) return found;
    const made = compute(argument);
    if (known.size >= most) known.clear();
    known.set(argument, made);
    return made;
  };
}

/** Returns a function that calls `make` when it is first called, and always returns that value. */
export function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
