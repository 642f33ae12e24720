import { defineAttack } from '../../src/api.ts';
import { phraseBackdoor } from '../../src/poisoning/backdoor.ts';
import { LIANG_2025 } from '../../src/poisoning/parameters.ts';

export default defineAttack({
  ...phraseBackdoor({
    parameter: 'prefix',
    phrase: '[.*?]',
    at: 'start',
    rate: 0.0025,
    mode: 'clean',
  }),
  name: 'paper-clean-label',
  summary: 'A short pattern before texts of the target class, which keep their label.',
  citation: LIANG_2025,
});
