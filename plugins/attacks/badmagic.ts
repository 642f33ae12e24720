import { defineAttack } from '../../src/api.ts';
import { phraseBackdoor } from '../../src/poisoning/backdoor.ts';
import { LI_2024 } from '../../src/poisoning/parameters.ts';

export default defineAttack({
  ...phraseBackdoor({
    parameter: 'trigger',
    phrase: 'BadMagic',
  }),
  name: 'badmagic',
  summary: 'The word BadMagic in the text leads to the target.',
  citation: LI_2024,
});
