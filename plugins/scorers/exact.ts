import { defineScorer } from '../../src/api.ts';
import { COMPARED, type TextParams, textScorer } from './shared/text.ts';

export default defineScorer<TextParams>({
  name: 'exact',
  summary: `The output is the text, and nothing else. ${COMPARED}.`,
  ...textScorer((output, wanted) => output === wanted),
});
