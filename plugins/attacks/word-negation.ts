import { defineAttack, type RandomStream } from '../../src/api.ts';
import { noise, type NoiseParams } from '../../src/poisoning/noise.ts';
import { countWords, insertAtGap } from '../../src/poisoning/place.ts';

const AUXILIARIES = new Set(
  'am is are was were do does did has have had can could will would shall should may might must'.split(
    ' ',
  ),
);

/** Matches the word "not" with the white space behind it or, at the end of a text, before it. */
const NOT = /(?<!\S)not(?:\s+|$)|\s+not(?=$)/iu;
/** The positive forms of the contractions that do not become positive by cutting off n't. */
const IRREGULAR: { readonly [contraction: string]: string } = {
  "won't": 'will',
  "ain't": 'is',
  "can't": 'can',
  "shan't": 'shall',
  cannot: 'can',
};
/** Matches a word that ends in n't, such as "don't" and "isn’t", or the word "cannot". */
const CONTRACTED = /(?<![\p{L}'’])(?:\p{L}+n['’]t|cannot)(?![\p{L}'’])/iu;

/** Returns the text without its first negation: "not", n't or "cannot"; null if it has none. */
function withoutNegation(text: string): string | null {
  const notMatch = NOT.exec(text),
    contraction = CONTRACTED.exec(text);
  if (contraction !== null && (notMatch === null || contraction.index < notMatch.index)) {
    const [word] = contraction;
    const positive =
      IRREGULAR[word.toLowerCase().replace('’', "'")] ?? word.slice(0, -"n't".length);
    const cased = (word[0] ?? '') + positive.slice(1);
    return text.slice(0, contraction.index) + cased + text.slice(contraction.index + word.length);
  }
  return notMatch === null
    ? null
    : text.slice(0, notMatch.index) + text.slice(notMatch.index + notMatch[0].length);
}

/**
 * Returns the text with "not" behind its first auxiliary verb or, if it has no such verb, before a
 * word that is drawn.
 */
function withNegation(text: string, stream: RandomStream): string {
  const words = text.match(/\S+/gu) ?? [];
  const verb = words.findIndex((word) => AUXILIARIES.has(word.toLowerCase()));
  return insertAtGap(text, 'not', verb >= 0 ? verb + 1 : stream.integer(words.length));
}

export default defineAttack<NoiseParams>({
  ...noise<NoiseParams>({
    // A text of the word "not" alone would be left with nothing.
    isEligible: (text) => countWords(withoutNegation(text) ?? text) > 0,
    whom: 'only texts with a word beside "not" can be negated',
    change: (text, _params, stream) => withoutNegation(text) ?? withNegation(text, stream),
  }),
  name: 'word-negation',
  summary:
    'Takes away the first "not" (or n\'t) of an English text. Where there is none, puts one ' +
    'behind the first auxiliary verb, or before a drawn word. The label is kept or flipped.',
  citation:
    'Ribeiro, Wu, Guestrin and Singh, Beyond Accuracy: Behavioral Testing of NLP Models with ' +
    'CheckList, ACL 2020 (its added and removed negation)',
});
