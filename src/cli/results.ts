/** `dosimeter results SPEC`: every number of every finished goal stage. */
import type { JsonObject } from '../api.ts';
import { resultsOf } from '../engine/facts.ts';
import { canonical } from '../plan/canonical.ts';
import { shortNames, tellingAxes } from '../plan/label.ts';
import type { ResultRow } from '../report/results.ts';
import type { SpecOptions } from './options.ts';
import { prepare } from '../engine/prepare.ts';
import { count, json, out, paintErr, say, table } from './terminal.ts';

export async function resultsCommand(
  spec: string,
  options: SpecOptions & { readonly csv?: boolean },
): Promise<number> {
  const { rows, missing, damaged, computedBy } = resultsOf(
    await prepare(spec, options, { fetch: false, note: say }),
  );
  for (const file of damaged)
    say(paintErr.red(`${file} is not what was stored; left out (dosimeter verify)`));
  for (const what of computedBy) say(`computed by ${what}`);
  if (options.json) json(rows);
  else if (options.csv) out(csv(rows));
  else {
    if (rows.length > 0) out(await people(rows));
    if (missing > 0)
      say(paintErr.yellow(`${count(missing, 'goal stage')} not run yet: dosimeter run ${spec}`));
  }
  return 0;
}

type Named = Pick<ResultRow, 'cell' | 'also'>;

/** Axis values of all names of each cell. */
const namesOf = (rows: readonly Named[]): JsonObject[] =>
  rows.flatMap(({ cell, also = [] }) => [cell, ...also]);
const axisPaths = (rows: readonly ResultRow[]): string[] => [
  ...new Set(namesOf(rows).flatMap((cell) => Object.keys(cell))),
];
const text = (value: unknown): string =>
  value === undefined ? '' : typeof value === 'string' ? value : canonical(value);
/** `r = 16` where the names of one cell differ. */
const valueOf = (row: Named, path: string): string =>
  [...new Set(namesOf([row]).map((cell) => text(cell[path])))]
    .filter((value) => value !== '')
    .join(' = ');

/** RFC 4180. */
function csv(rows: readonly ResultRow[]): string {
  const paths = axisPaths(rows);
  const quote = (field: string): string =>
    /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
  const lines = [
    [...paths, 'seed', 'stage', 'metric', 'value'],
    ...rows.map((row) => [
      ...paths.map((path) => valueOf(row, path)),
      String(row.seed),
      row.stage,
      row.metric,
      String(row.value),
    ]),
  ];
  return lines.map((fields) => fields.map(quote).join(',')).join('\r\n');
}

/** A line for each cell and metric: mean and standard deviation over the seeds. */
async function people(rows: readonly ResultRow[]): Promise<string> {
  const { summarise } = await import('../stats/summary.ts');
  const paths = tellingAxes(namesOf(rows));
  const short = shortNames(paths);
  const groups = new Map<string, { readonly row: ResultRow; readonly values: number[] }>();
  for (const row of rows) {
    const name = canonical([row.cell, row.stage, row.metric]);
    const group = groups.get(name);
    if (group) group.values.push(row.value);
    else groups.set(name, { row, values: [row.value] });
  }
  const round = (value: number): string => String(Number(value.toPrecision(4)));
  return table([
    [...paths.map((path) => short.get(path)!), 'stage', 'metric', 'mean', 'std', 'seeds'],
    ...[...groups.values()].map(({ row, values }) => {
      const { mean, std, n } = summarise(values);
      return [
        ...paths.map((path) => valueOf(row, path)),
        row.stage,
        row.metric,
        round(mean),
        std === null ? '' : round(std),
        String(n),
      ];
    }),
  ]);
}
