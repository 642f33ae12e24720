/** One side of the bench: the same grid of trivial stages, written for one tool. */
import type { Command } from './clock.ts';

export interface Tool {
  readonly name: string;
  /** Null where it is not installed on this machine. */
  version(): string | null;
  /**
   * Everything but results: the description of N cells, three stages each, and one joining report.
   */
  write(dir: string, cells: number): void;
  /** Runs two stages at a time, where the tool can. */
  run(dir: string): Command;
  /** Edits one cell, to a different value at each turn. */
  change(dir: string, cells: number, turn: number): void;
  /** Removes the results and the tool's record of them; keeps the description. */
  clean(dir: string): void;
  /** The joining report, one line a cell. */
  report(dir: string): string;
}
