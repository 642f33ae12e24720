/** A temporary folder with specs and the files that they name, and plugins for the tests. */
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { loadExperiment } from '../../src/spec/load.ts';
import { printDiagnostics } from '../../src/spec/print.ts';
import type {
  Experiment,
  ExperimentCell,
  LoadOptions,
  Result,
  SpecRegistry,
} from '../../src/spec/types.ts';

const rate = (value: number) => ({
  type: 'number',
  minimum: 0,
  maximum: 1,
  default: value,
  description: 'Share of the rows.',
});

export const registry: SpecRegistry = {
  attacks: [
    { name: 'none', params: { type: 'object', additionalProperties: false, properties: {} } },
    {
      name: 'label-flip',
      params: {
        type: 'object',
        additionalProperties: false,
        properties: {
          rate: rate(0.3),
          count: { type: 'integer', minimum: 0 },
          map: {
            type: 'object',
            additionalProperties: { type: ['integer', 'string'] },
            minProperties: 1,
          },
        },
        not: { required: ['rate', 'count'] },
      },
    },
    {
      name: 'badnets',
      params: {
        type: 'object',
        additionalProperties: false,
        properties: {
          rate: rate(0.1),
          target: { type: ['integer', 'string'], textFile: true, default: 1 },
          triggers: {
            type: 'array',
            items: { type: 'string', minLength: 1 },
            minItems: 1,
            default: ['cf', 'mn'],
          },
        },
      },
    },
  ],
  adapters: [
    { name: 'full', params: { type: 'object', additionalProperties: false, properties: {} } },
    {
      name: 'lora',
      params: {
        type: 'object',
        additionalProperties: false,
        properties: {
          rank: { type: 'integer', minimum: 1, default: 8 },
          alpha: { anyOf: [{ type: 'number', exclusiveMinimum: 0 }, { const: 'r' }], default: 16 },
          targets: {
            anyOf: [
              { const: 'all-linear' },
              { type: 'array', items: { type: 'string' }, minItems: 1, uniqueItems: true },
            ],
            default: 'all-linear',
          },
          init: {
            type: 'object',
            additionalProperties: false,
            default: {},
            properties: {
              distribution: { enum: ['uniform', 'normal'], default: 'uniform' },
              variance: { type: ['number', 'string'], default: '1/(3d)' },
            },
          },
          rslora: { type: 'boolean', default: false },
          init_from: { type: 'string', description: 'A PEFT adapter folder.' },
        },
      },
    },
  ],
  scorers: [
    {
      name: 'exact',
      params: {
        type: 'object',
        additionalProperties: false,
        properties: {
          text: { type: 'string' },
          ignore_case: { type: 'boolean', default: false },
        },
      },
    },
    {
      name: 'command',
      params: {
        type: 'object',
        additionalProperties: false,
        properties: {
          command: { type: 'array', items: { type: 'string' } },
          files: { type: 'array', items: { type: 'string' }, format: 'source', default: [] },
        },
        required: ['command'],
      },
    },
  ],
  stages: ['data', 'poison', 'train', 'evaluate', 'ntk', 'fisher', 'report'],
  stageForms: {
    data: { scope: 'cell', parts: { field: 'split', values: ['train', 'validation'] } },
    report: { scope: 'experiment' },
  },
  metrics: ['evaluate.accuracy', 'evaluate.asr', 'evaluate.majority_share', 'fisher.bits'],
  models: ['bert'],
  datasets: ['tsv', 'csv', 'jsonl'],
  sources: ['file', 'npm', 'pypi', 'hf'],
};

export interface Rig {
  readonly dir: string;
  write(files: { readonly [path: string]: string }): Promise<void>;
  /** Writes `spec.yaml` and loads it. */
  load(text: string, options?: Partial<LoadOptions>): Promise<Result<Experiment>>;
  /** As `load`, but throws what is printed if there are faults. */
  expand(text: string, options?: Partial<LoadOptions>): Promise<Experiment>;
  /** The printed faults, with `DIR` in place of the temporary folder. */
  faults(text: string, options?: Partial<LoadOptions>): Promise<string>;
}

/** The first cell. Throws if there is none. */
export const first = (cells: readonly ExperimentCell[]): ExperimentCell => cellAt(cells, 0);
/** The last cell. Throws if there is none. */
export const last = (cells: readonly ExperimentCell[]): ExperimentCell => cellAt(cells, -1);

/** @param index counts from the end if it is negative */
export function cellAt(cells: readonly ExperimentCell[], index: number): ExperimentCell {
  const cell = cells.at(index);
  if (cell === undefined) throw new Error(`there is no cell ${index} of ${cells.length}`);
  return cell;
}

export async function createRig(): Promise<Rig> {
  const dir = await mkdtemp(join(tmpdir(), 'dosimeter-spec-'));
  const file = join(dir, 'spec.yaml');
  const write: Rig['write'] = async (files) => {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(dir, path)), { recursive: true });
      await writeFile(join(dir, path), text);
    }
  };
  const load: Rig['load'] = async (text, options = {}) => {
    await write({ 'spec.yaml': text });
    return loadExperiment(file, { registry, env: {}, ...options });
  };
  const shown = (result: Result<Experiment>): string =>
    result.ok ? '' : printDiagnostics(result.diagnostics, { color: false }).replaceAll(dir, 'DIR');
  return {
    dir,
    write,
    load,
    async expand(text, options) {
      const result = await load(text, options);
      if (!result.ok) throw new Error(`unexpected faults:\n${shown(result)}`);
      return result.value;
    },
    faults: async (text, options) => shown(await load(text, options)),
  };
}

/** A spec of its required fields only. */
export const minimal = `name: small
model: { source: "pypi:model" }
data: { train: { source: "npm:rows" }, validation: { source: "npm:rows" } }
`;
