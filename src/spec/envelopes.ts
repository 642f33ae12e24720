/**
 * Reads `envelope` of the entries of `report`. An envelope shows, of cells that differ only in some
 * axes, the one whose metric is highest or lowest.
 */
import { isOfBase } from '../api.ts';
import { type Envelope, isNamed } from '../api/report.ts';
import { defined } from '../base/defined.ts';
import { type Context, readName, readNames } from './entry-names.ts';
import { child, type Node, toJson } from './node.ts';
import type { EnvelopeSpec } from './pipeline.generated.ts';

/**
 * Returns the envelope of an entry, and reports its faults; undefined if the entry has none.
 * @param placed the fields that the entry shows: on x or y, as colours, panels, rows or columns
 */
export function readEnvelope(
  entry: Node,
  placed: readonly string[],
  context: Context,
): Envelope | undefined {
  const node = child(entry, 'envelope'),
    { cells, conflict } = context;
  if (node === undefined) return undefined;
  const { highest, lowest, selection_seeds: chosenBy } = toJson(node) as unknown as EnvelopeSpec;
  if ((highest === undefined) === (lowest === undefined))
    conflict(
      node,
      'an envelope has either the "highest" or the "lowest" of a metric',
      'such as { over: poisoning.rate, highest: asr }',
    );
  const over = readNames(child(node, 'over'), context, 'axis', ['adapter', 'attack', 'defence']);
  const ofBase = cells.some(isOfBase),
    taken = placed.find((field) => isNamed(over, field, ofBase));
  if (taken !== undefined)
    conflict(
      child(node, 'over') ?? node,
      `"${taken}" has a place of its own here, so nothing is chosen over it`,
      'leave it out of "over", or out of the places',
    );
  if (placed.includes('step'))
    conflict(node, 'test rows have no numbers along the steps', 'put an axis on x');
  if (cells.some(({ data }) => data.test === undefined))
    conflict(
      node,
      'the rows that choose would be the rows that are shown: there is no "data.test"',
      'name test rows; only evaluations run anew, no training',
    );
  checkSeeds(child(node, 'selection_seeds') ?? node, chosenBy, context);
  const by = readMetric(child(node, 'highest') ?? child(node, 'lowest'), context),
    where = readBounds(child(node, 'where'), context);
  return {
    over,
    choose: highest === undefined ? 'lowest' : 'highest',
    by: by ?? '', // the fault was reported
    ...defined({
      where: where.length === 0 ? undefined : Object.fromEntries(where),
      selectionSeeds: chosenBy,
    }),
  };
}

/** Reports `selection_seeds` that the grid lacks, or that leave no other seed to be shown. */
function checkSeeds(
  { span }: Node,
  chosenBy: readonly number[] | undefined,
  { cells, report }: Context,
): void {
  const seeds = new Set(cells.map(({ seed }) => seed)),
    unknown = chosenBy?.find((seed) => !seeds.has(seed));
  if (unknown === undefined && chosenBy?.length !== seeds.size) return;
  report(
    'unknown-value',
    span,
    unknown === undefined ? 'no seed is left to show' : `the grid has no seed ${unknown}`,
    `the seeds are ${[...seeds].join(', ')}`,
  );
}

/** Returns a metric's full name, as `readName` does. Reports a metric of test rows. */
function readMetric(name: Node | undefined, context: Context): string | undefined {
  const field = readName(name, context, 'metric');
  if (name !== undefined && field?.includes('.test_') === true)
    context.conflict(name, 'test rows choose nothing', 'name the metric of the validation rows');
  return field;
}

/**
 * Returns the bounds under `where` as pairs of a metric and its bounds. Reports bounds that no
 * number meets. A metric that `readMetric` does not find is left out.
 */
function readBounds(where: Node | undefined, context: Context) {
  if (where?.kind !== 'map') return [];
  return [...where.entries].flatMap(([name, { key, value: bound }]) => {
    const named = { kind: 'scalar', value: name, span: key } as const,
      field = readMetric(named, context);
    const { min, max } = toJson(bound) as { readonly min?: number; readonly max?: number };
    if (min !== undefined && max !== undefined && min > max)
      context.report('out-of-range', bound.span, `nothing is at least ${min} and at most ${max}`);
    return field === undefined ? [] : [[field, defined({ min, max })] as const];
  });
}
