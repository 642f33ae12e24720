/** Finds faults in what a spec says of its task: labelled texts, or prompts and answers. */
import { type Cell, type CellSplit, type Task, UserFault } from '../../../src/api.ts';
import { isCompletion } from '../../../src/data/columns.ts';
import type { SplitName } from '../../../src/data/load-split.ts';
import { COMPLETION_FORMS, resolvedColumns } from './columns.ts';

/** Returns a split of a cell. Throws if the cell has none of this name. */
export function cellSplit({ data }: Cell, name: SplitName): CellSplit {
  const split = data[name];
  if (split === undefined) throw new Error(`the cell has no split data.${name}`);
  return split;
}

export const taskOfSplit = (split: CellSplit, name: SplitName): Task =>
  isCompletion(resolvedColumns(split.columns, name)) ? 'completion' : 'classes';

/**
 * Throws a `UserFault` if the head can't learn the task, or if the spec asks for classes of a task
 * that has none.
 */
export function checkTask(cell: Cell, name: SplitName): void {
  const { head } = cell;
  const split = cellSplit(cell, name);
  const task = taskOfSplit(split, name);
  if (task === 'completion') checkClassless(cell, name);
  if (task === 'classes' && head.type === 'causal-lm')
    throw new UserFault(
      `head.type is causal-lm, which learns answers, and the rows of data.${name} are labelled ` +
        'texts',
      `Name their columns if they are prompts and answers, ${COMPLETION_FORMS}, or write ` +
        'head.type: classifier.',
      ['head', 'type'],
    );
  if (task === 'completion' && head.type !== 'causal-lm')
    throw new UserFault(
      `head.type is ${head.type}, which tells classes apart, and the rows of data.${name} are ` +
        'prompts and answers',
      'Write head: { type: causal-lm }, or name the columns of labelled texts, ' +
        'columns: { text: …, label: … }.',
      ['head', 'type'],
    );
}

function checkClassless(cell: Cell, name: SplitName): void {
  const { data } = cell;
  const { classes, balance } = cellSplit(cell, name);
  const given = [
    ...(data.classes === undefined ? [] : [['data', 'classes']]),
    ...(classes === undefined ? [] : [['data', name, 'classes']]),
    ...(balance ? [['data', name, 'balance']] : []),
  ];
  const [path] = given;
  if (path !== undefined)
    throw new UserFault(
      `the rows of data.${name} are prompts and answers, which have no classes`,
      `Leave out ${path.join('.')}.`,
      path,
    );
}

/** Throws a `UserFault` if one split has labelled texts and the other prompts and answers. */
export function checkSameTask({ data: { train, validation } }: Cell): void {
  const [ours, theirs] = [taskOfSplit(validation, 'validation'), taskOfSplit(train, 'train')];
  if (ours === theirs) return;
  const words = { classes: 'labelled texts', completion: 'prompts and answers' };
  throw new UserFault(
    `data.train has ${words[theirs]}, data.validation has ${words[ours]}`,
    'Name columns of one form for both splits.',
    ['data', 'validation', 'columns'],
  );
}
