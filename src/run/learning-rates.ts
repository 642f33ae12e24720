/**
 * Chooses a learning rate for each adapter, without an attack and on rows that are not in the test
 * set. The sweep is an experiment derived from the spec. It runs like any other, in the same store.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { stringify } from 'yaml';
import { type Json, type JsonObject, type JsonSchema, UserFault } from '../api.ts';
import { shortNames } from '../api/cell.ts';
import { canonical } from '../base/canonical.ts';
import { defined } from '../base/defined.ts';
import { replaceFile } from '../base/replace-file.ts';
import { EQUAL_MEANS } from '../base/rounding.ts';
import { summarise } from '../base/stats.ts';
import { isRecord } from '../base/untrusted/json.ts';
import { tellingAxes } from '../plan/label.ts';
import { distinct, groupBy } from '../report/groups.ts';
import type { ResultRow } from '../report/results.ts';
import type { ExperimentCell } from '../spec/types.ts';
import { onDisk } from '../store/faults.ts';
import { makeFolder } from '../store/folders.ts';
import type { Prepared } from './prepare.ts';
import { fileName } from './reports.ts';
import { stateDir } from './state-folder.ts';

export const RATE = 'train.learning_rate';
export const RULE =
  'the highest mean accuracy on the held-out rows; of equal means the smallest rate';

/**
 * Rates to try if the whole model is trained: half decades around 2e-5 to 5e-5, the usual rates of
 * a whole BERT (Devlin et al. 2019).
 */
const FULL = [1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4];
/**
 * Rates to try for other adapters: half decades around the usual rates of LoRA, 1e-4 to 5e-4 (Hu et
 * al. 2022).
 */
const FEW_PARAMETERS = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2];

/** The rates to try, by adapter type; `*` stands for every type that is not listed. */
export type Rates = { readonly [type: string]: readonly number[] };

const ratesToTry = (types: readonly string[], given: Rates): readonly number[] =>
  [
    ...new Set(
      types.flatMap(
        (type) => given[type] ?? given['*'] ?? (type === 'full' ? FULL : FEW_PARAMETERS),
      ),
    ),
  ].sort((a, b) => a - b);

export interface SweepOptions {
  readonly rates: Rates;
  /** How many of the spec's first seeds are used. */
  readonly seeds: number;
  /** The share of the training rows that is held out. */
  readonly share: number;
}

/**
 * Returns the spec of the sweep: no attack, each adapter at each rate, trained on one part of the
 * training rows and scored on the other. No key depends on the original's validation rows.
 * @param resolved the original spec, axes unexpanded and defaults filled in
 * @throws UserFault if the spec measures no accuracy, or if its training rows can't be divided, are
 *   an axis, or are a base's training rows too
 */
export function sweepSpec(resolved: JsonObject, { rates, seeds, share }: SweepOptions): JsonObject {
  const {
    commands: _commands,
    include: _include,
    exclude: _exclude,
    tags: _tags,
    report: _report,
    ...kept
  } = resolved;
  const data = resolved['data'] as JsonObject;
  const train = data['train'] as JsonObject;
  const clean = [{ attack: 'none' }];
  const { type: head } = (resolved['head'] ?? {}) as { readonly type?: Json };
  if ([head].flat().includes('regression'))
    throw new UserFault(
      'learning rates are chosen by accuracy, which a regression head does not have',
      'try a few as an axis: train: { learning_rate: [1e-5, 1e-4] }',
    );
  if ([train['columns'] as Json].flat().some((columns) => isRecord(columns) && columns['document']))
    throw new UserFault(
      'learning rates are chosen by accuracy on training rows that are held out, and these are ' +
        'documents (data.train.columns.document), which ask nothing',
      'hold documents out as data.tasks, and try a few rates as an axis, of which the loss of ' +
        'the task tells the best: train: { learning_rate: [1e-5, 1e-4] }',
    );
  if (train['hold_out'] !== undefined)
    throw new UserFault(
      'data.train.hold_out is set already, and rates are chosen on a part of the training rows ' +
        'that is held out',
      'give the test rows a file of their own, as data.validation.source',
    );
  const sample = Object.entries((train['sample'] ?? {}) as JsonObject).map(
    ([name, value]) => [`sample.${name}`, value] as const,
  );
  const axis = [...Object.entries(train), ...sample].find(
    ([name, value]) => name !== 'classes' && Array.isArray(value),
  );
  if (axis !== undefined)
    throw new UserFault(
      `data.train.${axis[0]} is an axis of the grid: rates are chosen on one set of training rows`,
      'choose one of its values: --set ' +
        `data.train.${axis[0]}=${showValue([axis[1]].flat()[0] ?? null)}`,
    );
  const bases = [(resolved['base'] ?? []) as JsonObject | JsonObject[]].flat();
  const link = bases.findIndex(({ data: own }) =>
    [own as JsonObject | JsonObject[] | undefined]
      .flat()
      .some((split) =>
        [(split?.['train'] as JsonObject | undefined)?.['source']].flat().includes(train['source']),
      ),
  );
  if (link >= 0)
    throw new UserFault(
      `base[${link}].data.train and data.train have one source, of which rates would be chosen ` +
        'on a part that is held out: its rows could be among those that the chain trains on',
      'Give that training a file of its own, or try a few rates as an axis: ' +
        'train: { learning_rate: [1e-5, 1e-4] }.',
    );
  const classes =
    data['classes'] ?? train['classes'] ?? (data['validation'] as JsonObject)['classes'];
  const partOfRows = (take: string): JsonObject => ({ ...train, hold_out: { share, take } });
  const base = resolved['base'] as JsonObject | JsonObject[] | undefined;
  const withoutAttack = (training: JsonObject): JsonObject => ({ ...training, poisoning: clean });
  return {
    ...kept,
    name: `${resolved['name'] as string}-learning-rates`,
    seeds: (resolved['seeds'] as Json[]).slice(0, seeds),
    stages: ['train', 'evaluate'],
    data: {
      ...defined({ classes }),
      train: partOfRows('rest'),
      validation: partOfRows('held'),
    },
    poisoning: clean,
    ...defined({
      base: base && (Array.isArray(base) ? base.map(withoutAttack) : withoutAttack(base)),
    }),
    adapter: (resolved['adapter'] as JsonObject[]).map(({ when: _when, ...variant }) => ({
      ...variant,
      train: {
        ...(variant['train'] as JsonObject | undefined),
        learning_rate: [...ratesToTry([variant['type'] as string | string[]].flat(), rates)],
      },
    })),
  };
}

export interface TriedRate {
  readonly rate: number;
  /** The mean of `Choice.metric` over the seeds; null if no seed has a result. */
  readonly mean: number | null;
  /** The sample standard deviation over the seeds; null for fewer than two results. */
  readonly std: number | null;
  readonly n: number;
  /** How many seeds lack a result. If any does, the rate can't be chosen. */
  readonly missing: number;
}

export interface Choice {
  /** The values that tell this adapter from the others: `type=lora rank=8`. */
  readonly label: string;
  /** The axis values that the adapter's cells share, without the rate. */
  readonly cell: JsonObject;
  readonly adapter: ExperimentCell['config']['adapter'];
  /**
   * The metric by which the rate is chosen. Training by DPO need not raise the accuracy of texts,
   * so its rate is chosen by `reward_accuracy`.
   */
  readonly metric: 'accuracy' | 'reward_accuracy';
  readonly rates: readonly TriedRate[];
  /** The rate that is chosen by RULE; null if no rate has a result for every seed. */
  readonly chosen: TriedRate | null;
  /**
   * Which end of the rates the chosen one is at; null if it is at neither, or if there is only one
   * rate or none is chosen.
   */
  readonly edge: 'lowest' | 'highest' | null;
}

const withoutRate = ({ [RATE]: _rate, ...axes }: JsonObject): JsonObject => axes;

/** Returns a choice for each adapter and each value of other axes, in the spec's order. */
export function chooseRates(
  cells: readonly ExperimentCell[],
  rows: readonly Pick<ResultRow, 'cell' | 'seed' | 'stage' | 'metric' | 'value'>[],
): Choice[] {
  const measured = new Map(
    rows
      .filter(({ stage }) => stage === 'evaluate')
      .map(({ cell, seed, metric, value }) => [canonical([cell, seed, metric]), value]),
  );
  const groups = [...groupBy(cells, ({ axes }) => canonical(withoutRate(axes))).values()];
  const telling = tellingAxes(groups.map(([{ axes }]) => withoutRate(axes)));
  const short = shortNames(telling);
  return groups.map((own) => {
    const [{ axes, config }] = own;
    const cell = withoutRate(axes);
    const metric = config.train.loss === 'dpo' ? 'reward_accuracy' : 'accuracy';
    const rates = [...groupBy(own, (one) => String(one.config.train.learning_rate)).values()]
      .map((seeds) =>
        summariseRate(
          seeds[0].config.train.learning_rate,
          seeds.map((one) => measured.get(canonical([one.axes, one.config.seed, metric]))),
        ),
      )
      .sort((a, b) => a.rate - b.rate);
    const chosen = bestRate(rates);
    const words = telling.flatMap((path) => {
      const value = cell[path];
      return value === undefined ? [] : [`${short.get(path) ?? path}=${showValue(value)}`];
    });
    return {
      label: words.join(' ') || `type=${config.adapter.type}`,
      cell,
      adapter: config.adapter,
      metric,
      rates,
      chosen,
      edge: findEdge(chosen, rates),
    };
  });
}

function findEdge(chosen: TriedRate | null, rates: readonly TriedRate[]): Choice['edge'] {
  if (chosen === null || rates.length < 2) return null;
  if (chosen === rates[0]) return 'lowest';
  return chosen === rates.at(-1) ? 'highest' : null;
}

/**
 * Returns the axes outside the adapter along which an adapter may get several rates. A spec can't
 * express these: a variant of `adapter` has one rate for all its cells.
 */
export function axesWithOwnRates(choices: readonly Pick<Choice, 'adapter' | 'cell'>[]): string[] {
  const byAdapter = groupBy(choices, ({ adapter }) => canonical(adapter));
  return distinct(
    [...byAdapter.values()].flatMap((own) => tellingAxes(own.map(({ cell }) => cell))),
  );
}

/**
 * Returns the mean and spread of a rate's results.
 * @param values one for each seed; undefined for a seed without a result
 */
function summariseRate(rate: number, values: readonly (number | undefined)[]): TriedRate {
  const found = values.filter((value) => value !== undefined);
  const { mean, std } = found.length === 0 ? { mean: null, std: null } : summarise(found);
  return { rate, mean, std, n: found.length, missing: values.length - found.length };
}

/**
 * Returns the rate that RULE chooses; null if none has a result for every seed.
 * @param rates ascending
 */
function bestRate(rates: readonly TriedRate[]): TriedRate | null {
  const measured = rates.flatMap((one) =>
    one.missing === 0 && one.mean !== null ? [{ one, mean: one.mean }] : [],
  );
  const highest = Math.max(...measured.map(({ mean }) => mean));
  return measured.find(({ mean }) => mean >= highest - EQUAL_MEANS)?.one ?? null;
}

const showValue = (value: Json): string => (typeof value === 'string' ? value : canonical(value));

/**
 * Writes the spec of a sweep to a file, which `dosimeter results` and `explain` can read.
 * @returns the file's path, relative to the working folder
 * @throws UserFault if the file can't be written
 */
export async function writeSweepSpec(
  { spec, profile }: { readonly spec: string; readonly profile?: string },
  name: string,
  sweep: JsonObject,
): Promise<string> {
  const parts = profile === undefined ? [] : [fileName(`profile=${profile}`)];
  const file = path.join(stateDir(), 'learning-rates', `${[name, ...parts].join(',')}.yaml`);
  const command =
    `dosimeter learning-rates ${path.relative('', spec)}` +
    (profile === undefined ? '' : ` --profile ${profile}`);
  await onDisk(
    path.dirname(file),
    () => {
      makeFolder(path.dirname(file));
      replaceFile(file, `# Made by \`${command}\`: each call replaces it.\n${stringify(sweep)}`);
    },
    'folder',
  );
  return path.relative('', file);
}

export interface HeldOutRows {
  readonly rows: number;
  /** The share of rows that are of the most frequent class. */
  readonly majority_share: number;
}

/** Returns facts on a sweep's held-out rows; null if they have not been read yet. */
export function heldOutRows({ statuses }: Pick<Prepared, 'statuses'>): HeldOutRows | null {
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

/** Returns a rate as people write it: `3e-5`. */
export const rateText = (rate: number): string => rate.toExponential().replace('e+0', '');

/**
 * Returns `adapter` of a spec as YAML, with the chosen rates and without defaults; '' if no rate
 * was chosen.
 */
export function adapterYaml(
  choices: readonly Choice[],
  { registry }: Pick<Prepared, 'registry'>,
): string {
  const lines = choices.flatMap(({ adapter, chosen }) => {
    if (chosen === null) return [];
    const params = registry.get('adapter', adapter.type)?.descriptor.params ?? {};
    const text = stringify(
      { ...withoutDefaults(adapter, params), train: { learning_rate: 'RATE' } },
      { collectionStyle: 'flow', lineWidth: 0 },
    ).trim();
    // With a decimal point, since YAML 1.1 reads `1e-3` as a text.
    return [`  - ${text.replace('RATE', rateText(chosen.rate).replace(/^(\d+)e/, '$1.0e'))}`];
  });
  return lines.length === 0 ? '' : `adapter:\n${[...new Set(lines)].join('\n')}\n`;
}

/**
 * Returns the values that are not the defaults of a JSON Schema, also within objects that it
 * describes. Objects that are left empty are left out.
 */
function withoutDefaults(values: JsonObject, schema: JsonSchema): JsonObject {
  const fields = (schema['properties'] ?? {}) as { readonly [name: string]: JsonSchema };
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]): [string, Json][] => {
      const field = fields[name];
      if (field === undefined) return [[name, value]];
      if (isRecord(value) && field['properties'] !== undefined) {
        const inner = withoutDefaults(value, field);
        return Object.keys(inner).length === 0 ? [] : [[name, inner]];
      }
      return JSON.stringify(value) === JSON.stringify(field['default']) ? [] : [[name, value]];
    }),
  );
}
