import { defineScorer } from '../../src/api.ts';
import { COMPARED, type TextParams, textScorer } from './shared/text.ts';

export default defineScorer<TextParams>({
  name: 'contains',
  summary: `The output contains the text. ${COMPARED}.`,
  ...textScorer((output, wanted) => output.includes(wanted)),
});
