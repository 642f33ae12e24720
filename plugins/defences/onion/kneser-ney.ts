/**
 * An n-gram language model over words with interpolated modified Kneser–Ney smoothing (Chen and
 * Goodman 1999, An Empirical Study of Smoothing Techniques for Language Modeling, Computer Speech &
 * Language 13, section 3; Kneser and Ney 1995). For a word w after the k − 1 words h,
 *
 *     p_k(w | h) = max(c(h w) − D_k(c(h w)), 0) / c(h •) + γ(h) · p_{k−1}(w | h′)
 *     γ(h) = (D_k(1)·N_1(h •) + D_k(2)·N_2(h •) + D_k(3)·N_{3+}(h •)) / c(h •)
 *
 * with h′ = h without its first word, c(h •) = Σ_w c(h w), and N_j(h •) the number of words with
 * c(h w) = j. At the highest order, c(h w) counts occurrences of h w; at a lower order, the
 * distinct words seen before h w, N_{1+}(• h w). Where h was never seen, p_k(w | h) = p_{k−1}(w |
 * h′). p_0 is uniform over the vocabulary, which includes the end of a text and one symbol for all
 * unknown words. With n_j the number of k-grams whose c is j, and Y = n_1 / (n_1 + 2 n_2),
 *
 *     D_k(j) = j − (j + 1)·Y·n_{j+1} / n_j,  j = 1, 2, and 3 for every c ≥ 3.
 *
 * A text is preceded by n − 1 start symbols, which are never predicted, and followed by one end
 * symbol, which is. Pure.
 */

interface Perplexities {
  readonly whole: number;
  /** The perplexity of the text without its i-th word, at the index i. */
  readonly without: readonly number[];
}

export interface LanguageModel {
  /**
   * Returns the perplexities of a text, given as words, and of the text without each word. They are
   * never NaN. They are Infinity where the model gives no probability, for example to an empty text
   * without an end symbol.
   */
  leaveOneOut(words: readonly string[]): Perplexities | Promise<Perplexities>;
}

/** The ids of the special symbols. Words are numbered from 3. */
const START = 0,
  END = 1,
  UNKNOWN = 2;

/** D(1), D(2) and D(3+) of one order. */
type Discounts = readonly [number, number, number];

/**
 * The discounts of an order whose own can't be estimated, for example because no k-gram has some
 * count; as KenLM's `--discount_fallback`.
 */
export const UNESTIMATED: Discounts = [0.5, 1, 1.5];

/** The words that follow one context h of k − 1 words. */
interface Followers {
  readonly counts: Map<number, number>; // c(h w) by word w
  /** c(h •) */
  total: number;
  /** N_1(h •), N_2(h •), N_{3+}(h •) */
  readonly countsOfCounts: [number, number, number];
}

/** The k-grams of one order, by context: the ids of k − 1 words, joined by commas. */
type Order = Map<string, Followers>;

interface NgramModel extends LanguageModel {
  /** The number of distinct words, plus the end symbol and the unknown word. */
  readonly vocabulary: number;
  /** The discounts of the orders 1 to n. */
  readonly discounts: readonly Discounts[];
  /** Returns log p(w | h) in nats, finite, for each word of the text and its end. (words + 1) */
  logProbabilities(words: readonly string[]): number[];
  /** `whole` is exp(−Σ log p / (words + 1)), the end included. */
  leaveOneOut(words: readonly string[]): Perplexities;
}

function countWord(order: Order, context: string, word: number): void {
  const followers: Followers = order.get(context) ?? {
    counts: new Map(),
    total: 0,
    countsOfCounts: [0, 0, 0],
  };
  order.set(context, followers);
  followers.counts.set(word, (followers.counts.get(word) ?? 0) + 1);
  followers.total++;
}

/** Returns a context of one word less; the empty text for a context of one word or of none. */
const withoutFirstId = (context: string): string => {
  const comma = context.indexOf(',');
  return comma < 0 ? '' : context.slice(comma + 1);
};

/**
 * Returns the orders 1 to n. Order n counts the occurrences of each n-gram; a lower order k counts,
 * for each k-gram, the distinct words that were seen before it.
 * @param texts ids of words, with n − 1 start symbols and an end symbol
 */
function countNgrams(texts: readonly (readonly number[])[], n: number): Order[] {
  const highest: Order = new Map();
  for (const ids of texts)
    for (let t = n - 1; t < ids.length; t++)
      countWord(highest, ids.slice(t - n + 1, t).join(','), ids[t]!);
  const orders = [highest];
  for (let k = n - 1; k >= 1; k--) {
    const order: Order = new Map();
    for (const [context, { counts }] of orders[0]!)
      for (const word of counts.keys()) countWord(order, withoutFirstId(context), word);
    orders.unshift(order);
  }
  for (const order of orders)
    for (const { counts, countsOfCounts } of order.values())
      for (const count of counts.values()) countsOfCounts[Math.min(count, 3) - 1]!++;
  return orders;
}

/**
 * Returns the estimated D_k(j) of one order, or `UNESTIMATED` if one of them is NaN, below 0 or
 * above j.
 */
function estimateDiscounts(order: Order): Discounts {
  const n = [0, 0, 0, 0]; // the numbers of k-grams with counts 1 to 4
  for (const { counts } of order.values())
    for (const count of counts.values()) if (count <= 4) n[count - 1]!++;
  const Y = n[0]! / (n[0]! + 2 * n[1]!);
  const discount = (j: 1 | 2 | 3): number => j - ((j + 1) * Y * n[j]!) / n[j - 1]!;
  const values = [discount(1), discount(2), discount(3)] as const;
  return values.every((value, i) => value >= 0 && value <= i + 1) ? values : UNESTIMATED;
}

/**
 * Trains a model on texts of words. Words are compared exactly, with their case.
 * @param texts at least one
 * @param n the length of the longest n-gram, at least 1
 */
export function trainKneserNey(texts: readonly (readonly string[])[], n: number): NgramModel {
  const ids = new Map<string, number>();
  for (const words of texts)
    for (const word of words) if (!ids.has(word)) ids.set(word, ids.size + UNKNOWN + 1);
  const start = new Array<number>(n - 1).fill(START);
  const paddedIds = (words: readonly string[]): number[] => [
    ...start,
    ...words.map((word) => ids.get(word) ?? UNKNOWN),
    END,
  ];
  const orders = countNgrams(texts.map(paddedIds), n);
  const discounts = orders.map(estimateDiscounts);
  const vocabulary = ids.size + 2;

  /** Returns log p of the t-th symbol after the n − 1 symbols before it. */
  function logProbabilityAt(sequence: readonly number[], t: number): number {
    let p = 1 / vocabulary;
    for (let k = 1; k <= n; k++) {
      const followers = orders[k - 1]!.get(sequence.slice(t - k + 1, t).join(','));
      if (followers === undefined) break; // longer contexts were not seen either
      const { counts, total, countsOfCounts } = followers,
        D = discounts[k - 1]!;
      const count = counts.get(sequence[t]!) ?? 0;
      const discounted = count === 0 ? 0 : Math.max(0, count - D[Math.min(count, 3) - 1]!);
      // γ(h) · c(h •)
      const withheld = countsOfCounts.reduce((sum, words, i) => sum + D[i]! * words, 0);
      p = (discounted + withheld * p) / total;
    }
    return Math.log(p);
  }

  const logsOf = (sequence: readonly number[]): number[] =>
    sequence.slice(n - 1).map((_, i) => logProbabilityAt(sequence, i + n - 1));
  /** Returns the sum of the values; 0 for none. */
  const sumOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

  return {
    vocabulary,
    discounts,
    logProbabilities: (words) => logsOf(paddedIds(words)),
    leaveOneOut: (words) => {
      const full = paddedIds(words),
        logs = logsOf(full),
        total = sumOf(logs);
      const without = words.map((_, i) => {
        const shorter = full.toSpliced(i + n - 1, 1);
        // Leaving out word i removes logs[i]; of the other symbols, only the n − 1 after it get
        // another context.
        const changed = Math.min(n - 1, words.length - i);
        const before = sumOf(logs.slice(i, i + changed + 1));
        let after = 0;
        for (let t = 0; t < changed; t++) after += logProbabilityAt(shorter, i + n - 1 + t);
        return Math.exp(-(total - before + after) / words.length);
      });
      return { whole: Math.exp(-total / (words.length + 1)), without };
    },
  };
}
