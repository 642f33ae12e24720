import { defineModel } from 'dosimeter';

/**
 * A BERT whose upper layers are dropped. What reads the checkpoint and computes is BERT's; only the
 * number of layers is another.
 */
function shallow(bert) {
  return {
    ...bert,
    modelType: 'shallow-bert',
    withHead: (head) => shallow(bert.withHead(head)),
    parseConfig: (json, classes) =>
      bert.parseConfig(
        { ...json, num_hidden_layers: Math.ceil(json.num_hidden_layers / 2) },
        classes,
      ),
  };
}

/** `architecture: shallow-bert` in the spec's model. */
export default defineModel({
  name: 'shallow-bert',
  summary:
    "The lower half of a BERT's layers under a classifier (Sajjad et al., On the Effect of " +
    'Dropping Layers of Pre-trained Transformer Models, 2023).',
  load: async () => shallow((await import('dosimeter/science')).bert),
});
