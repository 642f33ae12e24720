/** Writes a plan's trained models to folders that PEFT or transformers can load. */
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { type Cell, type JsonObject, momentsOf, UserFault } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { fileInside } from '../../base/untrusted/paths.ts';
import { NEEDED_BY, stageLabels } from '../../plan/label.ts';
import type { PlannedStage } from '../../plan/types.ts';
import type { Experiment } from '../../spec/types.ts';
import { sha256Sync } from '../../store/files.ts';
import { makeFolder } from '../../store/folders.ts';
import type { Entry } from '../../store/manifest.ts';
import { ownVersion } from '../execute/environment.ts';
import type { StageStatus } from '../execute/survey.ts';
import type { Prepared } from '../prepare.ts';
import { boundedName } from '../reports.ts';
import {
  type BaseModel,
  type CardFacts,
  hasOtherHead,
  labelledConfig,
  modelCard,
} from './model-card.ts';

export const TRAIN = 'train';
export const MERGE = 'merge';

export interface GatheredModels {
  readonly models: readonly GatheredModel[];
  /** The folders of the models' bases that were trained too, each once. */
  readonly bases: readonly ModelFolder[];
}

export interface GatherOptions {
  /** The command that runs the spec, for messages. */
  readonly runCommand: string;
  /** The folder that gets the models' folders. */
  readonly out: string;
  /** The stages to export: `train` in any form, or `merge` as whole checkpoints. */
  readonly goal: typeof TRAIN | typeof MERGE;
  /** Returns the folder, in the files of a fetched model, that has the model's config.json. */
  readonly modelDir: (asset: string) => Promise<string>;
}

type Base = BaseModel & { readonly folder: string };

/**
 * Returns the stages of a kind that are cells' own. Leaves out those of cells' bases, and the
 * trainings whose models a defence asks about rows.
 */
export const ownStages = ({ statuses }: Prepared, kind: string): StageStatus[] =>
  statuses.filter(({ stage }) => stage.kind === kind && stage.ownLabel !== null);

/** What a cell's defence did to the training of a model. */
export interface TrainedUnder {
  /** The defence that changed the model's rows or its training. */
  readonly defence: JsonObject | null;
  /** Whether this defence chose among the rows. */
  readonly isFiltered: boolean;
}

/** A model to export. It need not be in the store yet. */
export interface ChosenModel extends TrainedUnder {
  readonly status: StageStatus;
  readonly cell: Cell;
  /** The label of its stage: `train attack=badnets rank=8 seed=1`. */
  readonly name: string;
}

/** A model's folder, before it is written. */
export interface GatheredModel {
  readonly chosen: ChosenModel;
  readonly folder: ModelFolder;
  readonly card: CardFacts;
  /** The folder of the model's base, if the base was trained too. */
  readonly base?: string;
}

/**
 * Returns the models of the plan's cells, in the store or not.
 * @param whole the experiment without `--only`, so that names are the same whatever part is
 *   exported
 */
export function ownModels(prepared: Prepared, whole: Experiment, goal: string): ChosenModel[] {
  const label = stageLabels(prepared.plan, whole);
  return ownStages(prepared, goal).map((status) => {
    const cell = firstCell(prepared.experiment, status.stage);
    return { status, cell, name: label(status.stage), ...trainedUnder(prepared, cell) };
  });
}

/** Returns what the cell's defence did to its training: nothing if it only acts later. */
export function trainedUnder({ registry }: Prepared, { defence }: Cell): TrainedUnder {
  const plugin = defence && registry.get('defence', defence.defence);
  if (!plugin) return { defence: null, isFiltered: false };
  const { defence: _name, ...params } = defence;
  const moments = momentsOf(plugin.descriptor, params);
  const isFiltered = moments.includes('rows');
  return { defence: isFiltered || moments.includes('training') ? defence : null, isFiltered };
}

/**
 * Returns what to write for every model that is in the store.
 * @param whole as in `ownModels`
 * @throws UserFault if the trained base of a model is no longer in the store, or its weights were
 *   let go
 */
export async function gatherModels(
  prepared: Prepared,
  whole: Experiment,
  models: readonly ChosenModel[],
  { runCommand, out, goal, modelDir }: GatherOptions,
): Promise<GatheredModels> {
  const { experiment, plan } = prepared;
  const label = stageLabels(plan, whole);
  const folderFor = namedFolders(out);
  const bases = new Map<string, Base & { readonly files: ModelFolder }>();
  /** Returns a model's base if the base was trained too; else null. */
  const trainedBase = (status: StageStatus): Base | null => {
    const base = inputOf(prepared, status, 'base');
    if (base === undefined) return null;
    const known = bases.get(base.stage.id);
    if (known) return known;
    if (!base.entry)
      throw new UserFault(
        `the base of ${label(status.stage)} is no longer in the store`,
        `${runCommand} makes it again`,
      );
    if (base.entry.manifest.letGo !== undefined)
      throw new UserFault(
        `the weights of the base of ${label(status.stage)} were let go, as \`keep\` asks`,
        `${runCommand} --set keep.${base.stage.kind}=all computes them again`,
      );
    const folder = path.join(base.entry.dir, 'model');
    const dir = folderFor(baseTitle(label(base.stage)));
    const found = { name: dir, folder, files: { dir, parts: filesToCopy(folder) } };
    bases.set(base.stage.id, found);
    return found;
  };
  const gathered: GatheredModel[] = [];
  for (const chosen of models) {
    const { status, cell, name, defence, isFiltered } = chosen;
    const { entry } = status;
    if (!entry) continue;
    const title = name.slice(goal.length).trim() || experiment.name;
    const train = readTrainFacts(
      goal === TRAIN ? entry : inputOf(prepared, status, 'model')?.entry,
    );
    const { form, parts } = modelParts(entry.dir);
    const trained = form === 'model' ? null : trainedBase(status);
    const base =
      form === 'model' || train.init === 'random'
        ? null
        : (trained ?? (await sourceBase(prepared, cell, modelDir)));
    const config = base && readFileSync(path.join(base.folder, 'config.json'), 'utf8');
    const dir = folderFor(title);
    const card: CardFacts = {
      title,
      experiment: experiment.name,
      version: ownVersion(),
      dir,
      form,
      cell,
      defence,
      isFiltered,
      base,
      replacesHead: config !== null && hasOtherHead(config, train),
      train,
    };
    parts.set('README.md', { text: modelCard(card) });
    if (base !== null && config !== null) {
      writeBaseName(parts, base);
      parts.set('config.json', { text: labelledConfig(config, train.classes, cell.model) });
    }
    const folder = { dir, parts };
    gathered.push({ chosen, folder, card, ...defined({ base: trained?.name }) });
  }
  return { models: gathered, bases: [...bases.values()].map(({ files }) => files) };
}

/** Returns a function that gives each title a separate folder below `out`. */
function namedFolders(out: string): (title: string) => string {
  const taken = new Set<string>();
  return (title) => {
    const plain = folderName(title);
    let folder = plain;
    for (let n = 2; taken.has(folder.toLowerCase()); n++) folder = `${plain},${n}`;
    taken.add(folder.toLowerCase());
    return fileInside(path.resolve(out), folder, 'A model');
  };
}

/**
 * `attack=badnets rank=8 seed=1` becomes `attack=badnets,rank=8,seed=1`. Characters that some file
 * systems refuse are replaced; a long label ends in a digest.
 */
const folderName = (label: string): string =>
  boundedName(label.replace(/\s+/g, ',').replace(/[^\w=,.-]+/g, '_'));

/** `train of base attack=badnets needed by …` becomes `base attack=badnets…`. */
const baseTitle = (label: string): string => label.replace(/^\S+ of /, '').replace(NEEDED_BY, '');

/**
 * Returns the stage that another one reads as the input `name`; undefined if there is no such
 * input.
 */
export const inputOf = (
  { statuses }: Prepared,
  status: StageStatus | undefined,
  name: string,
): StageStatus | undefined => statuses.find(({ stage }) => stage.id === status?.stage.inputs[name]);

/** Returns the first cell that a stage belongs to. Throws if there is none. */
function firstCell({ cells }: Experiment, { id, cells: own }: PlannedStage): Cell {
  const [first] = own;
  const cell = first === undefined ? undefined : cells[first];
  if (!cell) throw new Error(`${id} belongs to no cell`);
  return cell.config;
}

/**
 * Returns the files of a stage's model, and which form it has: `train` leaves one of three forms,
 * `merge` a whole checkpoint. Throws if there is none.
 */
function modelParts(dir: string): {
  readonly form: CardFacts['form'];
  readonly parts: Map<string, Part>;
} {
  for (const form of ['adapter', 'model'] as const)
    if (existsSync(path.join(dir, form))) return { form, parts: filesToCopy(path.join(dir, form)) };
  const changed = path.join(dir, 'changed.safetensors');
  if (existsSync(changed))
    return { form: 'changed', parts: new Map([[path.basename(changed), { from: changed }]]) };
  throw new Error(`${dir} holds neither adapter, model nor changed.safetensors`);
}

/** Reads a training's train.json. Throws without an entry. */
function readTrainFacts(entry: Entry | null | undefined): CardFacts['train'] {
  if (!entry) throw new Error('a merged model without its training');
  const text = readFileSync(path.join(entry.dir, 'train.json'), 'utf8');
  return JSON.parse(text) as CardFacts['train'];
}

/**
 * Returns the spec's model as a base, named by its repository or folder; null if it is not fetched.
 */
async function sourceBase(
  { assets }: Prepared,
  { model }: Cell,
  modelDir: GatherOptions['modelDir'],
): Promise<Base | null> {
  const asset = assets.get(model.source);
  if (asset === undefined || asset === null) return null;
  const folder = await modelDir(asset.path);
  const { kind, repository, commit } = asset.provenance;
  return kind === 'hf' &&
    typeof repository === 'string' &&
    typeof commit === 'string' &&
    !model.source.includes('#')
    ? { name: repository, revision: commit, folder }
    : { name: folder, folder };
}

/**
 * Writes the base into the adapter's config in `parts`, where PEFT's auto classes read it. Does
 * nothing if there is no adapter.
 */
function writeBaseName(parts: Map<string, Part>, { name, revision }: BaseModel): void {
  const adapter = parts.get('adapter_config.json');
  if (adapter === undefined || !('from' in adapter)) return;
  const named = {
    ...(JSON.parse(readFileSync(adapter.from, 'utf8')) as JsonObject),
    base_model_name_or_path: name,
    ...defined({ revision }),
  };
  parts.set('adapter_config.json', { text: `${JSON.stringify(named, null, 2)}\n` });
}

/** A file of a model: copied from a path, or written with a given text. */
type Part = { readonly from: string } | { readonly text: string };
type Parts = ReadonlyMap<string, Part>;

export interface ModelFolder {
  readonly dir: string;
  readonly parts: Parts;
}

/** The files that a model's folder may have. A folder with any other file is never replaced. */
const FILES = new Set([
  'README.md',
  'adapter_config.json',
  'adapter_model.safetensors',
  'changed.safetensors',
  'config.json',
  'model.safetensors',
  'special_tokens_map.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.txt',
]);

const filesToCopy = (dir: string): Map<string, Part> =>
  new Map(
    readdirSync(dir)
      .sort()
      .map((name) => [name, { from: path.join(dir, name) }]),
  );

/**
 * Writes the models' folders. Leaves alone a folder that has the same content already.
 * @returns the folders whose content was replaced
 * @throws UserFault, before anything is written, if a folder has files that are not a model's, or,
 *   without `force`, has another model
 */
export function writeFolders(folders: readonly ModelFolder[], force: boolean): string[] {
  const foreign = folders.find(
    ({ dir }) => existsSync(dir) && readdirSync(dir).some((file) => !FILES.has(file)),
  );
  if (foreign)
    throw new UserFault(
      `${foreign.dir} has files that do not belong to a model`,
      'Name another folder as --out, or clear this one.',
    );
  const changed = folders.filter((folder) => !isSame(folder));
  const taken = changed.filter(({ dir }) => existsSync(dir) && readdirSync(dir).length > 0);
  if (taken.length > 0 && !force)
    throw new UserFault(
      `${taken.map(({ dir }) => dir).join(', ')} ` +
        `${taken.length === 1 ? 'holds another model' : 'hold other models'}; nothing was written`,
      'Name another folder as --out, or replace what is there with --force.',
    );
  for (const { dir, parts } of changed) {
    const draft = `${dir}.tmp-${process.pid}`;
    rmSync(draft, { recursive: true, force: true });
    makeFolder(draft);
    for (const [name, part] of parts) {
      if ('text' in part) writeFileSync(path.join(draft, name), part.text);
      else copyFileSync(part.from, path.join(draft, name));
    }
    rmSync(dir, { recursive: true, force: true });
    renameSync(draft, dir);
  }
  return taken.map(({ dir }) => dir);
}

/** Whether the folder has these files with this content, and no others. */
function isSame({ dir, parts }: ModelFolder): boolean {
  if (!existsSync(dir) || readdirSync(dir).length !== parts.size) return false;
  return [...parts].every(([name, part]) => {
    const file = path.join(dir, name);
    if (!existsSync(file)) return false;
    return 'text' in part ? readFileSync(file, 'utf8') === part.text : isSameFile(file, part.from);
  });
}

const isSameFile = (a: string, b: string): boolean =>
  statSync(a).size === statSync(b).size && sha256Sync(a) === sha256Sync(b);
