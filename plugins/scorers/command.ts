import type { Json, ScoredOutput } from '../../src/api.ts';
import { defineScorer, UserFault } from '../../src/api.ts';
import { parameters } from '../../src/poisoning/parameters.ts';
import { isRecord, shown } from '../../src/untrusted/json.ts';

interface Params {
  readonly command: readonly string[];
  readonly options: { readonly [name: string]: Json };
  readonly env: { readonly [name: string]: string };
  readonly pass_env: readonly string[];
  readonly timeout_seconds: number;
  readonly output_mb: number;
}

/** The files in the program's folder beside its own `files`: it reads GIVEN, and writes TAKEN. */
const GIVEN = 'outputs.jsonl',
  TAKEN = 'scores.jsonl';
const HINT = `It writes ${TAKEN}, one line {"hit": true} or {"hit": false} for each of ${GIVEN}.`;

export default defineScorer<Params>({
  name: 'command',
  summary:
    'Any program decides, such as a judge model: it reads outputs.jsonl, one line {prompt, ' +
    'output, answer, target} for each output, and writes scores.jsonl, one line {"hit": true} ' +
    'or {"hit": false} for each, in the same order.',
  citation: '',
  params: {
    ...parameters({
      command: {
        type: 'array',
        items: { type: 'string' },
        minItems: 1,
        description:
          'The program and its arguments; no shell reads them. It runs in a folder that holds ' +
          '`files`, outputs.jsonl and task.json, which has the options.',
      },
      files: {
        type: 'array',
        items: { type: 'string' },
        format: 'source',
        default: [],
        description:
          'What the program is made of and reads, such as file:judge.py. Each file lies in its ' +
          'folder under its own name. Their content is part of the key.',
      },
      options: { type: 'object', default: {}, description: 'Handed over in task.json unchanged.' },
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
          'Names of further environment variables that it may see. Their values are not part of ' +
          'the key: they must not change the result.',
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
  async score(outputs, params, { files, log, signal }) {
    const [{ openWorkFolder }, { runCommand }, fs, os, path] = await Promise.all([
      import('../../src/command/folder.ts'),
      import('../../src/command/run.ts'),
      import('node:fs/promises'),
      import('node:os'),
      import('node:path'),
    ]);
    const taken = [GIVEN, TAKEN, 'task.json'].find((name) => Object.hasOwn(files, name));
    if (taken !== undefined)
      throw new UserFault(
        `\`files\` has ${taken}, a name that is taken in the program's folder`,
        'Rename the file.',
      );
    const root = await fs.mkdtemp(path.join(os.tmpdir(), 'dosimeter-scorer-'));
    try {
      const task = { options: params.options };
      const work = await openWorkFolder(path.join(root, 'work'), { files, inputs: {}, task });
      await fs.writeFile(path.join(work.dir, GIVEN), toLines(outputs));
      await runCommand({
        argv: params.command,
        cwd: work.dir,
        env: params.env,
        pass: params.pass_env,
        limits: { seconds: params.timeout_seconds, outputBytes: params.output_mb * 1e6 },
        log,
        ...(signal === undefined ? {} : { signal }),
      });
      await work.take([TAKEN], root, params.output_mb * 1e6);
      return verdicts(await fs.readFile(path.join(root, TAKEN), 'utf8'), outputs.length);
    } finally {
      await fs.rm(root, { recursive: true, force: true });
    }
  },
});

const toLines = (outputs: readonly ScoredOutput[]): string =>
  outputs.map((output) => `${JSON.stringify(output)}\n`).join('');

/** Throws `UserFault` unless there are as many verdicts as outputs. */
function verdicts(text: string, outputs: number): boolean[] {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  if (lines.length !== outputs)
    throw new UserFault(
      `${TAKEN} has ${lines.length} lines; ${outputs} outputs were handed over`,
      HINT,
    );
  return lines.map((line, i) => verdict(line, `${TAKEN}:${i + 1}`));
}

function verdict(line: string, place: string): boolean {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new UserFault(`${place} is not JSON`, HINT);
  }
  const hit = isRecord(value) ? value['hit'] : undefined;
  if (typeof hit === 'boolean') return hit;
  throw new UserFault(`${place} has no \`hit\` that is true or false: ${shown(value)}`, HINT);
}
