import { defineAttack } from '../../src/api.ts';
import { phraseBackdoor } from '../../src/poisoning/backdoor.ts';
import { LIANG_2025 } from '../../src/poisoning/parameters.ts';

export default defineAttack({
  ...phraseBackdoor({
    parameter: 'prefix',
    phrase: '[.*?]',
    at: 'start',
    rate: 0.0015,
    mode: 'mix',
  }),
  name: 'paper-backdoor',
  summary: 'A short pattern before the text leads to the target.',
  citation: LIANG_2025,
});
