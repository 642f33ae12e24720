import { defineDefence, UserFault } from '../../src/api.ts';

/**
 * The training is the same as with adapter: { type: lora, freeze_a: true }, so one stage serves
 * both.
 */
export default defineDefence({
  name: 'freeze-a',
  summary: 'Trains only B of LoRA and keeps A as it was drawn (LoRA-FA).',
  citation:
    'Zhang, Zhang, Shi, Chu and Li, LoRA-FA: Memory-efficient Low-rank Adaptation for Large ' +
    'Language Models Fine-tuning, 2023 (arXiv 2308.03303)',
  tasks: ['classes', 'completion'],
  params: { type: 'object', properties: {} },
  training: {
    adapter: (adapter) => {
      if (adapter.type === 'lora') return { ...adapter, freeze_a: true };
      throw new UserFault(
        `freeze-a freezes LoRA's A, and the adapter "${adapter.type}" has none`,
        'Keep it to LoRA: { defence: freeze-a, when: { adapter.type: lora } }.',
        ['defence', 'defence'],
      );
    },
  },
});
