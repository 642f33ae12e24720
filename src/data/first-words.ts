/**
 * Returns the text up to the end of its n-th word (a run of non-space characters), or the whole
 * text if it has fewer words or n is undefined.
 */
export function firstWords(text: string, n: number | undefined): string {
  if (n === undefined) return text;
  let count = 0;
  for (const word of text.matchAll(/\S+/gu))
    if (++count === n) return text.slice(0, word.index + word[0].length);
  return text;
}
