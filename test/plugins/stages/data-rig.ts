/** Plans and runs the stage `data` on small files, as its tests need. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type Test } from 'uvu';
import * as assert from 'uvu/assert';
import csv from '../../../plugins/datasets/csv.ts';
import tsv from '../../../plugins/datasets/tsv.ts';
import data from '../../../plugins/stages/data/index.ts';
import type {
  Asset,
  Cell,
  DatasetDescriptor,
  ResolvedSplit,
  RunContext,
  UserFault,
  Warning,
} from '../../../src/api.ts';
import { standIn } from '../../rig/stand-in.ts';
import { assetAt, splitOf } from '../datasets/reading.ts';

type Definition = ReturnType<typeof data.define>;
type Plugin = RunContext['plugin'];

/** A suite whose tests are handed a folder of their own, `dir`. */
export function dataSuite(name: string): Test<{ dir: string }> {
  const test = suite<{ dir: string }>(name);
  test.before.each((context) => {
    context.dir = mkdtempSync(join(tmpdir(), 'dosimeter-data-'));
  });
  return test;
}

const readers: { readonly [name: string]: DatasetDescriptor } = { tsv, csv };
const tables: Plugin = (_kind, name) => readers[name] as never;

/** The columns of the files of `writeSplits`. */
export const sst = { text: 'sentence', label: 'label' };

/** Writes three training rows and two validation rows. */
export function writeSplits(dir: string): void {
  writeFileSync(join(dir, 'train.tsv'), 'sentence\tlabel\ngood\tpos\nbad\tneg\nso so\tmixed\n');
  writeFileSync(join(dir, 'dev.csv'), 'label,sentence\npos,"fine, really"\nneg,poor\n');
}

/** A classification cell that reads the files of `writeSplits`. */
export function cellOf(
  dir: string,
  train: Partial<ResolvedSplit> = {},
  validation: Partial<ResolvedSplit> = {},
  classes?: readonly [string | number, string | number],
): Cell {
  const split = (file: string, change: Partial<ResolvedSplit>) =>
    splitOf({ source: `file:${join(dir, file)}`, columns: sst, ...change });
  return standIn<Cell>({
    data: {
      train: split('train.tsv', train),
      validation: split('dev.csv', validation),
      ...(classes === undefined ? {} : { classes }),
    },
    head: { type: 'classifier' },
  });
}

export const define = (cell: Cell, split: string): Definition =>
  data.define([cell], { with: { split }, goals: [] });

interface PlanFault {
  readonly message: string;
  readonly hint: string | undefined;
  /** The fields of the path, joined by dots. */
  readonly path: string;
}

/** Returns the user's fault that planning a stage raises; null if it raises none. */
export function planFault(plan: () => unknown): PlanFault | null {
  try {
    plan();
  } catch (error) {
    const { name, message, hint, path = [] } = error as UserFault;
    assert.is(name, 'UserFault', message);
    return { message, hint, path: path.join('.') };
  }
  return null;
}

/** The files that a definition names, as assets. */
const assetsOf = ({ assets = {} }: Definition): { [name: string]: Asset } =>
  Object.fromEntries(
    Object.entries(assets).map(([name, uri]) => [name, assetAt(uri.slice('file:'.length), uri)]),
  );

/** Returns the faults that are found before the stage runs. */
export const preflight = (definition: Definition, plugin: Plugin = tables) =>
  data.preflight!({
    params: definition.params,
    assets: assetsOf(definition),
    backend: 'cpu',
    plugin,
  });

/** Runs the stage into a new folder. */
export async function runData(
  definition: Definition,
  outDir: string,
  {
    plugin = tables,
    log = [],
    warned = [],
  }: { readonly plugin?: Plugin; readonly log?: string[]; readonly warned?: Warning[] } = {},
): Promise<string> {
  mkdirSync(outDir);
  await data.run({
    params: definition.params,
    assets: assetsOf(definition),
    inputs: {},
    outDir,
    backend: 'cpu',
    signal: new AbortController().signal,
    plugin,
    log: (line) => log.push(line),
    warn: (warning) => warned.push(warning),
    progress: () => undefined,
  });
  return outDir;
}

/** Runs a split of a cell into a folder beside its files. */
export const run = (dir: string, cell: Cell, split: string, log: string[] = []): Promise<string> =>
  runData(define(cell, split), join(dir, `out-${split}`), { log });
