import { defineStage, UserFault } from '../../../src/api.ts';
import { isCompletion } from '../../../src/data/columns.ts';
import { datasetUri } from '../../../src/data/format.ts';
import type { SplitName } from '../../../src/data/load-split.ts';
import type { DataParams } from '../../../src/data/split-request.ts';
import { onlyCell } from '../shared/definition.ts';
import { withKnownRows } from '../shared/known-rows.ts';
import {
  cellSplit,
  checkHoldOut,
  checkPairs,
  checkPrompts,
  checkSameTask,
  checkTask,
  classesOf,
  labelParams,
  splitParams,
} from './splits.ts';

export default defineStage<DataParams>({
  name: 'data',
  summary: 'Reads a split: rows with label ids, in a fixed order, cut to what the spec asks for.',
  compute: false,
  scope: 'cell',
  volatile: ['provenance.json'],
  parts: { field: 'split', values: ['train', 'validation', 'test'] },
  define(cells, { with: options, plugin }) {
    const cell = withKnownRows(onlyCell(cells), plugin);
    const name = (options['split'] ?? 'train') as SplitName;
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
      checkHoldOut(cell, name);
    }
    checkTask(cell, name);
    const written = cellSplit(cell, name);
    const { classes, disagreement } = classesOf(cell);
    const split = splitParams(written, name);
    // Another split takes its classes from the training file, unless the spec names the classes, or
    // the split's columns are those of a completion task, which has none.
    const knowsClasses = name === 'train' || classes !== null || isCompletion(split.columns);
    const train = knowsClasses ? null : labelParams(cell.data.train);
    const formats = new Set([split.format, ...(train === null ? [] : [train.format])]);
    return {
      params: { name, split, classes, train, disagreement },
      inputs: {},
      assets: {
        data: datasetUri(written.source),
        ...(train === null ? {} : { train: datasetUri(cell.data.train.source) }),
      },
      uses: [...formats].map((format) => ({ kind: 'dataset' as const, name: format })),
    };
  },
  preflight: async (context) => (await import('./run.ts')).preflight(context),
  run: async (context) => (await import('./run.ts')).run(context),
});
