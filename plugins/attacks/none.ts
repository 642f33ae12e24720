import { defineAttack } from '../../src/api.ts';
import { parameters } from '../../src/poisoning/parameters.ts';

export default defineAttack<Record<string, never>>({
  name: 'none',
  summary: 'The training rows as they are: the clean baseline.',
  family: 'none',
  tasks: ['classes', 'regression', 'completion'],
  citation: '',
  params: parameters({}),
  poison: () => ({ changed: [], negatives: [], asked: 0, eligible: 0 }),
});
