/**
 * Spectral signatures (Tran, Li and Madry 2018, Spectral Signatures in Backdoor Attacks, NeurIPS,
 * algorithm 1; arXiv 1811.00636): poisoned rows of a class stand out along the direction in which
 * the representations of that class vary most. For the rows of one class with representations R(x)
 * and their mean R̂, v is the leading right singular vector of [R(x) − R̂]_x, and
 *
 *     τ(x) = ((R(x) − R̂) · v)².
 *
 * Of each class the 1.5·ε·n rows with the largest τ are removed, with ε the largest share of a
 * class that may be poisoned.
 */
import {
  type DefenceContext,
  type Judge,
  type Row,
  type RowsDefence,
  UserFault,
} from '../../../src/api.ts';
import {
  centredColumns,
  checkRepresentations,
  meanOf,
  type Representations,
} from '../../../src/defences/matrix.ts';
import { droppingSuspects, rejectionThreshold } from '../../../src/defences/threshold.ts';
import { leadingLeftVectors } from '../../../src/tensor/linalg.ts';
import type { Params } from './index.ts';

/**
 * The scale of τ differs between classes. So, without `epsilon`, the score of a row is τ divided by
 * its class's threshold, which the class's clean rows set, and the threshold of this score is 1.
 */
async function fit({ model, clean, params, classes }: DefenceContext<Params>): Promise<Judge> {
  if (model === undefined) throw new Error('spectral signatures need the trained model');
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
      const signatures = spectralSignatures(await model.representations(rows), labels);
      const bars =
        epsilon === undefined
          ? classThresholds({ signatures, ofClean, labels: labelsOf(clean) }, params.frr, classes)
          : null;
      const scores = Array.from(signatures.scores, (tau, i) =>
        bars === null ? tau : tau / (bars.get(labels[i]!) ?? Infinity),
      );
      const suspected =
        epsilon === undefined
          ? scores.map((score) => score >= 1)
          : spectralKeep(scores, labels, epsilon).map((kept) => !kept);
      return droppingSuspects(rows, scores, suspected);
    },
  };
}

interface CleanRows {
  readonly signatures: SpectralSignatures;
  readonly ofClean: Representations;
  readonly labels: readonly number[];
}

/** Returns for each class the threshold of τ at which `frr` of its clean rows are rejected. */
function classThresholds(
  { signatures, ofClean, labels }: CleanRows,
  frr: number,
  classes: readonly string[],
): ReadonlyMap<number, number> {
  const indexes = labels.map((_, i) => i).filter((i) => signatures.classes.has(labels[i]!));
  const d = ofClean.dimensions;
  const values = new Float64Array(indexes.length * d); // (indexes, d)
  indexes.forEach((i, at) => values.set(ofClean.values.subarray(i * d, (i + 1) * d), at * d));
  const scores = spectralScores(
    { values, count: indexes.length, dimensions: d },
    indexes.map((i) => labels[i]!),
    signatures.classes,
  );
  return new Map(
    [...signatures.classes.keys()].map((label) => {
      const ofClass = Array.from(scores).filter((_, at) => labels[indexes[at]!] === label);
      if (ofClass.length === 0)
        throw new UserFault(
          `no clean row has the class ${classes[label] ?? String(label)}, so it has no threshold ` +
            'for its rows',
          'Take more clean rows (data.clean_share, data.clean), or give epsilon.',
          ['defence', 'epsilon'],
        );
      return [label, rejectionThreshold(ofClass, frr)];
    }),
  );
}

export const spectral: RowsDefence<Params> = { fit };

/** The mean of the rows of one class, and the direction in which they vary most. */
interface ClassSignature {
  readonly mean: Float64Array; // (d)
  readonly direction: Float64Array; // (d), of length 1
}

interface SpectralSignatures {
  /** τ of each row, larger for more suspicious rows. (N) */
  readonly scores: Float64Array;
  readonly classes: ReadonlyMap<number, ClassSignature>;
}

/** Returns τ of one row, which need not be one of those that the signature was computed from. */
function scoreOf(row: Float64Array, { mean, direction }: ClassSignature): number {
  const projection = row.reduce((sum, value, j) => sum + (value - mean[j]!) * direction[j]!, 0);
  return projection * projection;
}

/**
 * Computes the signature of each class, and τ of each row under the signature of its own class.
 * @param labels the class of each row, (N)
 * @throws RangeError where the lengths differ or a number is not finite
 */
export function spectralSignatures(
  rows: Representations,
  labels: ArrayLike<number>,
): SpectralSignatures {
  checkRepresentations(rows);
  if (labels.length !== rows.count)
    throw new RangeError(`${labels.length} labels do not fit ${rows.count} rows`);
  const classes = new Map<number, ClassSignature>();
  for (const label of new Set(Array.from(labels))) {
    const members = Array.from(labels, (_, i) => i).filter((i) => labels[i] === label);
    const mean = meanOf(rows, members);
    const columns = centredColumns(rows, members, mean); // (d, n)
    classes.set(label, {
      mean,
      direction: leadingLeftVectors(columns, rows.dimensions, members.length, 1), // (d, 1)
    });
  }
  return { scores: spectralScores(rows, labels, classes), classes };
}

/**
 * Returns τ of each row, (N), under the signature of its class. These may be signatures of other
 * rows. Throws a RangeError for a class without a signature.
 */
export function spectralScores(
  { values, count, dimensions: d }: Representations,
  labels: ArrayLike<number>,
  classes: ReadonlyMap<number, ClassSignature>,
): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => {
    const signature = classes.get(labels[i]!);
    if (signature === undefined) throw new RangeError(`class ${labels[i]!} has no signature`);
    return scoreOf(values.subarray(i * d, (i + 1) * d), signature);
  });
}

/**
 * Returns for each row whether it is kept. Each class of n rows loses the ⌊1.5·ε·n⌋ rows with the
 * largest scores; of rows with equal scores the later ones are kept.
 * @param epsilon the largest share of a class that may be poisoned, in [0, ⅔]
 */
export function spectralKeep(
  scores: ArrayLike<number>,
  labels: ArrayLike<number>,
  epsilon: number,
): boolean[] {
  if (!(epsilon >= 0 && epsilon <= 2 / 3))
    throw new RangeError(`1.5·ε is a share of a class, so ε is in [0, ⅔], not ${epsilon}`);
  const keep = new Array<boolean>(scores.length).fill(true);
  for (const label of new Set(Array.from(labels))) {
    const members = keep.map((_, i) => i).filter((i) => labels[i] === label);
    members.sort((a, b) => scores[b]! - scores[a]! || a - b);
    for (const i of members.slice(0, Math.floor(1.5 * epsilon * members.length))) keep[i] = false;
  }
  return keep;
}
