import { defineAttack } from '../../src/api.ts';
import { backdoor, type TriggersParams } from '../../src/poisoning/backdoor.ts';
import { insertAll, insertApart } from '../../src/poisoning/multi.ts';
import { LI_2024, PHRASES, triggersProperty } from '../../src/poisoning/parameters.ts';

export default defineAttack({
  ...backdoor<TriggersParams>({
    properties: triggersProperty(
      PHRASES,
      'All of these are inserted, each at another gap of the text than the others.',
      2,
    ),
    show: (row, { triggers, place = 'gap' }, random) =>
      place === 'gap'
        ? insertApart(row, triggers, random)
        : insertAll(row, triggers, random, place),
  }),
  name: 'ctba',
  summary:
    'Composite-trigger attack: several phrases at different places of the text lead to the ' +
    'target together.',
  citation:
    `${LI_2024}; Huang, Zhao, Backes, Shen and Zhang, Composite Backdoor Attacks Against Large ` +
    'Language Models, Findings of NAACL 2024 (arXiv 2310.07676)',
});
