/**
 * `dosimeter export SPEC --out DIR`: writes the trained models, each into a folder that PEFT or
 * transformers can load.
 */
import { UserFault } from '../api.ts';
import type { GatheredModels } from '../engine/export.ts';
import { gatherModels, MERGE, ownStages, TRAIN } from '../engine/export.ts';
import { loadingLines } from '../engine/model-card.ts';
import { writeFolders } from '../engine/model-folder.ts';
import type { Prepared } from '../engine/prepare.ts';
import { load, prepare } from '../engine/prepare.ts';
import type { SpecOptions } from './options.ts';
import { DONE, runInTerminal } from './run-in-terminal.ts';
import { count, json, out, paintErr, say } from './terminal.ts';

export interface ExportOptions extends SpecOptions {
  readonly out: string;
  readonly merge?: boolean;
  readonly force?: boolean;
}

/** Exports what was trained, and trains nothing. Prints one folder per line. */
export async function exportCommand(spec: string, options: ExportOptions): Promise<number> {
  const goal = options.merge === true ? MERGE : TRAIN;
  const ready = (fetch: boolean): Promise<Prepared> =>
    prepare(spec, options, { fetch, note: say, goals: () => [goal] });
  let prepared = await ready(options.merge === true);
  const trained = ownStages(prepared, TRAIN);
  const missing = trained.filter(({ state }) => state !== 'cached').length;
  if (missing === trained.length)
    throw new UserFault(
      `no model of "${prepared.experiment.name}" is trained yet`,
      `run it first: dosimeter run ${spec}`,
    );
  if (goal === MERGE && ownStages(prepared, MERGE).some(({ state }) => state === 'ready')) {
    const code = await runInTerminal(prepared, {
      jobs: options.jobs,
      mayRun: ({ kind }) => kind === MERGE,
    });
    if (code !== DONE) return code;
    prepared = await ready(false);
  }
  const whole =
    options.only.length === 0
      ? prepared.experiment
      : (await load(spec, { set: options.set, only: [] })).experiment;
  const gathered = await gatherModels(prepared, whole, {
    spec,
    out: options.out,
    goal,
    modelDir: async (asset) => (await import('../data/model-folder.ts')).findModelDir(asset),
  });
  for (const dir of writeFolders(gathered.folders, options.force === true))
    say(paintErr.yellow(`replaced what was in ${dir}`));
  if (options.json) json(gathered.exported);
  else show(gathered);
  if (missing > 0)
    say(paintErr.yellow(`${count(missing, 'model')} not trained yet: dosimeter run ${spec}`));
  return DONE;
}

function show({ exported, cards }: GatheredModels): void {
  for (const { dir } of exported) out(dir);
  const lines = cards[0] && loadingLines(cards[0]);
  if (!lines) return;
  const which = cards.length === 1 ? 'it' : 'the first';
  const indented = lines.replace(/^(?=.)/gm, '    ');
  say(
    `to load ${which}, in Python (README.md of each folder has the lines for it):\n\n${indented}`,
  );
}
