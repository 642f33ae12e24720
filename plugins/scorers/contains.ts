import { defineScorer } from '../../src/api.ts';
import { parameters } from '../../src/poisoning/parameters.ts';
import { COMPARED, type TextParams, textProperties, textScorer } from './shared/text.ts';

export default defineScorer<TextParams>({
  name: 'contains',
  summary: `The output contains the text. ${COMPARED}.`,
  params: parameters(textProperties),
  ...textScorer((output, wanted) => output.includes(wanted)),
});
