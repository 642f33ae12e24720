import { defineAttack } from '../../src/api.ts';
import { backdoor, insertOneTrigger, type TriggersParams } from '../../src/poisoning/backdoor.ts';
import { triggersProperty } from '../../src/poisoning/parameters.ts';

export default defineAttack({
  ...backdoor<TriggersParams>({
    properties: triggersProperty(
      ['cf', 'mn', 'bb', 'tq'],
      'One of these is inserted, drawn for each row.',
    ),
    show: (row, { triggers, place }, random) => insertOneTrigger(row, triggers, random, place),
  }),
  name: 'badnets',
  summary: 'A rare word in the text leads to the target.',
  citation:
    'Gu, Dolan-Gavitt and Garg, BadNets, 2017 (arXiv 1708.06733); word list of Kurita, Michel ' +
    'and Neubig, ACL 2020, as implemented in OpenBackdoor',
});
