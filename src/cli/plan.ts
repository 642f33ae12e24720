/**
 * `dosimeter plan SPEC`: what would run and why, or what is wrong with the spec. Fetches and writes
 * nothing.
 */
import { UserFault } from '../api.ts';
import { checkStages, runsHere } from '../engine/check.ts';
import { defaultExecutor } from '../engine/executor.ts';
import { packsOf, plannedStages } from '../engine/facts.ts';
import { thisMachine } from '../engine/machine.ts';
import type { Prepared } from '../engine/prepare.ts';
import { prepare } from '../engine/prepare.ts';
import { placesOn } from '../execute/resources.ts';
import type { StageStatus } from '../execute/survey.ts';
import { estimate, openDurations } from '../log/durations.ts';
import { stageLabels } from '../plan/label.ts';
import type { PlannedStage } from '../plan/types.ts';
import type { PackOptions, SpecOptions } from './options.ts';
import { packingOf } from './options.ts';
import {
  count,
  duration,
  json,
  out,
  paint,
  paintErr,
  proseWidth,
  say,
  STATES,
  table,
  wrap,
} from './terminal.ts';

export interface PlanOptions extends SpecOptions, PackOptions {
  readonly mermaid?: boolean;
  readonly dot?: boolean;
  readonly executor?: string;
  readonly dryRun?: string | true;
}

export async function planCommand(spec: string, options: PlanOptions): Promise<number> {
  const prepared = await prepare(spec, options, { fetch: false, note: say });
  const toRun = prepared.statuses.filter(({ state }) => state !== 'cached');
  const { executor, dryRun } = options;
  await checkStages(prepared, toRun, runsHere(executor), (message) =>
    say(paintErr.yellow(message)),
  );
  if (executor !== undefined && executor !== defaultExecutor) {
    const { showSubmissions } = await import('./submissions.ts');
    await showSubmissions(prepared, {
      executor,
      packing: packingOf(options, executor),
      json: options.json === true,
      ...(dryRun === undefined ? {} : { dryRun }),
    });
  } else if (dryRun !== undefined)
    throw new UserFault('--dry-run writes batch scripts', 'add --executor slurm');
  else if (options.json)
    json({ stages: await plannedStages(prepared, options.jobs, packingOf(options)) });
  else if (options.mermaid || options.dot) await draw(prepared, options.mermaid === true);
  else {
    const packs = await packsOf(prepared, options.jobs, packingOf(options));
    show(prepared, toRun, packs, options.jobs);
  }
  return 0;
}

async function draw({ plan, statuses, experiment }: Prepared, asMermaid: boolean): Promise<void> {
  const { mermaid, dot } = await import('../plan/draw.ts');
  const label = stageLabels(plan);
  const stages = statuses.map(({ stage, state }) => ({
    id: stage.id,
    label: label(stage),
    state,
    inputs: Object.values(stage.inputs),
  }));
  out((asMermaid ? mermaid(stages) : dot(experiment.name, stages)).trimEnd());
}

function show(
  prepared: Prepared,
  toRun: readonly StageStatus[],
  packs: readonly (readonly PlannedStage[])[],
  jobs: number,
): void {
  const { plan, statuses, store, experiment, backend, assets, gpu } = prepared;
  const seconds = estimate(
    toRun.map(({ stage }) => stage),
    openDurations(store.root, say),
    placesOn(thisMachine(jobs, gpu), plan.backend),
  );
  const time = seconds === null ? 'no estimate yet' : `about ${duration(seconds)}`;
  const cells = new Set(experiment.cells.map(({ axes }) => JSON.stringify(axes))).size;
  out(
    `${paint.bold(experiment.name)}: ${count(cells, 'cell')} × ` +
      `${count(experiment.seeds.length, 'seed')}, ${count(plan.stages.length, 'stage')} ` +
      '(a stage that cells share counts once)',
  );
  const cached = `${statuses.length - toRun.length} cached`;
  out(
    toRun.length === 0
      ? `${cached}, nothing to run (${backend})`
      : `${cached}, ${toRun.length} to run: ${time} (${backend})`,
  );
  out(kindTable(statuses));
  if (toRun.length > 0) out(paint.dim(wrap(STATES, proseWidth())));
  for (const [kind, sizes] of packSizes(packs)) out(packLine(kind, sizes));
  for (const [uri, asset] of assets)
    if (asset === null) out(paint.yellow(`${uri} is not fetched yet`));
}

/** Returns a table with the number of stages of each kind in each state. */
function kindTable(statuses: readonly StageStatus[]): string {
  const kinds = new Map<string, StageStatus['state'][]>();
  for (const { stage, state } of statuses) {
    const states = kinds.get(stage.kind);
    if (states) states.push(state);
    else kinds.set(stage.kind, [state]);
  }
  const columns = ['cached', 'ready', 'pending'] as const;
  return table([
    ['stage', 'all', ...columns],
    ...[...kinds].map(([kind, states]) => [
      kind,
      String(states.length),
      ...columns.map((column) => String(states.filter((state) => state === column).length)),
    ]),
  ]);
}

/** Returns the number of stages in each pack, by their kind. */
function packSizes(packs: readonly (readonly PlannedStage[])[]): ReadonlyMap<string, number[]> {
  const sizes = new Map<string, number[]>();
  for (const pack of packs) {
    const [first] = pack;
    if (first) sizes.set(first.kind, [...(sizes.get(first.kind) ?? []), pack.length]);
  }
  return sizes;
}

/** Returns a line such as `train: 14 stages in 3 packs (5 + 5 + 4)`. */
function packLine(kind: string, sizes: readonly number[]): string {
  const stages = sizes.reduce((a, b) => a + b, 0);
  const shown = sizes.length > 8 ? `${sizes.slice(0, 8).join(' + ')} + …` : sizes.join(' + ');
  const each = sizes.length > 1 ? ` (${shown})` : '';
  return `${kind}: ${count(stages, 'stage')} in ${count(sizes.length, 'pack')}${each}`;
}
