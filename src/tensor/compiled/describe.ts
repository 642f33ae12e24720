/** Describes, for the log of a stage, what was compiled. */
import type { CompiledStatistics } from './compiled.ts';

type Counted = Pick<CompiledStatistics, 'made' | 'calls'>;

const NOTHING: Counted = { made: { functions: 0, operations: 0, seconds: 0 }, calls: 0 };

const count = (n: number, one: string): string =>
  `${n.toLocaleString('en-US')} ${one}${n === 1 ? '' : 's'}`;

/**
 * Describes what was compiled and called between two readings of the statistics; null where nothing
 * was called.
 */
export function describeCompiled(before: Counted | null, after: Counted | null): string | null {
  const { made, calls } = after ?? NOTHING,
    { made: earlier, calls: called } = before ?? NOTHING;
  if (calls === called) return null;
  const functions = made.functions - earlier.functions,
    times = count(calls - called, 'time');
  // A worker that runs several stages can call functions that an earlier one compiled.
  if (functions === 0) return `called functions that were compiled before, ${times}`;
  const operations = count(made.operations - earlier.operations, 'operation'),
    seconds = (made.seconds - earlier.seconds).toFixed(1);
  return (
    `compiled ${count(functions, 'function')} (${operations}) in ${seconds} s, ` +
    `called functions ${times}`
  );
}
