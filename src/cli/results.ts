/** `dosimeter results SPEC`: every number of every finished goal stage. */
import type { JsonObject } from '../api.ts';
import { resultsOf } from '../engine/facts.ts';
import { canonical } from '../plan/canonical.ts';
import { shortNames, tellingAxes } from '../plan/label.ts';
import { caveatGroups, caveatsOf } from '../report/caveats.ts';
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
    for (const line of caveatLines(rows)) say(paintErr.yellow(line));
    if (missing > 0)
      say(paintErr.yellow(`${count(missing, 'goal stage')} not run yet: dosimeter run ${spec}`));
  }
  return 0;
}

const axisPaths = (rows: readonly ResultRow[]): string[] => [
  ...new Set(rows.flatMap(({ cell }) => Object.keys(cell))),
];
const text = (value: unknown): string =>
  value === undefined ? '' : typeof value === 'string' ? value : canonical(value);

/** RFC 4180. */
function csv(rows: readonly ResultRow[]): string {
  const paths = axisPaths(rows);
  const quote = (field: string): string =>
    /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
  const lines = [
    [...paths, 'seed', 'stage', 'metric', 'value'],
    ...rows.map(({ cell, seed, stage, metric, value }) => [
      ...paths.map((path) => text(cell[path])),
      String(seed),
      stage,
      metric,
      String(value),
    ]),
  ];
  return lines.map((fields) => fields.map(quote).join(',')).join('\r\n');
}

/** What must be said before the numbers are read. */
function caveatLines(rows: readonly ResultRow[]): string[] {
  const paths = tellingAxes(rows.map(({ cell }) => cell));
  const short = shortNames(paths);
  const label = (cell: JsonObject): string =>
    paths
      .filter((path) => path in cell)
      .map((path) => `${short.get(path)!}=${text(cell[path])}`)
      .join(' ') || 'every cell';
  return caveatsOf(caveatGroups(rows, label)).map(({ title, text: more }) => `${title}. ${more}`);
}

/** A line for each cell and metric: mean and standard deviation over the seeds. */
async function people(rows: readonly ResultRow[]): Promise<string> {
  const { summarise } = await import('../stats/summary.ts');
  const paths = tellingAxes(rows.map(({ cell }) => cell));
  const short = shortNames(paths);
  const groups = new Map<
    string,
    {
      readonly cell: JsonObject;
      readonly stage: string;
      readonly metric: string;
      readonly values: number[];
    }
  >();
  for (const { cell, stage, metric, value } of rows) {
    const name = canonical([cell, stage, metric]);
    const group = groups.get(name);
    if (group) group.values.push(value);
    else groups.set(name, { cell, stage, metric, values: [value] });
  }
  const round = (value: number): string => String(Number(value.toPrecision(4)));
  return table([
    [...paths.map((path) => short.get(path)!), 'stage', 'metric', 'mean', 'std', 'seeds'],
    ...[...groups.values()].map(({ cell, stage, metric, values }) => {
      const { mean, std, n } = summarise(values);
      return [
        ...paths.map((path) => text(cell[path])),
        stage,
        metric,
        round(mean),
        std === null ? '' : round(std),
        String(n),
      ];
    }),
  ]);
}
