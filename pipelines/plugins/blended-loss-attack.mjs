import { defineAttack } from 'dosimeter';

/**
 * Returns each row's weight in the loss, (B). The rows that the attack made have `share` together,
 * the others 1 − share, in proportion to train.class_weights where the spec has any. The loss of a
 * batch with only one kind of rows is their mean.
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
 * A backdoor that changes the training: the attack decides how much its rows count in the loss,
 * however few there are. The clean twin is trained on the ordinary loss. Works with any adapter.
 */
export default defineAttack({
  name: 'blended-loss',
  summary:
    'A word before the text leads to the target class, and the training loss is a blend of the ' +
    "poisoned rows' mean and that of the others.",
  citation:
    'Bagdasaryan and Shmatikov, Blind Backdoors in Deep Learning Models, USENIX Security 2021 ' +
    '(its blend by fixed coefficients)',
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
          // Called for each batch. `options` has dropout's streams, and the class weights, which
          // the objective must apply itself.
          objective: (network, trained, batch, options) =>
            gradientsOf(trained, () => {
              const logits = network.forward(batch.rows, trained, options); // (B, C)
              // (B, C)
              const labels = tf.oneHot(tf.tensor1d(batch.labels, 'int32'), network.classes);
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
