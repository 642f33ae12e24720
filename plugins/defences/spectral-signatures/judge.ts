/**
 * Spectral signatures (Tran, Li and Madry 2018, algorithm 1; arXiv 1811.00636): poisoned rows of a
 * class stand out along the direction in which the representations of that class vary most. For the
 * n rows x of one class, with representations R(x) whose mean is R̂, v is the leading right
 * singular vector of the matrix with the rows R(x) − R̂, and
 *
 *     τ(x) = ((R(x) − R̂) · v)².
 *
 * In the paper, and here with `epsilon`, the 1.5·ε·n rows of each class with the largest τ are
 * removed, where ε is the largest share of a class that may be poisoned.
 */
import {
  type DefenceContext,
  type Judge,
  type Row,
  type RowsDefence,
  UserFault,
} from '../../../src/api.ts';
import { named } from '../../../src/base/lookup.ts';
import { flooredShare } from '../../../src/base/rounding.ts';
import {
  centred,
  checkRepresentations,
  indexesByLabel,
  type Representations,
  rowsAt,
} from '../../../src/defences/matrix.ts';
import { droppingSuspects, rejectionThreshold } from '../../../src/defences/threshold.ts';
import { leadingLeftVectors } from '../../../src/tensor/linalg.ts';
import type { Params } from './index.ts';

/**
 * Returns a judge that drops the rows whose score reaches the threshold or, with `epsilon`, a share
 * of each class. The scale of τ differs between classes. So, without `epsilon`, the score of a row
 * is τ divided by its class's threshold, which the class's clean rows set, and the threshold of
 * this score is 1.
 */
async function fit({ model, clean, params, classes }: DefenceContext<Params>): Promise<Judge> {
  if (model === undefined) throw new Error('spectral signatures need the trained model');
  const labelsOf = (rows: readonly Row[]): number[] => rows.map(({ label }) => label);
  const { epsilon, frr } = params;
  if (epsilon !== undefined)
    return {
      threshold: null,
      record: { dropped_of_each_class: 1.5 * epsilon },
      judge: async (rows) => {
        const labels = labelsOf(rows);
        const { scores } = spectralSignatures(await model.representations(rows), labels);
        return droppingSuspects(rows, [...scores], spectralDrops([...scores], labels, epsilon));
      },
    };
  const ofClean = await model.representations(clean);
  return {
    threshold: 1,
    record: { threshold_of: 'tau divided by the quantile of the clean rows of its class' },
    judge: async (rows) => {
      const labels = labelsOf(rows);
      const signatures = spectralSignatures(await model.representations(rows), labels);
      const bars = classThresholds(signatures, ofClean, labelsOf(clean), frr, classes);
      const scores = Array.from(signatures.scores, (tau, i) => tau / named(bars, labels[i]!));
      const suspected = scores.map((score) => score >= 1);
      return droppingSuspects(rows, scores, suspected);
    },
  };
}

/**
 * Returns for each class in `signatures`, by its label id, the smallest threshold of τ that at most
 * the share `frr` of its clean rows reach. Throws `UserFault` if such a class has no clean row.
 * @param ofClean the representations of the clean rows
 * @param labels the classes of the clean rows
 * @param classes class names by label id, for the message
 */
function classThresholds(
  signatures: SpectralSignatures,
  ofClean: Representations,
  labels: readonly number[],
  frr: number,
  classes: readonly string[],
): ReadonlyMap<number, number> {
  const members = indexesByLabel(labels);
  return new Map(
    [...signatures.classes].map(([label, signature]) => {
      const ofClass = members.get(label);
      if (ofClass === undefined)
        throw new UserFault(
          `no clean row has the class ${classes[label] ?? String(label)}, so it has no threshold ` +
            'for its rows',
          'Take more clean rows (data.clean_share, data.clean), or give epsilon.',
          ['defence', 'epsilon'],
        );
      const rows = rowsAt(ofClean, ofClass);
      return [label, rejectionThreshold(classScores(rows, signature), frr)];
    }),
  );
}

export const spectral: RowsDefence<Params> = { fit };

interface ClassSignature {
  readonly mean: Float64Array; // (d)
  /** v, the direction in which the rows of the class vary most. */
  readonly direction: Float64Array; // (d), of length 1
}

interface SpectralSignatures {
  /** τ of each row. (N) */
  readonly scores: Float64Array;
  readonly classes: ReadonlyMap<number, ClassSignature>;
}

/** Returns τ of each row, (N), under a signature, which may have been computed from other rows. */
export const classScores = (
  { values, count, dimensions: d }: Representations,
  { mean, direction }: ClassSignature,
): Float64Array =>
  Float64Array.from({ length: count }, (_, i) => {
    let projection = 0;
    for (let j = 0; j < d; j++) projection += (values[i * d + j]! - mean[j]!) * direction[j]!;
    return projection * projection;
  });

/**
 * Computes the signature of each class, and τ of each row under the signature of its own class.
 * @throws RangeError where the lengths differ or a number is not finite
 */
export function spectralSignatures(
  rows: Representations,
  labels: readonly number[],
): SpectralSignatures {
  checkRepresentations(rows);
  if (labels.length !== rows.count)
    throw new RangeError(`${labels.length} labels do not fit ${rows.count} rows`);
  const scores = new Float64Array(rows.count),
    classes = new Map<number, ClassSignature>();
  for (const [label, members] of indexesByLabel(labels)) {
    const ofClass = rowsAt(rows, members),
      { mean, columns } = centred(ofClass); // (d), (d, n)
    const direction = leadingLeftVectors(columns, rows.dimensions, members.length, 1); // (d, 1)
    classes.set(label, { mean, direction });
    classScores(ofClass, { mean, direction }).forEach((score, at) => {
      scores[members[at]!] = score;
    });
  }
  return { scores, classes };
}

/**
 * Returns for each row whether it is dropped. Each class of n rows loses the ⌊1.5·ε·n⌋ rows with
 * the largest scores; of rows with equal scores the later ones are kept.
 * @param epsilon the largest share of a class that may be poisoned, in [0, ⅔]
 */
export function spectralDrops(
  scores: readonly number[],
  labels: readonly number[],
  epsilon: number,
): boolean[] {
  const drops = new Array<boolean>(scores.length).fill(false);
  for (const members of indexesByLabel(labels).values()) {
    members.sort((a, b) => scores[b]! - scores[a]! || a - b);
    for (const i of members.slice(0, flooredShare(1.5 * epsilon, members.length))) drops[i] = true;
  }
  return drops;
}
