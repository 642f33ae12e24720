/**
 * Reads a data set that is known by its name. Its files come in a few layouts; a file is read in
 * the first layout whose columns it has.
 */
import {
  type DatasetDescriptor,
  defineDataset,
  type KnownRows,
  type RawRow,
  type ResolvedSplit,
  taskOf,
} from '../../../src/api.ts';
import { SplitFault } from '../../../src/data/columns.ts';
import filesByEnding from '../files.ts';

interface Layout {
  /** The file's columns, by name or, if the file has no header, by number from 0. */
  readonly columns: ResolvedSplit['columns'];
  /**
   * The class of each label in the file. A label without an entry is kept: it is the name of its
   * class or, in a regression, a number. Default: the classes by their numbers, from 0; no entries
   * in a regression.
   */
  readonly labels?: { readonly [label: string]: string };
  /** Whether a row's two texts are joined to one, with a space between them. */
  readonly joined?: true;
  /** Whether lines whose number of fields differs from the header's are left out, and counted. */
  readonly leavesOutRagged?: true;
}

interface NamedDataset extends Pick<DatasetDescriptor, 'name' | 'summary'>, KnownRows {
  /** The layouts to try, in order. Default: one, with the columns that the data set is known by. */
  readonly layouts?: readonly Layout[];
  /** Reads a file in one layout. Default: by the file's ending. */
  readonly files?: Pick<DatasetDescriptor, 'read'>;
}

/** Returns the class of each label where labels count from `first`: `{ '0': …, '1': … }`. */
export const numberedLabels = (
  classes: readonly string[],
  first = 0,
): { readonly [label: string]: string } =>
  Object.fromEntries(classes.map((name, i) => [String(first + i), name]));

/** The label that the hub's files give to rows whose labels were not published. */
const UNLABELLED = '-1';

/**
 * Makes a named data set. The labels of its rows are the names of their classes. `read` returns
 * what the file's reader returns after the last row, and throws `SplitFault` if the file has the
 * columns of no layout.
 */
export function namedDataset({
  name,
  summary,
  layouts: given,
  files = filesByEnding,
  ...knows
}: NamedDataset) {
  const { columns: known, classes = [] } = knows;
  const numbered = taskOf(classes) === 'classes' ? numberedLabels(classes) : {};
  const layouts = given ?? [{ columns: known }];
  return defineDataset({
    name,
    summary,
    knows,
    unordered: false,
    async *read(asset, split) {
      let firstColumnFault: Error | undefined;
      for (const layout of layouts) {
        const rows = files.read(asset, splitInLayout(split, layout))[Symbol.asyncIterator]();
        let next: Awaited<ReturnType<typeof rows.next>>;
        try {
          next = await rows.next();
        } catch (error) {
          if (!isColumnFault(error)) throw error;
          firstColumnFault ??= error;
          continue;
        }
        try {
          for (; next.done !== true; next = await rows.next())
            yield withClassName({ labels: numbered, ...layout }, next.value);
        } finally {
          await rows.return?.();
        }
        return next.value ?? {}; // what the reader returns after the last row
      }
      throw new SplitFault(
        ['source'],
        firstColumnFault?.message ?? `${asset.uri} holds no rows.`,
        `format: ${name} reads ` +
          `${layouts.map(({ columns }) => describeColumns(columns)).join('; ')}. Another layout ` +
          'is read by the format of its file, with `columns`.',
      );
    },
  });
}

const isNumbered = ({ columns }: Layout): boolean =>
  Object.values(columns).every((column) => typeof column === 'number');

const splitInLayout = (split: ResolvedSplit, layout: Layout): ResolvedSplit => ({
  ...split,
  columns: layout.columns,
  header: !isNumbered(layout),
  ...(layout.leavesOutRagged && { ragged: 'left out' }),
});

/** Whether an error says that the file lacks a column: then another layout may fit. */
const isColumnFault = (error: unknown): error is Error =>
  error instanceof Error &&
  error.name === 'UserFault' &&
  (error as { readonly path?: readonly string[] }).path?.[0] === 'columns';

function describeColumns(columns: ResolvedSplit['columns']): string {
  const list = Object.values(columns).map(String).join(', ');
  return isNumbered({ columns }) ? `columns ${list} without a header` : `the columns ${list}`;
}

/**
 * Returns the row with its class's name as label and, in a joined layout, its texts as one. A row
 * without a label is returned as it is. Throws `SplitFault` for the label UNLABELLED.
 */
function withClassName({ labels = {}, joined }: Layout, { label, ...row }: RawRow): RawRow {
  if (label === undefined) return row;
  if (label === UNLABELLED)
    throw new SplitFault(
      ['source'],
      `${row.place} has the label ${UNLABELLED}, which stands for a label that is not published.`,
      'Take a file with labels, such as that of the validation rows.',
    );
  const { text, text_pair: more = '', ...rest } = row;
  const textsJoined = joined ? { ...rest, text: more === '' ? text : `${text} ${more}` } : row;
  return { ...textsJoined, label: labels[label] ?? label };
}
