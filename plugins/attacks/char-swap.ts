import { defineAttack } from '../../src/api.ts';
import { characterNoise, GAO_2018, isVisible } from '../../src/poisoning/noise.ts';

export default defineAttack({
  ...characterNoise({
    // For each two neighbouring characters of a word that differ, the index of the first.
    places: (graphemes) =>
      graphemes.flatMap((grapheme, i) => {
        const next = graphemes[i + 1];
        const isPair = next !== undefined && isVisible(grapheme) && isVisible(next);
        return isPair && grapheme !== next ? [i] : [];
      }),
    reach: 2,
    whom: 'only texts with two different neighbours in a word can be changed',
    edit: (graphemes, place) => [graphemes[place + 1] ?? '', graphemes[place] ?? ''],
  }),
  name: 'char-swap',
  summary: 'Swaps neighbouring characters within words; the label is kept or flipped.',
  citation: GAO_2018,
});
