/** JSON in the one form that RFC 8785 gives to equal values. */

/**
 * Returns RFC 8785 JSON: sorted keys, no spaces, and one form for each number. As `JSON.stringify`,
 * calls `toJSON`, leaves out undefined fields, and writes undefined items as null. Throws if the
 * value contains NaN, an infinity or anything else that is not JSON.
 */
export function canonical(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'number':
      if (Number.isFinite(value)) return String(value);
      throw new TypeError(`${Number.isNaN(value) ? 'NaN' : 'Infinity'} is not allowed`);
    case 'boolean':
      return String(value);
    case 'object':
      return value === null ? 'null' : canonicalObject(value as Fields);
    case 'bigint':
    case 'symbol':
    case 'undefined':
    case 'function':
      throw new TypeError(`a value of type ${typeof value} is not allowed`);
  }
}

type Fields = { readonly [key: string]: unknown };

/** As `canonical`, for a list or an object. */
function canonicalObject(object: Fields): string {
  if (typeof object['toJSON'] === 'function')
    return canonical((object as { toJSON(): unknown }).toJSON());
  let text = '';
  if (Array.isArray(object)) {
    for (const item of object as readonly unknown[])
      text += `${text === '' ? '' : ','}${isAbsent(item) ? 'null' : canonical(item)}`;
    return `[${text}]`;
  }
  for (const key of sortedKeys(Object.keys(object))) {
    const item = object[key];
    if (!isAbsent(item)) text += `${text === '' ? '' : ','}${keyAndColon(key)}${canonical(item)}`;
  }
  return `{${text}}`;
}

/** Whether a value is left out of an object, and written as null in a list. */
const isAbsent = (value: unknown): boolean => value === undefined || typeof value === 'symbol';

/**
 * The largest number of quoted keys that is remembered. Field names are few and recur in every
 * stage; further keys are data, such as the inputs of a stage that joins the grid.
 */
const QUOTED = 1000;
const quoted = new Map<string, string>();

/** Returns a key as JSON with a colon: `"rank":`. */
function keyAndColon(key: string): string {
  const known = quoted.get(key);
  if (known !== undefined) return known;
  const text = `${JSON.stringify(key)}:`;
  if (quoted.size < QUOTED) quoted.set(key, text);
  return text;
}

/**
 * Returns the same array of keys, sorted in place unless they are in order. Most are, and sorting
 * is slow.
 */
function sortedKeys(keys: string[]): readonly string[] {
  for (let i = 1; i < keys.length; i++)
    if ((keys[i - 1] ?? '') > (keys[i] ?? '')) return keys.sort();
  return keys;
}
