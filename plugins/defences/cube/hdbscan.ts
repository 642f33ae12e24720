/**
 * HDBSCAN (Campello, Moulavi and Sander 2013, Density-Based Clustering Based on Hierarchical
 * Density Estimates, PAKDD; Campello et al. 2015, ACM TKDD 10; McInnes, Healy and Astels 2017, JOSS
 * 2) finds the clusters that persist over the widest range of densities. Of N points,
 *
 *     core(a) = distance to the m-th nearest point, a itself the first,  m = min_samples
 *     reach(a, b) = max(core(a), core(b), ‖a − b‖)
 *
 * A minimum spanning tree under the distance `reach` gives the hierarchy of single linkage. It is
 * condensed: only splits into parts of at least `min_cluster_size` points make clusters. The
 * clusters are those of scikit-learn's HDBSCAN with Euclidean distances and
 * `cluster_selection_method='eom'`. O(N²·d) time and O(N) memory.
 */
import { checkRepresentations, type Representations } from '../../../src/defences/matrix.ts';

interface HdbscanOptions {
  /** The smallest number of points in a cluster, at least 2. */
  readonly minClusterSize: number;
  /** m: each point counts as its own first nearest point. */
  readonly minSamples: number;
}

/** Writes the distance ‖a − b‖ from point a to every point b into `out`, (N). */
function distancesFrom(
  { values, count, dimensions: d }: Representations,
  a: number,
  out: Float64Array,
): void {
  for (let b = 0; b < count; b++) {
    let sum = 0;
    for (let j = 0; j < d; j++) {
      const difference = values[a * d + j]! - values[b * d + j]!;
      sum += difference * difference;
    }
    out[b] = Math.sqrt(sum);
  }
}

/**
 * Returns the k-th smallest value; Infinity if there are fewer than k.
 * @param nearest (k), overwritten with the k smallest values, ascending
 */
function kthSmallest(values: Float64Array, nearest: Float64Array): number {
  const k = nearest.length;
  nearest.fill(Infinity);
  for (const value of values) {
    if (value >= nearest[k - 1]!) continue;
    let at = k - 1;
    for (; at > 0 && nearest[at - 1]! > value; at--) nearest[at] = nearest[at - 1]!;
    nearest[at] = value;
  }
  return nearest[k - 1]!;
}

/**
 * Returns N − 1 edges, found by Prim's algorithm, whose single linkage is that of a minimum
 * spanning tree. Each edge joins a point to the point found just before it, not to its neighbour in
 * the tree. This does not change the linkage: all points found after this neighbour were reached by
 * edges of at most the same length. Ties, which are frequent, are broken as in scikit-learn.
 */
function spanningTree(points: Representations, core: Float64Array): Merge[] {
  const { count } = points;
  const distances = new Float64Array(count),
    least = new Float64Array(count).fill(Infinity),
    done = new Uint8Array(count);
  const edges: Merge[] = [];
  let current = 0;
  for (let step = 1; step < count; step++) {
    done[current] = 1;
    distancesFrom(points, current, distances);
    let next = -1;
    for (let b = 0; b < count; b++) {
      if (done[b] === 1) continue;
      least[b] = Math.min(least[b]!, Math.max(core[current]!, core[b]!, distances[b]!));
      if (next < 0 || least[b]! < least[next]!) next = b;
    }
    edges.push({ left: current, right: next, distance: least[next]!, size: 2 });
    current = next;
  }
  return edges;
}

/** Turns edges into merges, by ascending distance. The i-th merge, from 0, makes the node N + i. */
function singleLinkage(edges: readonly Merge[], count: number): Merge[] {
  const parent = Int32Array.from({ length: 2 * count - 1 }, (_, i) => i),
    size = new Int32Array(2 * count - 1).fill(1, 0, count);
  /**
   * Returns the largest node made so far that contains a node; the node itself if no merge has
   * joined it.
   */
  const rootOf = (node: number): number => {
    let root = node;
    while (parent[root] !== root) root = parent[root]!;
    return root;
  };
  return [...edges]
    .sort((a, b) => a.distance - b.distance)
    .map(({ left, right, distance }, i) => {
      const [a, b] = [rootOf(left), rootOf(right)],
        node = count + i;
      parent[a] = node;
      parent[b] = node;
      size[node] = size[a]! + size[b]!;
      return { left: a, right: b, distance, size: size[node] };
    });
}

/**
 * Clusters the points. Fewer than two points are noise. Throws a RangeError if they are not finite
 * numbers, or an option does not fit them.
 */
export function hdbscan(
  points: Representations,
  { minClusterSize, minSamples }: HdbscanOptions,
): Clusters {
  const { count } = points;
  checkRepresentations(points);
  if (!Number.isInteger(minClusterSize) || minClusterSize < 2)
    throw new RangeError(`minClusterSize is at least 2, not ${minClusterSize}`);
  if (!Number.isInteger(minSamples) || minSamples < 1 || minSamples > Math.max(1, count))
    throw new RangeError(
      `minSamples is from 1 to the number of points, ${count}, not ${minSamples}`,
    );
  if (count < 2) return { labels: new Int32Array(count).fill(-1), count: 0 };
  const core = new Float64Array(count),
    distances = new Float64Array(count),
    nearest = new Float64Array(minSamples);
  for (let a = 0; a < count; a++) {
    distancesFrom(points, a, distances);
    core[a] = kthSmallest(distances, nearest);
  }
  const merges = singleLinkage(spanningTree(points, core), count);
  return selectClusters(condense(merges, count, minClusterSize), count);
}

interface Merge {
  /** Below N, a point; otherwise N + i, the node that the i-th merge made. */
  readonly left: number;
  readonly right: number;
  readonly distance: number;
  /** The number of points below the two nodes together. */
  readonly size: number;
}

/** A point or a cluster that leaves its parent cluster at the density `lambda`. */
interface Departure {
  readonly parent: number;
  /** Below N, a point; otherwise a cluster. N is the root. */
  readonly child: number;
  readonly lambda: number;
  /** The number of points that leave. */
  readonly size: number;
}

interface Clusters {
  /** The cluster of each point, from 0; −1 is noise. (N) */
  readonly labels: Int32Array;
  readonly count: number;
}

/** Returns the points below a node of the hierarchy of `count` points; of a point, itself. */
function pointsBelow(node: number, merges: readonly Merge[], count: number): number[] {
  if (node < count) return [node];
  const { left, right } = merges[node - count]!;
  return [left, right].flatMap((child) => pointsBelow(child, merges, count));
}

/**
 * Condenses a hierarchy, and returns what leaves each cluster. If one side of a split has fewer
 * than `least` points, its points leave the cluster, which goes on as the other side. If both sides
 * have fewer, all points leave.
 * @param merges N − 1 merges by ascending distance
 */
function condense(merges: readonly Merge[], count: number, least: number): Departure[] {
  const root = 2 * count - 2;
  const sizeOf = (node: number): number => (node < count ? 1 : merges[node - count]!.size);
  const departures: Departure[] = [];
  let next = count + 1;
  // Each open node of the hierarchy is what is left of a cluster of the condensed tree. They are
  // visited breadth first, so that clusters have scikit-learn's numbers.
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

/**
 * Returns the stability of each cluster C of the condensed tree, at the index C − N (Campello et
 * al. 2013, section 5),
 *
 *     S(C) = Σ_{p ∈ C} (λ_p − λ_birth(C)).
 *
 * C lives from the density λ_birth = 1/distance at which it splits off its parent until it is split
 * or its last point leaves; λ_p is the density at which the point p leaves it.
 */
function stabilities(departures: readonly Departure[], count: number): number[] {
  const births = new Map([[count, 0]]);
  for (const { child, lambda } of departures) if (child >= count) births.set(child, lambda);
  const out = new Array<number>(births.size).fill(0);
  for (const { parent, lambda, size } of departures)
    out[parent - count]! += (lambda - births.get(parent)!) * size;
  // A cluster of identical points is born at λ = Infinity, and Infinity − Infinity is NaN.
  return out.map((value) => (Number.isNaN(value) ? 0 : value));
}

/**
 * Returns the set of clusters with the largest total stability among the sets in which no cluster
 * contains another. As in scikit-learn, the root, which has all points, is never in it.
 */
function mostStable(departures: readonly Departure[], count: number): Set<number> {
  const children = new Map<number, number[]>();
  for (const { parent, child } of departures)
    if (child >= count) children.set(parent, [...(children.get(parent) ?? []), child]);
  const stability = stabilities(departures, count);
  const chosen = new Set<number>();
  const unchooseDescendants = (cluster: number): void => {
    for (const child of children.get(cluster) ?? []) {
      chosen.delete(child);
      unchooseDescendants(child);
    }
  };
  // This order is from the leaves to the root, because a child has a larger number than its parent.
  for (let cluster = count + stability.length - 1; cluster > count; cluster--) {
    const inside = children.get(cluster) ?? [];
    const below = inside.reduce((sum, child) => sum + stability[child - count]!, 0);
    if (below > stability[cluster - count]!) stability[cluster - count] = below;
    else {
      unchooseDescendants(cluster);
      chosen.add(cluster);
    }
  }
  return chosen;
}

/**
 * Labels each point by the cluster of `mostStable` that it is in, or as noise if it is in none.
 * These clusters are numbered anew, from 0.
 */
function selectClusters(departures: readonly Departure[], count: number): Clusters {
  const chosen = mostStable(departures, count);
  const numbers = new Map([...chosen].sort((a, b) => a - b).map((cluster, i) => [cluster, i]));
  const parents = new Map<number, number>();
  for (const { parent, child } of departures) if (child >= count) parents.set(child, parent);
  const labels = new Int32Array(count).fill(-1);
  for (const { parent, child } of departures) {
    if (child >= count) continue;
    let cluster: number | undefined = parent;
    while (cluster !== undefined && !chosen.has(cluster)) cluster = parents.get(cluster);
    if (cluster !== undefined) labels[child] = numbers.get(cluster)!;
  }
  return { labels, count: chosen.size };
}
