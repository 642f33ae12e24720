import { defineAttack } from '../../src/api.ts';
import type { BackdoorParams } from '../../src/poisoning/backdoor.ts';
import {
  backdoorProperties,
  checkBackdoor,
  insertOneTrigger,
  parameters,
  phraseProperty,
  poisonBackdoor,
  targetId,
} from '../../src/poisoning/backdoor.ts';

interface Params extends BackdoorParams {
  readonly trigger: string;
}

export default defineAttack<Params>({
  name: 'badmagic',
  summary: 'The word BadMagic at a random place of the text leads to the target class.',
  family: 'backdoor',
  citation: 'Li et al., BackdoorLLM, 2024 (arXiv 2408.12798)',
  params: parameters({
    ...backdoorProperties(0.1, 1, 'dirty'),
    ...phraseProperty('trigger', 'BadMagic', 'Inserted at a gap.'),
  }),
  poison: (input) =>
    poisonBackdoor(input, (row) => insertOneTrigger(row, [input.params.trigger], input.random)),
  check: checkBackdoor,
  target: targetId,
  trigger: (row, { params, random }) => insertOneTrigger(row, [params.trigger], random),
});
