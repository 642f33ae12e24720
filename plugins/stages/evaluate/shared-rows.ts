/**
 * Warns of evaluated rows on which the model was trained, by which it was chosen, or by which a
 * defence was set.
 */
import type { PreflightContext, Problem, Row, UpstreamStage, Warning } from '../../../src/api.ts';
import { ifFetched, knownRows } from '../../../src/data/known-counts.ts';
import type { SplitName } from '../../../src/data/load-split.ts';
import { firstNames } from '../../../src/data/names.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import { splitPath } from '../../../src/data/split-request.ts';
import { textKey } from '../../../src/data/texts.ts';
import type { Context, Params } from './index.ts';

/** The inputs whose rows should not be evaluated, each with its rows' name and the reason. */
const OTHERS = {
  training: ['training', 'what is measured on rows that were trained on says little of others'],
  selection: ['validation', 'rows by which a model or a setting was chosen are no test of it'],
  data_clean: [
    'data.clean',
    'rows that the defence has its thresholds or weights from are no test of it',
  ],
} as const;

type Other = keyof typeof OTHERS;

/** Returns the warnings of shared rows before the stage runs, as far as rows can be read. */
export async function sharedRowProblems({
  params = {},
  upstream = {},
  plugin,
}: Pick<PreflightContext, 'upstream' | 'plugin'> & { params?: OfSplit }): Promise<Problem[]> {
  const found: Problem[] = [];
  for (const { input, other, evaluated } of pairsIn(upstream)) {
    const key = ifFetched(() => [evaluated, other].map(identity).join(' '));
    if (key === null) continue;
    const compare = async (): Promise<readonly Warning[]> => {
      const rows = await knownRows({ plugin }, evaluated);
      const others = rows && (await knownRows({ plugin }, other));
      return others ? sharedRowWarnings(input, splitIn(upstream, params), rows, others) : [];
    };
    const warnings = knownWarnings.get(key) ?? compare();
    knownWarnings.set(key, warnings);
    found.push(...(await warnings).map((warning) => ({ ...warning, warning: true as const })));
  }
  return found;
}

/**
 * The warnings found before, by the `identity` of the two stages compared: many cells of a grid
 * compare the same two.
 */
const knownWarnings = new Map<string, Promise<readonly Warning[]>>();

/** Returns what decides on a stage's rows: its folder or, before it has run, how it is made. */
const identity = ({ params, assets, dir }: UpstreamStage): string =>
  dir ?? JSON.stringify([params, Object.keys(assets).map((name) => assets[name]?.digest)]);

/** Warns of shared rows once the stage runs, when all rows can be read. */
export async function warnOfSharedRows({ params, inputs, warn }: Context): Promise<void> {
  const split = splitIn(inputs, params);
  for (const { input, other, evaluated } of pairsIn(inputs)) {
    const [rows, others] = [await readRows(evaluated.dir), await readRows(other.dir)];
    sharedRowWarnings(input, split, rows, others).forEach(warn);
  }
}

type Named<T> = { readonly [input: string]: T };

/** Returns the inputs whose rows should not be evaluated, each beside the evaluated rows' input. */
function pairsIn<T>(inputs: Named<T>): { input: Other; other: T; evaluated: T }[] {
  const evaluated = inputs['validation'];
  if (evaluated === undefined) return [];
  return Object.entries(inputs).flatMap(([name, other]) => {
    const input = name.replace(/_\d+$/, '') as Other; // `training_1`: of a chain
    return Object.hasOwn(OTHERS, input) ? [{ input, other, evaluated }] : [];
  });
}

/** Returns the evaluated split. Only an evaluation of test rows has the input `selection`. */
export const splitIn = (inputs: Named<unknown>, { split }: OfSplit): SplitName =>
  split ?? (inputs['selection'] === undefined ? 'validation' : 'test');

type OfSplit = Pick<Params, 'split'>;

/** Returns one warning if rows are shared, else none. @param name the evaluated split */
function sharedRowWarnings(
  input: Other,
  name: SplitName,
  rows: readonly Row[],
  others: readonly Row[],
): Warning[] {
  const shared = sharedRows(rows, others),
    [first] = shared;
  if (first === undefined) return [];
  const [whose, meaning] = OTHERS[input];
  const what = first.answer === undefined || first.document === true ? 'text' : 'prompt';
  const ids = shared.map(({ id }) => id);
  return [
    {
      path: splitPath(name),
      message:
        `${shared.length} of ${rows.length} ${name} rows have a ${what} that is also a ${whose} ` +
        `row's: ${meaning} (${firstNames(ids, 3)})`,
      hint:
        'Leave them out of one of the splits, or give each split its own file, its own rows by ' +
        'offset and limit, or a hold_out of a file without duplicates.',
    },
  ];
}

/**
 * Returns those of `rows` whose text is also the text of one of the `others`. Empty texts do not
 * count.
 */
export function sharedRows(rows: readonly Row[], others: readonly Row[]): Row[] {
  const keys = rows.map(textKey);
  const own = new Set(keys),
    shared = new Set(others.map(textKey).filter((key) => own.has(key)));
  shared.delete(textKey({ text: '' }));
  return rows.filter((_, i) => shared.has(keys[i] ?? ''));
}
