import type { AttackInput, Json, Row } from '../../src/api.ts';
import { defineAttack, UserFault } from '../../src/api.ts';
import { parameters } from '../../src/poisoning/backdoor.ts';
import { classId } from '../../src/poisoning/classes.ts';
import { askedRows } from '../../src/poisoning/dose.ts';
import { fromLines, toLines, withChanges } from '../../src/poisoning/exchange.ts';

interface Params {
  readonly command: readonly string[];
  readonly rate?: number;
  readonly target?: string | number;
  readonly options: { readonly [name: string]: Json };
  readonly env: { readonly [name: string]: string };
  readonly pass_env: readonly string[];
  readonly timeout_seconds: number;
  readonly output_mb: number;
}

/** The program's folder: its declared files by their own names, and these. */
const TASK = 'task.json',
  GIVEN = 'rows.jsonl';
const TAKEN = { poison: 'poisoned.jsonl', trigger: 'triggered.jsonl' } as const;

export default defineAttack<Params>({
  name: 'command',
  summary:
    'Any program poisons the rows: it reads rows.jsonl and task.json, and writes poisoned.jsonl; with a target, it shows rows under its trigger too.',
  family: ({ target }) => (target === undefined ? 'untargeted' : 'backdoor'),
  citation: '',
  params: {
    ...parameters({
      command: {
        type: 'array',
        items: { type: 'string' },
        minItems: 1,
        description:
          'The program and its arguments; no shell reads them. It runs in a folder that holds `files`, rows.jsonl and task.json, and nothing else. After another step, `taken` in task.json lists the ids of rows that are poisoned already, which it must leave alone.',
      },
      files: {
        type: 'array',
        items: { type: 'string' },
        format: 'source',
        default: [],
        description:
          'What the program is made of and reads, such as file:attack.py. Each lies in its folder under its own name; their content is part of the key.',
      },
      rate: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        description:
          'The share of rows that must come back changed, exactly; handed over in task.json as `asked`. Without it the program chooses.',
      },
      target: {
        type: ['integer', 'string'],
        description:
          'Makes it a backdoor that leads to this class: the rows that it changes must come back with its label. At evaluation it runs again, with `do: trigger` in task.json and the rows of other classes, and writes all of them under its trigger to triggered.jsonl.',
      },
      options: { type: 'object', default: {}, description: 'Handed over in task.json as it is.' },
      env: {
        type: 'object',
        additionalProperties: { type: 'string' },
        default: {},
        description: 'Environment variables with their values.',
      },
      pass_env: {
        type: 'array',
        items: { type: 'string' },
        default: [],
        description:
          'Names of more environment variables that it may see, beside PATH, HOME, LANG, LC_ALL and TMPDIR. Their values are no part of the key: they must not change the result.',
      },
      timeout_seconds: {
        type: 'number',
        exclusiveMinimum: 0,
        default: 600,
        description: 'It is ended after this time.',
      },
      output_mb: {
        type: 'number',
        exclusiveMinimum: 0,
        default: 64,
        description: 'Limit on what it prints, and on the size of what it writes.',
      },
    }),
    required: ['command'],
  },
  async poison(input) {
    const { rows, classes, params } = input;
    const asked = params.rate === undefined ? null : askedRows({ rate: params.rate }, rows.length);
    const target = params.target === undefined ? null : classId(params.target, classes, 'target');
    const poisoned = fromLines(
      rows,
      await runProgram('poison', rows, asked, input),
      classes,
      TAKEN.poison,
    );
    if (asked !== null && poisoned.changed.length !== asked)
      throw new UserFault(
        `the command was asked to change ${asked} rows and changed ${poisoned.changed.length}`,
        '`asked` in task.json says how many; leave `rate` out if the program chooses',
      );
    const stray =
      target === null ? undefined : poisoned.changed.find(({ row }) => row.label !== target);
    if (stray !== undefined)
      throw new UserFault(
        `the command changed row ${JSON.stringify(stray.row.id)} and gave it the label ${stray.row.label}; the target is ${String(target)} (${classes[target!]!})`,
        "rows under the trigger get the target's label; true negatives come after all rows, as rows of their own",
      );
    return poisoned;
  },
  target: ({ target }, classes) => classId(target!, classes, 'target'),
  async triggerAll(rows, input) {
    const { changed, negatives } = fromLines(
      rows,
      await runProgram('trigger', rows, null, input),
      input.classes,
      TAKEN.trigger,
    );
    if (negatives.length > 0)
      throw new UserFault(
        `${TAKEN.trigger} has ${negatives.length} rows more than were handed over`,
        'every row under the trigger, and no other',
      );
    return withChanges(rows, changed);
  },
});

/** What the program wrote. */
async function runProgram(
  what: keyof typeof TAKEN,
  rows: readonly Row[],
  asked: number | null,
  {
    classes,
    params,
    random,
    files = {},
    taken,
    log = () => undefined,
  }: Omit<AttackInput<Params>, 'rows'>,
): Promise<string> {
  const [{ runCommand }, { pathInside }, fs, os, path] = await Promise.all([
    import('../../src/command/run.ts'),
    import('../../src/untrusted/path.ts'),
    import('node:fs/promises'),
    import('node:os'),
    import('node:path'),
  ]);
  const dir = await fs.mkdtemp(path.join(os.tmpdir(), 'dosimeter-command-'));
  const name = TAKEN[what];
  try {
    for (const [file, from] of Object.entries(files)) {
      if ([TASK, GIVEN, ...Object.values(TAKEN)].includes(file))
        throw new UserFault(
          `\`files\` has ${file}, which is the name of what is handed over`,
          'rename the file',
        );
      await fs.cp(from, pathInside(dir, file, "A file of the attack's"), { recursive: true });
    }
    await fs.writeFile(path.join(dir, GIVEN), toLines(rows));
    const target = params.target === undefined ? null : classId(params.target, classes, 'target');
    // A seed of the attack's own: from the spec's seed and the purpose, never from the cell. The same at training and at evaluation.
    await fs.writeFile(
      path.join(dir, TASK),
      `${JSON.stringify({ do: what, classes, asked, target, options: params.options, ...(taken === undefined ? {} : { taken: [...taken].map((index) => rows[index]!.id) }), seed: random('command').integer(2 ** 31) }, null, 2)}\n`,
    );
    const bytes = params.output_mb * 1e6;
    await runCommand({
      argv: params.command,
      cwd: dir,
      env: params.env,
      pass: params.pass_env,
      limits: { seconds: params.timeout_seconds, outputBytes: bytes },
      log,
    });
    const written = path.join(dir, name);
    const found = await fs.lstat(written).catch(() => null);
    if (!found?.isFile())
      throw new UserFault(
        `the command ${JSON.stringify(params.command.join(' '))} wrote no ${name}`,
        what === 'trigger'
          ? `with \`do: trigger\` in ${TASK} it shows every row of ${GIVEN} under its trigger`
          : `its working folder is where ${GIVEN} lies`,
      );
    if (found.size > bytes)
      throw new UserFault(`${name} has ${found.size} bytes, more than \`output_mb\` allows`);
    return await fs.readFile(written, 'utf8');
  } finally {
    await fs.rm(dir, { recursive: true, force: true });
  }
}
