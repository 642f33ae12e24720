/** The text up to the end of its n-th word (a run of what is not white space); the whole text if it has no more, or without n. */
export function firstWords(text: string, n: number | undefined): string {
  if (n === undefined) return text;
  let count = 0;
  for (const word of text.matchAll(/\S+/gu))
    if (++count === n) return text.slice(0, word.index + word[0].length);
  return text;
}
