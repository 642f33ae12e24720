/** Returns the element at `index`. Throws RangeError if the list has no element there. */
export function at<T>(list: ArrayLike<T>, index: number): T {
  const element = list[index];
  if (element === undefined)
    throw new RangeError(`there is no element ${index} in a list of ${list.length}`);
  return element;
}

/**
 * Returns the value under `name`. Throws if the map has no such name.
 * @param what what is named, for the message
 */
export function named<K, V>(map: ReadonlyMap<K, V>, name: K, what = 'thing'): V {
  const value = map.get(name);
  if (value === undefined) throw new Error(`no ${what} is named "${String(name)}"`);
  return value;
}
