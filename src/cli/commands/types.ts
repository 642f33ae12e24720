import type { Command } from 'commander';

/** Turns a function that returns the exit code into an action. */
export type Exits = <Args extends unknown[]>(
  command: (...args: Args) => Promise<number>,
) => (...args: Args) => Promise<void>;

/**
 * Adds one command to the program. It declares the options at once, but imports the command's code
 * only when it is called, so that a start loads no more than it needs.
 */
export type AddCommand = (program: Command, exits: Exits) => void;
