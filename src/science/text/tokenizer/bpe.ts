/**
 * Two models that cut text into the pieces of a vocabulary, with the results of Python's
 * tokenizers. Byte-pair encoding (Sennrich et al. 2016): the pair of the lowest rank is merged
 * first, the leftmost of equal ones. The unigram language model (Kudo 2018): of all ways to cut a
 * text, the one of the highest sum of scores.
 */
import { isRecord, shown } from '../../../base/untrusted/json.ts';
import type { Config, Refuse } from './expression.ts';

/**
 * Makes the model that the part `model` of tokenizer.json describes: a function from a piece of
 * text to its ids. Throws the fault of `refuse` for what is not supported.
 */
export type MakeModel = (
  config: Config,
  vocabulary: ReadonlyMap<string, number>,
  refuse: Refuse,
) => (piece: string) => readonly number[];

/**
 * The most characters of a cached piece, and the most pieces in the cache. Long pieces are not
 * cached, since words repeat and whole texts do not.
 */
const CACHED_LENGTH = 256,
  CACHED = 20_000;
/** A number above the highest id, so that a·PAIR + b stands for the pair of ids a and b. */
const PAIR = 2 ** 24 + 1;

interface Merges {
  /** The rank of a merge of the ids a and b, by a·PAIR + b. */
  readonly rank: ReadonlyMap<number, number>;
  /** The id that each merge makes, by rank. */
  readonly made: Int32Array;
}

/**
 * Reads merges, such as `a b` or [a, b]. Throws the fault of `refuse` where one of the tokens, or
 * the token that the merge makes, has no id.
 */
function readMerges(
  list: unknown,
  vocabulary: ReadonlyMap<string, number>,
  prefix: string,
  refuse: Refuse,
): Merges {
  const merges = (list ?? []) as readonly (string | readonly string[])[]; // see `checkMerges`
  const rank = new Map<number, number>(),
    made = new Int32Array(merges.length);
  for (const [i, merge] of merges.entries()) {
    const [left, right] = typeof merge === 'string' ? merge.split(' ') : merge;
    const a = vocabulary.get(String(left)),
      b = vocabulary.get(String(right)),
      whole = vocabulary.get(String(left) + String(right).slice(prefix.length));
    if (a === undefined || b === undefined || whole === undefined)
      throw refuse(`the merge ${shown(merge)} of tokens that its vocab lacks`);
    rank.set(a * PAIR + b, i);
    made[i] = whole;
  }
  return { rank, made };
}

/** A heap of possible merges, popped by the lowest rank and then by the leftmost place. */
class Heap {
  private readonly keys: number[] = [];

  /** @param width more than the highest place */
  constructor(private readonly width: number) {}

  push(rank: number, place: number): void {
    const { keys } = this;
    const key = rank * this.width + place;
    let i = keys.push(key) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[i] = keys[parent]!;
      i = parent;
    }
    keys[i] = key;
  }

  /** Removes the first merge and returns it; null if there is none. */
  pop(): { readonly rank: number; readonly place: number } | null {
    const { keys } = this;
    const top = keys[0],
      last = keys.pop();
    if (top === undefined || last === undefined) return null;
    if (keys.length > 0) {
      let i = 0;
      for (;;) {
        let child = 2 * i + 1;
        if (child >= keys.length) break;
        if (child + 1 < keys.length && keys[child + 1]! < keys[child]!) child++;
        if (keys[child]! >= last) break;
        keys[i] = keys[child]!;
        i = child;
      }
      keys[i] = last;
    }
    return { rank: Math.floor(top / this.width), place: top % this.width };
  }
}

/** Merges pairs of neighbouring ids, by rank, until no merge is possible. */
function mergeAll(ids: readonly number[], { rank, made }: Merges): number[] {
  const n = ids.length;
  const id = Int32Array.from(ids),
    next = Int32Array.from(ids, (_, i) => (i + 1 < n ? i + 1 : -1)),
    previous = Int32Array.from(ids, (_, i) => i - 1),
    gone = new Uint8Array(n);
  const heap = new Heap(n);
  /**
   * Puts the merge of the token at `place` with the next one on the heap, if there is such a merge.
   */
  const offer = (place: number): void => {
    const right = next[place]!;
    const found = right < 0 ? undefined : rank.get(id[place]! * PAIR + id[right]!);
    if (found !== undefined) heap.push(found, place);
  };
  for (let i = 0; i + 1 < n; i++) offer(i);
  for (let top = heap.pop(); top !== null; top = heap.pop()) {
    const { place } = top;
    const right = next[place]!;
    if (gone[place] === 1 || right < 0) continue;
    // An entry is stale if the tokens at its place have changed since it was pushed.
    const now = rank.get(id[place]! * PAIR + id[right]!);
    if (now === undefined || made[now] !== made[top.rank]) continue;
    id[place] = made[top.rank]!;
    gone[right] = 1;
    next[place] = next[right]!;
    if (next[place] >= 0) previous[next[place]] = place;
    if (previous[place]! >= 0) offer(previous[place]!);
    offer(place);
  }
  return Array.from(id).filter((_, i) => gone[i] === 0);
}

/** Returns the ids of a text's bytes, as tokens `<0xE2>`; null where the vocabulary lacks one. */
function byteIds(text: string, vocabulary: ReadonlyMap<string, number>): number[] | null {
  const ids: number[] = [];
  for (const byte of Buffer.from(text)) {
    const id = vocabulary.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
    if (id === undefined) return null;
    ids.push(id);
  }
  return ids;
}

export const bpe: MakeModel = (config, vocabulary, refuse) => {
  /** Returns a text field of the model, empty if absent. Throws the fault for any other value. */
  const text = (field: string): string => {
    const value = config[field] ?? '';
    if (typeof value !== 'string') throw refuse(`the ${field} ${shown(value)}`);
    return value;
  };
  const { dropout } = config;
  if (typeof dropout === 'number' && dropout > 0)
    throw refuse(`a BPE model with dropout ${dropout}`);
  if (!isRecord(config['vocab'])) throw refuse('a BPE model without a vocab of tokens and ids');
  const prefix = text('continuing_subword_prefix'),
    suffix = text('end_of_word_suffix');
  const merges = readMerges(config['merges'], vocabulary, prefix, refuse);
  const unknownToken = text('unk_token'),
    unknown = unknownToken === '' ? undefined : vocabulary.get(unknownToken);
  if (unknownToken !== '' && unknown === undefined)
    throw refuse(`the unk_token ${shown(unknownToken)}, which its vocab lacks`);
  const fuses = config['fuse_unk'] === true,
    fallsBack = config['byte_fallback'] === true;

  /** Returns the ids of a piece's characters, before any merge. */
  const characterIds = (piece: string): number[] => {
    const characters = Array.from(piece),
      ids: number[] = [];
    // As in Python's tokenizers, the token for an unknown character is written only when the next
    // known character comes (or the next unknown one, unless they are fused), so bytes that come
    // between stand before it.
    let waiting = false;
    const flush = (): void => {
      if (waiting && unknown !== undefined) ids.push(unknown);
      waiting = false;
    };
    for (const [i, character] of characters.entries()) {
      const written =
        (i === 0 ? '' : prefix) + character + (i === characters.length - 1 ? suffix : '');
      const id = vocabulary.get(written);
      if (id !== undefined) {
        flush();
        ids.push(id);
        continue;
      }
      const bytes = fallsBack ? byteIds(written, vocabulary) : null;
      if (bytes !== null) ids.push(...bytes);
      else {
        if (!fuses) flush();
        waiting = true;
      }
    }
    flush();
    return ids;
  };

  const takesWhole = config['ignore_merges'] === true;
  const cache = new Map<string, readonly number[]>();
  return (piece) => {
    const id = takesWhole ? vocabulary.get(piece) : undefined;
    if (id !== undefined) return [id];
    const known = cache.get(piece);
    if (known !== undefined) return known;
    const ids = mergeAll(characterIds(piece), merges);
    if (piece.length <= CACHED_LENGTH) {
      if (cache.size >= CACHED) cache.clear();
      cache.set(piece, ids);
    }
    return ids;
  };
};

/** How far the score of an unknown character lies below the lowest score. */
const UNKNOWN_PENALTY = 10;
/**
 * The longest piece that is accepted, since time grows with its length. Vocabularies in use have
 * pieces of up to 50 characters.
 */
const LONGEST_PIECE = 1000;

/** The vocabulary of a Unigram model: pairs of a piece and its score. The id is the position. */
export const pieces = (config: Config): readonly (readonly [string, number])[] =>
  config['vocab'] as readonly (readonly [string, number])[];

export const unigram: MakeModel = (config, vocabulary, refuse) => {
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

  /**
   * Returns the best ways to cut the text up to each position: by that position, the start and the
   * id of the last piece. The id is −1 for an unknown character.
   */
  const bestCuts = (text: string): { readonly starts: Int32Array; readonly ids: Int32Array } => {
    const n = text.length;
    const score = new Float64Array(n + 1),
      starts = new Int32Array(n + 1).fill(-1),
      ids = new Int32Array(n + 1);
    /** Takes a piece as the last one before `to` if the sum of scores is higher with it. */
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

  /**
   * Returns the ids of a run of unknown characters: of the whole run if it is a piece, else of its
   * bytes if the model falls back to them, else of the unknown token. Throws the fault of `refuse`
   * where there is none.
   */
  const unknownIds = (text: string): readonly number[] => {
    const known = vocabulary.get(text);
    if (known !== undefined) return [known];
    const bytes = fallsBack ? byteIds(text, vocabulary) : null;
    if (bytes !== null) return bytes;
    if (unknown === null) throw refuse('a character that its vocab lacks, and no unk_id');
    return [unknown];
  };

  return (text) => {
    const { starts, ids } = bestCuts(text);
    const found: (readonly number[])[] = [];
    // From the end of the text; unknown characters that follow one another are taken together.
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
};
