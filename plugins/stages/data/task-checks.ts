/** Finds faults in what a spec says of its task: classes, numbers, or prompts and answers. */
import { type Cell, type CellSplit, type Task, taskOf, UserFault } from '../../../src/api.ts';
import { isCompletion } from '../../../src/data/columns.ts';
import type { SplitName } from '../../../src/data/load-split.ts';
import { COMPLETION_FORMS, resolvedColumns } from './columns.ts';

/** The splits that a model is evaluated on. */
export type Evaluated = 'validation' | 'test';

/** Returns a split of a cell. Throws if the cell has none of this name. */
export function cellSplit({ data }: Cell, name: SplitName): CellSplit {
  const split = data[name];
  if (split === undefined) throw new Error(`the cell has no split data.${name}`);
  return split;
}

/**
 * Returns the task of a split. A label column holds classes, unless the data set is known to have
 * numbers or the head learns them.
 */
export function taskOfSplit({ head }: Cell, split: CellSplit, name: SplitName): Task {
  if (isCompletion(resolvedColumns(split.columns, name))) return 'completion';
  if (split.classes !== undefined) return taskOf(split.classes.map(String));
  return head.type === 'regression' ? 'regression' : 'classes';
}

/** The task that a head learns. */
const TASK_OF_HEAD = {
  classifier: 'classes',
  cloze: 'classes',
  regression: 'regression',
  'causal-lm': 'completion',
} as const;

const LEARNS = {
  classes: 'tells classes apart',
  regression: 'learns numbers',
  completion: 'learns answers',
};
const ROWS = {
  classes: 'labelled texts',
  regression: 'texts labelled with numbers',
  completion: 'prompts and answers',
};
/** The head that learns the rows of a task, and what else a spec could say. */
const WAY_OUT = {
  classes:
    `Name their columns if they are prompts and answers, ${COMPLETION_FORMS}, or write ` +
    'head.type: classifier.',
  regression: 'Write head: { type: regression }.',
  completion:
    'Write head: { type: causal-lm }, or name the columns of labelled texts, ' +
    'columns: { text: …, label: … }.',
};

/**
 * Throws a `UserFault` if the head can't learn the task, or if the spec asks for classes of a task
 * that has none.
 */
export function checkTask(cell: Cell, name: SplitName): void {
  const { type } = cell.head;
  const task = taskOfSplit(cell, cellSplit(cell, name), name);
  if (task === 'completion') checkClassless(cell, name, task);
  const learnt = TASK_OF_HEAD[type];
  if (task !== learnt)
    throw new UserFault(
      `head.type is ${type}, which ${LEARNS[learnt]}, and the rows of data.${name} are ${ROWS[task]}`,
      WAY_OUT[task],
      ['head', 'type'],
    );
  if (task === 'regression') checkClassless(cell, name, task);
}

function checkClassless(cell: Cell, name: SplitName, task: Exclude<Task, 'classes'>): void {
  const { data } = cell;
  const { classes, balance } = cellSplit(cell, name);
  const listed = classes !== undefined && taskOf(classes.map(String)) === 'classes';
  const given = [
    ...(data.classes === undefined ? [] : [['data', 'classes']]),
    ...(listed ? [['data', name, 'classes']] : []),
    ...(balance ? [['data', name, 'balance']] : []),
  ];
  const [path] = given;
  if (path !== undefined)
    throw new UserFault(
      `the rows of data.${name} are ${ROWS[task]}, which have no classes`,
      `Leave out ${path.join('.')}.`,
      path,
    );
}

/** Throws a `UserFault` if a split has rows of another task than the training split. */
export function checkSameTask(cell: Cell, name: Evaluated): void {
  const ours = taskOfSplit(cell, cellSplit(cell, name), name),
    theirs = taskOfSplit(cell, cell.data.train, 'train');
  if (ours === theirs) return;
  throw new UserFault(
    `data.train has ${ROWS[theirs]}, data.${name} has ${ROWS[ours]}`,
    'Name columns of one form for both splits.',
    ['data', name, 'columns'],
  );
}
