/** `dosimeter learning-rates SPEC`: each adapter's rate, chosen without an attack on rows that no test sees. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { stringify } from 'yaml';
import type { AdapterDescriptor, Json, JsonObject, JsonSchema } from '../api.ts';
import { UserFault } from '../api.ts';
import { resultsOf } from '../engine/facts.ts';
import type { Choice, SweepOptions, TriedRate } from '../engine/learning-rates.ts';
import { chooseRates, otherAxes, RULE, sweepSpec } from '../engine/learning-rates.ts';
import { stateDir } from '../engine/places.ts';
import type { Prepared } from '../engine/prepare.ts';
import { load, prepare } from '../engine/prepare.ts';
import { onDisk } from '../store/faults.ts';
import { makeFolder } from '../store/folders.ts';
import { DONE, execute, FAILED, INTERRUPTED } from './execute.ts';
import type { PackOptions, SpecOptions } from './options.ts';
import { packingOf } from './options.ts';
import { count, json, out, paint, paintErr, say, table } from './terminal.ts';

/** Runs what is missing of the sweep, then prints what each adapter's rates came to, and the lines for the spec. */
export async function learningRatesCommand(
  spec: string,
  options: SpecOptions & PackOptions & SweepOptions,
): Promise<number> {
  const { experiment } = await load(spec, { set: options.set, only: [] });
  const types = new Set(experiment.cells.map(({ config }) => config.adapter.type));
  const stranger = Object.keys(options.rates).find((type) => type !== '*' && !types.has(type));
  if (stranger !== undefined)
    throw new UserFault(
      `--rates names the adapter "${stranger}", which ${spec} does not train`,
      `its adapters are ${[...types].join(', ')}`,
    );
  const sweep = sweepSpec(experiment.resolved as JsonObject, options);
  const file = await writeSpec(spec, experiment.name, sweep);
  const asked = { ...options, set: [] };
  const prepared = await prepare(file, asked, { fetch: true, note: say });
  say(
    `${count(prepared.experiment.cells.length, 'training')} without an attack, by ${path.relative('', file)}`,
  );
  const code = await execute(prepared, {
    jobs: options.jobs,
    packing: packingOf(options),
  });
  if (code === INTERRUPTED) return code;
  const after = await prepare(file, asked, { fetch: false, note: say });
  const choices = chooseRates(after.experiment.cells, resultsOf(after).rows),
    held = heldOut(after);
  const apart = otherAxes(choices),
    lines = apart.length === 0 ? yamlOf(choices, after) : '';
  if (options.json)
    json({
      spec: path.resolve(file),
      seeds: after.experiment.seeds,
      share: options.share,
      held_out: held,
      rule: RULE,
      adapters: choices.map(({ chosen, ...choice }) => ({
        ...choice,
        chosen: chosen?.rate ?? null,
      })),
      other_axes: apart,
      yaml: lines,
    });
  else {
    out(choices.map(asTable).join('\n\n'));
    out(
      `\nchosen: ${RULE}${held === null ? '' : ` (${count(held.rows, 'row')}, ${count(after.experiment.seeds.length, 'seed')})`}`,
    );
    if (lines !== '')
      out(
        `\nto paste: the rate of each adapter; what else its \`train\` says stays\n\n${lines.trimEnd()}`,
      );
  }
  if (apart.length > 0)
    say(
      paintErr.yellow(
        `no lines to paste: the rates of one adapter were chosen apart by ${apart.join(', ')}, and a variant of \`adapter\` has one rate for all of its values; choose one value (--set ${apart[0]!}=…) for lines to paste`,
      ),
    );
  for (const choice of choices)
    for (const warning of warnings(choice, held))
      say(paintErr.yellow(`${choice.label}: ${warning}`));
  return choices.every(({ chosen }) => chosen !== null) ? DONE : FAILED;
}

/** A spec like any other: `dosimeter results` and `explain` read it too. */
async function writeSpec(of: string, name: string, sweep: JsonObject): Promise<string> {
  const file = path.join(stateDir(), 'learning-rates', `${name}.yaml`),
    draft = `${file}.${process.pid}`;
  const text = `# Made by \`dosimeter learning-rates ${path.relative('', of)}\`: written anew by each call.\n${stringify(sweep)}`;
  await onDisk(
    path.dirname(file),
    () => {
      makeFolder(path.dirname(file));
      writeFileSync(draft, text);
      renameSync(draft, file);
    },
    'folder',
  );
  return path.relative('', file);
}

/** What is known of the held-out rows; null where they have not been read. */
function heldOut({
  statuses,
}: Prepared): { readonly rows: number; readonly majority_share: number } | null {
  const entry = statuses.find(
    ({ stage }) => stage.kind === 'data' && stage.params['name'] === 'validation',
  )?.entry;
  if (!entry) return null;
  const { counts } = JSON.parse(readFileSync(path.join(entry.dir, 'dataset.json'), 'utf8')) as {
    counts: readonly number[];
  };
  const rows = counts.reduce((sum, n) => sum + n, 0);
  return { rows, majority_share: Math.max(...counts) / rows };
}

const figure = (value: number | null): string => (value === null ? '–' : value.toFixed(4));

function asTable({ label, rates, chosen }: Choice): string {
  const row = (one: TriedRate): string[] => [
    `  ${one === chosen ? '▸' : ' '} ${rateText(one.rate)}`,
    figure(one.mean),
    one.std === null ? '–' : `± ${one.std.toFixed(4)}`,
    String(one.n),
    one.missing > 0 ? `${one.missing} without a result` : '',
  ];
  return `${paint.bold(label)}\n${table([['    rate', 'accuracy', 'deviation', 'seeds', ''], ...rates.map(row)])}`;
}

function* warnings(
  { chosen, edge, rates }: Choice,
  held: ReturnType<typeof heldOut>,
): Generator<string> {
  if (chosen === null) {
    yield 'no rate has a result of every seed: there is nothing to choose from';
    return;
  }
  if (edge !== null)
    yield `the best rate, ${rateText(chosen.rate)}, is the ${edge} that was tried: widen the grid (--rates) before it is trusted`;
  if (held !== null && chosen.mean! <= held.majority_share)
    yield `no rate is better than always saying the most frequent class (${figure(held.majority_share)}): train longer, or on more rows`;
  const close = rates.filter(
    (one) => one !== chosen && one.missing === 0 && one.mean! >= chosen.mean! - (chosen.std ?? 0),
  );
  if (chosen.std !== null && close.length > 0)
    yield `within one standard deviation of it: ${close.map(({ rate }) => rateText(rate)).join(', ')}`;
}

/** `3e-5`: as people write rates. */
const rateText = (rate: number): string => rate.toExponential().replace('e+0', '');

/** The `adapter` of a spec, what has its default left out. */
function yamlOf(choices: readonly Choice[], { registry }: Prepared): string {
  const lines = choices.flatMap(({ adapter, chosen }) => {
    if (chosen === null) return [];
    const { params } = registry.get('adapter', adapter['type'] as string)!.descriptor;
    const own = withoutDefaults(adapter, params);
    const text = stringify(
      { ...own, train: { learning_rate: 'RATE' } },
      { collectionStyle: 'flow', lineWidth: 0 },
    ).trim();
    return [`  - ${text.replace('RATE', rateText(chosen.rate).replace(/^(\d+)e/, '$1.0e'))}`];
  });
  return lines.length === 0 ? '' : `adapter:\n${[...new Set(lines)].join('\n')}\n`;
}

function withoutDefaults(values: JsonObject, schema: JsonSchema): JsonObject {
  const fields = (schema['properties'] ?? {}) as { readonly [name: string]: JsonSchema };
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]): [string, Json][] => {
      const field = fields[name];
      if (field === undefined) return [[name, value]];
      if (
        typeof value === 'object' &&
        value !== null &&
        !Array.isArray(value) &&
        field['properties'] !== undefined
      ) {
        const inner = withoutDefaults(value as JsonObject, field);
        return Object.keys(inner).length === 0 ? [] : [[name, inner]];
      }
      return JSON.stringify(value) === JSON.stringify(field['default']) ? [] : [[name, value]];
    }),
  );
}
