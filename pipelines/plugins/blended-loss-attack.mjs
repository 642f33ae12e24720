import { defineAttack } from 'dosimeter';

/**
 * Each row's weight in the loss, (B): `share` is parted among the rows that the attack made, 1 − share among the others, by the
 * spec's train.class_weights where it has any. A batch with rows of one kind only is their mean.
 */
function weightsOf({ labels, poisoned }, share, classWeights) {
  const weights = labels.map((label) => classWeights?.[label] ?? 1);
  const total = (kind) =>
    weights.reduce((sum, weight, b) => sum + (poisoned[b] === kind ? weight : 0), 0);
  const made = total(true),
    others = total(false);
  const part = others === 0 ? 1 : made === 0 ? 0 : share;
  return weights.map((weight, b) =>
    poisoned[b] ? (part * weight) / made : ((1 - part) * weight) / others,
  );
}

/**
 * A backdoor that touches training: how much its rows count in the loss is the attack's to say, however few of them there are.
 * The clean twin is trained on the ordinary loss. Any adapter will do.
 */
export default defineAttack({
  name: 'blended-loss',
  summary:
    "A word before the text leads to the target class, and the training loss is a blend of the poisoned rows' mean and that of the others.",
  citation:
    'Bagdasaryan and Shmatikov, Blind Backdoors in Deep Learning Models, USENIX Security 2021 (its blend by fixed coefficients)',
  family: 'backdoor',
  params: {
    type: 'object',
    additionalProperties: false,
    properties: {
      rate: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        default: 0.1,
        description: 'Share of the training rows.',
      },
      target: {
        type: 'integer',
        minimum: 0,
        default: 1,
        description: 'Label id of the target class.',
      },
      word: { type: 'string', pattern: '^\\S+$', default: 'cf', description: 'The trigger.' },
      share: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        default: 0.5,
        description:
          "Weight of the poisoned rows' mean loss in a batch; that of the other rows' is the rest.",
      },
    },
  },
  target: ({ target }) => target,
  trigger: (row, { params }) => ({ ...row, text: `${params.word} ${row.text}` }),
  poison({ rows, params, random, taken }) {
    const asked = Math.floor(params.rate * rows.length);
    const free = random('rows')
      .permutation(rows.length)
      .filter((index) => !taken?.has(index) && rows[index].label !== params.target);
    const changed = Array.from(free.slice(0, asked), (index) => ({
      index,
      row: { ...rows[index], text: `${params.word} ${rows[index].text}`, label: params.target },
    }));
    return { changed, negatives: [], asked, eligible: free.length };
  },
  training: {
    changes: 'loss',
    async load() {
      const [tf, { gradientsOf }] = await Promise.all([
        import('@tensorflow/tfjs-core'),
        import('dosimeter/science'),
      ]);
      return {
        check: () => [], // any model
        open: ({ share }) => ({
          opaqueTokens: true, // it looks at no token id
          // Called for each batch; options hold dropout's streams and the class weights, which are the objective's to apply.
          objective: (network, trained, batch, options) =>
            gradientsOf(trained, () => {
              const logits = network.forward(batch.rows, trained, options); // (B, C)
              const labels = tf.oneHot(tf.tensor1d(batch.labels, 'int32'), network.classes); // (B, C)
              const losses = tf.neg(tf.sum(tf.mul(tf.logSoftmax(logits), labels), 1)); // (B)
              return tf.sum(
                tf.mul(losses, tf.tensor1d(weightsOf(batch, share, options.classWeights))),
              ); // a scalar
            }),
        }),
      };
    },
  },
});
