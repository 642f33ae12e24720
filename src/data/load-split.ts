/** A split's rows, out of its source's bytes: classes, order, balance, offset and limit. */
import type { Asset, DatasetDescriptor, JsonObject, RawRow, ResolvedSplit, Row } from '../api.ts';
import { randomStream } from '../random/random.ts';
import { inWords, limitOf } from '../untrusted/limits.ts';
import { columnNames, SplitFault } from './columns.ts';
import { firstWords } from './first-words.ts';
import { nearest } from './nearest.ts';

/** What a row takes in memory beside its texts. */
const ROW_BYTES = 200;

export type SplitName = 'train' | 'validation';

export interface SplitRequest {
  readonly name: SplitName;
  readonly split: ResolvedSplit;
  readonly asset: Asset;
  readonly dataset: DatasetDescriptor;
  /** Class names by label id; null: the training file's values. */
  readonly classes: readonly string[] | null;
  /** What the classes are taken from, where `classes` is null and this is not the training split. */
  readonly train?: {
    readonly split: ResolvedSplit;
    readonly asset: Asset;
    readonly dataset: DatasetDescriptor;
  };
}

export interface LoadedSplit {
  readonly rows: readonly Row[];
  readonly classes: readonly string[];
  /** For the provenance: what was read and what was left out. */
  readonly facts: JsonObject;
}

/** @throws UserFault, with the split's field at fault where there is one. */
export async function loadSplit(request: SplitRequest): Promise<LoadedSplit> {
  const { name, split, asset, dataset } = request;
  checkDigest(split, asset);
  const { rows: raw, facts } = await readAll(dataset, asset, split);
  if (raw.length === 0) throw noRows(split);
  const classes =
    request.classes ??
    (request.train === undefined
      ? sortedValues(raw)
      : await ofTrain(valuesOf(request.train, request, raw)));
  if (classes.length < 2) {
    const fault = new SplitFault(
      ['columns', 'label'],
      `All rows of the training file have one label, ${JSON.stringify(classes[0])}; a classifier needs two classes at least.`,
      "Is this the label's column?",
    );
    throw Object.assign(fault, { split: 'train' });
  }

  const ordered = labelled(name, inOrder(raw, dataset), classes, split);
  const balanced = split.balance ? inTurn(ordered, classes.length) : ordered;
  const rows = partOf(
    balanced.slice(
      split.offset,
      split.limit === undefined ? undefined : split.offset + split.limit,
    ),
    split.hold_out,
  );
  if (rows.length === 0) {
    throw new SplitFault(
      ['offset'],
      `No row is left: \`offset\` is ${split.offset}, and ${split.source} has ${balanced.length} rows${split.balance ? ' when its classes are balanced' : ''}.`,
    );
  }
  if (name === 'train' && rows.every((row) => row.label === rows[0]!.label)) {
    throw new SplitFault(
      split.limit === undefined ? [] : ['limit'],
      `The ${rows.length} training row${rows.length === 1 ? '' : 's'} kept ${rows.length === 1 ? 'is' : 'are'} all of one class, ${JSON.stringify(classes[rows[0]!.label])}.`,
      'Set `balance: true`, or take more rows.',
    );
  }
  const empty = rows.filter((row) => row.text.trim() === '').length;
  return {
    rows,
    classes,
    facts: {
      ...facts,
      rows_in_source: raw.length,
      order: dataset.unordered ? 'seeded' : 'as in the file',
      balance: split.balance,
      offset: split.offset,
      limit: split.limit ?? null,
      ...(split.hold_out === undefined ? {} : { hold_out: split.hold_out }),
      ...(split.max_words === undefined ? {} : { max_words: split.max_words }),
      ...(empty === 0 ? {} : { empty_texts: empty }),
    },
  };
}

const noRows = (split: ResolvedSplit): SplitFault =>
  new SplitFault(['source'], `${split.source} holds no rows.`);

/** The digest that a spec pins is the asset's, or that of the archive it was unpacked from. */
function checkDigest(split: ResolvedSplit, asset: Asset): void {
  const { digest } = split;
  if (digest === undefined || digest === asset.digest || digest === asset.provenance['archive'])
    return;
  throw new SplitFault(
    ['digest'],
    `The content of ${split.source} is ${asset.digest}, not ${digest}.`,
    'The bytes are others than the spec was written for. Correct `digest` only if that is intended.',
  );
}

async function readAll(
  dataset: DatasetDescriptor,
  asset: Asset,
  split: ResolvedSplit,
): Promise<{ rows: RawRow[]; facts: JsonObject }> {
  const rows: RawRow[] = [];
  const most = limitOf('text');
  let held = 0;
  const iterator = dataset.read(asset, split)[Symbol.asyncIterator]();
  for (;;) {
    const next = await iterator.next();
    if (next.done === true) return { rows, facts: next.value ?? {} };
    const { text, text_pair: pair = '' } = next.value;
    held += 2 * (text.length + pair.length) + ROW_BYTES;
    if (held > most.value)
      throw new SplitFault(
        ['source'],
        `${split.source} holds more than ${inWords(most.value)} of rows, which are held in memory.`,
        most.raise,
      );
    rows.push(next.value);
  }
}

/** By number if all are whole numbers, else by code unit: 2 comes before 10. */
export function sortedValues(rows: readonly RawRow[]): string[] {
  const values = [...new Set(rows.map((row) => row.label))];
  const numeric = values.every((value) => /^-?\d{1,15}$/.test(value));
  return values.sort((a, b) =>
    numeric && Number(a) !== Number(b) ? Number(a) - Number(b) : a < b ? -1 : a > b ? 1 : 0,
  );
}

/** A fault of the training file is that split's, whichever split is being read. */
async function ofTrain<T>(reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    throw Object.assign(error as Error, { split: 'train' });
  }
}

/** The training file's classes; read once where both splits are of one file. */
async function valuesOf(
  train: NonNullable<SplitRequest['train']>,
  own: SplitRequest,
  ownRows: readonly RawRow[],
): Promise<string[]> {
  const sees = ({ split, asset, dataset }: NonNullable<SplitRequest['train']>): string =>
    JSON.stringify([asset.digest, asset.path, dataset.name, split.header, columnNames(split)]);
  if (sees(train) === sees(own)) return sortedValues(ownRows);
  checkDigest(train.split, train.asset);
  const { rows } = await readAll(train.dataset, train.asset, train.split);
  if (rows.length === 0) throw noRows(train.split);
  return sortedValues(rows);
}

/** A corpus without an order of its own gets one that depends on nothing but the corpus, so that every cell and seed sees the same. */
function inOrder(rows: readonly RawRow[], dataset: DatasetDescriptor): readonly RawRow[] {
  if (!dataset.unordered) return rows;
  return Array.from(
    randomStream(0, 'dataset.order', dataset.name).permutation(rows.length),
    (index) => rows[index]!,
  );
}

function labelled(
  name: SplitName,
  raw: readonly RawRow[],
  classes: readonly string[],
  split: ResolvedSplit,
): Row[] {
  const ids = new Map(classes.map((label, id) => [label, id]));
  return raw.map(({ text, text_pair, label, place }, index) => {
    const id = ids.get(label);
    if (id === undefined) {
      const near = nearest(label, classes);
      throw new SplitFault(
        ['columns', 'label'],
        `${place}: the label ${JSON.stringify(label)} is none of the classes ${classes.map((value) => JSON.stringify(value)).join(', ')}.`,
        near === null
          ? "Name every class in `data.classes`, or see whether this is the label's column."
          : `Did you mean ${JSON.stringify(near)}?`,
      );
    }
    const cut = (words: string): string => firstWords(words, split.max_words);
    return {
      id: `${name}-${String(index).padStart(6, '0')}`,
      text: cut(text),
      ...(text_pair === undefined ? {} : { text_pair: cut(text_pair) }),
      label: id,
    };
  });
}

/** The rows that are held out, or the others, in their order. The same rows whichever part asks: the stream sees their number alone. */
function partOf(rows: readonly Row[], holdOut: ResolvedSplit['hold_out']): readonly Row[] {
  if (holdOut === undefined) return rows;
  const count = Math.max(1, Math.floor(holdOut.share * rows.length));
  const held = new Set(
    randomStream(0, 'data.hold-out', '').permutation(rows.length).slice(0, count),
  );
  return rows.filter((_, index) => held.has(index) === (holdOut.take === 'held'));
}

/** One row of each class in turn, by label id, until a class has run out; classes without any row have no turn. */
function inTurn(rows: readonly Row[], classes: number): Row[] {
  const byClass = Array.from({ length: classes }, (_, label) =>
    rows.filter((row) => row.label === label),
  ).filter((list) => list.length > 0);
  const turns = Math.min(...byClass.map((list) => list.length));
  return Array.from({ length: turns }, (_, turn) => byClass.map((list) => list[turn]!)).flat();
}
