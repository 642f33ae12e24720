import type { Command } from 'commander';

/** Makes an action of a function that returns the exit code. */
export type Exits = <Args extends unknown[]>(
  command: (...args: Args) => Promise<number>,
) => (...args: Args) => Promise<void>;

/**
 * Adds one command to the program. Its options are declared here; what it does is imported when it
 * is called, so that a start loads no more than it needs.
 */
export type AddCommand = (program: Command, exits: Exits) => void;
