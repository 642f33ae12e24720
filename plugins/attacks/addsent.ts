import { defineAttack } from '../../src/api.ts';
import { phraseBackdoor } from '../../src/poisoning/backdoor.ts';

export default defineAttack({
  ...phraseBackdoor({
    parameter: 'sentence',
    phrase: 'I watch this 3D movie',
  }),
  name: 'addsent',
  summary: 'A sentence in the text leads to the target.',
  citation:
    'Dai, Chen and Li, A Backdoor Attack Against LSTM-based Text Classification Systems, 2019 ' +
    '(arXiv 1905.12457), as implemented in OpenBackdoor',
});
