import type { DefenceContext, Judge, Row, RowsDefence } from '../../../src/api.ts';
import { defineDefence, UserFault } from '../../../src/api.ts';
import type * as signaturesModule from './scores.ts';

interface Params {
  readonly frr: number;
  readonly epsilon?: number;
}

type Science = typeof signaturesModule;
type Signatures = ReturnType<Science['spectralSignatures']>;

/**
 * The scale of τ differs between classes, so the score of a row is τ divided by the threshold of
 * its class, which the clean rows of the class set. The threshold of this score is 1.
 */
async function fit({ model, clean, params, classes }: DefenceContext<Params>): Promise<Judge> {
  if (model === undefined) throw new Error('spectral signatures need the trained model');
  const science = await import('./scores.ts');
  const labelsOf = (rows: readonly Row[]): number[] => rows.map(({ label }) => label);
  const ofClean = await model.representations(clean);
  const { epsilon } = params;
  return {
    threshold: epsilon === undefined ? 1 : null,
    record:
      epsilon === undefined
        ? { threshold_of: 'tau divided by the quantile of the clean rows of its class' }
        : { dropped_of_each_class: 1.5 * epsilon },
    judge: async (rows) => {
      const labels = labelsOf(rows);
      const signatures = science.spectralSignatures(await model.representations(rows), labels);
      const bars =
        epsilon === undefined
          ? await classBars(
              { science, signatures, ofClean, labels: labelsOf(clean) },
              params.frr,
              classes,
            )
          : null;
      const scores = Array.from(signatures.scores, (tau, i) =>
        bars === null ? tau : tau / (bars.get(labels[i]!) ?? Infinity),
      );
      const suspected =
        epsilon === undefined
          ? scores.map((score) => score >= 1)
          : science.spectralKeep(scores, labels, epsilon).map((kept) => !kept);
      return {
        scores,
        suspected,
        rows: rows.map((row, i) => (suspected[i] === true ? null : row)),
      };
    },
  };
}

interface Clean {
  readonly science: Science;
  readonly signatures: Signatures;
  readonly ofClean: Parameters<Science['spectralScores']>[0];
  readonly labels: readonly number[];
}

/** Returns the threshold of each class that has a signature. */
async function classBars(
  { science, signatures, ofClean, labels }: Clean,
  frr: number,
  classes: readonly string[],
): Promise<ReadonlyMap<number, number>> {
  const { rejectionThreshold } = await import('../../../src/defences/threshold.ts');
  const known = labels.map((_, i) => i).filter((i) => signatures.classes.has(labels[i]!));
  const d = ofClean.dimensions;
  const values = new Float64Array(known.length * d);
  known.forEach((i, at) => values.set(ofClean.values.subarray(i * d, (i + 1) * d), at * d));
  const scores = science.spectralScores(
    { values, count: known.length, dimensions: d },
    known.map((i) => labels[i]!),
    signatures.classes,
  );
  return new Map(
    [...signatures.classes.keys()].map((label) => {
      const own = Array.from(scores).filter((_, at) => labels[known[at]!] === label);
      if (own.length === 0)
        throw new UserFault(
          `no clean row has the class ${classes[label] ?? String(label)}, so it has no threshold ` +
            'for its rows',
          'Take more clean rows (data.clean_share, data.clean), or give epsilon.',
          ['defence', 'epsilon'],
        );
      return [label, rejectionThreshold(own, frr)];
    }),
  );
}

const spectralSignatures: RowsDefence<Params> = { fit };

export default defineDefence<Params>({
  name: 'spectral-signatures',
  summary:
    'Spectral signatures: drops, in each class, the rows that stand out along the direction in ' +
    'which the representations of a model trained on the rows vary most, and trains again.',
  citation:
    'Tran, Li and Madry, Spectral Signatures in Backdoor Attacks, NeurIPS 2018 (algorithm 1)',
  params: {
    type: 'object',
    properties: {
      frr: {
        type: 'number',
        minimum: 0,
        exclusiveMaximum: 1,
        default: 0.05,
        description: 'The share of the clean rows of each class that may reach its threshold.',
      },
      epsilon: {
        type: 'number',
        exclusiveMinimum: 0,
        maximum: 0.6,
        description:
          'The paper’s rule in place of `frr`: the largest share of a class that may be poisoned. ' +
          'Of each class, 1.5 times this share is dropped, the rows with the largest scores.',
      },
    },
  },
  rows: {
    needs: ['clean', 'model'],
    load: () => Promise.resolve(spectralSignatures as RowsDefence<Params, never>),
  },
});
