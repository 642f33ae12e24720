import type { Cell, CellSplit, JsonObject, Problem } from '../../src/api.ts';
import { defineStage, problemOf, UserFault } from '../../src/api.ts';
import { chooseFormat } from '../../src/data/format.ts';
import type { SplitName } from '../../src/data/load-split.ts';
import { datasetUri } from '../../src/data/source-uri.ts';
import {
  type DataParams as Params,
  type SplitParams,
  splitRequest,
} from '../../src/data/split-request.ts';

export default defineStage({
  name: 'data',
  summary: 'Reads a split: rows with label ids, in a fixed order, cut to what the spec asks for.',
  compute: false,
  scope: 'cell',
  volatile: ['provenance.json'],
  parts: { field: 'split', values: ['train', 'validation'] },
  define([first], { with: options }) {
    const cell = first!,
      name: SplitName = options['split'] === 'validation' ? 'validation' : 'train';
    if (name === 'validation') {
      checkPairs(cell);
      checkParts(cell);
    }
    const own = cell.data[name],
      { classes, disagreement } = classesOf(cell);
    const readsTrain = name !== 'train' && classes === null;
    const params: Params = {
      name,
      split: splitParams(own, name),
      classes,
      train: readsTrain ? labelParams(cell.data.train) : null,
      disagreement,
    };
    const formats = new Set([
      params.split.format,
      ...(params.train === null ? [] : [params.train.format]),
    ]);
    return {
      params: params as unknown as JsonObject,
      inputs: {},
      assets: {
        data: datasetUri(own.source),
        ...(readsTrain ? { train: datasetUri(cell.data.train.source) } : {}),
      },
      uses: [...formats].map((format) => ({ kind: 'dataset' as const, name: format })),
    };
  },

  async preflight({ params, assets, plugin }) {
    const { name, disagreement } = params as unknown as Params;
    if (disagreement !== null)
      return [
        { path: ['data'], message: disagreement, hint: 'Give them once, as `data.classes`.' },
      ];
    const request = splitRequest(params, assets, plugin);
    // A corpus of a package takes seconds to read, and its labels are known.
    if (request === null || request.dataset.unordered || request.train?.dataset.unordered === true)
      return [];
    try {
      await (await import('../../src/data/split-counts.ts')).splitCounts(request);
      return [];
    } catch (error) {
      return [problem(error, name)];
    }
  },

  async run(context) {
    const [{ loadSplit }, { writeDataset }] = await Promise.all([
      import('../../src/data/load-split.ts'),
      import('../../src/data/rows-file.ts'),
    ]);
    const { name, split, disagreement } = context.params as unknown as Params;
    if (disagreement !== null)
      throw new UserFault(disagreement, 'Give them once, as `data.classes`.');
    const request = splitRequest(context.params, context.assets, (kind, plugin) =>
      context.plugin(kind, plugin),
    );
    if (request === null) throw new Error(`the asset of ${name} was not handed over`);
    const { rows, classes, facts } = await loadSplit(request);
    const { asset } = request;
    const info = await writeDataset(context.outDir, rows, classes, {
      split: name,
      source: asset.provenance,
      digest: asset.digest,
      format: split.format,
      ...facts,
    });
    context.log(
      `${name}: ${rows.length} rows (${classes.map((label, id) => `${info.counts[id]} ${label}`).join(', ')}) of ${String(facts['rows_in_source'])} from ${asset.uri}`,
    );
    if (facts['header'] !== undefined)
      context.log(
        `${name}: the first line, ${JSON.stringify(facts['header'])}, names the columns and is not a row (header: true)`,
      );
    if (typeof facts['empty_texts'] === 'number')
      context.log(`${name}: ${facts['empty_texts']} of them have an empty text`);
    if (name === 'validation' && info.counts.filter((count) => count > 0).length === 1)
      context.log(`${name}: all rows are of one class`);
  },
});

/** Optional fields that are not given are left out, so that they are in no key. */
function splitParams(split: CellSplit, name: SplitName): SplitParams {
  const { columns, max_words, balance, offset, limit, hold_out, digest } = split;
  const format = split.format === 'auto' ? chooseFormat(split.source) : split.format;
  return {
    format,
    columns,
    header: hasHeader(split, format, name),
    balance,
    offset,
    ...(max_words === undefined ? {} : { max_words }),
    ...(limit === undefined ? {} : { limit }),
    ...(hold_out === undefined ? {} : { hold_out }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** Formats whose first line may name the columns. */
const TABLES = new Set(['tsv', 'csv', 'files']);

/** Whether the first line names the columns. @throws UserFault where the spec doesn't say, and columns by number leave it open */
function hasHeader(
  { header, columns: { text, text_pair: pair = text, label } }: CellSplit,
  format: string,
  name: SplitName,
): boolean {
  const open = [text, pair, label].every((column) => typeof column === 'number');
  if (header !== undefined || !open || !TABLES.has(format)) return header ?? true;
  throw new UserFault(
    `data.${name}.columns are numbers, and nothing says whether the first line of the file names its columns or is a row`,
    `Write header: false in data.${name} if it is a row, or header: true if it names the columns, and is to be left out.`,
    ['data', name, 'columns'],
  );
}

/** Of the training split, what its labels are read with: the validation rows don't depend on its `limit`. */
const labelParams = (split: CellSplit): SplitParams => {
  const { format, columns, header, digest } = splitParams(split, 'train');
  return {
    format,
    columns,
    header,
    balance: false,
    offset: 0,
    ...(digest === undefined ? {} : { digest }),
  };
};

/** `data.classes`, or those of either split; both splits have the same. */
function classesOf({ data }: Cell): {
  classes: readonly string[] | null;
  disagreement: string | null;
} {
  const given = [data.classes, data.train.classes, data.validation.classes].flatMap((list) =>
    list === undefined ? [] : [list.map(String)],
  );
  const [classes = null, ...others] = given;
  const other = others.find((list) => JSON.stringify(list) !== JSON.stringify(classes));
  const disagreement =
    classes === null || other === undefined
      ? null
      : `The classes are given twice and differ: [${classes.join(', ')}] and [${other.join(', ')}].`;
  return { classes, disagreement };
}

/** A model trained on pairs would be scored on single texts, or the other way round. */
function checkPairs({ data: { train, validation } }: Cell): void {
  const pairs = (split: CellSplit): boolean => split.columns.text_pair !== undefined;
  if (pairs(train) === pairs(validation)) return;
  const [paired, single] = pairs(train) ? ['train', 'validation'] : ['validation', 'train'];
  throw new UserFault(
    `data.${paired} has pairs of texts (columns.text_pair), data.${single} has single texts`,
    `Write columns.text_pair for data.${single} too, or for neither.`,
    ['data', single, 'columns'],
  );
}

/** What the parts of one source depend on, beside `hold_out`: where it differs, the splits are divided independently. */
const DIVIDED_BY = ['format', 'header', 'columns', 'balance', 'offset', 'limit'] as const;

/** Training rows would be among the validation rows. @throws UserFault where one source is divided by `hold_out`, and not into two parts that have no row in common */
function checkParts({ data: { train, validation } }: Cell): void {
  if (datasetUri(train.source) !== datasetUri(validation.source)) return;
  const [ours, theirs] = [validation.hold_out, train.hold_out];
  if (ours === undefined && theirs === undefined) return;
  const fault = (what: string, way: string, ...path: readonly string[]): UserFault =>
    new UserFault(
      `data.train and data.validation are of one source, and ${what}: validation rows could be training rows`,
      way,
      ['data', ...path],
    );
  if (ours === undefined || theirs === undefined) {
    const [having, lacking] =
      ours === undefined ? ['train', 'validation'] : ['validation', 'train'];
    throw fault(
      `only data.${having} has a hold_out`,
      'Give both splits a hold_out of the same share, data.train with take: rest and data.validation with take: held.',
      lacking,
    );
  }
  if (ours.take === theirs.take)
    throw fault(
      `both take the same part of it (hold_out.take: ${ours.take})`,
      'Write take: rest in data.train.hold_out and take: held in data.validation.hold_out.',
      ...(ours.take === 'rest' ? ['validation'] : ['train']),
      'hold_out',
      'take',
    );
  if (ours.share !== theirs.share)
    throw fault(
      `their hold_out.share differs (${theirs.share} and ${ours.share})`,
      'Write the same share in both.',
      'validation',
      'hold_out',
      'share',
    );
  const [a, b] = [splitParams(train, 'train'), splitParams(validation, 'validation')];
  const other = DIVIDED_BY.find((field) => JSON.stringify(a[field]) !== JSON.stringify(b[field]));
  if (other !== undefined)
    throw fault(
      `hold_out divides other rows for each, because data.train.${other} and data.validation.${other} differ`,
      `Write the same ${other} in both.`,
      'validation',
      other,
    );
}

function problem(error: unknown, name: SplitName): Problem {
  const { path, split } = error as Error & { path?: readonly string[]; split?: SplitName };
  return problemOf(error, ['data', split ?? name, ...(path ?? ['source'])]);
}
