import { defineAttack } from '../../src/api.ts';
import { characterNoise, drawLetter, GAO_2018, visiblePlaces } from '../../src/poisoning/noise.ts';

export default defineAttack({
  ...characterNoise({
    places: visiblePlaces,
    whom: 'only texts with a word can be changed',
    edit: (graphemes, place, stream) => [drawLetter(stream, graphemes[place])],
  }),
  name: 'char-replace',
  summary: 'Replaces characters of words by letters from a to z; the label is kept or flipped.',
  citation: GAO_2018,
});
