/** Lines that the batch scripts share. */

/**
 * Waits for the process in a variable until it has ended, and keeps its exit code in `code`. A
 * signal that is trapped ends `wait` early.
 */
export const waitFor = (process: string): string => `wait "$${process}"
code=$?
while kill -0 "$${process}" 2>/dev/null; do
  wait "$${process}"
  code=$?
done`;

/** Requeues the job, unless its id belongs to another by now. */
export const REQUEUE =
  '[ "$(squeue -h -j "$SLURM_JOB_ID" -o %j)" = "$SLURM_JOB_NAME" ] && ' +
  'scontrol requeue "$SLURM_JOB_ID"';

/** The profile's own lines, each ended. */
export const linesOf = (setup: readonly string[]): string =>
  setup.map((line) => `${line}\n`).join('');
