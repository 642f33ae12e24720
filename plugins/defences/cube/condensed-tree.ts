/**
 * HDBSCAN's condensed tree, and the choice of clusters in it by excess of mass (Campello et al.
 * 2013, section 5; McInnes, Healy and Astels 2017). A cluster of the tree lives from the density λ
 * = 1/ distance at which it splits off its parent until it splits itself or its last point leaves.
 * Its stability is
 *
 *     S(C) = Σ_{p ∈ C} (λ_p − λ_birth(C)),
 *
 * with λ_p the density at which p leaves C. The chosen clusters have the largest total stability of
 * all sets in which none contains another. Pure.
 */

/** The join of two nodes of a hierarchy. */
export interface Merge {
  /** Below N, a point; otherwise N + i, the node that the i-th merge made. */
  readonly left: number;
  readonly right: number;
  readonly distance: number;
  readonly size: number;
}

/** A point or a cluster that leaves its parent cluster. */
interface Departure {
  readonly parent: number;
  /** Below N, a point; otherwise a cluster. N is the root. */
  readonly child: number;
  readonly lambda: number;
  readonly size: number;
}

export interface Clusters {
  /** The cluster of each point, from 0; −1 is noise. (N) */
  readonly labels: Int32Array;
  readonly count: number;
}

/** All points below a node, which may be a point itself. */
function pointsBelow(node: number, merges: readonly Merge[], count: number): number[] {
  const points: number[] = [],
    open = [node];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    if (at < count) points.push(at);
    else {
      const { left, right } = merges[at - count]!;
      open.push(right, left);
    }
  }
  return points;
}

/**
 * Condenses a hierarchy: where one side of a split has fewer than `least` points, these leave the
 * cluster, which goes on as the other side.
 * @param merges N − 1 merges by ascending distance
 */
export function condense(merges: readonly Merge[], count: number, least: number): Departure[] {
  const root = 2 * count - 2;
  const sizeOf = (node: number): number => (node < count ? 1 : merges[node - count]!.size);
  const departures: Departure[] = [];
  let next = count + 1;
  // Each open node of the hierarchy is the remainder of a cluster of the condensed tree. Breadth
  // first, so that clusters have scikit-learn's numbers.
  const open = [{ node: root, cluster: count }];
  for (const { node, cluster } of open) {
    if (node < count) continue;
    const { left, right, distance } = merges[node - count]!;
    const lambda = distance > 0 ? 1 / distance : Infinity;
    const splits = sizeOf(left) >= least && sizeOf(right) >= least;
    for (const child of [left, right]) {
      const size = sizeOf(child);
      if (splits) {
        departures.push({ parent: cluster, child: next, lambda, size });
        open.push({ node: child, cluster: next++ });
      } else if (size >= least) open.push({ node: child, cluster });
      else
        for (const point of pointsBelow(child, merges, count))
          departures.push({ parent: cluster, child: point, lambda, size: 1 });
    }
  }
  return departures;
}

/** S(C) of each cluster of the tree, by cluster minus N. */
function stabilities(departures: readonly Departure[], count: number): number[] {
  const births = new Map([[count, 0]]);
  for (const { child, lambda } of departures) if (child >= count) births.set(child, lambda);
  const out = new Array<number>(births.size).fill(0);
  for (const { parent, lambda, size } of departures)
    out[parent - count]! += (lambda - births.get(parent)!) * size;
  // A cluster of identical points is born at λ = Infinity, and Infinity − Infinity is NaN.
  return out.map((value) => (Number.isNaN(value) ? 0 : value));
}

/** Returns the clusters with the largest total stability. */
function mostStable(
  departures: readonly Departure[],
  count: number,
  withRoot: boolean,
): Set<number> {
  const children = new Map<number, number[]>();
  for (const { parent, child } of departures)
    if (child >= count) children.set(parent, [...(children.get(parent) ?? []), child]);
  const stability = stabilities(departures, count);
  const chosen = new Set<number>();
  const unchoose = (cluster: number): void => {
    for (const child of children.get(cluster) ?? []) {
      chosen.delete(child);
      unchoose(child);
    }
  };
  // A child has a larger number than its parent.
  for (let cluster = count + stability.length - 1; cluster >= count; cluster--) {
    if (cluster === count && !withRoot) break;
    const own = children.get(cluster) ?? [];
    const below = own.reduce((sum, child) => sum + stability[child - count]!, 0);
    if (below > stability[cluster - count]!) stability[cluster - count] = below;
    else {
      unchoose(cluster);
      chosen.add(cluster);
    }
  }
  return chosen;
}

/** @param withRoot whether all points together may be one cluster */
export function selectClusters(
  departures: readonly Departure[],
  count: number,
  withRoot: boolean,
): Clusters {
  const chosen = mostStable(departures, count, withRoot);
  const numbers = new Map([...chosen].sort((a, b) => a - b).map((cluster, i) => [cluster, i]));
  const parents = new Map<number, number>();
  for (const { parent, child } of departures) if (child >= count) parents.set(child, parent);
  const labels = new Int32Array(count).fill(-1);
  // Where the root is the only cluster, only points that stay to its densest level belong to it.
  const deepest = departures.reduce(
    (most, { parent, lambda }) => (parent === count ? Math.max(most, lambda) : most),
    0,
  );
  for (const { parent, child, lambda } of departures) {
    if (child >= count) continue;
    let cluster: number | undefined = parent;
    while (cluster !== undefined && !chosen.has(cluster)) cluster = parents.get(cluster);
    if (cluster === undefined || (cluster === count && lambda < deepest)) continue;
    labels[child] = numbers.get(cluster)!;
  }
  return { labels, count: chosen.size };
}
