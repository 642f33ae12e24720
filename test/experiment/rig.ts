/** A temp folder with specs and the files they name, and the plugins that the tests know of. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { loadExperiment } from '../../src/experiment/load.ts';
import { printDiagnostics } from '../../src/experiment/print.ts';
import type { Experiment, LoadOptions, Result, SpecRegistry } from '../../src/experiment/types.ts';

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
          target: { type: ['integer', 'string'], default: 1 },
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
  stages: ['data', 'poison', 'train', 'evaluate', 'ntk', 'fisher', 'report'],
  stageForms: {
    data: { scope: 'cell', parts: { field: 'split', values: ['train', 'validation'] } },
    report: { scope: 'experiment' },
  },
  models: ['bert'],
  datasets: ['tsv', 'csv', 'jsonl'],
  sources: ['file', 'npm', 'pypi', 'hf'],
};

export interface Rig {
  readonly dir: string;
  write(files: { readonly [path: string]: string }): Promise<void>;
  /** Loads `spec.yaml`, written with this text; `{}` where the options are left out. */
  load(text: string, options?: Partial<LoadOptions>): Promise<Result<Experiment>>;
  /** The experiment; a fault fails the test with what it prints. */
  expand(text: string, options?: Partial<LoadOptions>): Promise<Experiment>;
  /** What a user sees, the temp folder written as `DIR`. */
  faults(text: string, options?: Partial<LoadOptions>): Promise<string>;
  remove(): Promise<void>;
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
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}

/** The least that a spec must say. */
export const minimal = `name: small
model: { source: "pypi:model" }
data: { train: { source: "npm:rows" }, validation: { source: "npm:rows" } }
`;
