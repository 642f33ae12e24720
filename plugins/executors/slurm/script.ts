/**
 * The batch script, the lines that it shares with the coordinator's, and the arguments of sbatch.
 * Neither script nor arguments has a string of the spec in it: paths reach
 * the script as arguments, and the job itself is read from a JSON file. The only shell text that is
 * not ours is `setup` of the profile.
 */
import { INTERRUPTED_TASK } from '../../../src/api.ts';
import type { Settings } from './profile.ts';
import type { Request } from './request.ts';
import { minutesOf } from './request.ts';

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

const TRY_GPU = "nvidia-smi -L | grep -q GPU || bad 'nvidia-smi finds no GPU'\n";
const START = start('task', '"$@" "$dir/$index.json"', ': >"$dir/$index.signalled"; ');

/**
 * Returns the script. Its first argument is the submission's folder, the rest is the command that
 * performs a task, to which the task's file is added.
 *
 * Before it starts, it tries the node. A node that can't run the program, or has no GPU where one
 * was asked for, is named in INDEX.bad. On SIGUSR1, which Slurm sends before the time limit, the
 * task is asked to save its state, and the job requeues itself. It asks for its own name first,
 * because after a restart of the controller its id may belong to another job.
 */
export const batchScript = (setup: readonly string[], gpus: number): string => `#!/bin/bash
dir=$1
shift
index=\${SLURM_ARRAY_TASK_ID:-0}
exec >>"$dir/$index.out" 2>&1 </dev/null
rm -f "$dir/$index.signalled"
${linesOf(setup)}bad() {
  printf '%s\\n' "\${SLURMD_NODENAME:-}" "$1" >"$dir/.$index.bad" && mv "$dir/.$index.bad" "$dir/$index.bad"
  exit 1
}
"$1" --version >/dev/null || bad 'it does not run Node.js at the path of the submitting host'
${gpus > 0 ? TRY_GPU : ''}${START}
${waitFor('task')}
if [ -n "$requeue" ] && [ "$code" = ${INTERRUPTED_TASK} ]; then
  ${REQUEUE}
fi
exit "$code"
`;

/** The name, the paths and the command of a submission. */
export interface Submitting {
  /** Its unique name. */
  readonly name: string;
  /** How many tasks it has. */
  readonly tasks: number;
  /** The script's first argument: the submission's folder. */
  readonly dir: string;
  /**
   * The folder for what slurmstepd says of a job, in the file NAME.INDEX. It must not be the
   * submission's, which may be removed: a job whose output can't be opened is not launched, as if
   * its node were at fault. Default: nothing is kept.
   */
  readonly said?: string;
  /** The path of the script. */
  readonly script: string;
  readonly taskCommand: readonly string[];
  readonly exclude: readonly string[];
  /** The folder that the job starts in. */
  readonly cwd: string;
}

/** Returns the arguments of sbatch. No shell reads them. */
export function sbatchArguments(
  request: Request,
  settings: Settings,
  { name, tasks, dir, said, script, taskCommand, exclude, cwd }: Submitting,
): readonly string[] {
  const { partition, account, qos, reservation, constraint, gres } = settings;
  const option = (flag: string, value: string | undefined): readonly string[] =>
    value === undefined || value === '' ? [] : [`--${flag}=${value}`];
  const lead = Math.min(settings.signal, Math.max(10, request.seconds - 10));
  return [
    '--parsable',
    `--job-name=${name}`,
    `--comment=${name}`,
    ...(tasks > 1 ? [`--array=0-${tasks - 1}`] : []),
    '--nodes=1',
    '--ntasks=1',
    `--cpus-per-task=${request.cpus}`,
    `--mem=${request.memoryMB}M`,
    `--time=${minutesOf(request)}`,
    `--signal=B:USR1@${lead}`,
    '--requeue',
    '--open-mode=append',
    // The script opens its own log.
    said === undefined
      ? '--output=/dev/null'
      : `--output=${said.replaceAll('%', '%%')}/${name}.${tasks > 1 ? '%a' : '0'}`,
    `--chdir=${cwd}`,
    ...(request.gpus > 0 ? [`--gres=${gres}:${request.gpus}`] : []),
    ...option('partition', partition),
    ...option('account', account),
    ...option('qos', qos),
    ...option('reservation', reservation),
    ...option('constraint', constraint),
    ...option('exclude', exclude.join()),
    ...settings.options,
    script,
    dir,
    ...taskCommand,
  ];
}
