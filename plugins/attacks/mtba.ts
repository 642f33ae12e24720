import { defineAttack } from '../../src/api.ts';
import { backdoor, insertOneTrigger, type TriggersParams } from '../../src/poisoning/backdoor.ts';
import { LI_2024, PHRASES, triggersProperty } from '../../src/poisoning/parameters.ts';

export default defineAttack({
  ...backdoor<TriggersParams>({
    properties: triggersProperty(PHRASES, 'One of these is inserted, drawn for each row.'),
    show: (row, { triggers, place }, random) => insertOneTrigger(row, triggers, random, place),
  }),
  name: 'mtba',
  summary:
    'Multi-trigger attack: each of several phrases leads to the target by itself; a row has one.',
  citation: LI_2024,
});
