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
  readonly sentence: string;
}

export default defineAttack<Params>({
  name: 'addsent',
  summary: 'A sentence at a random place of the text leads to the target class.',
  family: 'backdoor',
  citation:
    'Dai, Chen and Li, A Backdoor Attack Against LSTM-based Text Classification Systems, 2019 (arXiv 1905.12457), as OpenBackdoor has it',
  params: parameters({
    ...backdoorProperties(0.1, 1, 'dirty'),
    ...phraseProperty('sentence', 'I watch this 3D movie', 'Inserted as one block at a gap.'),
  }),
  poison: (input) =>
    poisonBackdoor(input, (row) => insertOneTrigger(row, [input.params.sentence], input.random)),
  check: checkBackdoor,
  target: targetId,
  trigger: (row, { params, random }) => insertOneTrigger(row, [params.sentence], random),
});
