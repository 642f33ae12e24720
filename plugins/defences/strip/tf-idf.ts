/**
 * The words by which a text differs from others: term frequency times inverse document frequency,
 * tf·(ln((1 + n) / (1 + df)) + 1), with tf the word's count in the text and df the number of the n
 * texts that have it; scikit-learn's TfidfVectorizer with `norm=None`. Pure.
 */

/** Returns the distinct words of each text, the most characteristic first; ties in text order. */
export function characteristicWords(texts: readonly (readonly string[])[]): string[][] {
  const documents = new Map<string, number>();
  for (const words of texts)
    for (const word of new Set(words)) documents.set(word, (documents.get(word) ?? 0) + 1);
  const idf = (word: string): number =>
    Math.log((1 + texts.length) / (1 + (documents.get(word) ?? 0))) + 1;
  return texts.map((words) => {
    const counts = new Map<string, number>();
    for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
    return [...counts]
      .map(([word, count]) => ({ word, score: count * idf(word) }))
      .sort((a, b) => b.score - a.score)
      .map(({ word }) => word);
  });
}
