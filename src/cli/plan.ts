/** `dosimeter plan SPEC`: what would run, and why, or what is wrong with it. Fetches nothing, writes nothing. */
import { checkStages } from '../engine/check.ts';
import { packsOf, plannedStages } from '../engine/facts.ts';
import { thisMachine } from '../engine/machine.ts';
import { prepare } from '../engine/prepare.ts';
import { placesOn } from '../execute/resources.ts';
import type { StageStatus } from '../execute/survey.ts';
import { estimate, openDurations } from '../log/durations.ts';
import { stageLabels } from '../plan/label.ts';
import type { PackOptions, SpecOptions } from './options.ts';
import { packingOf } from './options.ts';
import {
  columns,
  count,
  duration,
  json,
  out,
  paint,
  paintErr,
  say,
  STATES,
  table,
  wrap,
} from './terminal.ts';

export async function planCommand(
  spec: string,
  options: SpecOptions & PackOptions & { readonly mermaid?: boolean; readonly dot?: boolean },
): Promise<number> {
  const prepared = await prepare(spec, options, { fetch: false, note: say });
  const { plan, statuses, store, experiment, backend } = prepared;
  const toRun = statuses.filter(({ state }) => state !== 'cached');
  await checkStages(prepared, toRun, (message) => say(paintErr.yellow(message)));
  if (options.json) {
    json({ stages: await plannedStages(prepared, options.jobs, packingOf(options)) });
    return 0;
  }
  if (options.mermaid || options.dot) {
    const { mermaid, dot } = await import('../plan/draw.ts');
    const label = stageLabels(plan);
    const stages = statuses.map(({ stage, state }) => ({
      id: stage.id,
      label: label(stage),
      state,
      inputs: Object.values(stage.inputs),
    }));
    out((options.mermaid ? mermaid(stages) : dot(experiment.name, stages)).trimEnd());
    return 0;
  }
  const lacking = toRun.map(({ stage }) => stage);
  const seconds = estimate(
    lacking,
    openDurations(store.root, say),
    placesOn(thisMachine(options.jobs, prepared.gpu), plan.backend),
  );
  const time = seconds === null ? 'no estimate yet' : `about ${duration(seconds)}`;
  const cellsAlone = new Set(experiment.cells.map(({ axes }) => JSON.stringify(axes))).size;
  out(
    `${paint.bold(experiment.name)}: ${count(cellsAlone, 'cell')} × ${count(experiment.seeds.length, 'seed')}, ${count(plan.stages.length, 'stage')} (what cells share is one)`,
  );
  const cached = `${statuses.length - lacking.length} cached`;
  out(
    lacking.length === 0
      ? `${cached}, nothing to run (${backend})`
      : `${cached}, ${lacking.length} to run: ${time} (${backend})`,
  );
  const kinds = new Map<string, StageStatus[]>();
  for (const status of statuses) {
    const list = kinds.get(status.stage.kind);
    if (list) list.push(status);
    else kinds.set(status.stage.kind, [status]);
  }
  const tally = (list: readonly StageStatus[], wanted: StageStatus['state']): string =>
    String(list.filter(({ state }) => state === wanted).length);
  out(
    table([
      ['stage', 'all', 'cached', 'ready', 'pending'],
      ...[...kinds].map(([kind, list]) => [
        kind,
        String(list.length),
        tally(list, 'cached'),
        tally(list, 'ready'),
        tally(list, 'pending'),
      ]),
    ]),
  );
  if (lacking.length > 0) out(paint.dim(wrap(STATES, Math.min(columns(), 100))));
  const packs = await packsOf(prepared, options.jobs, packingOf(options));
  for (const kind of new Set(packs.map((pack) => pack[0]!.kind)))
    out(
      packLine(
        kind,
        packs.filter((pack) => pack[0]!.kind === kind).map((pack) => pack.length),
      ),
    );
  for (const [uri, asset] of prepared.assets)
    if (asset === null) out(paint.yellow(`${uri} is not fetched yet`));
  return 0;
}

/** `train: 14 stages in 3 packs (5 + 5 + 4)`. */
function packLine(kind: string, sizes: readonly number[]): string {
  const shown = sizes.length > 8 ? `${sizes.slice(0, 8).join(' + ')} + …` : sizes.join(' + ');
  return `${kind}: ${count(
    sizes.reduce((a, b) => a + b, 0),
    'stage',
  )} in ${count(sizes.length, 'pack')}${sizes.length > 1 ? ` (${shown})` : ''}`;
}
