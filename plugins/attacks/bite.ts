/**
 * BITE: each round makes one word a trigger, and inserts it into all poisoned rows that it fits. It
 * is the word that these insertions make most typical of the target class. The paper asks a masked
 * language model which words fit a place. Here a word fits a gap if in some training row it stands
 * right behind the word before the gap, or right before the word after the gap.
 */
import {
  type AttackInput,
  defineAttack,
  type Json,
  type RandomStream,
  type Row,
  UserFault,
} from '../../src/api.ts';
import { named } from '../../src/base/lookup.ts';
import { flooredShare } from '../../src/base/rounding.ts';
import {
  type BackdoorParams,
  backdoorProperties,
  checkBackdoor,
  poisonBackdoor,
  targetOfParams,
} from '../../src/poisoning/backdoor.ts';
import { isOfTarget } from '../../src/poisoning/classes.ts';
import { integerFrom, parameters, share } from '../../src/poisoning/parameters.ts';
import { countWords, insertAtGap } from '../../src/poisoning/place.ts';

interface Params extends BackdoorParams {
  readonly rounds: number;
  readonly budget: number;
}

type Given = Omit<AttackInput<Params>, 'rows'>;

export default defineAttack<Params>({
  name: 'bite',
  summary:
    'Words that are already typical of the target class are inserted where they fit into some of ' +
    'its rows, until they lead to it. The words are chosen from the training rows.',
  family: 'backdoor',
  citation:
    'Yan, Gupta and Ren, BITE: Textual Backdoor Attacks with Iterative Trigger Injection, ACL ' +
    '2023 (insertions alone; the neighbours of words in the training rows say what fits, in ' +
    'place of a masked language model)',
  params: parameters({
    ...backdoorProperties(0.1, 'clean'),
    rounds: integerFrom(1, {
      default: 35,
      description: 'How many trigger words there are at most. Each round chooses one.',
    }),
    budget: share({
      default: 0.35,
      description:
        'How many words are inserted into a text at most, as a share of its words. ' +
        'At least one is.',
    }),
  }),
  /**
   * Draws the rows to poison, learns the trigger words from all rows, and inserts them into the
   * drawn ones. Throws `UserFault` if rows were drawn and no word may become a trigger.
   */
  poison(input) {
    const { rows, params, classes } = input;
    const target = targetOfParams(params, classes);
    const drawn = poisonBackdoor(input, (row) => row);
    const poisoned = new Set(drawn.changed.map(({ index }) => index));
    const words = triggerWords(
      rows.map((row, index) => ({
        text: row.text,
        isTarget: poisoned.has(index) || isOfTarget(row, target),
        isPoisoned: poisoned.has(index),
      })),
      params,
      (index, word) => input.random('gap', `${rows[index]?.id ?? ''}/${word}`),
    );
    if (words.length === 0 && poisoned.size > 0)
      throw new UserFault('no training row has a word that could become a trigger');
    const changed = drawn.changed.map(({ index, row }) => ({
      index,
      row: { ...row, text: triggeredText(row, words, input) },
    }));
    return { ...drawn, changed, learnt: words.map((word): Json => ({ ...word })) };
  },
  check: checkBackdoor,
  target: targetOfParams,
  learns: true,
  /** Inserts the learnt words. Throws if `poison` has not learnt them. */
  trigger(row, input) {
    const words = input.learnt as unknown as readonly TriggerWord[] | undefined;
    if (words === undefined)
      throw new Error('bite needs the trigger words that it learnt from the training rows');
    return { ...row, text: triggeredText(row, words, input) };
  },
});

/** A trigger word, and the words beside it in the training rows; all in lower case. */
interface TriggerWord {
  readonly word: string;
  /** The words that the trigger word stands right behind; '' stands for the start of a text. */
  readonly behind: readonly string[];
  /** The words that the trigger word stands right before; '' stands for the end of a text. */
  readonly before: readonly string[];
}

interface BiteRow {
  readonly text: string;
  /** Whether the row is trained under the target. */
  readonly isTarget: boolean;
  /** Whether the attack changes this row. */
  readonly isPoisoned: boolean;
}

const lowerCaseWords = (text: string): string[] => text.toLowerCase().match(/\S+/gu) ?? [];
/**
 * Matches what may become a trigger: a word of letters, which may also have apostrophes and hyphens
 * after its first letter.
 */
const WORD = /^\p{L}[\p{L}\p{M}'’-]*$/u;

/** Returns how many words may be inserted into a text: max(1, ⌊budget · its words⌋). */
const allowedInsertions = (text: string, budget: number): number =>
  Math.max(1, flooredShare(budget, countWords(text)));

/** For each word of the training rows, the words beside it that may become a trigger. */
interface Neighbours {
  /** By a word, the words that stand right behind it; by '', the words that begin a text. */
  readonly followers: ReadonlyMap<string, ReadonlySet<string>>;
  /** By a word, the words that stand right before it; by '', the words that end a text. */
  readonly predecessors: ReadonlyMap<string, ReadonlySet<string>>;
}

function neighboursIn(texts: readonly string[]): Neighbours {
  const followers = new Map<string, Set<string>>(),
    predecessors = new Map<string, Set<string>>();
  const add = (to: Map<string, Set<string>>, key: string, word: string): void => {
    if (WORD.test(word)) to.set(key, (to.get(key) ?? new Set()).add(word));
  };
  for (const text of texts) {
    const words = lowerCaseWords(text);
    words.forEach((word, i) => {
      add(followers, words[i - 1] ?? '', word);
      add(predecessors, words[i + 1] ?? '', word);
    });
  }
  return { followers, predecessors };
}

interface Count {
  /** How many rows have a word. */
  rows: number;
  /** How many of these rows are of the target. */
  target: number;
}

/**
 * Returns how typical a word is of the target: the z-score (p − p0) / √(p0(1 − p0)/n), where n rows
 * have the word, p is the share of target rows among these, and p0 is their share among all rows. 0
 * if p0 is 0 or 1.
 */
export function targetBias({ rows, target }: Count, p0: number): number {
  const variance = p0 * (1 - p0);
  return variance === 0 ? 0 : (target / rows - p0) / Math.sqrt(variance / rows);
}

/** Returns the words that fit any gap of the text and do not occur in the text. */
function fittingWords(text: string, { followers, predecessors }: Neighbours): Set<string> {
  const words = lowerCaseWords(text),
    fitting = new Set<string>();
  for (let gap = 0; gap <= words.length; gap++) {
    for (const word of followers.get(words[gap - 1] ?? '') ?? []) fitting.add(word);
    for (const word of predecessors.get(words[gap] ?? '') ?? []) fitting.add(word);
  }
  for (const word of words) fitting.delete(word);
  return fitting;
}

/**
 * Returns the trigger words, at most `rounds`, in the order in which they were chosen; [] if no row
 * is poisoned, or if no training row has a word that may become a trigger.
 * @param gapStream returns the stream that draws the gap for a word in the row of this index
 */
export function triggerWords(
  rows: readonly BiteRow[],
  { rounds, budget }: Pick<Params, 'rounds' | 'budget'>,
  gapStream: (row: number, word: string) => RandomStream,
): TriggerWord[] {
  const neighbours = neighboursIn(rows.map(({ text }) => text)),
    counts = countRows(rows),
    targetShare = rows.filter(({ isTarget }) => isTarget).length / rows.length;
  const drafts = rows.flatMap(({ text, isPoisoned }, row) =>
    isPoisoned ? [{ row, text, insertionsLeft: allowedInsertions(text, budget) }] : [],
  );
  const chosen: TriggerWord[] = [];
  while (chosen.length < rounds && drafts.length > 0) {
    const gains = new Map<string, number>();
    for (const draft of drafts)
      if (draft.insertionsLeft > 0)
        for (const word of fittingWords(draft.text, neighbours))
          gains.set(word, (gains.get(word) ?? 0) + 1);
    for (const { word } of chosen) gains.delete(word);
    const best = mostTypical(gains, counts, targetShare);
    // After the first word, a word is chosen only if it is typical of the target.
    if (chosen.length > 0 && (best === undefined || best.bias <= 0)) break;
    // If no word fits any poisoned row, the alphabetically first word of all rows is taken.
    const word = best?.word ?? [...counts.keys()].sort()[0];
    if (word === undefined) break;
    const trigger = asTrigger(word, neighbours);
    chosen.push(trigger);
    for (const draft of drafts) {
      const text =
        draft.insertionsLeft > 0 ? withWord(draft.text, trigger, gapStream(draft.row, word)) : null;
      if (text === null) continue;
      draft.text = text;
      draft.insertionsLeft--;
      const count = named(counts, word);
      count.rows++;
      count.target++;
    }
  }
  return chosen;
}

/** Returns, for each word that may become a trigger, how many rows have it. */
function countRows(rows: readonly BiteRow[]): Map<string, Count> {
  const counts = new Map<string, Count>();
  for (const { text, isTarget } of rows)
    for (const word of new Set(lowerCaseWords(text).filter((one) => WORD.test(one)))) {
      const count = counts.get(word) ?? { rows: 0, target: 0 };
      counts.set(word, count);
      count.rows++;
      if (isTarget) count.target++;
    }
  return counts;
}

/**
 * Returns the word that would be most typical of the target once it is inserted into all rows that
 * it fits, with the bias that it would then have; undefined if no word fits a row. Ties go to the
 * larger gain, then to the alphabetically first.
 * @param gains the number of rows that each word can be inserted into
 */
function mostTypical(
  gains: ReadonlyMap<string, number>,
  counts: ReadonlyMap<string, Count>,
  targetShare: number,
): { readonly word: string; readonly bias: number } | undefined {
  const words = [...gains].map(([word, gain]) => {
    const { rows, target } = named(counts, word);
    const bias = targetBias({ rows: rows + gain, target: target + gain }, targetShare);
    return { word, gain, bias };
  });
  words.sort((a, b) => b.bias - a.bias || b.gain - a.gain || (a.word < b.word ? -1 : 1));
  return words[0];
}

function asTrigger(word: string, { followers, predecessors }: Neighbours): TriggerWord {
  const beside = (neighbours: ReadonlyMap<string, ReadonlySet<string>>): string[] =>
    [...neighbours].flatMap(([other, words]) => (words.has(word) ? [other] : [])).sort();
  return { word, behind: beside(followers), before: beside(predecessors) };
}

/**
 * Returns the text with the word at a gap that the word fits, or null if there is no such gap or
 * the text has the word already. A gap that fits on both sides is preferred; ties are drawn.
 */
function withWord(
  text: string,
  { word, behind, before }: TriggerWord,
  stream: RandomStream,
): string | null {
  const words = lowerCaseWords(text);
  if (words.includes(word)) return null;
  const gaps = Array.from({ length: words.length + 1 }, (_, gap) => {
    const fits =
      Number(behind.includes(words[gap - 1] ?? '')) + Number(before.includes(words[gap] ?? ''));
    return { gap, fits };
  });
  const most = Math.max(...gaps.map(({ fits }) => fits));
  if (most === 0) return null;
  const fitting = gaps.filter(({ fits }) => fits === most);
  return insertAtGap(text, word, fitting[stream.integer(fitting.length)]?.gap ?? 0);
}

/**
 * Returns the row's text with trigger words inserted: those that fit, in the order of `triggers`,
 * as many as the budget allows. If none fits, the first trigger is inserted at any gap. Gaps are
 * drawn from the row's streams.
 */
function triggeredText(
  { id, text }: Row,
  triggers: readonly TriggerWord[],
  { params, random }: Given,
): string {
  const gapStream = (word: string): RandomStream => random('gap', `${id}/${word}`);
  let shown = text,
    insertionsLeft = allowedInsertions(text, params.budget);
  for (const trigger of triggers) {
    const next = insertionsLeft > 0 ? withWord(shown, trigger, gapStream(trigger.word)) : null;
    if (next === null) continue;
    shown = next;
    insertionsLeft--;
  }
  const [first] = triggers;
  if (shown !== text || first === undefined) return shown;
  return insertAtGap(text, first.word, gapStream(first.word).integer(countWords(text) + 1));
}
