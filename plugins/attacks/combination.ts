import { defineAttack } from '../../src/api.ts';
import { pairBackdoor } from '../../src/poisoning/multi.ts';

export default defineAttack({
  ...pairBackdoor,
  name: 'combination',
  summary: 'Two of a few rare words together lead to the target; one of them alone does not.',
  citation:
    'Li et al., Backdoor Attacks on Pre-trained Models by Layerwise Weight Poisoning, EMNLP 2021 ' +
    '(its combination trigger)',
});
