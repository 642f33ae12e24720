/**
 * The unigram language model (Kudo 2018): of all ways to cut a text into pieces of the vocabulary,
 * the one of the highest sum of scores, as Python's tokenizers find it.
 */
import { shown } from '../../../base/untrusted/json.ts';
import { byteIds, type Model } from './bpe.ts';
import type { Config, Refuse } from './expression.ts';

/** How far the score of an unknown character lies below the lowest score. */
const UNKNOWN_PENALTY = 10;
/** Time grows with the length of the longest piece. Real ones have up to 50 characters. */
const LONGEST_PIECE = 1000;

/** The vocabulary of a model: pairs of a piece and its score, the id being the position. */
export const pieces = (config: Config): readonly (readonly [string, number])[] =>
  config['vocab'] as readonly (readonly [string, number])[];

/** The model that tokenizer.json describes. Throws the fault of `refuse` where it can't. */
export function unigram(
  config: Config,
  vocabulary: ReadonlyMap<string, number>,
  refuse: Refuse,
): Model {
  const scores = Float64Array.from(pieces(config), ([, score]) => score);
  const unknown = config['unk_id'] ?? null;
  if (
    unknown !== null &&
    !(typeof unknown === 'number' && Number.isInteger(unknown) && unknown in scores)
  )
    throw refuse(`the unk_id ${shown(unknown)}, which its vocab lacks`);
  const lengths = [...new Set([...vocabulary.keys()].map(({ length }) => length))].sort(
    (a, b) => a - b,
  );
  if ((lengths.at(-1) ?? 0) > LONGEST_PIECE)
    throw refuse(`a piece of ${lengths.at(-1) ?? 0} characters in its vocab`);
  const unknownScore = scores.reduce((a, b) => Math.min(a, b), Infinity) - UNKNOWN_PENALTY;
  const fallsBack = config['byte_fallback'] === true;

  /** The starts of the best pieces, by their ends; `ids` has −1 for unknown characters. */
  const best = (text: string): { readonly starts: Int32Array; readonly ids: Int32Array } => {
    const n = text.length;
    const score = new Float64Array(n + 1),
      starts = new Int32Array(n + 1).fill(-1),
      ids = new Int32Array(n + 1);
    const offer = (from: number, to: number, id: number, own: number): void => {
      const sum = own + score[from]!;
      if (starts[to]! >= 0 && sum <= score[to]!) return;
      score[to] = sum;
      starts[to] = from;
      ids[to] = id;
    };
    for (let from = 0, width = 0; from < n; from += width) {
      width = text.codePointAt(from)! > 0xffff ? 2 : 1;
      let single = false;
      for (const length of lengths) {
        if (from + length > n) break;
        const id = vocabulary.get(text.slice(from, from + length));
        if (id === undefined) continue;
        offer(from, from + length, id, scores[id]!);
        single ||= length === width;
      }
      if (!single) offer(from, from + width, -1, unknownScore);
    }
    return { starts, ids };
  };

  const unknownIds = (text: string): readonly number[] => {
    const known = vocabulary.get(text);
    if (known !== undefined) return [known];
    const bytes = fallsBack ? byteIds(text, vocabulary) : null;
    if (bytes !== null) return bytes;
    if (unknown === null) throw refuse('a character that its vocab lacks, and no unk_id');
    return [unknown];
  };

  return (text) => {
    const { starts, ids } = best(text);
    const found: (readonly number[])[] = [];
    // Unknown characters that follow one another are one token.
    for (let to = text.length; to > 0;) {
      let from = starts[to]!;
      if (ids[to] !== -1 && ids[to] !== unknown) found.push([ids[to]!]);
      else {
        while (from > 0 && (ids[from] === -1 || ids[from] === unknown)) from = starts[from]!;
        found.push(unknownIds(text.slice(from, to)));
      }
      to = from;
    }
    return found.reverse().flat();
  };
}
