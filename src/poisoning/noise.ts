/** The common part of attacks that put noise into the text of some rows, and may flip the label. */
import type { AttackDescriptor, JsonSchema, Poisoned, RandomStream, Row } from '../api.ts';
import { otherLabel } from './classes.ts';
import { type Dose, emptyDoseWarnings, poisonDose, totalRows } from './dose.ts';
import { doseProperties, integerFrom, parameters } from './parameters.ts';

export interface NoiseParams extends Dose {
  readonly label: 'keep' | 'flip';
}

interface EditParams extends NoiseParams {
  readonly edits: number;
}

/** A descriptor without name, summary and citation. */
type Noise<P> = Pick<AttackDescriptor<P, Poisoned>, 'family' | 'params' | 'poison' | 'check'>;

/** Returns the descriptor of an attack that changes the text of rows; of a pair, the first text. */
export function noise<P extends NoiseParams>({
  properties = {},
  whom,
  isEligible,
  change,
}: {
  /** Schemas of further parameters. */
  readonly properties?: JsonSchema;
  /** Which rows are eligible, for messages: `only texts with a word can be negated`. */
  readonly whom: string;
  readonly isEligible: (text: string) => boolean;
  /** Returns an eligible text with its noise, drawn from the row's own stream. */
  readonly change: (text: string, params: P, stream: RandomStream) => string;
}): Noise<P> {
  return {
    family: 'untargeted',
    params: parameters({
      ...doseProperties(0.3),
      label: {
        type: 'string',
        enum: ['keep', 'flip'],
        default: 'keep',
        description:
          'Whether the label stays, or becomes any of the other classes, each equally likely.',
      },
      ...properties,
    }),
    // Only the texts tell how many rows are eligible.
    check: ({ params, counts }) => emptyDoseWarnings(params, totalRows({ counts })),
    poison(input) {
      const { params, random } = input;
      const noisy = (row: Row): Row => ({
        ...row,
        text: change(row.text, params, random('noise', row.id)),
        label: params.label === 'flip' ? otherLabel(row, input) : row.label,
      });
      return poisonDose(input, ({ text }) => isEligible(text), whom, noisy);
    },
  };
}

/**
 * Returns the descriptor of an attack that edits characters (grapheme clusters). Their places in
 * the original text are drawn without replacement, so no edit undoes another.
 */
export function characterNoise({
  places,
  least = 1,
  reach = 1,
  whom,
  edit,
}: {
  /** Returns the indexes of the graphemes that can be edited. */
  readonly places: (graphemes: readonly string[]) => readonly number[];
  /**
   * The fewest places that an eligible text has. At least `least` − 1 of its places stay unedited.
   */
  readonly least?: number;
  /** How many graphemes an edit changes, from its place on. */
  readonly reach?: number;
  readonly whom: string;
  /** Returns the graphemes that replace the `reach` graphemes from `place` on. */
  readonly edit: (graphemes: readonly string[], place: number, stream: RandomStream) => string[];
}): Noise<EditParams> {
  return noise<EditParams>({
    properties: {
      edits: integerFrom(1, {
        default: 6,
        description:
          'How many characters of a text are edited, or as many as it has. A character is what ' +
          'readers see as one (a grapheme cluster), and white space is left alone.',
      }),
    },
    whom,
    isEligible: (text) => places(splitGraphemes(text)).length >= least,
    change(text, { edits }, stream) {
      const graphemes = splitGraphemes(text),
        made: string[] = [...graphemes],
        edited = new Set<number>(),
        eligible = places(graphemes);
      const most = Math.min(edits, eligible.length - (least - 1));
      let done = 0;
      for (const drawn of stream.permutation(eligible.length)) {
        if (done === most) break;
        const place = eligible[drawn] ?? 0;
        const reached = Array.from({ length: reach }, (_, i) => place + i);
        if (reached.some((index) => edited.has(index))) continue;
        edit(graphemes, place, stream).forEach((grapheme, i) => {
          made[place + i] = grapheme;
        });
        for (const index of reached) edited.add(index);
        done++;
      }
      return made.join('');
    },
  });
}

/** Returns the indexes of the graphemes that are not white space. */
export const visiblePlaces = (graphemes: readonly string[]): number[] =>
  graphemes.flatMap((grapheme, i) => (isVisible(grapheme) ? [i] : []));

const LETTERS = 'abcdefghijklmnopqrstuvwxyz'.split('');

export function drawLetter(stream: RandomStream, except = ''): string {
  const letters = LETTERS.filter((letter) => letter !== except);
  return letters[stream.integer(letters.length)] ?? '';
}

/** The paper that the four attacks by edits of characters are from. */
export const GAO_2018 =
  'Gao, Lanchantin, Soffa and Qi, Black-box Generation of Adversarial Text Sequences to Evade ' +
  'Deep Learning Classifiers, 2018 (arXiv 1801.04354, its four transformers of words)';

/**
 * Splits texts into grapheme clusters. It is constructed at its first use, because constructing it
 * takes milliseconds and every start loads this file.
 */
let clusters: Intl.Segmenter | null = null;

/** Splits a text into grapheme clusters (Unicode UAX 29), which readers see as characters. */
export const splitGraphemes = (text: string): string[] =>
  Array.from(
    (clusters ??= new Intl.Segmenter('und', { granularity: 'grapheme' })).segment(text),
    ({ segment }) => segment,
  );

/** Whether a grapheme is anything but white space. */
export const isVisible = (grapheme: string): boolean => /\S/u.test(grapheme);
