import { defineAttack } from '../../src/api.ts';
import { characterNoise, GAO_2018, visiblePlaces } from '../../src/poisoning/noise.ts';

export default defineAttack({
  ...characterNoise({
    places: visiblePlaces,
    least: 2, // a character remains
    whom: 'only texts of two characters or more can be changed',
    edit: () => [''],
  }),
  name: 'char-delete',
  summary: 'Deletes characters of words; the label is kept or flipped.',
  citation: GAO_2018,
});
