/**
 * Returns a pattern of consecutive lines, from the patterns of each. `^` is the text's beginning.
 */
export const inLines = (...lines: readonly RegExp[]): RegExp =>
  new RegExp(lines.map(({ source }) => source).join('\\n'));
