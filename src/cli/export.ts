/** `dosimeter export SPEC --out DIR`: the trained models, each in a folder that PEFT or transformers opens. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Cell, JsonObject } from '../api.ts';
import { UserFault } from '../api.ts';
import type { Prepared } from '../engine/prepare.ts';
import { load, prepare } from '../engine/prepare.ts';
import { boundedName } from '../engine/reports.ts';
import { ownVersion } from '../execute/environment.ts';
import type { StageStatus } from '../execute/survey.ts';
import { NEEDED_BY, stageLabels } from '../plan/label.ts';
import { fileInside } from '../untrusted/path.ts';
import { DONE, execute } from './execute.ts';
import type { BaseModel, CardFacts } from './model-card.ts';
import { labelledConfig, loadingLines, modelCard } from './model-card.ts';
import type { ModelFolder, Part } from './model-folder.ts';
import { filesOf, writeFolders } from './model-folder.ts';
import type { SpecOptions } from './options.ts';
import { count, json, out, paintErr, say } from './terminal.ts';

const TRAIN = 'train',
  MERGE = 'merge';

export interface ExportOptions extends SpecOptions {
  readonly out: string;
  readonly merge?: boolean;
  readonly force?: boolean;
}

/** Trains nothing: what is exported is what was run. Prints a folder a line. */
export async function exportCommand(spec: string, options: ExportOptions): Promise<number> {
  const goal = options.merge === true ? MERGE : TRAIN;
  const ready = (fetch: boolean): Promise<Prepared> =>
    prepare(spec, options, { fetch, note: say, goals: () => [goal] });
  let prepared = await ready(options.merge === true);
  const trained = goals(prepared, TRAIN),
    missing = trained.filter(({ state }) => state !== 'cached').length;
  if (missing === trained.length)
    throw new UserFault(
      `no model of "${prepared.experiment.name}" is trained yet`,
      `run it first: dosimeter run ${spec}`,
    );
  if (goal === MERGE && goals(prepared, MERGE).some(({ state }) => state === 'ready')) {
    const code = await execute(prepared, {
      jobs: options.jobs,
      mayRun: ({ kind }) => kind === MERGE,
    });
    if (code !== DONE) return code;
    prepared = await ready(false);
  }
  const { folders, exported, cards } = await gather(spec, prepared, options, goal);
  for (const dir of writeFolders(folders, options.force === true))
    say(paintErr.yellow(`replaced what was in ${dir}`));
  if (options.json) json(exported);
  else {
    for (const { dir } of exported) out(dir);
    const lines = cards[0] && loadingLines(cards[0]);
    if (lines)
      say(
        `to load ${cards.length === 1 ? 'it' : 'the first'}, in Python (README.md of each folder has the lines for it):\n\n${lines.replace(/^(?=.)/gm, '    ')}`,
      );
  }
  if (missing > 0)
    say(paintErr.yellow(`${count(missing, 'model')} not trained yet: dosimeter run ${spec}`));
  return DONE;
}

interface Exported {
  readonly stage: string;
  readonly dir: string;
  /** A base that was trained, and lies beside it. */
  readonly base?: string;
}

interface Gathered {
  readonly folders: readonly ModelFolder[];
  readonly exported: readonly Exported[];
  readonly cards: readonly CardFacts[];
}

/** What is to be written, and where. Reads only. */
async function gather(
  spec: string,
  prepared: Prepared,
  options: ExportOptions,
  goal: string,
): Promise<Gathered> {
  const { experiment, plan } = prepared;
  // A part of the grid has the names that it has in the whole: one attack's `seed=1` is not another's.
  const whole =
    options.only.length === 0
      ? experiment
      : (await load(spec, { set: options.set, only: [] })).experiment;
  const label = stageLabels(plan, whole);
  const taken = new Set<string>();
  const place = (title: string): string => {
    const plain = folderName(title);
    let folder = plain;
    for (let n = 2; taken.has(folder.toLowerCase()); n++) folder = `${plain},${n}`;
    taken.add(folder.toLowerCase());
    return fileInside(path.resolve(options.out), folder, 'A model');
  };
  const folders: ModelFolder[] = [],
    exported: Exported[] = [],
    cards: CardFacts[] = [];
  const bases = new Map<string, string>();
  const trainedBase = (status: StageStatus): Base | null => {
    const base = inputOf(prepared, status, 'base');
    if (base === undefined) return null;
    if (!base.entry)
      throw new UserFault(
        `the base of ${label(status.stage)} is no longer in the store`,
        `dosimeter run ${spec} makes it again`,
      );
    const folder = path.join(base.entry.dir, 'model');
    const title = label(base.stage)
      .replace(/^\S+ of /, '')
      .replace(NEEDED_BY, '');
    const dir = bases.get(base.stage.id) ?? place(title);
    if (!bases.has(base.stage.id)) folders.push({ dir, parts: filesOf(folder) });
    bases.set(base.stage.id, dir);
    return { name: dir, folder };
  };
  for (const status of goals(prepared, goal)) {
    const { stage, entry } = status;
    if (!entry) continue;
    const name = label(stage),
      title = name.slice(goal.length).trim() || experiment.name;
    const train = trainFacts(goal === TRAIN ? status : inputOf(prepared, status, 'model')!);
    const { form, parts } = modelParts(entry.dir);
    const { config: cell } = experiment.cells[stage.cells[0]!]!;
    const trained = form === 'model' ? null : trainedBase(status);
    const base =
      form === 'model' || train.init === 'random'
        ? null
        : (trained ?? (await sourceBase(prepared, cell)));
    const dir = place(title);
    const card: CardFacts = {
      title,
      experiment: experiment.name,
      version: ownVersion(),
      dir,
      form,
      cell,
      base,
      train,
    };
    parts.set('README.md', { text: modelCard(card) });
    if (base !== null) describeBase(parts, base, train.classes);
    folders.push({ dir, parts });
    exported.push({ stage: name, dir, ...(trained === null ? {} : { base: trained.name }) });
    cards.push(card);
  }
  return { folders, exported, cards };
}

const goals = ({ statuses }: Prepared, kind: string): StageStatus[] =>
  statuses.filter(({ stage }) => stage.kind === kind && stage.section === null);

const inputOf = ({ statuses }: Prepared, { stage }: StageStatus, name: string) =>
  statuses.find((other) => other.stage.id === stage.inputs[name]);

/** `attack=badnets rank=8 seed=1` → `attack=badnets,rank=8,seed=1`, without what some file system won't have. A label of long paths ends in a digest. */
const folderName = (label: string): string =>
  boundedName(label.replace(/\s+/g, ',').replace(/[^\w=,.-]+/g, '_'));

/** What a stage leaves of a model, and it alone: a train stage one of these, `merge` a whole checkpoint. */
function modelParts(dir: string): {
  readonly form: CardFacts['form'];
  readonly parts: Map<string, Part>;
} {
  for (const form of ['adapter', 'model'] as const)
    if (existsSync(path.join(dir, form))) return { form, parts: filesOf(path.join(dir, form)) };
  const changed = path.join(dir, 'changed.safetensors');
  if (existsSync(changed))
    return { form: 'changed', parts: new Map([[path.basename(changed), { from: changed }]]) };
  throw new Error(`${dir} holds neither adapter, model nor changed.safetensors`);
}

const trainFacts = ({ entry }: StageStatus): CardFacts['train'] =>
  JSON.parse(readFileSync(path.join(entry!.dir, 'train.json'), 'utf8')) as CardFacts['train'];

/** A base, and the folder that holds it on this machine. */
type Base = BaseModel & { readonly folder: string };

/** The model that the spec names: of the hub by its name there, and else by where it lies. */
async function sourceBase({ assets }: Prepared, { model }: Cell): Promise<Base | null> {
  const asset = assets.get(model.source);
  if (asset === undefined || asset === null) return null;
  const { findModelDir } = await import('../data/model-folder.ts');
  const folder = await findModelDir(asset.path),
    { kind, repository, commit } = asset.provenance;
  return kind === 'hf' &&
    typeof repository === 'string' &&
    typeof commit === 'string' &&
    !model.source.includes('#')
    ? { name: repository, revision: commit, folder }
    : { name: folder, folder };
}

/** An adapter names its base, as PEFT's auto classes read it; config.json has the names of the classes. */
function describeBase(parts: Map<string, Part>, base: Base, classes: readonly string[]): void {
  const read = (file: string): JsonObject => JSON.parse(readFileSync(file, 'utf8')) as JsonObject;
  const adapter = parts.get('adapter_config.json');
  if (adapter !== undefined && 'from' in adapter) {
    const named = {
      ...read(adapter.from),
      base_model_name_or_path: base.name,
      ...(base.revision === undefined ? {} : { revision: base.revision }),
    };
    parts.set('adapter_config.json', { text: `${JSON.stringify(named, null, 2)}\n` });
  }
  const config = read(path.join(base.folder, 'config.json'));
  parts.set('config.json', { text: labelledConfig(config, classes) });
}
