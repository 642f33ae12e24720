import { defineDefence } from '../../../src/api.ts';
import { integerFrom } from '../../../src/poisoning/parameters.ts';

export interface Params {
  readonly components: number;
  readonly min_cluster_size: number;
  readonly min_samples: number;
}

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
      components: integerFrom(1, {
        default: 10,
        description: 'The number of principal components in which rows are clustered.',
      }),
      min_cluster_size: integerFrom(2, {
        default: 10,
        description:
          'The smallest number of rows in a cluster (HDBSCAN). A class with fewer than twice as ' +
          'many rows, or without clusters, is kept whole.',
      }),
      min_samples: integerFrom(1, {
        default: 1,
        description:
          "HDBSCAN's m: the core distance of a row is that to its m-th nearest row, itself the " +
          'first. The larger m is, the more rows belong to no cluster and are dropped. A class ' +
          'with fewer than m rows is kept whole.',
      }),
    },
  },
  rows: {
    needs: ['model'],
    torch: () => true,
    load: async () => (await import('./judge.ts')).cube,
  },
});
