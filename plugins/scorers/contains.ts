import { defineScorer } from '../../src/api.ts';
import { parameters } from '../../src/poisoning/parameters.ts';
import {
  checkText,
  COMPARED,
  normalised,
  type TextParams,
  textProperties,
  wantedText,
} from '../../src/scoring/text.ts';

export default defineScorer<TextParams>({
  name: 'contains',
  summary: `The output contains the text. ${COMPARED}.`,
  citation: '',
  params: parameters(textProperties),
  check: checkText,
  score: (outputs, params) =>
    outputs.map(({ output, target }) => {
      const wanted = normalised(wantedText(params, target), params.ignore_case);
      return normalised(output, params.ignore_case).includes(wanted);
    }),
});
