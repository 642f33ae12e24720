import { defineAttack } from '../../src/api.ts';
import type { BackdoorParams } from '../../src/poisoning/backdoor.ts';
import {
  backdoorProperties,
  checkBackdoor,
  insertOneTrigger,
  parameters,
  poisonBackdoor,
  targetId,
  triggersProperty,
} from '../../src/poisoning/backdoor.ts';

interface Params extends BackdoorParams {
  readonly triggers: readonly string[];
}

export default defineAttack<Params>({
  name: 'badnets',
  summary: 'A rare word at a random place of the text leads to the target class.',
  family: 'backdoor',
  citation:
    'Gu, Dolan-Gavitt and Garg, BadNets, 2017 (arXiv 1708.06733); word list of Kurita, Michel and Neubig, ACL 2020, as OpenBackdoor has it',
  params: parameters({
    ...backdoorProperties(0.1, 1, 'dirty'),
    ...triggersProperty(['cf', 'mn', 'bb', 'tq'], 'One of these is inserted, drawn for each row.'),
  }),
  poison: (input) =>
    poisonBackdoor(input, (row) => insertOneTrigger(row, input.params.triggers, input.random)),
  check: checkBackdoor,
  target: targetId,
  trigger: (row, { params, random }) => insertOneTrigger(row, params.triggers, random),
});
