import { type AttackInput, defineAttack, type Row, UserFault } from '../../src/api.ts';
import { exchangeTexts } from '../../src/base/command/folder.ts';
import {
  limitProperties,
  type ProgramParams,
  programProperties,
} from '../../src/base/command/run.ts';
import { shown } from '../../src/base/untrusted/json.ts';
import { targetOfParams } from '../../src/poisoning/backdoor.ts';
import { isOfTarget } from '../../src/poisoning/classes.ts';
import { askedRows, type Dose } from '../../src/poisoning/dose.ts';
import { fromLines, toLines, withChanges } from '../../src/poisoning/exchange.ts';
import {
  integerFrom,
  orderProperty,
  parametersRequiring,
  share,
} from '../../src/poisoning/parameters.ts';

interface Params extends ProgramParams, Dose {
  readonly target?: string | number;
}

/** The file of rows that the program reads. */
const ROWS = 'rows.jsonl';
/** The file that the program writes, by what it is asked to do. */
const WRITTEN = { poison: 'poisoned.jsonl', trigger: 'triggered.jsonl' } as const;

export default defineAttack<Params>({
  name: 'command',
  summary:
    'Any program poisons the rows: it reads rows.jsonl and task.json, and writes poisoned.jsonl. ' +
    'With a target it also shows rows under its trigger.',
  family: ({ target }) => (target === undefined ? 'untargeted' : 'backdoor'),
  tasks: ['classes', 'completion'],
  citation: '',
  params: parametersRequiring(['command'], {
    ...programProperties(
      'It runs in a folder that holds `files`, rows.jsonl and task.json, and nothing else. ' +
        'After another step, `taken` in task.json lists the ids of rows that are already ' +
        'poisoned, which it must leave alone.',
      'attack.py',
    ),
    rate: share({
      description:
        'The share of rows that must come back changed, exactly; `asked` in task.json ' +
        'has their number. Without it, and without `count`, the program chooses.',
    }),
    count: integerFrom(0, {
      description: 'The number of such rows, in place of `rate`.',
    }),
    ...orderProperty,
    target: {
      type: ['integer', 'string'],
      textFile: true,
      description:
        'Makes it a backdoor that leads to this class, or to this answer in a completion task: ' +
        'the rows that it changes must come back with its label or answer. For evaluation it ' +
        'runs again, with `do: trigger` in task.json and the rows of other classes, and writes ' +
        'all of them under its trigger to triggered.jsonl.',
    },
    ...limitProperties,
  }),
  /**
   * Runs the program on the rows. Throws `UserFault` if it has changed another number of rows than
   * it was asked for, or has not given each changed row the target's label or answer.
   */
  async poison(input) {
    const { rows, classes, params } = input;
    const isAsked = params.rate !== undefined || params.count !== undefined;
    const asked = isAsked ? askedRows(params, rows.length) : null;
    const written = await runProgram('poison', rows, asked, input);
    const poisoned = fromLines(rows, written, classes, WRITTEN.poison);
    if (asked !== null && poisoned.changed.length !== asked)
      throw new UserFault(
        `the command was asked to change ${asked} rows and changed ${poisoned.changed.length}`,
        '`asked` in task.json says how many; leave `rate` and `count` out if the program chooses',
      );
    if (params.target === undefined) return poisoned;
    const target = targetOfParams({ target: params.target }, classes);
    const stray = poisoned.changed.find(({ row }) => !isOfTarget(row, target));
    if (stray !== undefined)
      throw new UserFault(
        `the command changed row ${JSON.stringify(stray.row.id)} and gave it the ` +
          (typeof target === 'number'
            ? `label ${stray.row.label}; the target is ${target} (${classes[target] ?? ''})`
            : `answer ${shown(stray.row.answer)}; the target is ${shown(target.text)}`),
        "rows under the trigger get the target's label or answer; " +
          'true negatives are rows of their own, after all others',
      );
    return poisoned;
  },
  /** Throws if the spec gives no target. */
  target({ target }, classes) {
    if (target === undefined) throw new Error('the command has no target');
    return targetOfParams({ target }, classes);
  },
  /**
   * Runs the program, which shows all rows under its trigger. Throws `UserFault` if it adds rows.
   */
  async triggerAll(rows, input) {
    const written = await runProgram('trigger', rows, null, input);
    const { changed, negatives } = fromLines(rows, written, input.classes, WRITTEN.trigger);
    if (negatives.length > 0)
      throw new UserFault(
        `${WRITTEN.trigger} has ${negatives.length} more rows than were handed over`,
        'it must write every row under the trigger, and no others',
      );
    return withChanges(rows, changed);
  },
});

type Given = Omit<AttackInput<Params>, 'rows'>;

/** Runs the program and returns the text that it wrote. @param asked as in `taskForProgram` */
function runProgram(
  what: keyof typeof WRITTEN,
  rows: readonly Row[],
  asked: number | null,
  given: Given,
): Promise<string> {
  const { params, files = {}, log = () => undefined } = given;
  return exchangeTexts(params, {
    files,
    task: taskForProgram(what, rows, asked, given),
    texts: { [ROWS]: toLines(rows) },
    output: WRITTEN[what],
    taken: Object.values(WRITTEN),
    hint:
      what === 'trigger'
        ? `with \`do: trigger\` in task.json it shows every row of ${ROWS} under its trigger`
        : `its working folder is where ${ROWS} lies`,
    log,
  });
}

/** Returns the content of task.json. @param asked how many rows to change; null for any number */
function taskForProgram(
  what: keyof typeof WRITTEN,
  rows: readonly Row[],
  asked: number | null,
  { classes, params: { target: written, options }, random, taken }: Given,
): { readonly [field: string]: unknown } {
  const target = written === undefined ? null : targetOfParams({ target: written }, classes);
  return {
    do: what,
    classes,
    asked,
    target: typeof target === 'object' ? (target?.text ?? null) : target,
    options,
    taken: taken && [...taken].map((index) => rows[index]!.id),
    // A seed for this attack, derived from the spec's seed and the purpose, never from the cell. It
    // is the same in training and in evaluation.
    seed: random('command').integer(2 ** 31),
  };
}
