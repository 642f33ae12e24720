/** Events → lines: on a terminal a live block that is redrawn, elsewhere one line a stage. Writes through what it is given. */
import { estimate } from './durations.ts';
import type { Durations } from './durations.ts';
import type { OnEvent } from './events.ts';
import type { PlannedStage, StageId } from '../plan/types.ts';

export interface ProgressOptions {
  /** Stages that are to run. */
  readonly stages: readonly PlannedStage[];
  readonly label: (stage: PlannedStage) => string;
  /** Taught by the run itself, before it tells of a stage's end. */
  readonly durations: Durations;
  /** How many stages like this one may run at once. */
  readonly places: (stage: PlannedStage) => number;
  readonly duration: (seconds: number) => string;
  /** A line that stays. */
  readonly print: (line: string, tone: 'plain' | 'good' | 'bad' | 'note') => void;
  /** Redraws the live block; null where there is no terminal. */
  readonly draw: ((lines: readonly string[]) => void) | null;
  readonly now?: () => number;
}

/** The time left is worked out from every stage that is: not for each of thousands that end in a second, nor in more than a twentieth of the time. */
const DRAW_MS = 100,
  DRAW_SHARE = 20;

export function createProgress({
  stages,
  label,
  durations,
  places,
  duration,
  print,
  draw,
  now = () => performance.now(),
}: ProgressOptions): { readonly onEvent: OnEvent; tick(): void } {
  const total = stages.length,
    started = now();
  const left = new Map<StageId, PlannedStage>(stages.map((stage) => [stage.id, stage]));
  const running = new Map<
    StageId,
    { readonly stage: PlannedStage; readonly since: number; at: string }
  >();
  let done = 0,
    ran = 0,
    spent = 0;

  const remaining = (): string => {
    // A kind that never ran is taken to be as long as what has run so far.
    const seconds = estimate([...left.values()], durations, places, ran > 0 ? spent / ran : null);
    if (seconds === null) return '';
    const underway = [...running.values()].reduce(
      (sum, { stage, since }) =>
        sum + Math.min((now() - since) / 1000, durations.expect(stage) ?? 0) / places(stage),
      0,
    );
    return `about ${duration(Math.max(1, seconds - underway))} left`;
  };
  let drawNext = Number.NEGATIVE_INFINITY;
  const redraw = (): void => {
    const began = now();
    if (!draw || began < drawNext) return;
    const minutes = (now() - started) / 60_000;
    const rate =
      ran > 0 && minutes > 0.05
        ? `${(ran / minutes).toFixed(ran / minutes < 10 ? 1 : 0)} stages/min`
        : '';
    const head = [`${done}/${total} stages`, rate, remaining()]
      .filter((text) => text !== '')
      .join(' · ');
    draw([
      head,
      ...[...running.values()].map(
        ({ stage, since, at }) =>
          `  ${label(stage)}  ${at}${at === '' ? '' : '  '}${duration((now() - since) / 1000)}`,
      ),
    ]);
    drawNext = began + Math.max(DRAW_MS, DRAW_SHARE * (now() - began));
  };

  return {
    tick: redraw,
    onEvent(event) {
      switch (event.type) {
        case 'stage-started':
          running.set(event.stage.id, { stage: event.stage, since: now(), at: '' });
          break;
        case 'stage-progress': {
          const entry = running.get(event.stage.id);
          if (entry) entry.at = `${event.done}/${event.total} ${event.unit}`;
          return; // drawn by the next tick
        }
        case 'stage-ended': {
          const { stage, outcome } = event;
          running.delete(stage.id);
          left.delete(stage.id);
          if (outcome.state === 'ran') {
            ran++;
            spent += outcome.seconds;
          }
          if (outcome.state !== 'abandoned') done++;
          const place = `[${done}/${total}] ${label(stage)}`;
          switch (outcome.state) {
            case 'ran':
              print(`${place}  ${duration(outcome.seconds)}`, 'good');
              break;
            case 'cached':
              print(`${place}  cached`, 'good');
              break;
            case 'failed':
              print(`${place}  failed: ${outcome.error}`, 'bad');
              break;
            case 'blocked':
              print(`${place}  blocked by ${outcome.by}`, 'bad');
              break;
            case 'abandoned':
              break;
          }
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
