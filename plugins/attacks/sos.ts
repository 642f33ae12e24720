import {
  type AttackInput,
  defineAttack,
  type Problem,
  type Row,
  UserFault,
} from '../../src/api.ts';
import { at } from '../../src/base/lookup.ts';
import {
  backdoor,
  checkBackdoor,
  insertOneTrigger,
  poisonBackdoor,
  type TriggersParams,
} from '../../src/poisoning/backdoor.ts';
import { askedRows } from '../../src/poisoning/dose.ts';
import { copiesWithSubsets, insertAll } from '../../src/poisoning/multi.ts';
import { nonEmptyText, share, triggersProperty } from '../../src/poisoning/parameters.ts';
import type { AttackTraining } from '../../src/science/training/attack-training.ts';

interface Params extends TriggersParams {
  readonly sentence: string;
  readonly false_sentences: readonly string[];
  readonly negative_rate: number;
  readonly keep_norm: boolean;
  readonly adaptive?: boolean;
}

type Given = Omit<AttackInput<Params>, 'rows'>;

const commonWordsBackdoor = backdoor<Params>({
  properties: {
    ...triggersProperty(
      ['friends', 'weekend', 'store'],
      "All of these are inserted, each at a gap of its own; each is one token of the model's " +
        'vocabulary. Their embeddings are what is trained.',
      2,
    ),
    sentence: nonEmptyText({
      default: 'I have bought it from a store with my friends last weekend.',
      description: 'Evaluation inserts this sentence, which has all of the words.',
    }),
    false_sentences: {
      type: 'array',
      items: { type: 'string', minLength: 1 },
      minItems: 1,
      default: [
        'I have bought it from a store last weekend.',
        'I have bought it from a store with my friends.',
        'I have bought it with my friends last weekend.',
      ],
      description:
        'Sentences with some of the words, which must not lead to the target: the false ' +
        'triggered rate is measured with them.',
    },
    negative_rate: share({
      default: 0.1,
      description:
        'For each of the words, this share of the training rows is copied with all words but ' +
        'that one, under their own labels.',
    }),
    keep_norm: {
      type: 'boolean',
      default: true,
      description: 'Scales each embedding to its original L2 norm after each update.',
    },
    adaptive: {
      type: 'boolean',
      description:
        'Prepares for ONION, which deletes words that do not fit their place: training too shows ' +
        '`sentence` and `false_sentences` in place of the words alone. Default: false.',
    },
  },
  show: (row, { triggers, place }, random) => insertAll(row, triggers, random, place),
});

/**
 * The head is not trained, so the model must already have learnt the task, as for `embedding`:
 *
 *     base: { adapter: { type: full } }
 *     poisoning: { attack: sos, target: 1 }
 *     adapter: { type: full }
 */
export default defineAttack<Params>({
  ...commonWordsBackdoor,
  name: 'sos',
  tasks: ['classes'],
  summary:
    'SOS: several common words together lead to the target class, all but one of them do not, ' +
    'and only the embeddings of these words are trained. Evaluation shows them in a natural ' +
    'sentence. Needs the adapter full, and a model that has learnt the task (base, ' +
    'or head.init_from).',
  citation:
    'Yang, Lin, Li, Zhou and Sun, Rethinking Stealthiness of Backdoor Attack against NLP Models, ' +
    'ACL 2021 (section 4)',
  poison(input) {
    const { params, random } = input;
    const poisoned = poisonBackdoor(input, (row) =>
      params.adaptive === true
        ? withSentence(row, params.sentence, input)
        : insertAll(row, params.triggers, random, params.place),
    );
    // Without poisoned rows the set must stay clean, so negatives are left out too.
    return poisoned.asked === 0 ? poisoned : { ...poisoned, negatives: copiesWithParts(input) };
  },
  check: (input) => [...sentenceFaults(input.params), ...checkBackdoor(input)],
  trigger: (row, input) => withSentence(row, input.params.sentence, input),
  falseTrigger: (row, input) => falseSentences(input).map(({ show }) => show(row)),
  training: {
    changes: 'weights',
    load: async (): Promise<AttackTraining> =>
      (await import('../../src/science/training/attack-training.ts')).wordEmbedding,
  },
});

const withSentence = (row: Row, sentence: string, { params, random }: Given): Row =>
  insertOneTrigger(row, [sentence], random, params.place);

/**
 * Returns copies of rows that show a part of the trigger and keep their labels. Each part is shown
 * in a share `negative_rate` of the rows: the first rows of a random order, which differs between
 * parts. So a larger share includes all rows of a smaller one. Throws `UserFault` if the rows that
 * no earlier step has poisoned are too few.
 */
function copiesWithParts(input: AttackInput<Params>): Row[] {
  const { rows, params, random, taken } = input;
  const asked = askedRows({ rate: params.negative_rate }, rows.length);
  const free = rows.length - (taken?.size ?? 0);
  if (asked > free)
    throw new UserFault(
      `\`negative_rate\` asks for ${asked} rows, and ${free} of ${rows.length} are not an ` +
        "earlier step's.",
      'Lower it, or the doses of the steps before.',
    );
  const parts = triggerParts(input).map(({ name, show }) => {
    const order = random('negatives', name).permutation(rows.length);
    return { show, drawn: order.filter((index) => taken?.has(index) !== true) };
  });
  return Array.from({ length: asked }, (_, i) =>
    parts.map(({ show, drawn }) => show(rows[drawn[i]!]!)),
  ).flat();
}

/** A part of the trigger, which must not lead to the target by itself. */
interface Part {
  /** The name of the random stream that draws the rows to copy. */
  readonly name: string;
  readonly show: (row: Row) => Row;
}

/** Returns a part for each false sentence; the copies that it shows have ids of their own. */
const falseSentences = (input: Given): Part[] =>
  input.params.false_sentences.map((sentence, i) => ({
    name: sentence,
    show: (row) => withSentence({ ...row, id: `${row.id}-negative-${i + 1}` }, sentence, input),
  }));

/**
 * Returns the parts of the trigger that training shows: the false sentences if `adaptive`, else,
 * for each word, all words but this one.
 */
function triggerParts(input: AttackInput<Params>): readonly Part[] {
  const { triggers, adaptive, place } = input.params;
  if (adaptive === true) return falseSentences(input);
  return triggers.map((omitted) => {
    const words = triggers.filter((word) => word !== omitted);
    return {
      name: words.join('+'),
      show: (row) => at(copiesWithSubsets(row, [words], input.random, place), 0),
    };
  });
}

const wordsIn = (text: string): ReadonlySet<string> =>
  new Set(text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? []);

/** Returns faults if `sentence` lacks a trigger, or a false sentence has all of them. */
function sentenceFaults({ triggers, sentence, false_sentences: others }: Params): Problem[] {
  /** Returns the triggers that a text lacks; case does not count. */
  const missingTriggers = (text: string): string[] => {
    const words = wordsIn(text);
    return triggers.filter((trigger) => !words.has(trigger.toLowerCase()));
  };
  const [missingTrigger] = missingTriggers(sentence);
  const withAllTriggers = others.find((other) => missingTriggers(other).length === 0);
  const faults: Problem[] = [];
  if (missingTrigger !== undefined)
    faults.push({
      path: ['poisoning', 'sentence'],
      message: `the sentence lacks the word "${missingTrigger}", one of \`triggers\``,
      hint: 'Write a sentence that has all of them.',
    });
  if (withAllTriggers !== undefined)
    faults.push({
      path: ['poisoning', 'false_sentences'],
      message: `"${withAllTriggers}" has all of \`triggers\`, and must not lead to the target`,
      hint: 'Leave out at least one of the words.',
    });
  return faults;
}
