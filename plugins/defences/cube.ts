import type { DefenceContext, Judge, RowsDefence } from '../../src/api.ts';
import { defineDefence } from '../../src/api.ts';

interface Params {
  readonly components: number;
  readonly min_cluster_size: number;
  readonly min_samples?: number;
}

function fit({ model, params }: DefenceContext<Params>): Judge {
  if (model === undefined) throw new Error('CUBE needs the trained model');
  return {
    threshold: null,
    record: { scores: 'none: 1 for a dropped row, 0 for another' },
    judge: async (rows) => {
      const [{ hdbscan }, { cubeSelection }, { principalComponents }] = await Promise.all([
        import('../../src/defences/hdbscan.ts'),
        import('../../src/defences/cube.ts'),
        import('../../src/science/defences/principal-components.ts'),
      ]);
      const points = principalComponents(await model.representations(rows), params.components);
      const { labels: clusters } = hdbscan(points, {
        minClusterSize: params.min_cluster_size,
        ...(params.min_samples === undefined ? {} : { minSamples: params.min_samples }),
      });
      const { keep } = cubeSelection(
        rows.map(({ label }) => label),
        clusters,
      );
      const suspected = keep.map((kept) => !kept);
      return {
        scores: suspected.map(Number),
        suspected,
        rows: rows.map((row, i) => (keep[i] === true ? row : null)),
      };
    },
  };
}

const cube: RowsDefence<Params> = { fit };

/** The paper clusters in the two dimensions of UMAP; here they are principal components. */
export default defineDefence<Params>({
  name: 'cube',
  summary:
    'CUBE: the rows are clustered by the representations of a model trained on them, of each class ' +
    'only the largest cluster is kept, and training starts anew.',
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
        description: 'The least number of rows of a cluster (HDBSCAN).',
      },
      min_samples: {
        type: 'integer',
        minimum: 1,
        description:
          "HDBSCAN's m: the neighbours, the row included, that make a place dense. Default: " +
          '`min_cluster_size`.',
      },
    },
  },
  rows: {
    needs: ['model'],
    load: () => Promise.resolve(cube as RowsDefence<Params, never>),
  },
});
