/** What an attack makes of one row, for `dosimeter plugins attack NAME`. */
import { isDeepStrictEqual } from 'node:util';
import { parse } from 'yaml';
import {
  type AttackDescriptor,
  type Json,
  type JsonObject,
  type Poisoned,
  type Row,
  type Task,
  UserFault,
} from '../api.ts';
import { attackStreams } from '../base/random.ts';
import { isRecord } from '../base/untrusted/json.ts';
import { mapToSources } from '../run/execute/failure.ts';
import { acceptsType, describe, typesOf } from '../spec/shape.ts';
import { nearest } from '../spec/suggest.ts';
import { createValidator } from '../spec/validate.ts';

export interface ExampleOptions {
  readonly text?: string;
  /** The row's class, one of `classes`. Default: the first class whose rows the attack poisons. */
  readonly label?: string;
  /** The answer. If it is given, the text is a prompt. */
  readonly answer?: string;
  readonly classes?: string;
  /** Parameters of the attack, each as `name=value`. */
  readonly set?: readonly string[];
}

export interface Example {
  readonly classes: readonly string[];
  readonly params: JsonObject;
  readonly before: Row;
  readonly after: Row;
  /** The rows that the attack appends. */
  readonly added: readonly Row[];
  /** The row as evaluation shows it under the trigger. Null if the attack is not a backdoor. */
  readonly shown: Row | null;
}

const TEXT = 'The film was good, and my friends liked it.',
  ANSWER = 'It was.',
  REJECTED = 'It was not.',
  SEED = 1;

/**
 * Returns what the attack makes of the row, at seed 1; null if only an experiment can show that,
 * since the attack needs files, a program, or rows to learn from. If the attack changes no row that
 * is tried, returns the first row as it was. Throws UserFault if an option does not fit, or if the
 * attack refuses all these rows.
 */
export async function makeExample(
  attack: AttackDescriptor,
  options: ExampleOptions,
): Promise<Example | null> {
  const { tasks = ['classes'] } = attack;
  const wanted: Task = options.answer === undefined ? (tasks[0] ?? 'classes') : 'completion';
  if (!tasks.includes(wanted))
    throw new UserFault(
      `the attack "${attack.name}" is not for prompts and answers`,
      'Leave out --answer.',
    );
  if (attack.learns === true) return null;
  const needed = (attack.params['required'] ?? []) as readonly string[];
  if (needed.includes('files') || needed.includes('command')) return null;
  const params = exampleParams(attack, wanted, options.set ?? []);
  const classes = wanted === 'classes' ? (options.classes ?? '0,1').split(',') : [];
  const rows = candidateRows(wanted, classes, options);
  let refused: unknown, unchanged: Example | undefined;
  for (const before of rows) {
    let example: Example;
    try {
      example = await exampleFrom(attack, before, classes, params);
    } catch (error) {
      refused ??= error;
      continue;
    }
    if (example.after !== before || example.added.length > 0) {
      await refuseOwnDraws(attack, example);
      return example;
    }
    unchanged ??= example;
  }
  if (unchanged !== undefined) return unchanged;
  const { name, stack = '', message: thrown } = refused as Error;
  const thrownAt = name === 'UserFault' ? undefined : mapToSources(stack).thrownAt;
  if (thrownAt !== undefined)
    throw new UserFault(`${thrownAt} threw: ${thrown}`, "this is a fault of the plugin's code");
  const { target } = params;
  const isNamed = wanted !== 'classes' || options.classes !== undefined;
  if (isNamed || typeof target !== 'string' || (refused as Error).name !== 'UserFault')
    throw refused;
  const { message, hint } = refused as Error & { readonly hint?: string };
  throw new UserFault(
    message,
    `${hint === undefined ? '' : `${hint}; `}the classes are 0 and 1 unless --classes names them: ` +
      `--classes ${target},other`,
  );
}

/**
 * Returns the rows to try; the first that the attack poisons becomes the example. Throws
 * `UserFault` if `label` is none of the classes.
 */
function candidateRows(
  task: Task,
  classes: readonly string[],
  { text = TEXT, label, answer = ANSWER }: ExampleOptions,
): readonly Row[] {
  const prompt = { id: 'row', text, label: 0, answer };
  if (task === 'completion') return [prompt, { ...prompt, rejected: REJECTED }];
  if (label !== undefined && !classes.includes(label))
    throw new UserFault(
      `there is no class "${label}"; the classes are ${classes.join(', ')}`,
      'Name them all: --classes ham,spam.',
    );
  return classes.flatMap((name, id) =>
    label === undefined || name === label ? [{ id: 'row', text, label: id }] : [],
  );
}

/**
 * Poisons one row. `after` is the row itself if the attack does not change it. Throws `UserFault`
 * if a trigger returns no row.
 */
async function exampleFrom(
  attack: AttackDescriptor,
  before: Row,
  classes: readonly string[],
  params: JsonObject,
): Promise<Example> {
  const input = { classes, params, random: attackStreams(SEED, attack.name), files: {} };
  const poisoned: unknown = await attack.poison({ ...input, rows: [before] });
  const { changed, negatives } = checkedResult(attack, poisoned, classes, params);
  const isBackdoor = attack.trigger !== undefined && attack.target !== undefined;
  const shown: unknown = isBackdoor ? (attack.trigger?.(before, input) ?? null) : null;
  if (isBackdoor && typeof (shown as Partial<Row> | null)?.text !== 'string')
    throw new UserFault(
      `the attack "${attack.name}" returned ${JSON.stringify(shown)} under its trigger`,
      'its `trigger` must return a row: `{ ...row, text }`',
    );
  return {
    classes,
    params,
    before,
    after: changed[0]?.row ?? before,
    added: negatives,
    shown: shown as Row | null,
  };
}

/**
 * Returns what the attack returned. Throws `UserFault` if this has no lists of rows, or has a row
 * whose label is no class's number. Labels are checked only if all required parameters are given,
 * since an attack may take a label from them.
 */
function checkedResult(
  { name, params: { required = [] } }: AttackDescriptor,
  poisoned: unknown,
  classes: readonly string[],
  params: JsonObject,
): Pick<Poisoned, 'changed' | 'negatives'> {
  const { changed, negatives } = isRecord(poisoned) ? poisoned : {};
  const isListOf = (list: unknown, isItem: (item: unknown) => boolean): boolean =>
    Array.isArray(list) && list.every(isItem);
  if (
    !isListOf(changed, (change) => isRecord(change) && isRecord(change['row'])) ||
    !isListOf(negatives, isRecord)
  )
    throw new UserFault(
      `the attack "${name}" did not return lists \`changed\` and \`negatives\``,
      '`poison` returns { changed, negatives, asked, eligible }; a list may be empty, ' +
        '`changed` is of { index, row }, and `negatives` of rows',
    );
  const lists = { changed, negatives } as Pick<Poisoned, 'changed' | 'negatives'>;
  const isWhole = (required as readonly string[]).every((one) => Object.hasOwn(params, one));
  for (const { label } of [...lists.changed.map(({ row }) => row), ...lists.negatives])
    if (isWhole && classes.length > 0 && classes[label] === undefined)
      throw new UserFault(
        `the attack "${name}" made a row with label ${label}, ` +
          `but the labels are 0 to ${classes.length - 1}`,
        'a label is the number of its class, classes.indexOf(NAME); --classes names the classes',
      );
  return lists;
}

/** The number of rows on which `refuseOwnDraws` tests an attack. */
const ROWS = 64;

/**
 * Throws UserFault if the attack draws from anything but the given streams, that is, if a second
 * call with the same streams makes other rows.
 */
async function refuseOwnDraws(
  attack: AttackDescriptor,
  { before, classes, params }: Example,
): Promise<void> {
  const rows = Array.from({ length: ROWS }, (_, i) => ({ ...before, id: `row${i}` }));
  const poisonAnew = async () => {
    const random = attackStreams(SEED, attack.name);
    return attack.poison({ rows, classes, params, random, files: {} });
  };
  if (isDeepStrictEqual(await poisonAnew(), await poisonAnew())) return;
  throw new UserFault(
    `the attack "${attack.name}" makes other rows when it is called again with the same seed`,
    "take what is drawn from `random('rows')`, never from Math.random or the clock: else a " +
      'poisoned set cannot be made again',
  );
}

/**
 * Returns the attack's parameters with defaults, for a dose of one row. Throws `UserFault` if a
 * parameter in `sets` has an unknown name or an unfit value.
 * @param sets the given parameters, each as `name=value`
 */
function exampleParams(attack: AttackDescriptor, task: Task, sets: readonly string[]): JsonObject {
  const properties = (attack.params['properties'] ?? {}) as {
    readonly [name: string]: { readonly default?: Json };
  };
  const given = Object.fromEntries(sets.map((set) => parseParameter(set, Object.keys(properties))));
  // An example need not give the required parameters.
  const required = (attack.params['required'] ?? []) as readonly string[],
    empty = Object.fromEntries(required.map((name) => [name, '']));
  const [violation] = createValidator(attack.params)({ ...empty, ...given });
  if (violation !== undefined) {
    const { path, value, schema } = violation,
      [name, given] = [path.join('.'), JSON.stringify(value)];
    const isText =
      path.length === 1 && typesOf(schema).has('string') && !acceptsType(schema, value);
    throw new UserFault(
      `--set ${name}: ${given} is not a value of it`,
      `It must be ${describe(schema)}` +
        (isText ? `, which here needs quotes: --set '${name}="${given}"'.` : '.') +
        ` \`dosimeter plugins attack ${attack.name}\` describes its parameters.`,
    );
  }
  const defaults = Object.entries(properties).flatMap(([name, { default: value }]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  const { rate, ...params } = { ...Object.fromEntries(defaults), ...given };
  return {
    ...params,
    ...('count' in properties ? { count: 1 } : rate === undefined ? {} : { rate: 1 }),
    // A label can't be the target in a completion task, so a text takes its place.
    ...(task === 'completion' && typeof params['target'] === 'number' ? { target: 'TARGET' } : {}),
  };
}

/** Parses `NAME=VALUE`, the value as YAML. Throws UserFault if no parameter has this name. */
function parseParameter(set: string, names: readonly string[]): readonly [string, Json] {
  const cut = set.indexOf('=');
  const name = set.slice(0, Math.max(0, cut));
  if (!names.includes(name)) {
    const close = nearest(name, names);
    throw new UserFault(
      `--set ${set}: the attack has no parameter "${name}"`,
      close === null ? 'Write name=value.' : `did you mean "${close.word}"?`,
    );
  }
  return [name, parse(set.slice(cut + 1)) as Json];
}
