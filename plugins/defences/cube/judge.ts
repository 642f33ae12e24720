/**
 * CUBE (Cui, Yuan, He, Chen, Liu and Sun 2022, A Unified Evaluation of Textual Backdoor Learning,
 * NeurIPS Datasets and Benchmarks, section 5; arXiv 2206.08514): poisoned rows form clusters of
 * their own among the representations that a model trained on the poisoned set gives to rows. Of
 * each class only the largest cluster is kept.
 */
import type { DefenceContext, Judge, Row, RowsDefence } from '../../../src/api.ts';
import {
  centredColumns,
  checkRepresentations,
  meanOf,
  type Representations,
} from '../../../src/defences/matrix.ts';
import { droppingSuspects } from '../../../src/defences/threshold.ts';
import { leadingLeftVectors } from '../../../src/tensor/linalg.ts';
import { hdbscan, type Points } from './hdbscan.ts';
import type { Params } from './index.ts';

/** Returns, for each class that occurs, the indexes of its rows. */
function indexesByClass(rows: readonly Row[]): readonly (readonly number[])[] {
  const labels = [...new Set(rows.map(({ label }) => label))];
  return labels.map((own) => rows.flatMap(({ label }, i) => (label === own ? [i] : [])));
}

/**
 * Returns the cluster of each row, −1 for noise. Each class is clustered by itself, in its own
 * principal components. No two classes share a cluster.
 */
function clustersOf(rows: readonly Row[], all: Points, params: Params): Int32Array {
  const clusters = new Int32Array(rows.length).fill(-1);
  const { dimensions: d } = all;
  let clusterCount = 0;
  for (const members of indexesByClass(rows)) {
    if (members.length < 2 * params.min_cluster_size) continue; // too few for two clusters
    const values = new Float64Array(members.length * d); // (members, d)
    members.forEach((i, at) => {
      for (let j = 0; j < d; j++) values[at * d + j] = all.values[i * d + j]!;
    });
    const found = hdbscan(
      principalComponents({ values, count: members.length, dimensions: d }, params.components),
      { minClusterSize: params.min_cluster_size, minSamples: params.min_samples },
    );
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
      const clusters = clustersOf(rows, await model.representations(rows), params);
      const labels = rows.map(({ label }) => label);
      const suspected = cubeSelection(labels, clusters).keep.map((kept) => !kept);
      return droppingSuspects(rows, suspected.map(Number), suspected);
    },
  };
}

export const cube: RowsDefence<Params> = { fit };

interface CubeClass {
  readonly label: number;
  readonly rows: number;
  /** Rows in no cluster. */
  readonly noise: number;
  /** The sizes of the class's clusters, descending; the first is the one that is kept. */
  readonly clusters: readonly number[];
}

interface CubeSelection {
  /** For each row, whether it is kept. */
  readonly keep: readonly boolean[];
  readonly classes: readonly CubeClass[];
}

/**
 * Keeps the largest cluster of each class; of equal ones, the cluster with the smallest number.
 * Rows in no cluster (−1) are dropped with the smaller clusters. A class of noise alone is kept
 * whole, because nothing tells its rows apart. OpenBackdoor instead treats noise as one more
 * cluster, so it keeps the noise if that is most of a class.
 * @param labels the class of each row
 * @param clusters the cluster of each row, −1 for noise
 * @throws RangeError if the lengths differ
 */
export function cubeSelection(
  labels: ArrayLike<number>,
  clusters: ArrayLike<number>,
): CubeSelection {
  if (labels.length !== clusters.length)
    throw new RangeError(`${labels.length} labels do not fit ${clusters.length} rows`);
  const byLabel = new Map<number, Map<number, number>>();
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i]!,
      cluster = clusters[i]!;
    const sizes = byLabel.get(label) ?? new Map<number, number>();
    sizes.set(cluster, (sizes.get(cluster) ?? 0) + 1);
    byLabel.set(label, sizes);
  }
  const kept = new Map<number, number | null>();
  const classes = [...byLabel]
    .sort(([a], [b]) => a - b)
    .map(([label, sizes]) => {
      const real = [...sizes]
        .filter(([cluster]) => cluster >= 0)
        .sort(([a, m], [b, n]) => n - m || a - b);
      kept.set(label, real[0]?.[0] ?? null);
      return {
        label,
        rows: [...sizes.values()].reduce((a, b) => a + b, 0),
        noise: sizes.get(-1) ?? 0,
        clusters: real.map(([, size]) => size),
      };
    });
  return {
    keep: Array.from(labels, (label, i) => {
      const largest = kept.get(label) ?? null;
      return largest === null || clusters[i] === largest;
    }),
    classes,
  };
}

/**
 * Returns rows (N, d) in the coordinates in which they vary most, (N, k) with k = min(components,
 * N, d), because distances in many dimensions are nearly equal: the rows minus their mean, along
 * the k leading right singular vectors of that matrix. The sign of each coordinate is arbitrary.
 */
export function principalComponents(rows: Representations, components: number): Representations {
  checkRepresentations(rows);
  const { count, dimensions: d } = rows,
    all = Array.from({ length: count }, (_, i) => i),
    k = Math.min(components, count, d);
  const columns = centredColumns(rows, all, meanOf(rows, all)); // (d, N)
  const directions = leadingLeftVectors(columns, d, count, k); // (d, k)
  const values = new Float64Array(count * k);
  for (let j = 0; j < d; j++)
    for (let i = 0; i < count; i++)
      for (let c = 0; c < k; c++)
        values[i * k + c]! += columns[j * count + i]! * directions[j * k + c]!;
  return { values, count, dimensions: k };
}
