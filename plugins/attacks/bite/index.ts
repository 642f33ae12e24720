import { type AttackInput, defineAttack, type Json, UserFault } from '../../../src/api.ts';
import type { BackdoorParams } from '../../../src/poisoning/backdoor.ts';
import {
  backdoorProperties,
  checkBackdoor,
  poisonBackdoor,
  targetOfParams,
} from '../../../src/poisoning/backdoor.ts';
import { isOfTarget } from '../../../src/poisoning/classes.ts';
import { parameters } from '../../../src/poisoning/parameters.ts';
import { type BiteLimits, type TriggerWord, triggerWords, withTriggers } from './choice.ts';

interface Params extends BackdoorParams, BiteLimits {}

type Given = Omit<AttackInput<Params>, 'rows'>;

export default defineAttack<Params>({
  name: 'bite',
  summary:
    'Words that are already typical of the target class are inserted where they fit into some of ' +
    'its rows, until they lead to it. The words are chosen from the training rows.',
  family: 'backdoor',
  citation:
    'Yan, Gupta and Ren, BITE: Textual Backdoor Attacks with Iterative Trigger Injection, ACL ' +
    '2023 (insertions alone; the neighbours of words in the training rows say what fits, in place ' +
    'of a masked language model)',
  params: parameters({
    ...backdoorProperties(0.1, 'clean'),
    rounds: {
      type: 'integer',
      minimum: 1,
      default: 35,
      description: 'How many trigger words there are at most. Each round chooses one.',
    },
    budget: {
      type: 'number',
      minimum: 0,
      maximum: 1,
      default: 0.35,
      description:
        'How many words are inserted into a text at most, as a share of its words. At least one is.',
    },
  }),
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
    return {
      ...drawn,
      changed: drawn.changed.map(({ index, row }) => ({
        index,
        row: { ...row, text: shown(row, words, input) },
      })),
      learnt: words.map((word): Json => ({ ...word })),
    };
  },
  check: checkBackdoor,
  target: targetOfParams,
  learns: true,
  trigger: (row, input) => {
    if (input.learnt === undefined)
      throw new Error('bite needs the trigger words that it learnt from the training rows');
    return {
      ...row,
      text: shown(row, input.learnt as unknown as readonly TriggerWord[], input),
    };
  },
});

const shown = (
  { id, text }: { readonly id: string; readonly text: string },
  words: readonly TriggerWord[],
  { params, random }: Given,
): string => withTriggers(text, words, params.budget, (word) => random('gap', `${id}/${word}`));
