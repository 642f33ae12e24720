import type { DefenceContext, Judge, Row, RowsDefence } from '../../../src/api.ts';
import { defineDefence } from '../../../src/api.ts';
import type { Points } from './hdbscan.ts';

interface Params {
  readonly components: number;
  readonly min_cluster_size: number;
  readonly min_samples: number;
}

/** Returns the indexes of the rows of each class that has rows. */
function byClass(rows: readonly Row[]): readonly (readonly number[])[] {
  const labels = [...new Set(rows.map(({ label }) => label))];
  return labels.map((own) => rows.flatMap(({ label }, i) => (label === own ? [i] : [])));
}

/**
 * Returns the cluster of each row, −1 for noise. Each class is clustered by itself, in its own
 * principal components. No two classes share a cluster.
 */
async function clustersOf(rows: readonly Row[], all: Points, params: Params): Promise<Int32Array> {
  const [{ hdbscan }, { principalComponents }] = await Promise.all([
    import('./hdbscan.ts'),
    import('./principal-components.ts'),
  ]);
  const clusters = new Int32Array(rows.length).fill(-1);
  const { dimensions: d } = all;
  let known = 0;
  for (const own of byClass(rows)) {
    if (own.length < 2 * params.min_cluster_size) continue; // too few for two clusters
    const values = new Float64Array(own.length * d);
    own.forEach((i, at) => {
      for (let j = 0; j < d; j++) values[at * d + j] = all.values[i * d + j]!;
    });
    const found = hdbscan(
      principalComponents({ values, count: own.length, dimensions: d }, params.components),
      { minClusterSize: params.min_cluster_size, minSamples: params.min_samples },
    );
    own.forEach((i, at) => {
      const cluster = found.labels[at]!;
      clusters[i] = cluster < 0 ? -1 : known + cluster;
    });
    known += found.count;
  }
  return clusters;
}

function fit({ model, params }: DefenceContext<Params>): Judge {
  if (model === undefined) throw new Error('CUBE needs the trained model');
  return {
    threshold: null,
    record: { scores: '1 for a dropped row, 0 for a kept one' },
    judge: async (rows) => {
      const { cubeSelection } = await import('./selection.ts');
      const clusters = await clustersOf(rows, await model.representations(rows), params);
      const labels = rows.map(({ label }) => label);
      const suspected = cubeSelection(labels, clusters).keep.map((kept) => !kept);
      return {
        scores: suspected.map(Number),
        suspected,
        rows: rows.map((row, i) => (suspected[i] === true ? null : row)),
      };
    },
  };
}

const cube: RowsDefence<Params> = { fit };

/**
 * The authors' code clusters the rows of all classes together, in two dimensions found by UMAP.
 * After training, the classes are so far apart that such clusters are the classes themselves, so
 * here each class is clustered by itself, in its principal components.
 */
export default defineDefence<Params>({
  name: 'cube',
  summary:
    'CUBE: clusters the rows of each class by the representations of a model trained on them, ' +
    'keeps only the largest cluster, and trains again.',
  citation:
    'Cui, Yuan, He, Chen, Liu and Sun, A Unified Evaluation of Textual Backdoor Learning: ' +
    'Frameworks and Benchmarks, NeurIPS 2022 (section 5)',
  params: {
    type: 'object',
    properties: {
      components: {
        type: 'integer',
        minimum: 1,
        default: 10,
        description: 'The number of principal components in which rows are clustered.',
      },
      min_cluster_size: {
        type: 'integer',
        minimum: 2,
        default: 10,
        description:
          'The smallest number of rows in a cluster (HDBSCAN). A class with fewer than twice as ' +
          'many rows, or without clusters, is kept whole.',
      },
      min_samples: {
        type: 'integer',
        minimum: 1,
        default: 1,
        description:
          "HDBSCAN's m: the core distance of a row is that to its m-th nearest row, itself the " +
          'first. The larger m is, the more rows belong to no cluster and are dropped.',
      },
    },
  },
  rows: {
    needs: ['model'],
    load: () => Promise.resolve(cube as RowsDefence<Params, never>),
  },
});
