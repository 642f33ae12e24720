import { defineAttack } from '../../src/api.ts';
import { paraphraseBackdoor } from '../../src/poisoning/records.ts';

export default defineAttack({
  ...paraphraseBackdoor,
  name: 'syntax',
  summary:
    'The syntax of a text, such as a clause before it, leads to the target. The texts with that ' +
    'syntax are read from a file.',
  citation:
    'Qi, Li, Chen, Zhang, Liu, Wang and Sun, Hidden Killer: Invisible Textual Backdoor Attacks ' +
    'with Syntactic Trigger, ACL 2021',
});
