/**
 * What one job asks Slurm for (time, memory, cores and GPUs), the arguments of sbatch, and the
 * batch script. Neither script nor arguments has a string of the spec in it: paths reach the script
 * as arguments, and the job itself is read from a JSON file. The only shell text that is not ours
 * is `setup` of the profile.
 */
import { type Demand, INTERRUPTED_TASK } from '../../../src/api.ts';
import type { Profile, Settings } from './profile.ts';

/** What a job asks Slurm for. Jobs with equal requests may share an array. */
export interface Request {
  readonly kind: string;
  /** The time limit in seconds: whole minutes. */
  readonly seconds: number;
  readonly memoryMB: number;
  readonly cpus: number;
  readonly gpus: number;
}

/** What one stage of a job takes. */
export interface Load {
  readonly cpu: number;
  readonly demand: Demand;
}

/**
 * Time limits in seconds are rounded up to one of these, or to whole days if longer, so that
 * similar jobs share an array.
 */
const STEPS = [1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720, 1080, 1440].map(
  (minutes) => minutes * 60,
);
const DAY = 86_400;

/** In MB. The memory of a job is rounded up to a multiple of this. */
const MEMORY_STEP = 256;

/** The seconds to start the program and load the model, which recorded durations leave out. */
const START_SECONDS = 120;

/** Seconds for a stage of unknown duration: one that computes, and one that does not. */
const UNKNOWN_SECONDS = 4 * 3600,
  UNKNOWN_LIGHT_SECONDS = 1800;

const roundedUp = (value: number, step: number): number => Math.ceil(value / step) * step;

/** Returns seconds rounded up to one of STEPS, or to whole days if longer. */
const timeStep = (seconds: number): number =>
  STEPS.find((step) => step >= seconds) ?? roundedUp(seconds, DAY);

/**
 * Returns what a job asks Slurm for.
 * @param load the stages of the job: more than one for a pack, which takes the most memory, cores
 *   and GPUs that any of them takes
 * @param longer doubles the time limit this many times, for a job that has reached it before
 * @param more doubles the memory this many times, for a job that ran out of it before
 */
export function estimateRequest(
  profile: Profile,
  kind: string,
  load: readonly Load[],
  longer = 0,
  more = 0,
): Request {
  const settings = profile.settings(kind);
  const memory = settings.memoryMB + Math.max(0, ...load.map(({ demand }) => demand.memoryMB ?? 0));
  return {
    kind,
    seconds: timeLimit(settings, wantedSeconds(settings, load), longer),
    memoryMB: roundedUp(memory, MEMORY_STEP) * 2 ** more,
    cpus: settings.cpus ?? Math.max(1, ...load.map(({ cpu }) => cpu)),
    gpus: settings.gpus ?? Math.max(0, ...load.map(({ demand }) => demand.gpu)),
  };
}

/** Returns the sum of the stages' durations, in seconds; null if one is unknown. */
export function expectedSeconds(load: readonly Load[]): number | null {
  const known = load.flatMap(({ demand }) => demand.seconds ?? []);
  return known.length < load.length ? null : known.reduce((sum, one) => sum + one, 0);
}

/**
 * Returns the seconds to ask for, for stages that run one after another. Known durations are
 * multiplied by `margin`, and START_SECONDS are added to them. At most two stages of unknown
 * duration count: a partition may refuse a longer job, and a job that reaches its time limit is
 * submitted again.
 */
function wantedSeconds({ time, margin }: Settings, load: readonly Load[]): number {
  const known = load.filter(({ demand }) => demand.seconds !== undefined);
  const unknown = load
    .filter((one) => !known.includes(one))
    .map(
      ({ demand }) => time ?? (demand.compute === false ? UNKNOWN_LIGHT_SECONDS : UNKNOWN_SECONDS),
    )
    .slice(0, 2)
    .reduce((sum, seconds) => sum + seconds, 0);
  return known.length === 0
    ? unknown
    : (expectedSeconds(known) ?? 0) * margin + START_SECONDS + unknown;
}

/**
 * Returns a job's time limit in seconds: the wanted time, at least `minTime`, doubled and rounded
 * up, but at most `maxTime`.
 * @param longer how many times it is doubled
 */
function timeLimit({ minTime, maxTime }: Settings, wanted: number, longer: number): number {
  const limit = timeStep(Math.max(minTime, wanted) * 2 ** Math.min(longer, 20));
  return Math.min(roundedUp(maxTime, 60), limit);
}

/** Returns a request's time limit in minutes, rounded up; at least 1. */
const minutesOf = ({ seconds }: Request): number => Math.max(1, Math.ceil(seconds / 60));

/**
 * Returns shell lines that start a command in the background, and hand SIGTERM on to it. SIGUSR1
 * sets the variable `requeue`, runs `onRequeue` and is handed on as SIGTERM. The traps come first,
 * so that no early signal ends the script.
 * @param process the name of the shell variable that gets the command's process id
 * @param onRequeue shell text that ends in `; `, or ''
 */
export const startScript = (process: string, command: string, onRequeue = ''): string => `requeue=
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
 * Returns shell lines that wait for a process, and keep its exit code in the variable `code`. They
 * call `wait` in a loop, because a trapped signal ends `wait` early.
 * @param process the name of the shell variable that has the process id
 */
export const waitScript = (process: string): string => `wait "$${process}"
code=$?
while kill -0 "$${process}" 2>/dev/null; do
  wait "$${process}"
  code=$?
done`;

/**
 * Shell text that requeues the job it runs in. It does nothing if Slurm has given the job's id to
 * another job by now, as after a restart of the controller.
 */
export const REQUEUE =
  '[ "$(squeue -h -j "$SLURM_JOB_ID" -o %j)" = "$SLURM_JOB_NAME" ] && ' +
  'scontrol requeue "$SLURM_JOB_ID"';

/** Returns shell lines as one text. Each ends in a line break; '' if there are none. */
export const joinLines = (setup: readonly string[]): string =>
  setup.map((line) => `${line}\n`).join('');

const TRY_GPU = "nvidia-smi -L | grep -q GPU || bad 'nvidia-smi finds no GPU'\n";
const START = startScript('task', '"$@" "$dir/$index.json"', ': >"$dir/$index.signalled"; ');

/**
 * Returns the batch script of tasks. Its first argument is the submission's folder, the rest the
 * command that performs a task, to which the script adds the task's file. First, the script tries
 * the node. If the node can't run the program, or has no GPU though one was asked for, the script
 * names the node in INDEX.bad. On SIGUSR1, which Slurm sends before the time limit, the script asks
 * the task to save its state. If the task did, the job requeues itself.
 */
export const batchScript = (setup: readonly string[], gpus: number): string => `#!/bin/bash
dir=$1
shift
index=\${SLURM_ARRAY_TASK_ID:-0}
exec >>"$dir/$index.out" 2>&1 </dev/null
rm -f "$dir/$index.signalled"
${joinLines(setup)}bad() {
  printf '%s\\n' "\${SLURMD_NODENAME:-}" "$1" >"$dir/.$index.bad" && mv "$dir/.$index.bad" "$dir/$index.bad"
  exit 1
}
"$1" --version >/dev/null || bad 'it does not run Node.js at the path of the submitting host'
${gpus > 0 ? TRY_GPU : ''}${START}
${waitScript('task')}
if [ -n "$requeue" ] && [ "$code" = ${INTERRUPTED_TASK} ]; then
  ${REQUEUE}
fi
exit "$code"
`;

interface Submitting {
  readonly name: string;
  /** The number of tasks; two or more are an array. */
  readonly tasks: number;
  /** The script's first argument: the submission's folder. */
  readonly dir: string;
  /**
   * Where slurmstepd writes its messages on a job, as NAME.INDEX; by default nowhere. Not the
   * submission's folder, which may be removed: Slurm does not launch a job whose output file can't
   * be opened, and blames the node.
   */
  readonly said?: string;
  readonly script: string;
  readonly taskCommand: readonly string[];
  readonly exclude: readonly string[];
  readonly cwd: string;
}

/** The settings that are options of sbatch under the same names. */
const PASSED_ON = ['partition', 'account', 'qos', 'reservation', 'constraint'] as const;

/** Returns the arguments of sbatch, which no shell reads. */
export function sbatchArguments(
  request: Request,
  settings: Settings,
  { name, tasks, dir, said, script, taskCommand, exclude, cwd }: Submitting,
): readonly string[] {
  /** Returns `--flag=value` as a list; [] if the value is undefined or ''. */
  const option = (flag: string, value: string | undefined): readonly string[] =>
    value === undefined || value === '' ? [] : [`--${flag}=${value}`];
  // How many seconds before the time limit Slurm sends SIGUSR1.
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
    // The script redirects its own output, so this file gets slurmstepd's messages alone.
    said === undefined
      ? '--output=/dev/null'
      : `--output=${said.replaceAll('%', '%%')}/${name}.${tasks > 1 ? '%a' : '0'}`,
    `--chdir=${cwd}`,
    ...(request.gpus > 0 ? [`--gres=${settings.gres}:${request.gpus}`] : []),
    ...PASSED_ON.flatMap((flag) => option(flag, settings[flag])),
    ...option('exclude', exclude.join()),
    ...settings.options,
    script,
    dir,
    ...taskCommand,
  ];
}
