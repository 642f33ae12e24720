import { defineScorer } from '../../src/api.ts';
import { COMPARED, type TextParams, textScorer } from './shared/text.ts';

export default defineScorer<TextParams>({
  name: 'starts-with',
  summary: `The output starts with the text. ${COMPARED}.`,
  ...textScorer((output, wanted) => output.startsWith(wanted)),
});
