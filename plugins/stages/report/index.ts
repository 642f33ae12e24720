import {
  attackedTraining,
  attackOf,
  basesOf,
  type Cell,
  type CellSplit,
  type DefineRequest,
  defineStage,
  heldWeights,
  isAttacked,
  isChain,
  type Json,
  type JsonObject,
  type Poisoning,
  type StageRequest,
  stepsOf,
  trainingsOf,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { datasetUri } from '../../../src/data/format.ts';
import { groupBy } from '../../../src/report/groups.ts';
import { sectionTitle } from '../../../src/report/labels.ts';
import { OUTPUTS } from '../../../src/report/outputs.ts';
import { sourceNames } from '../../../src/report/sources.ts';
import { twinOf } from '../evaluate/inputs.ts';
import { trainingSet } from '../shared/defended.ts';
import { filesApart } from '../shared/program-files.ts';
import { usesBf16 } from '../train/params.ts';

export type Params = {
  readonly goals: readonly string[];
  readonly cells: readonly PlannedCell[];
  /** The distinct training settings, which most cells share. */
  readonly train: readonly JsonObject[];
  /** By role, such as `training data`: what the spec says about the source. */
  readonly sources: { readonly [role: string]: JsonObject };
  /** Triggers that no training shows, as `evaluate.triggers` names them. */
  readonly triggers?: readonly Poisoning[];
  /** The `ReportEntries` of the spec, where it has any. */
  readonly entries?: JsonObject;
};

export type PlannedCell = {
  readonly seed: number;
  /** The attack on the cell, or else on its last base that has one. */
  readonly poisoning: Poisoning;
  /** Present if that attack is on a base: true, or its place in a chain (`base.0`). */
  readonly of_base?: true | string;
  /** The names of the trainings of a chain, without the cell's own. */
  readonly chain?: readonly string[];
  readonly adapter: { readonly type: string } & JsonObject;
  /** Present if the cell's training, or its base's, took its products in bfloat16. */
  readonly bf16?: true;
  /** How the model's weights are held: `nf4`, `int8` or `bfloat16`. Absent for float32. */
  readonly weights?: string;
  /** The trainings before the cell's own, the first one first. */
  readonly bases?: readonly {
    readonly section: string;
    readonly poisoning: Poisoning;
    readonly adapter: { readonly type: string } & JsonObject;
    readonly train: number;
  }[];
  /** The index of the cell's training settings in `Params.train`. */
  readonly train: number;
  /** The index, from 0, of the cell's `data` among the distinct ones of the grid. Default: 0. */
  readonly data?: number;
};

/** The goals for which models are trained. With any of them, receipts and data sets are shown. */
const TRAINED_GOALS = new Set(['train', 'evaluate', 'kernel', 'ntk', 'fisher']);
export const isTrainedGoal = (kind: string): boolean => TRAINED_GOALS.has(kind);

export const goalsToRead = (goals: readonly string[]): readonly string[] =>
  goals.filter((goal) => goal !== 'report');

/**
 * Returns all attacks on the cells and their bases, by name, with the distinct values of each of
 * their parameters. A composed attack counts as its steps.
 */
export function attacksIn(
  cells: readonly Pick<PlannedCell, 'poisoning' | 'bases'>[],
): ReadonlyMap<string, { readonly [param: string]: readonly Json[] }> {
  const found = new Map<string, { [param: string]: readonly Json[] }>();
  const all = cells.flatMap(({ poisoning, bases = [] }) => [
    poisoning,
    ...bases.map((base) => base.poisoning),
  ]);
  for (const { attack, params } of indexDistinct(all).distinct.flatMap(stepsOf)) {
    const known = found.get(attack) ?? {};
    for (const [name, value] of Object.entries(params))
      known[name] = indexDistinct([...(known[name] ?? []), value]).distinct;
    found.set(attack, known);
  }
  return found;
}

/**
 * Returns a list of distinct values, `values`, and `indexOf`, which returns the index of a value
 * there, and adds the value first if none with the same key is there.
 */
export function createIndex<T>(keyOf: (value: T) => string) {
  const values: T[] = [],
    indexes = new Map<string, number>();
  const indexOf = (value: T): number => {
    const key = keyOf(value),
      index = indexes.get(key) ?? values.length;
    if (index === values.length) values.push(value);
    indexes.set(key, index);
    return index;
  };
  return { values, indexOf };
}

/** Returns the distinct values and, for each value, its index among them. */
function indexDistinct<T>(all: readonly T[]) {
  const { values, indexOf } = createIndex<T>(JSON.stringify);
  return { indexes: all.map(indexOf), distinct: values };
}

/** Returns the role of the model or data set with this index from 0: `model`, `model (2)`, …. */
export const numberedRole = (role: string, index: number): string =>
  index === 0 ? role : `${role} (${index + 1})`;

/**
 * Returns the name of the input that holds the receipt of an earlier training of a cell.
 * @param index the cell's index
 * @param section the training's section of the spec
 */
export const receiptInput = (index: number, section: string): string =>
  `poison of ${section}:${index}`;

/**
 * Returns the inputs that belong to single cells: each cell's goals, the poisoned rows of its
 * trainings, what a defence made of its rows, and the evaluation of its clean twin.
 */
function goalInputs(
  cells: readonly Cell[],
  kinds: readonly string[],
  isTrained: boolean,
  plugin: DefineRequest['plugin'],
) {
  const inputs: { [name: string]: StageRequest } = {};
  for (const [index, cell] of cells.entries()) {
    for (const kind of kinds) inputs[`${kind}:${index}`] = { kind, cell };
    const attacked = attackedTraining(cell),
      isStudied = isTrained && !kinds.includes('poison');
    if (isStudied) inputs[`poison:${index}`] = { kind: 'poison', ...attacked };
    for (const training of isTrained ? trainingsOf(cell) : []) {
      const { section, cell: own } = training;
      const isOther = section !== undefined && !(isStudied && section === attacked.section);
      if (isOther && own.poisoning.attack !== 'none')
        inputs[receiptInput(index, section)] = { kind: 'poison', ...training };
    }
    // The ROC of the defence is drawn from its scores of training rows.
    const rows = trainingSet(cell, plugin);
    if (isTrained && rows.kind === 'defend') inputs[`defend:${index}`] = rows;
    // The output browser shows the clean twin's answers beside the cell's.
    if (kinds.includes('evaluate') && isAttacked(cell))
      inputs[`twin:${index}`] = twinOf(cell, plugin);
  }
  return inputs;
}

/**
 * Returns a cell as the report's parameters describe it.
 * @param settings for each training up to the cell's own, the index in `Params.train`
 * @param data the index of the cell's `data`
 */
function planCell(cell: Cell, settings: readonly number[], data: number): PlannedCell {
  const { section: attacked } = attackedTraining(cell);
  const bases = trainingsOf(cell).flatMap(({ cell: { poisoning, adapter }, section }, i) =>
    section === undefined
      ? []
      : [{ section, poisoning: filesApart(poisoning).poisoning, adapter, train: settings[i] ?? 0 }],
  );
  const { weights } = heldWeights(cell.model);
  return defined({
    seed: cell.seed,
    poisoning: filesApart(attackOf(cell)).poisoning,
    of_base: attacked === 'base' ? true : attacked,
    chain: isChain(cell)
      ? basesOf(cell).map(({ name }, i) => name ?? sectionTitle(`base.${i}`))
      : undefined,
    adapter: cell.adapter,
    bf16: usesBf16(cell) ? true : undefined,
    weights: weights && (weights.quantize?.method ?? 'bfloat16'),
    bases: bases.length === 0 ? undefined : bases,
    train: settings.at(-1) ?? 0,
    data: data === 0 ? undefined : data,
  });
}

/**
 * Returns a cell's training settings. Some are left out where they have their defaults, and are
 * then in no key.
 */
function trainSettings({ train }: Cell): JsonObject {
  const { precision, loss, dpo_beta: beta, loss_on: lossOn, packing, ...rest } = train;
  return {
    ...rest,
    ...(precision === 'bf16' ? { precision } : {}),
    ...(loss === 'dpo' ? { loss, dpo_beta: beta } : {}),
    ...(lossOn === 'answer' ? {} : { loss_on: lossOn }),
    ...(packing ? { packing } : {}),
  };
}

const SPLITS = [
  ['train', 'training data'],
  ['validation', 'validation data'],
  ['test', 'test data'],
] as const;

/**
 * Returns the splits of a cell's data and its tasks, each with its role in the report and with what
 * the spec says of its rows.
 */
const splitsOf = (
  data: Cell['data'],
): readonly (readonly [split: string, role: string, rows: CellSplit])[] => [
  ...SPLITS.flatMap(([split, role]) => {
    const rows = data[split];
    return rows === undefined ? [] : [[split, role, rows] as const];
  }),
  ...Object.entries(data.tasks ?? {}).map(
    ([name, rows]) => [`tasks.${name}`, `data of ${name}`, rows] as const,
  ),
];

/**
 * Returns as `sources` what the spec says of models and data sets, by role; as `data`, for each
 * cell, the index of its `data`; and the inputs and assets of the data sets. The data sets' sources
 * are assets, because a file may change although its rows do not.
 */
function gatherSources(cells: readonly Cell[], isTrained: boolean) {
  const models = indexDistinct(cells.map((cell) => cell.model));
  const data = indexDistinct(cells.map((cell) => cell.data));
  const bases = indexDistinct(
    cells.flatMap((cell) =>
      trainingsOf(cell).flatMap(({ section = '' }, i) => {
        const rows = basesOf(cell)[i]?.data?.train;
        return rows === undefined
          ? []
          : { role: `training data of ${sectionTitle(section)}`, rows };
      }),
    ),
  ).distinct;
  // Where a file is depends on the machine, so it must not enter the report's key.
  const name = sourceNames([
    ...models.distinct.map(({ source }) => source),
    ...data.distinct.flatMap((splits) => splitsOf(splits).map(([, , { source }]) => source)),
    ...bases.map(({ rows: { source } }) => source),
  ]);
  const portable = (section: { readonly source: string }): JsonObject => ({
    ...section,
    source: name(section.source),
  });
  const sources: { [role: string]: JsonObject } = Object.fromEntries(
    models.distinct.map((model, i) => [numberedRole('model', i), portable(model)]),
  );
  const inputs: { [name: string]: StageRequest } = {},
    assets: { [name: string]: string } = {};
  for (const [role, of] of isTrained ? groupBy(bases, (one) => one.role) : [])
    for (const [i, { rows }] of of.entries()) {
      sources[numberedRole(role, i)] = portable(rows);
      assets[`base: ${name(rows.source)}`] = datasetUri(rows.source);
    }
  for (const [i, splits] of data.distinct.entries()) {
    const cell = cells[data.indexes.indexOf(i)];
    for (const [split, role, asked] of splitsOf(splits)) {
      const key = numberedRole(role, i);
      sources[key] = portable(asked);
      if (!isTrained || cell === undefined) continue;
      inputs[key] = { kind: 'data', cell, with: { split } };
      assets[key] = datasetUri(asked.source);
    }
  }
  return { sources, inputs, assets, data: data.indexes };
}

export default defineStage({
  name: 'report',
  summary:
    'Joins the grid in one HTML file that opens offline: findings over seeds, tables, figures, ' +
    'provenance.',
  compute: false,
  scope: 'experiment',
  // These files have timings, or bytes that depend on Node's compressor.
  volatile: ['report.html', 'figures/stages.svg', 'figures/stages.csv', OUTPUTS],
  tolerant: true,
  spares: ['ntk'],
  define(cells, { goals, report, plugin }) {
    const kinds = goalsToRead(goals);
    const isTrained = kinds.some(isTrainedGoal);
    const train = createIndex<JsonObject>(JSON.stringify);
    const { sources, inputs, assets, data } = gatherSources(cells, isTrained);
    const triggers = indexDistinct(
      cells.flatMap(({ evaluate }) => evaluate.triggers ?? []),
    ).distinct;
    const planned = cells.map((cell, i) => {
      const settings = trainingsOf(cell).map((one) => train.indexOf(trainSettings(one.cell)));
      return planCell(cell, settings, data[i] ?? 0);
    });
    const params: Params = {
      goals,
      train: train.values,
      sources,
      cells: planned,
      ...(triggers.length > 0 && {
        triggers: triggers.map((trigger) => filesApart(trigger as Poisoning).poisoning),
      }),
      ...defined({ entries: report as unknown as JsonObject | undefined }),
    };
    const attacks = isTrained ? [...attacksIn(planned).keys()] : [];
    return {
      params,
      inputs: { ...goalInputs(cells, kinds, isTrained, plugin), ...inputs },
      assets,
      uses: attacks.map((name) => ({ kind: 'attack' as const, name })),
    };
  },
  resources: () => ({ cpu: 1 }),
  run: async (context) => (await import('./run.ts')).run(context),
});
