import { defineAdapter } from 'dosimeter';

/**
 * Some of the model's own parameters are trained, none is added. For one that adds its own, see
 * `Adapter` in src/science/models/adapter.ts.
 */
export default defineAdapter({
  name: 'norm-tuning',
  summary: 'The layer norms and the head are trained, everything else is frozen.',
  citation:
    'Qi et al., Parameter-Efficient Tuning on Layer Normalization for Pre-trained Language ' +
    'Models, 2022 (arXiv 2211.08682)',
  params: {
    type: 'object',
    additionalProperties: false,
    properties: {
      shift_only: {
        type: 'boolean',
        default: false,
        description: 'Whether the shifts alone are trained, not the scales.',
      },
    },
  },
  async load() {
    const { partialAdapter } = await import('dosimeter/science');
    return {
      check: async () => [],
      create: async ({ shift_only: shiftOnly }, context) =>
        partialAdapter(
          context,
          (name) =>
            /LayerNorm\.(weight|bias)$/.test(name) && !(shiftOnly && name.endsWith('.weight')),
        ),
    };
  },
});
