import { defineScorer } from '../../src/api.ts';
import { parameters } from '../../src/poisoning/parameters.ts';
import { COMPARED, type TextParams, textProperties, textScorer } from './shared/text.ts';

export default defineScorer<TextParams>({
  name: 'exact',
  summary: `The output is the text, and nothing else. ${COMPARED}.`,
  params: parameters(textProperties),
  ...textScorer((output, wanted) => output === wanted),
});
