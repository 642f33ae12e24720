/**
 * Turns events into lines. On a terminal, a live block is redrawn, and only notes and lines about
 * what went wrong stay. Elsewhere, there is a line for each stage or pack that has ended, but a
 * long run has only about forty lines. Everything is written through the functions in
 * `ProgressOptions`.
 */
import type { PlannedStage, StageId } from '../../plan/types.ts';
import { type Durations, estimate } from './durations.ts';
import type { OnEvent, Outcome } from './events.ts';

export interface ProgressOptions {
  /** The stages that are to run. */
  readonly stages: readonly PlannedStage[];
  readonly label: (stage: PlannedStage) => string;
  /**
   * How long stages take. The run notes a stage's duration here before it announces the stage's
   * end.
   */
  readonly durations: Durations;
  /** How many stages like this one may run at once. */
  readonly places: (stage: PlannedStage) => number;
  /** Returns a time in words. */
  readonly duration: (seconds: number) => string;
  /** Prints a line that stays. */
  readonly print: (line: string, tone: 'plain' | 'good' | 'bad' | 'note') => void;
  /** Redraws the live block; null without a terminal. */
  readonly draw: ((lines: readonly string[]) => void) | null;
  /** The live block's most lines, and a line's most columns. Default: no limit. */
  readonly room?: () => { readonly lines: number; readonly columns: number };
  /** Returns a time in ms. Default: `performance.now`. */
  readonly now?: () => number;
}

/**
 * Drawing is slow, since it estimates the time left from all stages that are left. So it is done at
 * most once in DRAW_MS, and takes at most 1/DRAW_SHARE of the time.
 */
const DRAW_MS = 100,
  DRAW_SHARE = 20;
/** The most lines about ended stages, and the most about one error. */
const MOST_LINES = 40,
  SAME_ERROR = 3;

/**
 * Returns a function that gets the run's events, and `tick`, which brings the live block up to
 * date.
 */
export function createProgress(options: ProgressOptions): {
  readonly onEvent: OnEvent;
  readonly tick: () => void;
} {
  const { stages, print, draw, label, duration, now = () => performance.now() } = options;
  const units = createUnits(now);
  const remaining = createEstimate(options, units.running, now);
  const total = stages.length;
  let done = 0;
  const position = (): string => `[${done}/${total}]`;
  const board = createBoard(stages, now);
  const faults = createFaults(label, (text) => print(`${position()} ${text}`, 'bad'));
  const ended = draw ? null : createReport(total, label, duration, remaining.text, print);

  let drawNext = Number.NEGATIVE_INFINITY;
  const redraw = (): void => {
    const began = now();
    if (!draw || began < drawNext) return;
    const running = [...units.running].map((unit) => {
      const left = unit.members.length - unit.ended.size;
      return [
        `  ${unitLabel(unit, label)}`,
        ...(left < unit.members.length ? [`${left} still running`] : []),
        ...(unit.at === '' ? [] : [unit.at]),
        duration((now() - unit.since) / 1000),
      ].join('  ');
    });
    draw(fitToTerminal([...board.lines(done, remaining.text()), ...running], options.room?.()));
    drawNext = began + Math.max(DRAW_MS, DRAW_SHARE * (now() - began));
  };

  return {
    tick: redraw,
    onEvent(event) {
      switch (event.type) {
        case 'stage-started':
          units.start(event.stage, event.pack);
          break;
        case 'stage-progress':
          units.progress(
            event.stage,
            `${event.done}/${event.total} ${event.unit}`,
            event.done / event.total,
          );
          return; // drawn by the next tick
        case 'stage-place':
          return;
        case 'stage-ended': {
          const { stage, outcome } = event;
          const unit = units.end(stage, outcome);
          remaining.ended(stage, outcome);
          if (outcome.state !== 'abandoned') {
            done++;
            board.ended(stage, outcome);
          }
          faults.tell(stage, outcome);
          ended?.tell(stage, outcome, unit, done);
          break;
        }
        case 'note':
          print(event.message, 'note');
          break;
        case 'run-started':
        case 'run-ended':
          break;
      }
      redraw();
    },
  };
}

/** Cuts lines to the terminal's size: a line that wraps would be redrawn wrongly. */
function fitToTerminal(
  lines: readonly string[],
  room: { readonly lines: number; readonly columns: number } | undefined,
): readonly string[] {
  if (room === undefined) return lines;
  const mostLines = Math.max(3, room.lines);
  const shown =
    lines.length <= mostLines
      ? lines
      : [...lines.slice(0, mostLines - 1), `  … and ${lines.length - mostLines + 1} more`];
  return shown.map((line) => {
    const points = Array.from(line);
    return points.length <= room.columns ? line : `${points.slice(0, room.columns - 1).join('')}…`;
  });
}

/** Estimates the time left, from earlier runs and the pace of each kind in this one. */
function createEstimate(
  { stages, durations, places, duration }: ProgressOptions,
  running: Iterable<Unit>,
  now: () => number,
) {
  const left = new Map<StageId, PlannedStage>(stages.map((stage) => [stage.id, stage]));
  const expectedSeconds = new Map(stages.map((stage) => [stage.id, durations.expect(stage)]));
  /**
   * By kind: the seconds that stages of this run took, and the seconds that were expected of them.
   */
  const paces = new Map<string, { took: number; expected: number }>();
  /**
   * Returns the seconds that a stage will take, by its kind's pace in this run; null if unknown.
   * On a busier machine, or with longer trainings, what is left takes longer by the same factor.
   */
  const expect = (stage: PlannedStage): number | null => {
    const expected = expectedSeconds.get(stage.id),
      pace = paces.get(stage.kind);
    return expected && pace ? (expected * pace.took) / pace.expected : durations.expect(stage);
  };
  /**
   * Returns `about 3 min left`; '' if too little is known. While nothing is known of a kind,
   * returns `at least 3 min left, without ntk`: this kind may take far longer than the others, or
   * far less.
   */
  const text = (): string => {
    if (left.size === 0) return '';
    // While nothing is recorded of a kind, the progress of its running stages gives their time.
    const firstSeconds = new Map<string, number>();
    for (const { members, ended, since, share } of running)
      for (const stage of members)
        if (!ended.has(stage.id) && expect(stage) === null) {
          if (!(share > 0)) return '';
          // Each training of a pack is noted with its part of the pack's time.
          const seconds = (now() - since) / 1000 / share / members.length;
          firstSeconds.set(stage.kind, Math.max(seconds, firstSeconds.get(stage.kind) ?? 0));
        }
    /** Returns what `expect` does or, if that is null, what running stages of the kind show. */
    const known = (stage: PlannedStage): number | null =>
      expect(stage) ?? firstSeconds.get(stage.kind) ?? null;
    const about = estimate(left.values(), { expect: known }, places),
      seconds = about ?? estimate(left.values(), { expect: known }, places, 0) ?? 0;
    if (seconds === 0) return '';
    let underwaySeconds = 0;
    for (const { members, ended, since } of running)
      for (const stage of members)
        if (!ended.has(stage.id))
          underwaySeconds += Math.min((now() - since) / 1000, known(stage) ?? 0) / places(stage);
    const time = `${duration(Math.max(1, seconds - underwaySeconds))} left`;
    if (about !== null) return `about ${time}`;
    const unknown = [...left.values()].filter((stage) => known(stage) === null);
    return `at least ${time}, without ${[...new Set(unknown.map(({ kind }) => kind))].join(', ')}`;
  };
  return {
    text,
    ended(stage: PlannedStage, outcome: Outcome): void {
      left.delete(stage.id);
      if (outcome.state !== 'ran') return;
      const expected = expectedSeconds.get(stage.id);
      if (!expected) return;
      const pace = paces.get(stage.kind) ?? { took: 0, expected: 0 };
      pace.took += outcome.seconds;
      pace.expected += expected;
      paces.set(stage.kind, pace);
    },
  };
}

/**
 * Counts ended stages and makes the head of the live block from them: the progress of the whole run
 * and of each kind.
 */
function createBoard(stages: readonly PlannedStage[], now: () => number) {
  const started = now();
  const kinds = new Map<string, { all: number; done: number }>();
  for (const { kind } of stages) {
    const counts = kinds.get(kind) ?? { all: 0, done: 0 };
    counts.all++;
    kinds.set(kind, counts);
  }
  let ran = 0;
  return {
    ended({ kind }: PlannedStage, { state }: Outcome): void {
      const counts = kinds.get(kind);
      if (counts) counts.done++;
      if (state === 'ran') ran++;
    },
    lines(done: number, left: string): string[] {
      const minutes = (now() - started) / 60_000,
        perMinute = ran / minutes;
      const rate =
        ran > 0 && minutes > 0.05 ? `${perMinute.toFixed(perMinute < 10 ? 1 : 0)} stages/min` : '';
      const head = [`${done}/${stages.length} stages`, rate, left].filter((text) => text !== '');
      return [
        head.join(' · '),
        ...(kinds.size < 2
          ? []
          : [[...kinds].map(([kind, { all, done: n }]) => `${kind} ${n}/${all}`).join(' · ')]),
      ];
    },
  };
}

/**
 * Prints each failure, but the same error only a few times. Of the stages that a failure blocks,
 * prints the first.
 */
function createFaults(label: (stage: PlannedStage) => string, print: (text: string) => void) {
  const errors = new Map<string, number>(),
    blockers = new Set<StageId>();
  return {
    tell(stage: PlannedStage, outcome: Outcome): void {
      if (outcome.state === 'failed') {
        const n = (errors.get(outcome.error) ?? 0) + 1;
        errors.set(outcome.error, n);
        if (n > SAME_ERROR) return;
        const more = n === SAME_ERROR ? ' (more failures with this error are only counted)' : '';
        print(`${label(stage)}  failed: ${outcome.error}${more}`);
      } else if (outcome.state === 'blocked' && !blockers.has(outcome.by)) {
        blockers.add(outcome.by);
        print(`${label(stage)}  blocked by ${outcome.by}, as is whatever else waits for it`);
      }
    },
  };
}

/**
 * Prints a line for each unit that ran. In a long run, prints one for every few stages that have
 * ended.
 */
function createReport(
  total: number,
  label: (stage: PlannedStage) => string,
  duration: (seconds: number) => string,
  remaining: () => string,
  print: ProgressOptions['print'],
) {
  const stagesPerLine = Math.ceil(total / MOST_LINES);
  const kinds = new Map<string, number>();
  let cached = 0,
    lastTold = 0;
  return {
    /**
     * Counts a stage that has ended, and prints a line if it is time for one.
     * @param unit the unit that ended with this stage; null if none did
     */
    tell(stage: PlannedStage, outcome: Outcome, unit: Unit | null, done: number): void {
      if (outcome.state === 'ran') kinds.set(stage.kind, (kinds.get(stage.kind) ?? 0) + 1);
      if (outcome.state === 'cached') cached++;
      if (stagesPerLine === 1) {
        if (unit === null || unit.ran === 0) return;
        const some = unit.ran < unit.members.length ? `  ${unit.ran} ran` : '';
        print(
          `[${done}/${total}] ${unitLabel(unit, label)}${some}  ${duration(unit.seconds)}`,
          'good',
        );
        return;
      }
      if (done - lastTold < stagesPerLine && done < total) return;
      lastTold = done;
      const parts = [tally(kinds), cached === 0 ? '' : `${cached} cached`];
      kinds.clear();
      cached = 0;
      const what = parts.filter((text) => text !== '').join(', ');
      if (what === '') return;
      const left = remaining();
      print(`[${done}/${total}] ${what}${left === '' ? '' : ` · ${left}`}`, 'good');
    },
  };
}

/** A stage, or a pack of stages that share a job. */
interface Unit {
  readonly members: PlannedStage[];
  /** When it started, by the clock of `createUnits`. */
  readonly since: number;
  readonly ended: Set<StageId>;
  /** How many ended members succeeded. */
  ran: number;
  /** The time from its start to its end. */
  seconds: number;
  /** The latest progress of any member, such as `5/20 steps`; '' before there is any. */
  at: string;
  /** The latest progress as a share of the member's work; 0 before there is any. */
  share: number;
}

function createUnits(now: () => number) {
  const open = new Set<Unit>(),
    byStage = new Map<StageId, Unit>();
  const packs = new Map<string, Unit>();
  return {
    /** @param pack the stages that share the job; undefined if the stage is alone */
    start(stage: PlannedStage, pack: readonly StageId[] | undefined): void {
      const name = pack?.join(' ');
      let unit = name === undefined ? undefined : packs.get(name);
      if (unit === undefined) {
        unit = {
          members: [],
          since: now(),
          ended: new Set(),
          ran: 0,
          seconds: 0,
          at: '',
          share: 0,
        };
        open.add(unit);
        if (name !== undefined) packs.set(name, unit);
      }
      unit.members.push(stage);
      byStage.set(stage.id, unit);
    },
    progress(stage: PlannedStage, at: string, share: number): void {
      const unit = byStage.get(stage.id);
      if (unit) Object.assign(unit, { at, share });
    },
    /**
     * Returns the unit that ended with this stage; null if other members go on, or if the stage was
     * never started.
     */
    end(stage: PlannedStage, outcome: Outcome): Unit | null {
      const unit = byStage.get(stage.id);
      if (unit === undefined) return null;
      byStage.delete(stage.id);
      unit.ended.add(stage.id);
      if (outcome.state === 'ran') unit.ran++;
      if (unit.members.some(({ id }) => byStage.get(id) === unit)) return null;
      open.delete(unit);
      unit.seconds =
        unit.members.length === 1 && outcome.state === 'ran'
          ? outcome.seconds
          : (now() - unit.since) / 1000;
      return unit;
    },
    running: open,
  };
}

/**
 * Returns the label of a single stage or, for a pack, the words that the labels of all members
 * share: `train ×8 attack=badnets type=lora`.
 */
function unitLabel(
  { members }: Pick<Unit, 'members'>,
  label: (stage: PlannedStage) => string,
): string {
  const [first = [], ...others] = members.map((stage) => label(stage).split(' '));
  if (others.length === 0) return first.join(' ');
  const [kind = '', ...rest] = first;
  return [
    kind,
    `×${members.length}`,
    ...rest.filter((word) => others.every((words) => words.includes(word))),
  ].join(' ');
}

/** `3 train, 2 evaluate` */
function tally(kinds: ReadonlyMap<string, number>): string {
  return [...kinds].map(([kind, n]) => `${n} ${kind}`).join(', ');
}
