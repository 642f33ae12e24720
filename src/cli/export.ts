/** `dosimeter export SPEC --out DIR`: writes trained models for PEFT or transformers. */
import { UserFault } from '../api.ts';
import type { StageStatus } from '../run/execute/survey.ts';
import {
  type GatheredModels,
  gatherModels,
  MERGE,
  ownModels,
  ownStages,
  TRAIN,
  writeFolders,
} from '../run/export/export.ts';
import { loadingLines } from '../run/export/model-card.ts';
import { EVALUATE, writeZoo, ZOO_FILE, zooModels } from '../run/export/zoo.ts';
import { load, prepare, type Prepared } from '../run/prepare.ts';
import { runCommandOf, type SpecOptions } from './options.ts';
import { runInTerminal } from './run.ts';
import { count, DONE, json, out, say, warn } from './terminal.ts';

interface ExportOptions extends SpecOptions {
  readonly out: string;
  readonly merge?: boolean;
  readonly force?: boolean;
  readonly zoo?: boolean;
}

/** Exports the trained models, without training any. Prints one folder per line. */
export async function exportCommand(spec: string, options: ExportOptions): Promise<number> {
  const runCommand = runCommandOf(spec, options);
  const goal = options.merge === true ? MERGE : TRAIN;
  const goals = options.zoo === true ? [TRAIN, EVALUATE] : [goal];
  const prepareModels = (fetch: boolean): Promise<Prepared> =>
    prepare(spec, options, { fetch, note: say, goals: () => goals });
  let prepared = await prepareModels(options.merge === true);
  const trained = ownStages(prepared, TRAIN);
  if (trained.every(({ entry }) => entry === null))
    throw new UserFault(
      `no model of "${prepared.experiment.name}" is trained yet`,
      `run it first: ${runCommand}`,
    );
  if (goal === MERGE && ownStages(prepared, MERGE).some(({ state }) => state === 'ready')) {
    refuseLetGo(trained, TRAIN, runCommand);
    const code = await runInTerminal(prepared, {
      jobs: options.jobs,
      mayRun: ({ kind }) => kind === MERGE,
    });
    if (code !== DONE) return code;
    prepared = await prepareModels(false);
  }
  const whole =
    options.only.length === 0
      ? prepared.experiment
      : (await load(spec, { ...options, only: [] })).experiment;
  const zoo = options.zoo === true ? zooModels(prepared, whole) : null;
  const chosen = zoo ?? ownModels(prepared, whole, goal);
  refuseLetGo(
    chosen.map(({ status }) => status),
    goal,
    runCommand,
  );
  const gathered = await gatherModels(prepared, whole, chosen, {
    runCommand,
    out: options.out,
    goal,
    modelDir: async (asset) => (await import('../data/model-folder.ts')).findModelDir(asset),
  });
  const { bases, models } = gathered,
    force = options.force === true;
  const replaced =
    zoo === null
      ? writeFolders([...bases, ...models.map(({ folder }) => folder)], force)
      : writeZoo(prepared, zoo, gathered, { out: options.out, force });
  for (const dir of replaced) warn(`replaced what was in ${dir}`);
  if (options.json)
    json(models.map((one) => ({ stage: one.chosen.name, dir: one.folder.dir, base: one.base })));
  else show(gathered, zoo === null ? null : ZOO_FILE);
  const missing = chosen.filter(({ status }) => status.entry === null).length;
  if (missing > 0) warn(`${count(missing, 'model')} not trained yet: ${runCommand}`);
  return DONE;
}

/**
 * Throws UserFault if files of a model were let go, as `keep` asks: export does not train the model
 * again.
 */
function refuseLetGo(models: readonly StageStatus[], kind: string, runCommand: string): void {
  const gone = models.flatMap(({ entry }) => entry?.manifest.letGo ?? []);
  if (gone.length > 0)
    throw new UserFault(
      `${count(gone.length, 'file')} of these models, such as ${String(gone[0])}, ` +
        'were let go, as `keep` asks',
      `${runCommand} --set keep.${kind}=all computes them again`,
    );
}

/**
 * Prints the folders, and how to load the first model, if a line for that is known.
 * @param manifest the name of the zoo's manifest; null without a zoo
 */
function show({ models }: GatheredModels, manifest: string | null): void {
  for (const { folder } of models) out(folder.dir);
  if (manifest !== null) say(`${manifest} beside them says which belong together`);
  const lines = models[0] && loadingLines(models[0].card);
  if (!lines) return;
  const which = models.length === 1 ? 'it' : 'the first';
  const indented = lines.replace(/^(?=.)/gm, '    ');
  say(
    `to load ${which}, in Python (README.md of each folder has the lines for it):\n\n${indented}`,
  );
}
