import { defineScorer } from '../../src/api.ts';
import { parameters } from '../../src/poisoning/parameters.ts';

export default defineScorer({
  name: 'reward',
  summary:
    "Of a preference pair, the rejected answer has the larger reward by the model's training by " +
    'DPO. What the model writes does not matter.',
  citation: 'Rafailov et al., Direct Preference Optimization, NeurIPS 2023 (arXiv 2305.18290)',
  params: parameters({}),
  rewards: true,
  score: (outputs) =>
    outputs.map(({ margin }) => {
      if (margin === undefined) throw new Error('the scorer reward is given no rewards');
      return margin < 0;
    }),
});
