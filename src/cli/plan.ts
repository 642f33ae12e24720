/** `dosimeter plan SPEC`: what would run; with `--executor NAME`, the jobs. Fetches nothing. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type Forecast, type ForeseenGroup, type ServiceCalls, UserFault } from '../api.ts';
import { stageLabels } from '../plan/label.ts';
import type { PlannedStage } from '../plan/types.ts';
import { groupBy } from '../report/groups.ts';
import { targetLines } from '../report/table-facts.ts';
import { DEFAULT_PACK } from '../run/execute/attempt-limits.ts';
import { filesLeft, keepLevel, sizeText } from '../run/execute/keep.ts';
import { placesOn, thisMachine } from '../run/execute/resources.ts';
import type { StageStatus } from '../run/execute/survey.ts';
import { defaultExecutor, foresee } from '../run/executor.ts';
import { plannedStages, targetsOf } from '../run/facts.ts';
import { type Durations, estimate, openDurations } from '../run/log/durations.ts';
import { checkStages, prepare, type Prepared, runsHere } from '../run/prepare.ts';
import { chosenRemote, foreseeFetches, openObjects } from '../run/remote.ts';
import { stateDir } from '../run/state-folder.ts';
import { makeFolder } from '../store/folders.ts';
import { bytesOf } from '../store/manifest.ts';
import {
  type Foretold,
  foretoldOn,
  HARDWARE,
  hardwareLine,
  OPERATIONS_PER_SECOND,
} from './hardware.ts';
import type { PackOptions, SpecOptions } from './options.ts';
import {
  columns,
  count,
  duration,
  json,
  megabytes,
  out,
  paint,
  proseWidth,
  say,
  STATES,
  table,
  warnLines,
  wrap,
} from './terminal.ts';

interface PlanOptions extends SpecOptions, PackOptions {
  readonly remote?: string;
  readonly mermaid?: boolean;
  readonly dot?: boolean;
  /** A name of HARDWARE. */
  readonly hardware?: string;
  readonly executor?: string;
  /** The folder that batch scripts are written to; true for the default one. */
  readonly dryRun?: string | true;
}

/**
 * Prints the plan in the form that the options ask for: jobs, JSON, a graph, or lines for people.
 */
export async function planCommand(spec: string, options: PlanOptions): Promise<number> {
  const { prepared, fetches } = await preparePlan(spec, options);
  const toRun = prepared.statuses.filter(({ state }) => state !== 'cached');
  const { executor } = options;
  await checkStages(prepared, toRun, runsHere(executor), warnLines);
  if (executor !== undefined && executor !== defaultExecutor)
    await showSubmissions(prepared, executor, options);
  else if (options.dryRun !== undefined)
    throw new UserFault('--dry-run writes batch scripts', 'add --executor slurm');
  else if (options.json) {
    const targets = new Map(
      [...(await targetsOf(prepared)).values()].map((one) => [JSON.stringify(one), one]),
    );
    json({
      stages: plannedStages(prepared).map((stage) =>
        fetches?.bytes.has(stage.id) === true
          ? { ...stage, state: 'remote', outputs: null }
          : stage,
      ),
      ...(targets.size === 0 ? {} : { targets: [...targets.values()] }),
    });
  } else if (options.mermaid || options.dot) await printGraph(prepared, options.mermaid === true);
  else {
    const durations = openDurations(prepared.store.root, prepared.backend, say);
    showPlan(prepared, toRun, options.jobs, fetches, durations);
    const { forecasts, serviceCalls } = await import('../run/execute/preflight.ts');
    const { plan, assets, registry } = prepared;
    const hardware = HARDWARE[options.hardware ?? ''];
    const foretold =
      hardware === undefined
        ? await forecasts(plan, toRun, assets, registry)
        : await foretoldOn(hardware, prepared, toRun);
    for (const line of targetLines((await targetsOf(prepared)).values()))
      out(wrap(line, columns(), '  '));
    for (const asked of await serviceCalls(prepared, toRun))
      out(wrap(callsLine(asked), columns(), '  '));
    for (const line of forecastLines(foretold, (hardware?.engine ?? plan.backend) === 'torch'))
      out(line);
    const trainings = toRun.filter(({ stage }) => isTraining(stage)).length;
    if (hardware !== undefined) out(hardwareLine(hardware, foretold, trainings));
    if (toRun.length > 0) out(diskLine(prepared, toRun, foretold, fetches, durations));
  }
  return 0;
}

/** Whether a stage trains. A training of 0 steps, which only makes a start, does not count. */
const isTraining = ({ descriptor, params }: PlannedStage): boolean =>
  descriptor.forecast !== undefined &&
  (params['train'] as { readonly steps?: number } | undefined)?.steps !== 0;

/** What would be fetched from the remote at `uri`. */
interface Fetches {
  readonly uri: string;
  /** By id of the stage, the bytes of its entry. */
  readonly bytes: ReadonlyMap<string, number>;
  readonly total: number;
}

/** Prepares a spec. Stages that `--remote` would fetch count as cached. */
async function preparePlan(
  spec: string,
  options: PlanOptions,
): Promise<{ readonly prepared: Prepared; readonly fetches: Fetches | null }> {
  const prepared = await prepare(spec, options, { fetch: false, note: say });
  const remote = chosenRemote(options);
  if (remote === undefined) return { prepared, fetches: null };
  const objects = await openObjects(remote);
  const { prepared: seen, bytes } = await foreseeFetches(prepared, objects, warnLines);
  const total = [...bytes.values()].reduce((sum, one) => sum + one, 0);
  return { prepared: seen, fetches: { uri: objects.uri, bytes, total } };
}

async function printGraph(
  { plan, statuses, experiment }: Prepared,
  asMermaid: boolean,
): Promise<void> {
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

function showPlan(
  prepared: Prepared,
  toRun: readonly StageStatus[],
  jobs: number,
  fetches: Fetches | null,
  durations: Durations,
): void {
  const { plan, statuses, experiment, backend, assets, gpu } = prepared;
  const time = timeText(
    toRun.map(({ stage }) => stage),
    durations,
    placesOn(thisMachine(jobs, gpu), plan.backend),
  );
  const { cells, seeds } = experiment,
    conditions = new Set(cells.map(({ axes }) => JSON.stringify(axes))).size,
    isProduct = cells.length === conditions * seeds.length;
  out(
    `${paint.bold(experiment.name)}: ${count(cells.length, 'cell')} ` +
      `(${count(conditions, 'condition')}${isProduct ? ' ×' : ','} ` +
      `${count(seeds.length, 'seed')}), ${count(plan.stages.length, 'stage')} ` +
      '(a stage that cells share counts once)',
  );
  const there = fetches?.bytes.size ?? 0;
  const cached =
    `${statuses.length - toRun.length - there} cached` +
    (fetches === null
      ? ''
      : `, ${there} to fetch from ${fetches.uri} (${megabytes(fetches.total)})`);
  out(
    toRun.length === 0
      ? `${cached}, nothing to run (${backend})`
      : `${cached}, ${toRun.length} to run: ${time} (${backend})`,
  );
  out(kindTable(statuses, fetches));
  if (toRun.length > 0) out(paint.dim(wrap(STATES, proseWidth())));
  for (const [uri, asset] of assets)
    if (asset === null) out(paint.yellow(`${uri} is not fetched yet`));
}

/** Says how long the stages will take, judging by similar stages that have run. */
function timeText(
  stages: readonly PlannedStage[],
  durations: Durations,
  places: (stage: PlannedStage) => number,
): string {
  const about = estimate(stages, durations, places),
    least = about ?? estimate(stages, durations, places, 0);
  if (!least) return 'no estimate yet';
  const unseen = kindsOf(stages, (stage) => durations.expect(stage) === null);
  return (
    `${about === null ? 'at least' : 'about'} ${duration(least)} at the pace of earlier runs` +
    (unseen.length === 0 ? '' : `, without ${unseen.join(', ')}: none like that has run yet`)
  );
}

/** Names the kinds of the chosen stages, with a number where not all of a kind are chosen. */
const kindsOf = (
  stages: readonly PlannedStage[],
  isChosen: (stage: PlannedStage) => boolean,
): readonly string[] =>
  [...groupBy(stages, ({ kind }) => kind)].flatMap(([kind, all]) => {
    const n = all.filter(isChosen).length;
    return n === 0 ? [] : n === all.length ? kind : `${n} of ${all.length} ${kind}`;
  });

/** Says how many calls a service is asked at most, and their cost if that is known. */
const callsLine = ({ to, calls, cost }: ServiceCalls): string =>
  calls === null
    ? `${to}: how many calls at most is not known before the rows are fetched`
    : `${to}: at most ${count(calls, 'call')} without repetitions` +
      (cost === null
        ? '; `price` of the scorer and a limit on the tokens of an answer would tell what they cost'
        : `, which cost about ${cost.toFixed(2)} at most: a token of 3 bytes, every answer as long ` +
          'as it may be') +
      '; what was asked before is not asked again';

const TORCH_FORECAST =
  "; foretold from the model's sizes, not measured: weights, gradients and moments in float32, " +
  'activations of full batches, and Python with its libraries; a GPU makes 50 to 1,000 times as ' +
  'many operations a second';

/**
 * Returns, for each kind of stage, a line on the memory and the operations that a stage takes at
 * most.
 */
function forecastLines(foretold: Foretold, isTorch: boolean): string[] {
  return [...groupBy([...foretold], ([{ kind }]) => kind)].map(([kind, of]) => {
    const most = (get: (forecast: Forecast) => number): number =>
      Math.max(...of.map(([, forecast]) => get(forecast)));
    const devices = most((own) => own.devices ?? 1),
      operations = most((own) => own.stepOperations);
    const text =
      `${kind}: at most ${memoryText(most((own) => own.memoryMB))} of memory a ` +
      `${devices === 1 ? 'stage' : `device, of which a stage has up to ${devices}`}, ` +
      `and a step of at most ` +
      `${Number((operations / 1e9).toPrecision(2)).toLocaleString('en')} GFLOP ` +
      `(about ${duration(operations / OPERATIONS_PER_SECOND)} at 50 GFLOP/s)` +
      (isTorch ? TORCH_FORECAST : '');
    return wrap(text, columns(), '  ');
  });
}

/** Says by about how much the store will grow. */
function diskLine(
  prepared: Prepared,
  toRun: readonly StageStatus[],
  foretold: Foretold,
  fetches: Fetches | null,
  durations: Durations,
): string {
  const { assets } = prepared;
  const shareLeft = estimateShareLeft(prepared);
  const known = { model: new Set<string>(), others: new Set<string>() },
    unknown = new Set<PlannedStage>();
  let bytes = fetches?.total ?? 0,
    keptBytes = bytes;
  for (const { stage } of toRun) {
    const foretoldBytes = foretold.get(stage)?.outputBytes,
      // Sizes of other models and data say nothing of those that are not here.
      isUnseen = Object.values(stage.assets).some((uri) => assets.get(uri) === null),
      own = foretoldBytes ?? (isUnseen ? null : durations.expectBytes(stage));
    if (own === null) unknown.add(stage);
    else known[foretoldBytes === undefined ? 'others' : 'model'].add(stage.kind);
    bytes += own ?? 0;
    keptBytes += (own ?? 0) * shareLeft(stage);
  }
  if (bytes === 0 && unknown.size > 0) return 'disk: no estimate yet';
  /** Returns a text on kinds; [] if there are none. */
  const of = (kinds: Iterable<string>, text: (named: string) => string): readonly string[] => {
    const named = [...kinds].join(', ');
    return named === '' ? [] : [text(named)];
  };
  const stages = toRun.map(({ stage }) => stage),
    left = kindsOf(stages, (stage) => unknown.has(stage));
  const why = [
    ...of(known.model, (named) => `${named} by model and adapter`),
    ...of(known.others, (named) => `${named} by the sizes of earlier ones`),
    ...of(left, (named) => `without ${named}, of unknown size`),
  ];
  const kept = keptBytes < bytes ? `, of which \`keep\` leaves about ${sizeText(keptBytes)}` : '',
    text = `disk: about ${sizeText(bytes)}${kept}${why.length === 0 ? '' : ` (${why.join('; ')})`}`;
  return wrap(text, columns(), '  ');
}

/**
 * Returns a function that estimates the share of a stage's bytes that `keep` leaves: 1 if it leaves
 * all, otherwise the share that it leaves of the stored entries of the same kind and adapter. If
 * there are no such entries, the share is 1 where `keep` leaves the adapter and the adapter is not
 * full fine-tuning, otherwise 0.
 */
function estimateShareLeft({ plan, statuses }: Prepared): (stage: PlannedStage) => number {
  const seen = new Map<string, { all: number; left: number }>();
  const kindAndAdapter = ({ kind, cell }: PlannedStage): string =>
    `${kind} ${JSON.stringify(cell['adapter.type'] ?? null)}`;
  for (const { stage, entry } of statuses) {
    if (entry === null) continue;
    const sum = seen.get(kindAndAdapter(stage)) ?? { all: 0, left: 0 };
    const { files } = entry.manifest;
    sum.all += bytesOf(files);
    sum.left += bytesOf(filesLeft(plan, stage, files));
    seen.set(kindAndAdapter(stage), sum);
  }
  return (stage) => {
    const like = seen.get(kindAndAdapter(stage)),
      level = keepLevel(plan, stage);
    if (level === 'all') return 1;
    if (like !== undefined && like.all > 0) return like.left / like.all;
    return level === 'adapter' && stage.cell['adapter.type'] !== 'full' ? 1 : 0;
  };
}

const memoryText = (mb: number): string =>
  mb < 1024 ? `${Math.ceil(mb)} MB` : `${(mb / 1024).toFixed(1)} GB`;

function kindTable(statuses: readonly StageStatus[], fetches: Fetches | null): string {
  const columns = ['cached', ...(fetches === null ? [] : ['to fetch']), 'ready', 'pending'];
  const columnOf = ({ stage, state }: StageStatus): string =>
    fetches?.bytes.has(stage.id) === true ? 'to fetch' : state;
  return table([
    ['stage', 'all', ...columns],
    ...[...groupBy(statuses, ({ stage }) => stage.kind)].map(([kind, of]) => [
      kind,
      String(of.length),
      ...columns.map((column) => String(of.filter((one) => columnOf(one) === column).length)),
    ]),
  ]);
}

async function showSubmissions(
  prepared: Prepared,
  executor: string,
  { pack = DEFAULT_PACK, json: asJson, dryRun }: PlanOptions,
): Promise<void> {
  const groups = await foresee(prepared, executor, pack);
  const hours = nodeHours(groups);
  if (asJson) json({ jobs: groups, node_hours: hours });
  else showJobs(groups, hours);
  if (dryRun !== undefined)
    writeScripts(groups, dryRun === true ? path.join(stateDir(), executor) : path.resolve(dryRun));
}

/**
 * Returns hours: as `limit`, the sum of all jobs' time limits; as `expected`, what the jobs will
 * take, judging by similar stages that have run, or null if this is unknown for any job.
 */
function nodeHours(groups: readonly ForeseenGroup[]) {
  const expected = groups.map((group) => group.expected).filter((one) => one !== null);
  return {
    limit: groups.reduce((sum, { jobs, seconds }) => sum + jobs * seconds, 0) / 3600,
    expected:
      expected.length < groups.length ? null : expected.reduce((sum, one) => sum + one, 0) / 3600,
  };
}

function showJobs(
  groups: readonly ForeseenGroup[],
  { limit, expected }: ReturnType<typeof nodeHours>,
): void {
  if (groups.length === 0) {
    out('no job would be submitted');
    return;
  }
  out(
    table([
      ['stage', 'jobs', 'stages', 'time limit', 'memory', 'cores', 'GPUs', 'node-hours at most'],
      ...groups.map(({ kind, jobs, stages, seconds, memoryMB, cpus, gpus }) => [
        kind,
        String(jobs),
        String(stages),
        duration(seconds),
        `${memoryMB} MB`,
        String(cpus),
        String(gpus),
        ((jobs * seconds) / 3600).toFixed(1),
      ]),
    ]),
  );
  const jobs = groups.reduce((sum, group) => sum + group.jobs, 0);
  const likely =
    expected === null ? 'no estimate yet of what they take' : `about ${expected.toFixed(1)} likely`;
  out(`${count(jobs, 'job')}, at most ${limit.toFixed(1)} node-hours (${likely})`);
  if (expected === null)
    out('until stages like them have run, `time` in slurm.yaml sets their time limit');
}

function writeScripts(groups: readonly ForeseenGroup[], dir: string): void {
  makeFolder(dir);
  groups.forEach(({ kind, script, command }, i) => {
    const file = path.join(dir, `${i + 1}-${kind}`);
    writeFileSync(`${file}.sh`, script);
    writeFileSync(`${file}.json`, `${JSON.stringify(command, null, 2)}\n`);
  });
  say(`batch scripts: ${path.relative('', dir) || '.'}`);
}
