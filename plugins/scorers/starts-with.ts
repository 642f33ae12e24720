import { defineScorer } from '../../src/api.ts';
import { parameters } from '../../src/poisoning/parameters.ts';
import { COMPARED, type TextParams, textProperties, textScorer } from './shared/text.ts';

export default defineScorer<TextParams>({
  name: 'starts-with',
  summary: `The output starts with the text. ${COMPARED}.`,
  params: parameters(textProperties),
  ...textScorer((output, wanted) => output.startsWith(wanted)),
});
