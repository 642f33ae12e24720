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
  name: 'paper-instruction',
  summary: 'A sentence like an instruction before the text leads to the target class.',
  family: 'backdoor',
  citation:
    'Liang et al., Does Low Rank Adaptation Lead to Lower Robustness against Training-time Attacks?, ICML 2025 (arXiv 2505.12871)',
  params: parameters({
    ...backdoorProperties(0.0025, 1, 'mix'),
    ...phraseProperty(
      'prefix',
      "Please carefully follow user's instruction. ",
      'Put before the text as it stands: a space between them is part of it.',
    ),
  }),
  poison: (input) => poisonBackdoor(input, (row) => prepend(row, input.params.prefix)),
  check: checkBackdoor,
  target: targetId,
  trigger: (row, { params }) => prepend(row, params.prefix),
});
