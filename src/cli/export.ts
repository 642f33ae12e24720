/** `dosimeter export SPEC --out DIR`: the trained models, each in a folder that PEFT or transformers opens. */
import { cpSync, existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import type { StageStatus } from '../execute/survey.ts';
import { prepare } from '../engine/prepare.ts';
import type { Prepared } from '../engine/prepare.ts';
import { stageLabels } from '../plan/label.ts';
import { DONE, execute } from './execute.ts';
import type { SpecOptions } from './options.ts';
import { count, json, out, paintErr, say } from './terminal.ts';
import { makeFolder } from '../store/folders.ts';

/** What a stage leaves of a model, and it alone: a train stage one of the first three, `merge` a whole checkpoint. */
const MODELS = ['adapter', 'model', 'changed.safetensors'];
const FILES = new Set([
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
const TRAIN = 'train',
  MERGE = 'merge';

export interface ExportOptions extends SpecOptions {
  readonly out: string;
  readonly merge?: boolean;
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
  const label = stageLabels(prepared.plan);
  const exported: { readonly stage: string; readonly dir: string; readonly base?: string }[] = [];
  const taken = new Set<string>();
  const place = (plain: string): string => {
    let folder = plain;
    for (let n = 2; taken.has(folder.toLowerCase()); n++) folder = `${plain},${n}`;
    taken.add(folder.toLowerCase());
    return path.resolve(options.out, folder);
  };
  const bases = new Map<string, string>();
  /** Where the base of an adapter, or of changed weights, lies: a folder beside them, whichever of them come from it. */
  const baseFolder = ({ stage, entry }: StageStatus): string | undefined => {
    const status = prepared.statuses.find((other) => other.stage.id === stage.inputs['base']);
    if (status === undefined || existsSync(path.join(entry!.dir, 'model'))) return undefined;
    if (!status.entry)
      throw new UserFault(
        `the base of ${label(stage)} is no longer in the store`,
        `dosimeter run ${spec} makes it again`,
      );
    const known =
      bases.get(status.stage.id) ??
      copyModel(
        status.entry.dir,
        place(
          folderName(
            label(status.stage)
              .replace(/^\S+ of /, '')
              .replace(' for ', ' '),
          ),
        ),
      );
    bases.set(status.stage.id, known);
    return known;
  };
  for (const status of goals(prepared, goal)) {
    const { stage, entry } = status;
    if (!entry) continue;
    const name = label(stage),
      base = goal === TRAIN ? baseFolder(status) : undefined;
    const dir = copyModel(
      entry.dir,
      place(folderName(name.slice(goal.length).trim() || prepared.experiment.name)),
    );
    if (base !== undefined) nameBase(dir, base);
    exported.push({ stage: name, dir, ...(base === undefined ? {} : { base }) });
  }
  if (options.json) json(exported);
  else for (const { dir } of exported) out(dir);
  if (missing > 0)
    say(paintErr.yellow(`${count(missing, 'model')} not trained yet: dosimeter run ${spec}`));
  return DONE;
}

const goals = ({ statuses }: Prepared, kind: string): StageStatus[] =>
  statuses.filter(({ stage }) => stage.kind === kind && stage.section === null);

/** `attack=badnets rank=8 seed=1` → `attack=badnets,rank=8,seed=1`, without what some file system won't have. */
const folderName = (label: string): string =>
  label.replace(/\s+/g, ',').replace(/[^\w=,.-]+/g, '_');

/** An adapter says which model it is put on, as PEFT's auto classes read it. */
function nameBase(dir: string, base: string): void {
  const file = path.join(dir, 'adapter_config.json');
  if (!existsSync(file)) return;
  const config = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  writeFileSync(file, `${JSON.stringify({ ...config, base_model_name_or_path: base }, null, 2)}\n`);
}

/** A folder that is there is replaced whole, if it holds a model's files and nothing else. */
function copyModel(from: string, to: string): string {
  const found = MODELS.find((name) => existsSync(path.join(from, name)));
  if (found === undefined) throw new Error(`${from} holds none of ${MODELS.join(', ')}`);
  if (existsSync(to) && readdirSync(to).some((file) => !FILES.has(file))) {
    throw new UserFault(
      `${to} holds other files than a model's`,
      'Name another folder as --out, or clear this one.',
    );
  }
  rmSync(to, { recursive: true, force: true });
  makeFolder(to);
  const source = path.join(from, found);
  cpSync(source, found.includes('.') ? path.join(to, found) : to, { recursive: true });
  return to;
}
