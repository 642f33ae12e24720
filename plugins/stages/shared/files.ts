/** The files that stages read from their inputs and write into their outputs. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Asset, RunContext } from '../../../src/api.ts';

/** `metrics.json`: a flat object of numbers. */
export type Metrics = Record<string, number>;

/** Returns the folder of an input. Throws if the stage has no input of this name. */
export function inputDir({ inputs }: Pick<RunContext, 'inputs'>, name: string): string {
  const input = inputs[name];
  if (input === undefined) throw new Error(`the stage was not handed its input "${name}"`);
  return input.dir;
}

/** Returns an asset. Throws if the stage has no asset of this name. */
export function assetOf({ assets }: Pick<RunContext, 'assets'>, name: string): Asset {
  const asset = assets[name];
  if (asset === undefined) throw new Error(`the stage was not handed its asset "${name}"`);
  return asset;
}

/** Writes a value as JSON, with `indent` spaces for each level. */
export const writeJson = (dir: string, name: string, value: unknown, indent = 2): Promise<void> =>
  writeFile(join(dir, name), `${JSON.stringify(value, null, indent)}\n`);

/** Writes one JSON document per line. */
export const writeJsonLines = (dir: string, name: string, values: readonly object[]) =>
  writeFile(join(dir, name), values.map((value) => `${JSON.stringify(value)}\n`).join(''));

/** Reads a file that a stage wrote as JSON; the caller knows its form. */
export const readJson = async (dir: string, name: string): Promise<unknown> =>
  JSON.parse(await readFile(join(dir, name), 'utf8'));

export const writeMetrics = (dir: string, metrics: Readonly<Metrics>): Promise<void> =>
  writeJson(dir, 'metrics.json', metrics);

export const readMetrics = async (dir: string): Promise<Metrics> =>
  (await readJson(dir, 'metrics.json')) as Metrics;

/** Returns the record with other names for its fields. */
export const renamed = <T>(
  record: Readonly<Record<string, T>>,
  nameOf: (name: string) => string,
): Record<string, T> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [nameOf(name), value]));

/** Returns the record with a prefix before the names of its fields. */
export const prefixed = <T>(record: Readonly<Record<string, T>>, prefix: string) =>
  renamed(record, (name) => prefix + name);

/** Returns the fields of a record that are numbers, with a prefix before their names. */
export const numbersIn = (record: object, prefix: string): Metrics =>
  Object.fromEntries(
    Object.entries(prefixed(record as Record<string, unknown>, prefix)).filter(
      (field): field is [string, number] => typeof field[1] === 'number',
    ),
  );

/** Returns a text as a field of a CSV file, quoted if RFC 4180 needs it. */
export const csvField = (text: string): string =>
  /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;

/** Returns a number of a `metrics.json`. Throws if it is missing. */
export function metricOf(metrics: Readonly<Metrics>, name: string): number {
  const value = metrics[name];
  if (value === undefined) throw new Error(`metrics.json has no ${name}`);
  return value;
}
