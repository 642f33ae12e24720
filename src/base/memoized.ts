/**
 * Returns a function that calls `compute` once for each argument and remembers the result, which
 * must not be undefined.
 */
export function memoized<A, B>(compute: (argument: A) => B): (argument: A) => B {
  const known = new Map<A, B>();
  return (argument) => {
    const found = known.get(argument);
    if (found !== undefined) return found;
    const made = compute(argument);
    known.set(argument, made);
    return made;
  };
}

/** Returns a function that calls `make` when it is first called, and always returns that value. */
export function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
