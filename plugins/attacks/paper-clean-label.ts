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
  name: 'paper-clean-label',
  summary: 'A short pattern before texts of the target class, whose label is kept.',
  family: 'backdoor',
  citation:
    'Liang et al., Does Low Rank Adaptation Lead to Lower Robustness against Training-time Attacks?, ICML 2025 (arXiv 2505.12871)',
  params: parameters({
    ...backdoorProperties(0.0025, 1, 'clean'),
    ...phraseProperty(
      'prefix',
      '[.*?]',
      'Put before the text as it stands: a space between them is part of it.',
    ),
  }),
  poison: (input) => poisonBackdoor(input, (row) => prepend(row, input.params.prefix)),
  check: checkBackdoor,
  target: targetId,
  trigger: (row, { params }) => prepend(row, params.prefix),
});
