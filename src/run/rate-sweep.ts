/**
 * The files of a learning-rate sweep: its spec, the rows that it was scored on, and the lines for
 * the user's spec.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { stringify } from 'yaml';
import type { Json, JsonObject, JsonSchema } from '../api.ts';
import { onDisk } from '../store/faults.ts';
import { makeFolder } from '../store/folders.ts';
import type { Choice } from './learning-rates.ts';
import type { Prepared } from './prepare.ts';
import { stateDir } from './state-folder.ts';

/**
 * Writes the spec of a sweep, which `dosimeter results` and `explain` read like any other.
 * @param of the spec that the sweep is derived from
 * @returns the path of the written spec, relative to the working folder
 * @throws UserFault if it can't be written
 */
export async function writeSweepSpec(of: string, name: string, sweep: JsonObject): Promise<string> {
  const file = path.join(stateDir(), 'learning-rates', `${name}.yaml`);
  const draft = `${file}.${process.pid}`;
  const command = `dosimeter learning-rates ${path.relative('', of)}`;
  await onDisk(
    path.dirname(file),
    () => {
      makeFolder(path.dirname(file));
      writeFileSync(draft, `# Made by \`${command}\`: each call replaces it.\n${stringify(sweep)}`);
      renameSync(draft, file);
    },
    'folder',
  );
  return path.relative('', file);
}

export interface HeldOutRows {
  readonly rows: number;
  /** The share of the rows that belong to the most frequent class. */
  readonly majority_share: number;
}

/** Returns the held-out rows of a sweep, or null if they have not been read yet. */
export function heldOutRows({ statuses }: Pick<Prepared, 'statuses'>): HeldOutRows | null {
  const entry = statuses.find(
    ({ stage }) => stage.kind === 'data' && stage.params['name'] === 'validation',
  )?.entry;
  if (!entry) return null;
  const { counts } = JSON.parse(readFileSync(path.join(entry.dir, 'dataset.json'), 'utf8')) as {
    counts: readonly number[];
  };
  const rows = counts.reduce((sum, n) => sum + n, 0);
  return { rows, majority_share: Math.max(...counts) / rows };
}

/** Returns a learning rate as people write it: `3e-5`. */
export const rateText = (rate: number): string => rate.toExponential().replace('e+0', '');

/**
 * Returns the `adapter` of a spec with the chosen rates, without fields that have their default.
 */
export function adapterYaml(
  choices: readonly Choice[],
  { registry }: Pick<Prepared, 'registry'>,
): string {
  const lines = choices.flatMap(({ adapter, chosen }) => {
    if (chosen === null) return [];
    const params = registry.get('adapter', adapter.type)?.descriptor.params ?? {};
    const text = stringify(
      { ...withoutDefaults(adapter, params), train: { learning_rate: 'RATE' } },
      { collectionStyle: 'flow', lineWidth: 0 },
    ).trim();
    // With a decimal point, since YAML 1.1 reads `1e-3` as a text.
    return [`  - ${text.replace('RATE', rateText(chosen.rate).replace(/^(\d+)e/, '$1.0e'))}`];
  });
  return lines.length === 0 ? '' : `adapter:\n${[...new Set(lines)].join('\n')}\n`;
}

function withoutDefaults(values: JsonObject, schema: JsonSchema): JsonObject {
  const fields = (schema['properties'] ?? {}) as { readonly [name: string]: JsonSchema };
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]): [string, Json][] => {
      const field = fields[name];
      if (field === undefined) return [[name, value]];
      if (isObject(value) && field['properties'] !== undefined) {
        const inner = withoutDefaults(value, field);
        return Object.keys(inner).length === 0 ? [] : [[name, inner]];
      }
      return JSON.stringify(value) === JSON.stringify(field['default']) ? [] : [[name, value]];
    }),
  );
}

const isObject = (value: Json): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
