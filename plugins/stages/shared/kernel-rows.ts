/** The rows over which kernels are computed: the first `ntk.rows` of a split. */
import {
  type PreflightContext,
  type Problem,
  type Row,
  type RunContext,
  taskOf,
  UserFault,
  type Warning,
} from '../../../src/api.ts';
import { firstLabels, type SplitCounts } from '../../../src/data/known-counts.ts';
import { readDatasetInfo, readRows } from '../../../src/data/rows-file.ts';
import { inputDir } from './files.ts';

type Params = { readonly rows: number };

/**
 * Returns the first `rows` rows of the input `rows`, with their classes. Warns if none of them has
 * a class that other rows of the split have. Throws `UserFault` if the split has no rows.
 * @param use what the split is for, as the fault says it: `that Δ_r is measured on`
 */
export async function readKernelRows(
  context: RunContext<Params>,
  use: string,
): Promise<{ readonly rows: readonly Row[]; readonly classes: readonly string[] }> {
  const dir = inputDir(context, 'rows');
  const info = await readDatasetInfo(dir),
    rows = await readRows(dir, context.params.rows);
  if (rows.length === 0) throw new UserFault(`the split ${use} has no rows`);
  const labels = rows.map(({ label }) => label);
  for (const warning of lackingWarnings(info, labels)) context.warn(warning);
  return { rows, classes: info.classes };
}

/**
 * Returns the warnings that `readKernelRows` gives; none if the rows can't be read before the stage
 * runs.
 */
export async function kernelRowsWarnings({
  params,
  upstream,
  plugin,
}: PreflightContext<Params>): Promise<Problem[]> {
  const split = upstream?.['rows'];
  const found = split === undefined ? null : await firstLabels({ plugin }, split, params.rows);
  return found === null
    ? []
    : lackingWarnings(found, found.labels).map((one) => ({ ...one, warning: true as const }));
}

/** Returns a warning if a class that the split has is not among `labels`; otherwise none. */
function lackingWarnings({ classes, counts }: SplitCounts, labels: readonly number[]): Warning[] {
  if (taskOf(classes) !== 'classes') return [];
  const lacking = classes.filter((_, k) => (counts[k] ?? 0) > 0 && !labels.includes(k));
  if (lacking.length === 0) return [];
  const total = counts.reduce((sum, count) => sum + count, 0);
  return [
    {
      path: ['ntk', 'rows'],
      message:
        `none of the first ${labels.length} of ${total} rows, which kernels are computed over, ` +
        'is of class ' +
        lacking.map((name) => JSON.stringify(name)).join(' or '),
      hint:
        "Write balance: true in the split's section, which takes rows of the classes in turn, or " +
        'raise ntk.rows.',
    },
  ];
}
