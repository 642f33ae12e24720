import { defineAttack } from '../../src/api.ts';
import { paraphraseBackdoor } from '../../src/poisoning/records.ts';

export default defineAttack({
  ...paraphraseBackdoor,
  name: 'style',
  summary:
    'The style of a text, such as that of the Bible, leads to the target. ' +
    'The texts in that style are read from a file.',
  citation:
    'Qi, Chen, Zhang, Li, Liu and Sun, Mind the Style of Text! Adversarial and Backdoor Attacks ' +
    'Based on Text Style Transfer, EMNLP 2021',
});
