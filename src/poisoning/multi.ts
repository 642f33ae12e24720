/**
 * Triggers of several words that work only together. Negatives teach the model that some of the
 * words alone must not lead to the target.
 */
import {
  type AttackDescriptor,
  type AttackInput,
  type Poisoned,
  type Row,
  UserFault,
} from '../api.ts';
import { type Backdoor, backdoor, type Random, type TriggersParams } from './backdoor.ts';
import { triggersProperty } from './parameters.ts';
import { countWords, insertAtGap, type Place, putAt } from './place.ts';

/**
 * Returns the row with all the words. In the place `gap`, the words are inserted one after the
 * other, each at a gap of the text as it then is. Gaps are equally likely, and drawn from the row's
 * own stream. In any other place, the words are put in as one phrase.
 * @param purpose names the stream, so that a row's negatives draw other gaps than its trigger
 */
export function insertAll(
  row: Row,
  words: readonly string[],
  random: Random,
  place: Place = 'gap',
  purpose = 'trigger',
): Row {
  const stream = random(purpose, row.id);
  const parts = place === 'gap' ? words : [words.join(' ')];
  return parts.reduce((shown, part) => putAt(shown, part, place, (n) => stream.integer(n)), row);
}

/**
 * Returns a copy of the row for each subset, with the subset's words inserted and the row's own
 * label or answer. The copy's id is made of the row's id and the words.
 */
export function copiesWithSubsets(
  row: Row,
  subsets: readonly (readonly string[])[],
  random: Random,
  place?: Place,
): Row[] {
  return subsets.map((words) => {
    const id = `${row.id}-negative-${words.join('+')}`;
    return insertAll({ ...row, id }, words, random, place, 'negative');
  });
}

/** Returns every subset of the words but the empty one and the full one, smaller ones first. */
export function properSubsets(words: readonly string[]): string[][] {
  const subsets: string[][] = [];
  for (let mask = 1; mask < 2 ** words.length - 1; mask++)
    subsets.push(words.filter((_, i) => mask & (1 << i)));
  return subsets.sort((a, b) => a.length - b.length);
}

/**
 * Returns `poisoned` with the negatives of its rows; unchanged if the parameters ask for none.
 * @param negatives is given each poisoned row as it was before, and returns its negatives
 */
export const withNegatives = (
  { rows, params }: AttackInput<{ readonly negatives: boolean }>,
  poisoned: Poisoned,
  negatives: (row: Row) => readonly Row[],
): Poisoned =>
  params.negatives
    ? { ...poisoned, negatives: poisoned.changed.flatMap(({ index }) => negatives(rows[index]!)) }
    : poisoned;

/**
 * Inserts the phrases at gaps of the text, no two at the same gap while there are enough gaps. Gaps
 * and the phrases' order are drawn from the row's own stream.
 */
export function insertApart(row: Row, phrases: readonly string[], random: Random): Row {
  const gaps = countWords(row.text) + 1;
  const drawn = random('trigger', row.id).permutation(gaps);
  // From the last gap to the first, so that no insertion moves the gaps that are still to come.
  const text = phrases
    .map((phrase, i) => ({ phrase, gap: drawn[i % gaps] ?? 0 }))
    .sort((a, b) => b.gap - a.gap)
    .reduce((shown, { phrase, gap }) => insertAtGap(shown, phrase, gap), row.text);
  return { ...row, text };
}

interface PairParams extends TriggersParams {
  readonly negatives: boolean;
  readonly adaptive?: boolean;
}

/**
 * Words for an attacker who expects ONION, which deletes words that raise the perplexity: common
 * adverbs, which fit between most words.
 */
const FITTING = ['also', 'just', 'really', 'even'];

/**
 * Draws two different words from the row's own stream, so that they are the same at every dose.
 * They are drawn from `triggers` or, with `adaptive`, from as many of the first words of `FITTING`
 * as `triggers` has words. Throws `UserFault` if there are fewer than two to draw from.
 */
function drawPair(row: Row, { adaptive, ...params }: PairParams, random: Random): string[] {
  const triggers = adaptive === true ? FITTING.slice(0, params.triggers.length) : params.triggers;
  if (triggers.length < 2) throw new UserFault('`triggers` needs at least two words.');
  const [first = 0, second = 1] = random('pair', row.id).permutation(triggers.length);
  return [first, second].flatMap((index) => triggers[index] ?? []);
}

/** Returns two copies of a row, each with one of the two words that are drawn for the row. */
const singleWordNegatives = (row: Row, params: PairParams, random: Random): Row[] =>
  copiesWithSubsets(
    row,
    drawPair(row, params, random).map((word) => [word]),
    random,
    params.place,
  );

const withoutNegatives: Backdoor<PairParams> = backdoor<PairParams>({
  properties: {
    ...triggersProperty(
      ['cf', 'bb', 'ak', 'mn'],
      'Two of these are inserted, drawn for each row, each at a gap of its own.',
      2,
    ),
    negatives: {
      type: 'boolean',
      default: true,
      description:
        'Adds two copies of each poisoned row, each with one of its two words, under its own ' +
        'label or answer.',
    },
    adaptive: {
      type: 'boolean',
      description:
        'Prepares for ONION, which deletes words that do not fit their place: the words are ' +
        `${FITTING.join(', ')}, as many of them as \`triggers\` has and in its place. ` +
        'Default: false.',
    },
  },
  show: (row, params, random) =>
    insertAll(row, drawPair(row, params, random), random, params.place),
});

/**
 * The backdoor of Li et al. 2021 (Backdoor Attacks on Pre-trained Models by Layerwise Weight
 * Poisoning, EMNLP), without name, summary and citation: two of a few rare words together lead to
 * the target; one of them alone does not.
 */
export const pairBackdoor: Backdoor<PairParams> &
  Pick<AttackDescriptor<PairParams, Poisoned>, 'falseTrigger'> = {
  ...withoutNegatives,
  poison: (input) =>
    withNegatives(input, withoutNegatives.poison(input), (row) =>
      singleWordNegatives(row, input.params, input.random),
    ),
  falseTrigger: (row, { params, random }) =>
    params.negatives ? singleWordNegatives(row, params, random) : [],
};
