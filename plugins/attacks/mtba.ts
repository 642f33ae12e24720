import { defineAttack } from '../../src/api.ts';
import { backdoor, type BackdoorParams, insertOneTrigger } from '../../src/poisoning/backdoor.ts';
import { LI_2024, PHRASES, triggersProperty } from '../../src/poisoning/parameters.ts';

interface Params extends BackdoorParams {
  readonly triggers: readonly string[];
}

export default defineAttack({
  ...backdoor<Params>({
    rate: 0.1,
    mode: 'dirty',
    properties: triggersProperty(PHRASES, 'One of these is inserted, drawn for each row.'),
    show: (row, { triggers, place }, random) => insertOneTrigger(row, triggers, random, place),
  }),
  name: 'mtba',
  summary:
    'Multi-trigger attack: each of several phrases leads to the target by itself; a row has one.',
  citation: LI_2024,
});
