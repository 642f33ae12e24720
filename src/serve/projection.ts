/** What listeners see of a run: first all of it, then what has changed. */
import { Graph as Layers, layout } from '@dagrejs/dagre';
import { defined } from '../base/defined.ts';
import type { Mutable } from '../base/record.ts';
import { processState } from '../store/owner.ts';
import type { RunRecord, StageRecord } from './record.ts';
import {
  type Changes,
  type Counts,
  type Failure,
  type Graph,
  mayGoOn,
  type Overview,
  type RunFacts,
  type RunState,
  type Snapshot,
  type Stage,
  type StageState,
  type StageStatus,
} from './wire.ts';

/**
 * Returns the run's state. If its process is on another machine and can't be seen, the heartbeat
 * tells the state.
 */
function runState({ end, process, pulse, stages }: RunRecord): RunState {
  if (end === null) {
    const state = processState(process);
    if (state === 'unknown') return pulse === 'beating' ? 'running' : (pulse ?? 'unknown');
    return state === 'alive' ? 'running' : 'killed';
  }
  if (end.interrupted) return 'interrupted';
  return stages.some(({ state }) => state === 'failed') ? 'failed' : 'done';
}

/** Returns the state of a stage to show: once the run is over, no stage is running or waiting. */
function shownState({ state }: StageRecord, over: boolean): StageState {
  if (!over) return state;
  if (state === 'running') return 'stopped';
  return state === 'waiting' || state === 'ready' ? 'abandoned' : state;
}

/**
 * Returns what is shown of a stage.
 * @param over whether the run is over
 */
const stageStatus = (stage: StageRecord, over: boolean): StageStatus => ({
  state: shownState(stage, over),
  ...defined({
    since: stage.since ?? undefined,
    seconds: stage.seconds ?? undefined,
    progress: stage.progress ?? undefined,
    place: over ? undefined : (stage.place ?? undefined),
  }),
});

/**
 * Returns how many stages ran per minute; null before any stage has run. `created` and `until` are
 * milliseconds since 1970.
 */
function stagesPerMinute(
  { ran = 0 }: Counts,
  created: number | null,
  until: number,
): number | null {
  const minutes = created === null ? 0 : (until - created) / 60_000;
  return ran > 0 && minutes > 0 ? ran / minutes : null;
}

/**
 * Returns the parts of an overview, as texts to compare: listeners are told when one changes.
 * `facts` has 0 in place of what changes all the time.
 */
const comparedTexts = ({ facts, failures, notes }: Overview) => ({
  facts: JSON.stringify({ ...facts, now: 0, left: 0, rate: 0, heard: 0 }),
  failures: JSON.stringify(failures),
  notes: JSON.stringify(notes),
});

export class Projection {
  /** The number of lines of the journal that can't be read. */
  damaged = 0;
  #grouping: Grouping;
  #graph: Graph;
  /** The number of stages that listeners know. */
  #knownCount: number;
  /** Whether the run has ended, so that no stage is running or waiting any more. */
  #over = false;
  #told = { facts: '', failures: '', notes: '' };

  constructor(
    readonly id: string,
    readonly record: RunRecord,
  ) {
    this.#grouping = groupStages(record.stages);
    this.#graph = layOut(record.stages, this.#grouping);
    this.#knownCount = record.stages.length;
  }

  facts(): RunFacts {
    const { plan, stages, created, heard, end, spec, process } = this.record;
    const now = Date.now(),
      over = this.#over;
    const counts: { [State in StageState]?: number } = {};
    for (const stage of stages) {
      const state = shownState(stage, over);
      counts[state] = (counts[state] ?? 0) + 1;
    }
    return {
      id: this.id,
      state: runState(this.record),
      name: plan?.name.slice(0, 300) ?? '',
      spec,
      backend: plan?.backend.slice(0, 100) ?? '',
      executor: plan?.executor.slice(0, 100) ?? '',
      host: process.hostname?.slice(0, 100) ?? '',
      started: created,
      heard,
      seconds: end?.seconds ?? null,
      counts,
      rate: stagesPerMinute(counts, created, over ? (heard ?? now) : now),
      left: over ? null : secondsLeft(stages, now),
      damaged: this.damaged,
      now,
    };
  }

  snapshot(): Omit<Snapshot, 'at'> {
    return {
      ...this.#overview(),
      graph: this.#graph,
      stages: this.record.stages.slice(0, this.#knownCount).map(this.#stageAt),
      left: this.record.left(),
    };
  }

  /** Returns what has changed since the last call; null if nothing has. */
  takeChanges(): Changes | null {
    const changed = this.#takeIndexes();
    const current = this.#overview();
    const before = this.#told,
      told = comparedTexts(current);
    this.#told = told;
    if (changed.length === 0 && told.facts === before.facts && told.notes === before.notes)
      return null;
    const from = this.#knownCount;
    return {
      facts: current.facts,
      ...defined({
        failures: told.failures === before.failures ? undefined : current.failures,
        notes: told.notes === before.notes ? undefined : current.notes,
      }),
      ...this.#takeAdded(),
      stages: changed.flatMap((index) => {
        const stage = this.record.stages[index];
        return stage === undefined || index >= from
          ? []
          : [[index, stageStatus(stage, this.#over)]];
      }),
    };
  }

  #overview(): Overview {
    return { facts: this.facts(), failures: groupFailures(this.record), notes: this.record.notes };
  }

  #stageAt = (stage: StageRecord, index: number): Stage => ({
    id: stage.id,
    label: stage.label,
    group: this.#grouping.of[index] ?? 0,
    ...stageStatus(stage, this.#over),
  });

  /**
   * Returns the indexes of stages to show anew: those that have changed and, if the run has ended
   * or gone on again since the last call, those whose shown state depends on that.
   */
  #takeIndexes(): readonly number[] {
    const { record } = this;
    const changed = new Set(record.takeChanged());
    const isOver = !mayGoOn(runState(record));
    if (isOver !== this.#over) {
      this.#over = isOver;
      for (const [index, stage] of record.stages.entries())
        if (shownState(stage, true) !== stage.state) changed.add(index);
    }
    return [...changed];
  }

  /**
   * Returns the stages added since the last call, and the graph with them; {} if there are none.
   */
  #takeAdded(): Pick<Changes, 'graph' | 'added'> {
    const { stages } = this.record,
      from = this.#knownCount;
    if (stages.length === from) return {};
    this.#knownCount = stages.length;
    this.#grouping = groupStages(stages);
    if (this.#grouping.names.length !== this.#graph.groups.length)
      this.#graph = layOut(stages, this.#grouping);
    const added = stages.slice(from).map((stage, offset) => this.#stageAt(stage, from + offset));
    return { graph: this.#graph, added };
  }
}

const NEWEST_WEIGHT = 0.3;

/** Returns the exponential moving mean: mean + NEWEST_WEIGHT·(value − mean). */
const movingMean = (mean: number | undefined, value: number): number =>
  mean === undefined ? value : mean + NEWEST_WEIGHT * (value - mean);

/**
 * Returns the estimated seconds until the last of these stages ends: the longest time left, or the
 * sum of each time left divided by the stage's `places`, whichever is larger. Null if the time of a
 * stage can't be estimated yet. The time of a running stage follows from its progress. Without
 * progress, it is the time expected before the run, times the mean ratio of actual to expected time
 * in its kind. Without an expectation, it is the mean time of its kind or, if none of its kind has
 * run, of all kinds. The means are moving ones (`movingMean`).
 * @param now milliseconds since 1970
 */
export function secondsLeft(stages: readonly StageRecord[], now: number): number | null {
  const taken = new Map<string, number>(),
    ratios = new Map<string, number>();
  let meanOfAll: number | undefined;
  /** Adds to the means the seconds that a stage took, or is estimated to take. */
  const learn = ({ kind, expected }: StageRecord, seconds: number): void => {
    taken.set(kind, movingMean(taken.get(kind), seconds));
    meanOfAll = movingMean(meanOfAll, seconds);
    if (expected !== null) ratios.set(kind, movingMean(ratios.get(kind), seconds / expected));
  };
  for (const stage of stages)
    if (stage.state === 'ran' && stage.seconds !== null) learn(stage, stage.seconds);
  for (const stage of stages) {
    const seconds = secondsByProgress(stage, now);
    if (seconds !== null && !taken.has(stage.kind)) learn(stage, seconds);
  }
  let work = 0,
    longest = 0;
  for (const stage of stages) {
    const { state, kind, expected, places } = stage;
    if (!['running', 'ready', 'waiting'].includes(state)) continue;
    const usual =
      expected === null ? (taken.get(kind) ?? meanOfAll) : expected * (ratios.get(kind) ?? 1);
    const seconds = secondsByProgress(stage, now) ?? usual;
    if (seconds === undefined) return null;
    const left = Math.max(0, seconds - (secondsRunning(stage, now) ?? 0));
    work += left / places;
    longest = Math.max(longest, left);
  }
  return Math.max(work, longest);
}

/** Returns for how many seconds a stage has been running; null if it is not. */
const secondsRunning = ({ state, since }: StageRecord, now: number): number | null =>
  state === 'running' && since !== null ? Math.max(0, (now - since) / 1000) : null;

/**
 * Estimates the whole time of a running stage, seconds·total / done; null if it is not running, or
 * before any progress.
 */
function secondsByProgress(stage: StageRecord, now: number): number | null {
  const [done = 0, total = 0] = stage.progress ?? [];
  const seconds = secondsRunning(stage, now);
  return seconds === null || done === 0 ? null : (seconds * Math.max(total, done)) / done;
}

/** How many causes, and how many stages of one cause, are shown at most. */
const MOST_CAUSES = 30,
  MOST_STAGES = 20;

/** Returns the MOST_CAUSES most frequent causes of failures, the most frequent first. */
function groupFailures({ stages }: RunRecord): readonly Failure[] {
  const causes = new Map<string, Mutable<Failure> & { stages: number[] }>();
  const causeOf = new Map<string, Mutable<Failure>>();
  for (const [index, { id, state, failure }] of stages.entries()) {
    if (state !== 'failed' || failure === null) continue;
    const name = JSON.stringify(failure);
    const cause = causes.get(name) ?? { ...failure, count: 0, stages: [], blocked: 0 };
    causes.set(name, cause);
    causeOf.set(id, cause);
    cause.count++;
    if (cause.stages.length < MOST_STAGES) cause.stages.push(index);
  }
  for (const { state, by } of stages) {
    const cause = state === 'blocked' && by !== null ? causeOf.get(by) : undefined;
    if (cause !== undefined) cause.blocked++;
  }
  return [...causes.values()].sort((a, b) => b.count - a.count).slice(0, MOST_CAUSES);
}

const BOX = { width: 132, height: 86 };
/**
 * The largest numbers of boxes and arrows. Further kinds share one more box; further arrows are
 * left out.
 */
const MOST_GROUPS = 60,
  MOST_ARROWS = 400;
const OTHERS = 'other kinds';

interface Grouping {
  readonly names: readonly string[];
  /** The group of each stage, as an index into `names`. */
  readonly of: readonly number[];
}

/**
 * Groups stages by their `group`. The groups are in order of occurrence, and those beyond
 * MOST_GROUPS are one.
 */
export function groupStages(stages: readonly StageRecord[]): Grouping {
  const indexes = new Map<string, number>();
  const of = stages.map(({ group }) => {
    const name = indexes.size >= MOST_GROUPS && !indexes.has(group) ? OTHERS : group;
    const index = indexes.get(name) ?? indexes.size;
    indexes.set(name, index);
    return index;
  });
  return { names: [...indexes.keys()], of };
}

/** Places the boxes and arrows of the groups, in pixels from the left top. */
export function layOut(stages: readonly StageRecord[], { names, of }: Grouping): Graph {
  const layers = new Layers();
  layers.setGraph({ rankdir: 'LR', nodesep: 16, ranksep: 28, marginx: 2, marginy: 8 });
  layers.setDefaultEdgeLabel(() => ({}));
  for (const index of names.keys()) layers.setNode(String(index), { ...BOX });
  const arrows = new Set<number>();
  for (const [index, { inputs }] of stages.entries()) {
    const to = of[index] ?? 0;
    for (const input of inputs) {
      const from = of[input] ?? 0,
        pair = from * 1000 + to; // there are fewer than 1000 groups
      if (from === to || arrows.has(pair) || arrows.size >= MOST_ARROWS) continue;
      arrows.add(pair);
      layers.setEdge(String(from), String(to), {});
    }
  }
  layout(layers);
  const placed = names.map((name, index) => {
    const { x, y } = layers.node(String(index)) as { readonly x: number; readonly y: number };
    return { name, x: Math.round(x), y: Math.round(y) };
  });
  const columns = [...new Set(placed.map(({ x }) => x))].sort((a, b) => a - b);
  const arrowPoints = layers.edges().map((edge) => {
    const { points } = layers.edge(edge) as { readonly points: readonly Point[] };
    return points.map(({ x, y }) => ({ x: Math.round(x), y: Math.round(y) }));
  });
  const { left, top, width, height } = boundingBox(placed, arrowPoints.flat());
  return {
    groups: placed.map(({ name, x, y }) => ({
      name,
      x: x - left,
      y: y - top,
      level: columns.indexOf(x),
    })),
    arrows: arrowPoints.map((points) => points.flatMap(({ x, y }) => [x - left, y - top])),
    width,
    height,
    box: BOX,
  };
}

interface Point {
  readonly x: number;
  readonly y: number;
}

const MARGIN = 8;

/**
 * Returns the frame of all boxes and arrows. The size that dagre gives would leave out the outer
 * arrows.
 */
function boundingBox(centres: readonly Point[], points: readonly Point[]) {
  const corners = centres.flatMap(({ x, y }) => [
    { x: x - BOX.width / 2, y: y - BOX.height / 2 },
    { x: x + BOX.width / 2, y: y + BOX.height / 2 },
  ]);
  const all = [...corners, ...points];
  if (all.length === 0) return { left: 0, top: 0, width: 0, height: 0 };
  const xs = all.map(({ x }) => x),
    ys = all.map(({ y }) => y);
  const left = Math.floor(Math.min(...xs)) - MARGIN,
    top = Math.floor(Math.min(...ys)) - MARGIN;
  return {
    left,
    top,
    width: Math.ceil(Math.max(...xs)) + MARGIN - left,
    height: Math.ceil(Math.max(...ys)) + MARGIN - top,
  };
}
