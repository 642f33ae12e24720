import { defineStage, UserFault } from '../../../src/api.ts';
import { isCompletion } from '../../../src/data/columns.ts';
import { datasetUri } from '../../../src/data/format.ts';
import type { SplitName } from '../../../src/data/load-split.ts';
import type { DataParams } from '../../../src/data/split-request.ts';
import { onlyCell } from '../shared/definition.ts';
import { withKnownRows } from '../shared/known-rows.ts';
import {
  cellSplit,
  checkPairs,
  checkParts,
  checkPrompts,
  checkSameTask,
  checkTask,
  classesOf,
  isTask,
  labelParams,
  splitParams,
} from './splits.ts';

const NAMES: readonly unknown[] = ['validation', 'clean', 'test'] satisfies SplitName[];
const splitOf = (split: unknown): SplitName =>
  NAMES.includes(split) || isTask(String(split)) ? (split as SplitName) : 'train';

export default defineStage<DataParams>({
  name: 'data',
  summary: 'Reads a split: rows with label ids, in a fixed order, cut to what the spec asks for.',
  compute: false,
  scope: 'cell',
  volatile: ['provenance.json'],
  parts: { field: 'split', values: ['train', 'validation', 'test'] },
  define(cells, { with: options, plugin }) {
    const cell = withKnownRows(onlyCell(cells), plugin);
    const name = splitOf(options['split']);
    if (name === 'test' && cell.data.test === undefined)
      throw new UserFault(
        'the spec has no data.test',
        'Name the test rows as data.test, or read those of another split.',
        ['data'],
      );
    if (name !== 'train' && name !== 'clean') {
      checkPrompts(cell, name);
      checkSameTask(cell, name);
      checkPairs(cell, name);
      checkParts(cell, name);
    }
    checkTask(cell, name);
    const own = cellSplit(cell, name);
    const { classes, disagreement } = classesOf(cell);
    const split = splitParams(own, name);
    // The other rows take their classes from the training file, unless the spec names them.
    const hasNone = name === 'train' || classes !== null || isCompletion(split.columns);
    const train = hasNone ? null : labelParams(cell.data.train);
    const formats = new Set([split.format, ...(train === null ? [] : [train.format])]);
    return {
      params: { name, split, classes, train, disagreement },
      inputs: {},
      assets: {
        data: datasetUri(own.source),
        ...(train === null ? {} : { train: datasetUri(cell.data.train.source) }),
      },
      uses: [...formats].map((format) => ({ kind: 'dataset' as const, name: format })),
    };
  },
  preflight: async (context) => (await import('./run.ts')).preflight(context),
  run: async (context) => (await import('./run.ts')).run(context),
});
