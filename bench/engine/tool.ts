/** One side of the bench: the same grid of trivial stages, written for one tool. */
import type { Command } from './clock.ts';

export interface Tool {
  readonly name: string;
  /** Null: it is not on this machine. */
  version(): string | null;
  /** Everything but results: the description of N cells, three stages each, and one joining report. */
  write(dir: string, cells: number): void;
  /** Two stages at a time, where the tool can. */
  run(dir: string): Command;
  /** Edits one cell, each turn to another value. */
  change(dir: string, cells: number, turn: number): void;
  /** Results and memory of them go, the description stays. */
  clean(dir: string): void;
  /** The joining report: a line a cell. */
  report(dir: string): string;
}
