/**
 * CUBE (Cui et al. 2022, section 5; arXiv 2206.08514): poisoned rows form clusters of their own
 * among the representations that a model trained on the poisoned set gives to rows. Of each class
 * only the largest cluster is kept.
 */
import type { DefenceContext, Judge, RowsDefence } from '../../../src/api.ts';
import {
  centred,
  checkRepresentations,
  indexesByLabel,
  type Representations,
  rowsAt,
} from '../../../src/defences/matrix.ts';
import { droppingSuspects } from '../../../src/defences/threshold.ts';
import { leadingLeftVectors } from '../../../src/tensor/linalg.ts';
import { hdbscan } from './hdbscan.ts';
import type { Params } from './index.ts';

/**
 * Returns the cluster of each row, −1 for noise. Each class is clustered by itself, in its own
 * principal components. The clusters of different classes have different numbers. If a class is too
 * small for two clusters, or has fewer rows than `min_samples`, all its rows are noise. With fewer
 * rows than `min_samples`, the package hdbscan, which the authors use, lowers `min_samples` to
 * their number, and finds no cluster either.
 */
function clusterEachClass(
  labels: readonly number[],
  rows: Representations,
  params: Params,
): Int32Array {
  const clusters = new Int32Array(labels.length).fill(-1);
  let clusterCount = 0;
  for (const members of indexesByLabel(labels).values()) {
    if (members.length < Math.max(2 * params.min_cluster_size, params.min_samples)) continue;
    const found = hdbscan(principalComponents(rowsAt(rows, members), params.components), {
      minClusterSize: params.min_cluster_size,
      minSamples: params.min_samples,
    });
    members.forEach((i, at) => {
      const cluster = found.labels[at]!;
      clusters[i] = cluster < 0 ? -1 : clusterCount + cluster;
    });
    clusterCount += found.count;
  }
  return clusters;
}

function fit({ model, params }: DefenceContext<Params>): Judge {
  if (model === undefined) throw new Error('CUBE needs the trained model');
  return {
    threshold: null,
    record: { scores: '1 for a dropped row, 0 for a kept one' },
    judge: async (rows) => {
      const labels = rows.map(({ label }) => label);
      const clusters = clusterEachClass(labels, await model.representations(rows), params);
      const suspected = outsideLargestCluster(labels, clusters);
      return droppingSuspects(rows, suspected.map(Number), suspected);
    },
  };
}

export const cube: RowsDefence<Params> = { fit };

/**
 * Returns for each row whether it is outside of the largest cluster of its class. Of equally large
 * clusters, the one with the smallest number counts as the largest. Rows in no cluster (−1) are
 * outside. A class that is all noise is kept whole, because nothing tells its rows apart.
 * OpenBackdoor instead treats noise as one more cluster, so it keeps the noise if that is most of a
 * class.
 * @param labels the class of each row
 * @param clusters the cluster of each row, −1 for noise
 */
export function outsideLargestCluster(
  labels: readonly number[],
  clusters: ArrayLike<number>,
): boolean[] {
  const outside = labels.map(() => false);
  for (const members of indexesByLabel(labels).values()) {
    const clustered = members.map((i) => clusters[i]!).filter((cluster) => cluster >= 0);
    const sizes = [...indexesByLabel(clustered)].map(([cluster, { length }]) => [cluster, length]);
    const [largest] = sizes.sort(([a, m], [b, n]) => n! - m! || a! - b!);
    if (largest !== undefined) for (const i of members) outside[i] = clusters[i] !== largest[0];
  }
  return outside;
}

/**
 * Returns the rows, (N, d), in the k = min(components, N, d) coordinates in which they vary most,
 * (N, k), because distances in many dimensions are nearly equal. These are the rows minus their
 * mean, projected on the k leading right singular vectors of the matrix that they form. The sign of
 * each coordinate is arbitrary.
 */
export function principalComponents(rows: Representations, components: number): Representations {
  checkRepresentations(rows);
  const { count, dimensions: d } = rows,
    k = Math.min(components, count, d);
  const { columns } = centred(rows); // (d, N)
  const directions = leadingLeftVectors(columns, d, count, k); // (d, k)
  const values = new Float64Array(count * k);
  for (let j = 0; j < d; j++)
    for (let i = 0; i < count; i++)
      for (let c = 0; c < k; c++)
        values[i * k + c]! += columns[j * count + i]! * directions[j * k + c]!;
  return { values, count, dimensions: k };
}
