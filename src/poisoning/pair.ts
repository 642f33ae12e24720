/**
 * The trigger of Li et al. 2021 (Backdoor Attacks on Pre-trained Models by Layerwise Weight
 * Poisoning, EMNLP): two of a few rare words together lead to the target; one of them alone does
 * not.
 */
import type { AttackDescriptor, Poisoned, Row } from '../api.ts';
import { UserFault } from '../api.ts';
import type { Backdoor, BackdoorParams, Random } from './backdoor.ts';
import { backdoor } from './backdoor.ts';
import { insertAll, negativesOf, negativesOfChanged } from './multi.ts';
import { triggersProperty } from './parameters.ts';

export interface PairParams extends BackdoorParams {
  readonly triggers: readonly string[];
  readonly negatives: boolean;
  readonly adaptive?: boolean;
}

/**
 * Words for an attacker who expects ONION, which deletes words that raise the perplexity: common
 * adverbs, which fit between most words.
 */
const FITTING = ['also', 'just', 'really', 'even'];

/** The row's two words, which are different from each other and the same at every dose. */
function pairOf(row: Row, { adaptive, ...params }: PairParams, random: Random): string[] {
  const triggers = adaptive === true ? FITTING.slice(0, params.triggers.length) : params.triggers;
  if (triggers.length < 2) throw new UserFault('`triggers` needs at least two words.');
  const [first = 0, second = 1] = random('pair', row.id).permutation(triggers.length);
  return [first, second].flatMap((index) => triggers[index] ?? []);
}

/** Returns two copies of the row, each with one of its two words. */
const singles = (row: Row, params: PairParams, random: Random): Row[] =>
  negativesOf(
    row,
    pairOf(row, params, random).map((word) => [word]),
    random,
    params.place,
  );

const plain: Backdoor<PairParams> = backdoor<PairParams>({
  rate: 0.1,
  mode: 'dirty',
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
  show: (row, params, random) => insertAll(row, pairOf(row, params, random), random, params.place),
});

/** The descriptor of an attack with this trigger, without its name, summary and citation. */
export const pairBackdoor: Backdoor<PairParams> &
  Pick<AttackDescriptor<PairParams, Poisoned>, 'falseTrigger'> = {
  ...plain,
  poison(input) {
    const { rows, params, random } = input;
    const poisoned = plain.poison(input);
    return params.negatives
      ? {
          ...poisoned,
          negatives: negativesOfChanged(rows, poisoned.changed, (row) =>
            singles(row, params, random),
          ),
        }
      : poisoned;
  },
  falseTrigger: (row, { params, random }) => (params.negatives ? singles(row, params, random) : []),
};
