/** Lines that the batch scripts share. */

/**
 * Starts a command in the background, keeps its process in a variable, and hands SIGTERM on to it.
 * SIGUSR1 reaches it as SIGTERM, too; `requeue` is set then, and `onRequeue` is carried out.
 * Signals are trapped before the command starts, since one of them would otherwise end the script;
 * one that comes before the process is known is handed on after that.
 */
export const start = (process: string, command: string, onRequeue = ''): string => `requeue=
early=
${process}=
hand_on() {
  if [ -n "$${process}" ]; then kill -TERM "$${process}"; else early=1; fi
}
trap 'requeue=1; ${onRequeue}hand_on' USR1
trap hand_on TERM
${command} &
${process}=$!
[ -z "$early" ] || hand_on`;

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
