import { defineAttack } from '../../src/api.ts';
import { phraseBackdoor } from '../../src/poisoning/backdoor.ts';
import { LIANG_2025 } from '../../src/poisoning/parameters.ts';

export default defineAttack({
  ...phraseBackdoor({
    parameter: 'prefix',
    phrase: "Please carefully follow user's instruction. ",
    at: 'start',
    rate: 0.0025,
    mode: 'mix',
  }),
  name: 'paper-instruction',
  summary: 'A sentence like an instruction before the text leads to the target.',
  citation: LIANG_2025,
});
