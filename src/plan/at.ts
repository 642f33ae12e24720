/**
 * Returns the item at an index that is known to be within bounds. Throws a RangeError if it is not.
 */
export function at<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new RangeError(`there is no item ${index} of ${items.length}`);
  return item;
}
