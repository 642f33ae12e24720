/**
 * CUBE (Cui, Yuan, He, Chen, Liu and Sun 2022, A Unified Evaluation of Textual Backdoor Learning,
 * NeurIPS Datasets and Benchmarks, section 5; arXiv 2206.08514): poisoned rows form clusters of
 * their own among the representations that a model trained on the poisoned set gives to rows. Of
 * each class only the largest cluster is kept. Pure.
 */

/** How the rows of one class fell into clusters. */
export interface CubeClass {
  readonly label: number;
  readonly rows: number;
  /** Rows in no cluster. */
  readonly noise: number;
  /** The sizes of the class's clusters, descending; the first is the one that is kept. */
  readonly clusters: readonly number[];
}

export interface CubeSelection {
  /** For each row, whether it is kept. */
  readonly keep: readonly boolean[];
  readonly classes: readonly CubeClass[];
}

/**
 * Keeps the largest cluster of each class, of equal ones that with the smallest number. Rows in no
 * cluster (−1) are dropped with the smaller clusters. Noise is never taken for the largest cluster:
 * a class of which every row is noise has no structure to judge by, and is kept whole. OpenBackdoor
 * instead treats noise as one more cluster, so that it keeps the noise where that is most of a
 * class.
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
