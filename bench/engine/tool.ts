/** One side of the bench: the same grid of trivial stages, written for one tool. */
import type { Command } from './clock.ts';

export interface Tool {
  readonly name: string;
  /** Returns the version of the tool; null where it is not installed on this machine. */
  version(): string | null;
  /**
   * Writes everything but results: the description of N cells of three stages each, and of one
   * joining report.
   */
  write(dir: string, cells: number): void;
  /** Returns the command that runs the grid, two stages at a time where the tool can. */
  run(dir: string): Command;
  /** Edits one cell, giving it a different value at each turn. */
  change(dir: string, cells: number, turn: number): void;
  /** Removes the results and the tool's record of them; keeps the description. */
  clean(dir: string): void;
  /** Returns the text of the joining report, which has one line per cell. */
  report(dir: string): string;
}
