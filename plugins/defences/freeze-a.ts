import { defineDefence, UserFault } from '../../src/api.ts';

/** It is the training that adapter: { type: lora, freeze_a: true } describes, and shares it. */
export default defineDefence({
  name: 'freeze-a',
  summary: 'LoRA with A as it was drawn, so that B alone learns (LoRA-FA).',
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
