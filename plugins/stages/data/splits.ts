/** Resolves the splits that a spec describes, and finds faults in their descriptions. */
import {
  type Cell,
  type CellSplit,
  type ClassColumns,
  type CompletionColumns,
  SCORE,
  type Task,
  taskOf,
  UserFault,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { isCompletion } from '../../../src/data/columns.ts';
import { chooseFormat, datasetUri } from '../../../src/data/format.ts';
import type { SplitName } from '../../../src/data/load-split.ts';
import { firstNames } from '../../../src/data/names.ts';
import { ORDERED_BY, type SplitParams, splitPath } from '../../../src/data/split-request.ts';

/**
 * Returns the parameters of a split, without the optional fields that the spec does not give.
 * Throws `UserFault` if the fields do not fit together.
 */
export function splitParams(split: CellSplit, name: SplitName): SplitParams {
  const { max_words, sample, balance, offset, limit, hold_out, digest, delimiter } = split;
  const format = split.format === 'auto' ? chooseFormat(split.source) : split.format;
  if (delimiter !== undefined && format !== 'csv')
    throw new UserFault(
      `data.${name} has a delimiter, which is of format csv, and its format is ${format}`,
      `Write format: csv in data.${name}, or leave out the delimiter.`,
      [...splitPath(name), 'delimiter'],
    );
  const columns = resolvedColumns(split.columns, name);
  const header = hasHeader(split, columns, format, name);
  const optional = defined({ delimiter, max_words, limit, sample, hold_out, digest });
  return { format, columns, header, balance, offset, ...optional };
}

/** Formats whose first line may name the columns. */
const TABLES = new Set(['tsv', 'csv', 'files']);

/**
 * Returns `header`, which says whether the first line names the columns. Without `header`, returns
 * true if the spec gives a column by its name, or if the format has no line of names; otherwise
 * throws `UserFault`.
 */
function hasHeader(
  { header }: CellSplit,
  columns: SplitParams['columns'],
  format: string,
  name: SplitName,
): boolean {
  const areNumbers = Object.values(columns).every((column) => typeof column === 'number');
  if (header !== undefined || !areNumbers || !TABLES.has(format)) return header ?? true;
  throw new UserFault(
    `data.${name}.columns are numbers, and nothing says whether the first line of the file ` +
      'names its columns or is a row',
    `Write header: false in data.${name} if it is a row, or header: true if it names the ` +
      'columns, and is to be left out.',
    [...splitPath(name), 'columns'],
  );
}

/**
 * Returns the parameters with which the whole file of the training split is read for its classes:
 * without `limit`, `sample` and other fields that leave out rows.
 */
export const labelParams = (split: CellSplit): SplitParams => {
  const { format, delimiter, columns, header, digest } = splitParams(split, 'train');
  return { format, columns, header, balance: false, offset: 0, ...defined({ delimiter, digest }) };
};

/**
 * Returns as `classes` the first list of classes that the spec gives, null if it gives none, and
 * `SCORE` for a regression head. If another list differs, `disagreement` says so; otherwise it is
 * null. Throws a `UserFault` if the first list names a class twice.
 */
export function classesOf({ data, head }: Cell): {
  classes: readonly string[] | null;
  disagreement: string | null;
} {
  if (head.type === 'regression') return { classes: SCORE, disagreement: null };
  const { train, validation, test, tasks = {} } = data;
  const given = [data, train, validation, test, ...Object.values(tasks)].flatMap((from) =>
    from?.classes === undefined ? [] : [from.classes.map(String)],
  );
  const [classes = null, ...others] = given;
  const twice = classes?.find((name, i) => classes.indexOf(name) < i);
  if (twice !== undefined)
    throw new UserFault(
      `the classes name ${JSON.stringify(twice)} twice: a number is the name that it is written as`,
      'Name every class once.',
      ['data', data.classes === undefined ? 'train' : 'classes'],
    );
  const other = others.find((list) => JSON.stringify(list) !== JSON.stringify(classes));
  if (classes === null || other === undefined) return { classes, disagreement: null };
  const [one, two] = [firstNames(classes), firstNames(other)];
  const disagreement = `The classes are given twice and differ: [${one}] and [${two}].`;
  return { classes, disagreement };
}

/**
 * Throws a `UserFault` if the training split has pairs of texts and the split `name` has single
 * texts, or the other way round.
 */
export function checkPairs(cell: Cell, name: Evaluated): void {
  const { train } = cell.data;
  const isPair = (split: CellSplit): boolean => split.columns.text_pair !== undefined;
  if (isPair(train) === isPair(cellSplit(cell, name))) return;
  const [paired, single] = isPair(train) ? (['train', name] as const) : ([name, 'train'] as const);
  throw new UserFault(
    `data.${paired} has pairs of texts (columns.text_pair), data.${single} has single texts`,
    `Write columns.text_pair for data.${single} too, or for neither.`,
    [...splitPath(single), 'columns'],
  );
}

/** The fields that decide, beside `hold_out`, which rows of a source are held out. */
const DIVIDED_BY = [...ORDERED_BY, 'offset', 'limit'] as const;

/**
 * Throws a `UserFault` if the training split and the split `name` read one source, and their
 * `hold_out` lets some rows be in both splits. Without any `hold_out`, nothing is checked.
 */
export function checkHoldOut(cell: Cell, name: Evaluated): void {
  const { train } = cell.data,
    split = cellSplit(cell, name);
  if (datasetUri(train.source) !== datasetUri(split.source)) return;
  const [ours, theirs] = [split.hold_out, train.hold_out];
  if (ours === undefined && theirs === undefined) return;
  /** Returns a fault at a `path` below `data`. @param way the hint: what to write instead */
  const fault = (what: string, way: string, ...path: readonly string[]): UserFault =>
    new UserFault(
      `data.train and data.${name} have one source, and ${what}: ` +
        `${name} rows could be training rows`,
      way,
      ['data', ...path.flatMap((step) => step.split('.'))],
    );
  if (ours === undefined || theirs === undefined) {
    const [having, lacking] =
      ours === undefined ? (['train', name] as const) : ([name, 'train'] as const);
    throw fault(
      `only data.${having} has a hold_out`,
      'Give both splits a hold_out of the same share, data.train with take: rest and ' +
        `data.${name} with take: held.`,
      lacking,
    );
  }
  if (ours.take === theirs.take)
    throw fault(
      `both take the same part of it (hold_out.take: ${ours.take})`,
      `Write take: rest in data.train.hold_out and take: held in data.${name}.hold_out.`,
      ...(ours.take === 'rest' ? [name] : ['train']),
      'hold_out',
      'take',
    );
  if (ours.share !== theirs.share)
    throw fault(
      `their hold_out.share differs (${theirs.share} and ${ours.share})`,
      'Write the same share in both.',
      name,
      'hold_out',
      'share',
    );
  const [a, b] = [splitParams(train, 'train'), splitParams(split, name)];
  const other = DIVIDED_BY.find((field) => JSON.stringify(a[field]) !== JSON.stringify(b[field]));
  if (other !== undefined)
    throw fault(
      `hold_out divides other rows for each, because data.train.${other} and ` +
        `data.${name}.${other} differ`,
      `Write the same ${other} in both.`,
      name,
      other,
    );
}

type Name = keyof CellSplit['columns'];

/** The forms that columns may take, each recognised by the first column that it needs. */
const FORMS: readonly { needs: readonly [Name, ...Name[]]; may: readonly Name[] }[] = [
  { needs: ['chosen', 'rejected'], may: ['prompt'] },
  { needs: ['prompt', 'answer'], may: [] },
  { needs: ['messages'], may: [] },
  { needs: ['instruction', 'output'], may: ['input'] },
  { needs: ['document'], may: [] },
  { needs: ['text', 'label'], may: ['text_pair'] },
];

const COMPLETION_FORMS =
  'columns: { prompt: …, answer: … }, { messages: … } or { instruction: …, input: …, output: … }';

/**
 * Returns the columns that are read. Throws `UserFault` unless they include all that one form
 * needs, and nothing but what it needs or may have.
 */
function resolvedColumns(
  columns: CellSplit['columns'],
  name: SplitName,
): ClassColumns | CompletionColumns {
  const path = [...splitPath(name), 'columns'];
  const written = (Object.keys(columns) as Name[]).filter((key) => columns[key] !== undefined);
  const form = FORMS.find(({ needs: [lead] }) => written.includes(lead));
  if (form === undefined) throw new Error('columns have defaults, so that they have a form');
  const { needs, may } = form,
    [lead] = needs;
  const odd = written.find((key) => !needs.includes(key) && !may.includes(key));
  if (odd !== undefined)
    throw new UserFault(
      `data.${name}.columns has ${lead} and ${odd}, which do not belong together`,
      'Labelled texts have columns: { text: …, label: … }, ' +
        `prompts and answers ${COMPLETION_FORMS}.`,
      [...path, odd],
    );
  const missing = needs.find((key) => !written.includes(key));
  if (missing !== undefined)
    throw new UserFault(
      `data.${name}.columns has ${lead} without ${missing}`,
      `Name the column of the ${missing} too: columns.${missing}.`,
      path,
    );
  const named = [...needs, ...may].filter((key) => written.includes(key));
  return Object.fromEntries(named.map((key) => [key, columns[key]])) as
    ClassColumns | CompletionColumns;
}

type Evaluated = Exclude<SplitName, 'train' | 'clean'>;

/** How the names of the splits of `data.tasks` begin. */
export const TASK = 'tasks.';
export const isTask = (name: string): name is `tasks.${string}` => name.startsWith(TASK);

/** Returns a split of a cell. Throws if the cell has none of this name. */
export function cellSplit({ data }: Pick<Cell, 'data'>, name: SplitName): CellSplit {
  const split = isTask(name) ? data.tasks?.[name.slice(TASK.length)] : data[name];
  if (split === undefined) throw new Error(`the cell has no split data.${name}`);
  return split;
}

/**
 * Returns the task of a split's rows: completion if its columns say so. Otherwise the split's own
 * `classes` or, without them, the head say whether its labels are classes or numbers.
 */
function taskOfSplit({ head }: Cell, split: CellSplit, name: SplitName): Task {
  if (isCompletion(resolvedColumns(split.columns, name))) return 'completion';
  if (split.classes !== undefined) return taskOf(split.classes.map(String));
  return head.type === 'regression' ? 'regression' : 'classes';
}

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
/**
 * Hints for rows that the head can't learn, by the task of the rows: which head learns them, and
 * what else the spec could say.
 */
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
 * Throws a `UserFault` if the head can't learn the rows of a split, or if the spec lists or
 * balances classes and the rows have none.
 */
export function checkTask(cell: Cell, name: SplitName): void {
  const { type } = cell.head;
  const task = taskOfSplit(cell, cellSplit(cell, name), name);
  if (task === 'completion') checkClassless(cell, name, task);
  const learnt = TASK_OF_HEAD[type];
  if (task !== learnt)
    throw new UserFault(
      `head.type is ${type}, which ${LEARNS[learnt]}, ` +
        `and the rows of data.${name} are ${ROWS[task]}`,
      WAY_OUT[task],
      // A classifier is the default head, so the columns are more likely wrong than the head.
      type === 'classifier' ? [...splitPath(name), 'columns'] : ['head', 'type'],
    );
  if (task === 'regression') checkClassless(cell, name, task);
}

/** Throws a `UserFault` if the spec lists or balances classes: rows of this task have none. */
function checkClassless(cell: Cell, name: SplitName, task: Exclude<Task, 'classes'>): void {
  const { data } = cell;
  const { classes, balance } = cellSplit(cell, name);
  const listed = classes !== undefined && taskOf(classes.map(String)) === 'classes';
  const given = [
    ...(data.classes === undefined ? [] : [['data', 'classes']]),
    ...(listed ? [[...splitPath(name), 'classes']] : []),
    ...(balance ? [[...splitPath(name), 'balance']] : []),
  ];
  const [path] = given;
  if (path !== undefined)
    throw new UserFault(
      `the rows of data.${name} are ${ROWS[task]}, which have no classes`,
      `Leave out ${path.join('.')}.`,
      path,
    );
}

/**
 * Throws a `UserFault` if the split has documents, which ask the model nothing. A split of
 * `data.tasks` may have them.
 */
export function checkPrompts(cell: Cell, name: Evaluated): void {
  if (isTask(name) || cellSplit(cell, name).columns.document === undefined) return;
  throw new UserFault(
    `the rows of data.${name} are documents, and an attack's success is measured on prompts`,
    `Give data.${name} prompts and answers, ${COMPLETION_FORMS}: a prompt may be the beginning ` +
      'of a document. The loss of whole documents is measured as data.tasks.',
    [...splitPath(name), 'columns', 'document'],
  );
}

/**
 * Throws a `UserFault` if the rows of a split have another task than those of the training split.
 */
export function checkSameTask(cell: Cell, name: Evaluated): void {
  const ours = taskOfSplit(cell, cellSplit(cell, name), name),
    theirs = taskOfSplit(cell, cell.data.train, 'train');
  if (ours === theirs) return;
  throw new UserFault(
    `data.train has ${ROWS[theirs]}, data.${name} has ${ROWS[ours]}`,
    'Name columns of one form for both splits.',
    [...splitPath(name), 'columns'],
  );
}
