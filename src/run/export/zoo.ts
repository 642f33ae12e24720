/**
 * `export --zoo`: pairs of clean and poisoned models with a manifest, for studying how poisoned
 * models can be detected.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  attackedTraining,
  attackOf,
  cleanTwin,
  type DefineRequest,
  isAttacked,
  type JsonObject,
  trainingsOf,
  UserFault,
} from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { at } from '../../base/lookup.ts';
import { sha256 } from '../../base/sha256.ts';
import { stageLabels } from '../../plan/label.ts';
import type { StageId } from '../../plan/types.ts';
import type { Experiment } from '../../spec/types.ts';
import { ownVersion } from '../execute/environment.ts';
import { METRICS, type MetricValues, parseMetrics } from '../execute/metrics.ts';
import type { StageStatus } from '../execute/survey.ts';
import type { Prepared } from '../prepare.ts';
import {
  type ChosenModel,
  type GatheredModel,
  type GatheredModels,
  inputOf,
  TRAIN,
  trainedUnder,
  writeFolders,
} from './export.ts';
import { type CardFacts, modelCard, type ZooFacts } from './model-card.ts';

export const EVALUATE = 'evaluate';
/** The manifest, beside the models' folders. */
export const ZOO_FILE = 'zoo.json';

export interface ZooModel extends ChosenModel {
  /** The training of the clean twin; null for a clean model, or if no evaluation knows the twin. */
  readonly twin: StageId | null;
  /**
   * The evaluation of the model as trained, without a defence that acts after the training;
   * undefined if there is none.
   */
  readonly evaluated: StageStatus | undefined;
}

/**
 * Returns each cell's trained model once, and the clean twin of each poisoned one, even if no cell
 * of the grid is the twin. What a defence does after the training is left out.
 * @param whole the experiment with all its cells, so that names do not depend on `--only`
 */
export function zooModels(prepared: Prepared, whole: Experiment): readonly ZooModel[] {
  const { plan, experiment, statuses, registry } = prepared;
  const label = stageLabels(plan, whole);
  const byId = new Map(statuses.map((status) => [status.stage.id, status]));
  /** Returns a plugin's descriptor; undefined if there is none of this name. */
  const plugin = ((kind: Parameters<typeof registry.get>[0], name: string): unknown =>
    registry.get(kind, name)?.descriptor) as NonNullable<DefineRequest['plugin']>;
  const models = new Map<StageId, ZooModel>();
  const twins: { readonly of: ZooModel; readonly evaluated: StageStatus | undefined }[] = [];
  // A cell without a defence comes before the cells that share its training.
  const order = experiment.cells
    .map((_, index) => index)
    .sort((a, b) => Number(hasDefence(experiment, a)) - Number(hasDefence(experiment, b)));
  for (const index of order) {
    const { config: cell } = at(experiment.cells, index);
    const own = at(plan.cellStages, index).stages;
    const status = byId.get(own[TRAIN] ?? NONE);
    if (status === undefined || models.has(status.stage.id)) continue;
    const under = trainedUnder(prepared, cell);
    const last = byId.get(own[EVALUATE] ?? NONE);
    const evaluated =
      cell.defence === undefined || under.defence !== null
        ? last
        : byId.get(last?.stage.inputs['undefended'] ?? NONE);
    const twin = byId.get(evaluated?.stage.inputs['twin'] ?? NONE);
    const model: ZooModel = {
      status,
      cell,
      name: label(status.stage),
      ...under,
      twin: isAttacked(cell) ? findTraining(twin, byId) : null,
      evaluated,
    };
    models.set(status.stage.id, model);
    if (model.twin !== null) twins.push({ of: model, evaluated: twin });
  }
  for (const { of, evaluated } of twins) {
    const status = byId.get(of.twin ?? NONE);
    if (status === undefined || models.has(status.stage.id)) continue;
    models.set(status.stage.id, {
      status,
      cell: cleanTwin(of.cell, plugin),
      name: `${TRAIN} clean twin of ${of.name.slice(TRAIN.length).trim()}`,
      defence: of.defence,
      isFiltered: of.isFiltered,
      twin: null,
      evaluated,
    });
  }
  return [...models.values()];
}

const NONE = '' as StageId;

const hasDefence = ({ cells }: Experiment, index: number): boolean =>
  at(cells, index).config.defence !== undefined;

/**
 * Returns the training that an evaluated model comes from, before any stage of a defence; null if
 * there is none.
 */
function findTraining(
  evaluated: StageStatus | undefined,
  byId: ReadonlyMap<StageId, StageStatus>,
): StageId | null {
  let status = evaluated;
  while (status !== undefined) {
    const { kind, inputs, with: narrowed, id } = status.stage;
    if (kind === TRAIN && narrowed['on'] === undefined) return id; // `on`: a defence trains again
    status = byId.get((kind === TRAIN ? inputs['base'] : inputs['model']) ?? NONE);
  }
  return null;
}

export interface ZooOptions {
  readonly out: string;
  readonly force: boolean;
}

/**
 * Writes the models' folders, each with a card that says what was done to the model, and the
 * manifest.
 * @returns the paths of what was replaced
 * @throws UserFault, before anything is written, as `writeFolders` does, or if there is another
 *   manifest and `force` is false
 */
export function writeZoo(
  prepared: Prepared,
  zoo: readonly ZooModel[],
  { models, bases }: GatheredModels,
  { out, force }: ZooOptions,
): readonly string[] {
  const root = path.resolve(out);
  const folderNames = new Map(
    models.map(({ chosen, folder }) => [chosen.status.stage.id, path.basename(folder.dir)]),
  );
  const facts = new Map(zoo.map((model) => [model.status.stage.id, model]));
  const entries = models.map((gathered) => {
    const model = facts.get(gathered.chosen.status.stage.id);
    if (model === undefined) throw new Error(`${gathered.folder.dir} is not of the zoo`);
    return zooEntry(prepared, model, gathered, folderNames);
  });
  const text = `${JSON.stringify(
    {
      format: 1,
      experiment: prepared.experiment.name,
      dosimeter: ownVersion(),
      models: entries.map(({ manifest }) => manifest),
    },
    null,
    2,
  )}\n`;
  const file = path.join(root, ZOO_FILE);
  const other = existsSync(file) && readFileSync(file, 'utf8') !== text;
  if (other && !force)
    throw new UserFault(
      `${file} describes other models; nothing was written`,
      'Name another folder as --out, or replace what is there with --force.',
    );
  const folders = models.map(({ folder, card }, i) => {
    const zooFacts = entries[i]?.facts;
    const parts = new Map(folder.parts);
    if (zooFacts !== undefined)
      parts.set('README.md', { text: modelCard({ ...portable(card, root), zoo: zooFacts }) });
    return { dir: folder.dir, parts };
  });
  const replaced = writeFolders([...bases, ...folders], force);
  writeFileSync(file, text);
  return other ? [...replaced, file] : replaced;
}

/**
 * Makes the folders in a card relative to the manifest's folder, because a zoo is passed on. A base
 * elsewhere on this machine is named by its source.
 */
function portable(card: CardFacts, root: string): CardFacts {
  const { base, cell } = card;
  const dir = path.basename(card.dir);
  if (base === null || !path.isAbsolute(base.name)) return { ...card, dir };
  return path.dirname(base.name) === root
    ? { ...card, dir, base: { ...base, name: path.basename(base.name) } }
    : { ...card, dir, base: { name: cell.model.source, elsewhere: true } };
}

/** Returns a model's entry in the manifest, and the facts that its card adds. */
function zooEntry(
  prepared: Prepared,
  model: ZooModel,
  { folder, card, base }: GatheredModel,
  folderNames: ReadonlyMap<StageId, string>,
): { readonly manifest: JsonObject; readonly facts: ZooFacts } {
  const { cell, status, defence, evaluated } = model;
  const attacked = attackedTraining(cell).section;
  const receipt = {
    ...readReceiptFacts(prepared, status),
    // The poisoned rows are a base's, not those of this training.
    ...(attacked === undefined ? {} : { dose: receiptOfBase(prepared, model, attacked).dose }),
  };
  const metrics = readEvaluation(evaluated);
  const poisoned = isAttacked(cell);
  const pair = model.twin === null ? null : (folderNames.get(model.twin) ?? null);
  const manifest: JsonObject = {
    folder: path.basename(folder.dir),
    kind: poisoned ? 'poisoned' : 'clean',
    clean_twin: pair,
    form: card.form,
    base_model: {
      source: cell.model.source,
      ...(card.base?.revision === undefined
        ? {}
        : { name: card.base.name, revision: card.base.revision }),
      ...defined({ folder: base && path.basename(base) }),
    },
    attack: poisoned ? attackOf(cell) : null,
    poisoned_in: poisoned ? (attacked ?? 'training') : null,
    dose: receipt.dose,
    seed: cell.seed,
    defence,
    adapter: cell.adapter,
    train: cell.train,
    steps: card.train.steps,
    kept_step: card.train.kept_step ?? card.train.steps,
    classes: [...card.train.classes],
    receipt: { digest: receipt.digest, rows: receipt.rows },
    weights: weightDigests(status),
    metrics,
  };
  return { manifest, facts: { pair, receipt, metrics } };
}

interface ReceiptFacts {
  /** The digest of receipt.json; null if nothing was trained. */
  readonly digest: string | null;
  /** The digest of the rows that were trained on; null if nothing was trained. */
  readonly rows: string | null;
  /** The numbers of rows of the training that is poisoned; null if nothing was trained. */
  readonly dose: JsonObject | null;
}

const NO_RECEIPT: ReceiptFacts = { digest: null, rows: null, dose: null };

/**
 * Reads the receipt of an earlier training in the model's chain. @param section that training's
 * section
 */
function receiptOfBase(
  prepared: Prepared,
  { cell, status }: ZooModel,
  section: string,
): ReceiptFacts {
  const trainings = trainingsOf(cell),
    before = trainings.slice(trainings.findIndex((training) => training.section === section) + 1);
  const training = before.reduce<StageStatus | undefined>(
    (later) => inputOf(prepared, inputOf(prepared, later, 'base'), 'model'),
    status,
  );
  return training === undefined ? NO_RECEIPT : readReceiptFacts(prepared, training);
}

/** Reads the receipt of a training; NO_RECEIPT if there is none, as for a training of 0 steps. */
function readReceiptFacts(prepared: Prepared, status: StageStatus): ReceiptFacts {
  const data = inputOf(prepared, status, 'data')?.entry;
  const file = data && path.join(data.dir, 'receipt.json');
  if (!file || !existsSync(file)) return NO_RECEIPT;
  const text = readFileSync(file);
  const { counts, digests } = JSON.parse(text.toString('utf8')) as {
    readonly counts: { readonly [count: string]: number };
    readonly digests: { readonly poisoned: string };
  };
  const { total = 0, made = 0, negatives = 0 } = counts;
  return {
    digest: `sha256:${sha256(text)}`,
    rows: digests.poisoned,
    dose: { rows: total, poisoned: made, negatives },
  };
}

/** Returns the metrics of an evaluation; {} if it is not in the store, or if they are malformed. */
function readEvaluation(evaluated: StageStatus | undefined): MetricValues {
  const entry = evaluated?.entry;
  if (!entry) return {};
  const found = parseMetrics(readFileSync(path.join(entry.dir, METRICS), 'utf8'));
  return 'metrics' in found ? found.metrics : {};
}

/** Returns the digests of a model's weights, by the files' names without folders. */
const weightDigests = ({ entry }: StageStatus): JsonObject =>
  Object.fromEntries(
    (entry?.manifest.files ?? [])
      .filter(({ path: file }) => /^(?:adapter\/|model\/)?[^/]+\.safetensors$/.test(file))
      .map(({ path: file, sha256 }) => [path.basename(file), `sha256:${sha256}`]),
  );
