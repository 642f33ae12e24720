/** `dosimeter learning-rates SPEC`: chooses each adapter's rate on held-out training rows. */
import path from 'node:path';
import { type JsonObject, UserFault } from '../api.ts';
import { defined } from '../base/defined.ts';
import { resultsOf } from '../run/facts.ts';
import {
  adapterYaml,
  axesWithOwnRates,
  type Choice,
  chooseRates,
  type HeldOutRows,
  heldOutRows,
  rateText,
  RULE,
  type SweepOptions,
  sweepSpec,
  type TriedRate,
  writeSweepSpec,
} from '../run/learning-rates.ts';
import { load, prepare } from '../run/prepare.ts';
import type { Experiment } from '../spec/types.ts';
import type { PackOptions, SpecOptions } from './options.ts';
import { runInTerminal } from './run.ts';
import {
  count,
  DONE,
  FAILED,
  INTERRUPTED,
  json,
  out,
  paint,
  say,
  table,
  warn,
} from './terminal.ts';

type LearningRatesOptions = SpecOptions & PackOptions & SweepOptions;

/** Trains at each rate, then prints how well each adapter's rates did, and lines for the spec. */
export async function learningRatesCommand(
  spec: string,
  options: LearningRatesOptions,
): Promise<number> {
  const { profile, ...others } = options;
  const { experiment } = await load(spec, { ...options, only: [] });
  checkAdapters(options, experiment, spec);
  const sweep = sweepSpec(experiment.resolved as JsonObject, options);
  const file = await writeSweepSpec({ spec, ...defined({ profile }) }, experiment.name, sweep);
  const asked = { ...others, set: [] };
  const prepared = await prepare(file, asked, { fetch: true, note: say });
  const trainings = count(prepared.experiment.cells.length, 'training');
  say(`${trainings} without an attack, from ${path.relative('', file)}`);
  const { jobs, pack } = options;
  const code = await runInTerminal(prepared, { jobs, ...defined({ pack }) });
  if (code === INTERRUPTED) return code;

  const after = await prepare(file, asked, { fetch: false, note: say });
  const choices = chooseRates(after.experiment.cells, resultsOf(after).rows);
  // A variant of `adapter` in a spec has one rate. So if rates were chosen by the values of other
  // axes too, no lines for the spec can state them.
  const separateAxes = axesWithOwnRates(choices);
  const heldOut = heldOutRows(after);
  const yaml = separateAxes.length === 0 ? adapterYaml(choices, after) : '';
  const { seeds } = after.experiment;
  if (options.json)
    json({
      spec: path.resolve(file),
      seeds,
      share: options.share,
      held_out: heldOut,
      rule: RULE,
      adapters: choices.map(({ chosen, ...choice }) => ({
        ...choice,
        chosen: chosen?.rate ?? null,
      })),
      other_axes: separateAxes,
      yaml,
    });
  else show(choices, heldOut, yaml, seeds.length);
  showWarnings(choices, heldOut, separateAxes);
  return choices.every(({ chosen }) => chosen !== null) ? DONE : FAILED;
}

/** @throws UserFault if `--rates` names an adapter that the spec does not train */
function checkAdapters({ rates }: LearningRatesOptions, { cells }: Experiment, spec: string): void {
  const types = new Set(cells.map(({ config }) => config.adapter.type));
  const unknown = Object.keys(rates).find((type) => type !== '*' && !types.has(type));
  if (unknown !== undefined)
    throw new UserFault(
      `--rates names the adapter "${unknown}", which ${spec} does not train`,
      `its adapters are ${[...types].join(', ')}`,
    );
}

/**
 * Prints how each rate did, the rule of the choice and, unless `yaml` is empty, the lines for the
 * spec.
 */
function show(
  choices: readonly Choice[],
  heldOut: HeldOutRows | null,
  yaml: string,
  seeds: number,
): void {
  out(choices.map(choiceTable).join('\n\n'));
  const of = heldOut === null ? '' : ` (${count(heldOut.rows, 'row')}, ${count(seeds, 'seed')})`;
  out(`\nchosen: ${RULE}${of}`);
  if (yaml !== '')
    out(
      '\nto paste into the spec: the rate of each adapter; the other fields of its `train` stay ' +
        'as they are\n\n' +
        yaml.trimEnd(),
    );
}

function showWarnings(
  choices: readonly Choice[],
  heldOut: HeldOutRows | null,
  separateAxes: readonly string[],
): void {
  const [axis] = separateAxes;
  if (axis !== undefined)
    warn(
      'there are no lines to paste: separate rates were chosen for one adapter, by ' +
        `${separateAxes.join(', ')}, but a variant of \`adapter\` has one rate for all of its ` +
        `values; fix one value (--set ${axis}=…) to get lines to paste`,
    );
  for (const choice of choices)
    for (const warning of warnings(choice, heldOut)) warn(`${choice.label}: ${warning}`);
}

const scoreText = (value: number | null): string => (value === null ? '–' : value.toFixed(4));

function choiceTable({ label, metric, rates, chosen }: Choice): string {
  const row = (one: TriedRate): string[] => [
    `  ${one === chosen ? '▸' : ' '} ${rateText(one.rate)}`,
    scoreText(one.mean),
    one.std === null ? '–' : `± ${one.std.toFixed(4)}`,
    String(one.n),
    one.missing > 0 ? `${one.missing} without a result` : '',
  ];
  const head = ['    rate', metric.replace('_', ' '), 'deviation', 'seeds', ''];
  return `${paint.bold(label)}\n${table([head, ...rates.map(row)])}`;
}

/** Yields what speaks against trusting the chosen rate. */
function* warnings(
  { chosen, edge, metric, rates }: Choice,
  heldOut: HeldOutRows | null,
): Generator<string> {
  if (chosen === null) {
    yield 'no rate has a result for every seed: there is nothing to choose from';
    return;
  }
  if (edge !== null)
    yield (
      `the best rate, ${rateText(chosen.rate)}, is the ${edge} that was tried: ` +
      'widen the grid (--rates) before you trust it'
    );
  const mean = chosen.mean ?? -Infinity;
  if (metric === 'reward_accuracy') {
    if (mean <= 0.5)
      yield (
        'no rate rewards more chosen answers than rejected ones: ' +
        'train longer, or on more pairs'
      );
  } else if (heldOut !== null && mean <= heldOut.majority_share)
    yield (
      'no rate is better than always predicting the most frequent class ' +
      `(${scoreText(heldOut.majority_share)}): train longer, or on more rows`
    );
  const { std } = chosen;
  if (std === null) return;
  const close = rates.filter(
    (one) => one !== chosen && one.missing === 0 && one.mean !== null && one.mean >= mean - std,
  );
  const closeRates = close.map(({ rate }) => rateText(rate)).join(', ');
  if (close.length > 0) yield `within one standard deviation of it: ${closeRates}`;
}
