/** The end of a log as text for a page, and the curves of a training that it contains. */
import type { Curves } from './series.ts';
import { createCurves } from './series.ts';

/** How much of a log is shown, in characters. */
const SHOWN = 64 * 1024;
/** A longer line is cut. */
const LONGEST = 2000;

export interface LogBuffer {
  add(line: string): void;
  /** Forgets everything, because the file was replaced. */
  restart(): void;
  /** Notes that the file's beginning was not read. */
  cut(): void;
  /** The whole text that is shown, and whether earlier text was left out. */
  readonly text: string;
  readonly isCut: boolean;
  readonly curves: Curves;
  /** Returns what was added since the last call; `anew` if it replaces what came before. */
  take(): { readonly text: string; readonly anew: boolean } | null;
}

/** Escape sequences that colour a terminal. */
const COLOURS = /\u001b\[[0-9;?]*[A-Za-z]/g;
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** Returns a line cut to a length, with a dot for each character that a page can't show. */
export function cleanLine(line: string): string {
  const shown = line.length > LONGEST ? `${line.slice(0, LONGEST)}… (cut)` : line;
  return shown.replace(COLOURS, '').replace(UNSEEN, '·');
}

const STEP = /^\S+ step (\d+) of \d+: loss (\S+), learning rate \S+$/;
/** `step 50, accuracy 0.9375, loss 0.2110`, an evaluation on the way. */
const EVALUATION = /^\S+ step (\d+)((?:, [a-z ]{1,40} -?[\d.e+-]+)+)$/;

/** Adds the numbers of a line of the log of `train` to the curves. */
function noteSteps(line: string, curves: Curves): void {
  if (line.length > 400) return;
  const [, step, loss] = STEP.exec(line) ?? [];
  if (step !== undefined && loss !== undefined) {
    curves.add('loss', Number(step), Number(loss));
    return;
  }
  const [, at, values] = EVALUATION.exec(line) ?? [];
  if (at === undefined || values === undefined) return;
  for (const part of values.slice(2).split(', ')) {
    const space = part.lastIndexOf(' ');
    const name = part.slice(0, space);
    curves.add(name === 'loss' ? 'validation loss' : name, Number(at), Number(part.slice(space)));
  }
}

export function createLogBuffer(): LogBuffer {
  let text = '',
    fresh = '',
    anew = true,
    isCut = false,
    curves = createCurves();
  return {
    add(line) {
      noteSteps(line, curves);
      fresh += `${cleanLine(line)}\n`;
      if (fresh.length <= SHOWN) return;
      // More than is shown came at once: it replaces all earlier text.
      fresh = fresh.slice(fresh.indexOf('\n', fresh.length - SHOWN) + 1);
      anew = true;
      isCut = true;
      text = '';
    },
    restart() {
      text = fresh = '';
      anew = true;
      isCut = false;
      curves = createCurves();
    },
    cut() {
      isCut = true;
    },
    get text() {
      return text;
    },
    get isCut() {
      return isCut;
    },
    get curves() {
      return curves;
    },
    take() {
      if (fresh === '' && !anew) return null;
      const taken = { text: fresh, anew };
      text += fresh;
      if (text.length > SHOWN) {
        text = text.slice(text.indexOf('\n', text.length - SHOWN) + 1);
        isCut = true;
      }
      fresh = '';
      anew = false;
      return taken;
    },
  };
}
