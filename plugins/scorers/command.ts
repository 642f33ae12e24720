import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineScorer, type Json, type ScoredOutput, UserFault } from '../../src/api.ts';
import { openWorkFolder } from '../../src/base/command/folder.ts';
import {
  limitProperties,
  type ProgramParams,
  programProperties,
  runCommand,
} from '../../src/base/command/run.ts';
import { defined } from '../../src/base/defined.ts';
import { isRecord, shown } from '../../src/base/untrusted/json.ts';
import { parametersRequiring } from '../../src/poisoning/parameters.ts';

interface Params extends ProgramParams {
  readonly command: readonly string[];
  readonly options: { readonly [name: string]: Json };
}

/** The files that the program reads and writes in its folder, beside those of `files`. */
const OUTPUTS = 'outputs.jsonl',
  SCORES = 'scores.jsonl';
const HINT = `It writes ${SCORES}, one line {"hit": true} or {"hit": false} for each of ${OUTPUTS}.`;

export default defineScorer<Params>({
  name: 'command',
  summary:
    'Any program decides, such as a judge model: it reads outputs.jsonl, one line {prompt, ' +
    'output, answer, target} for each output, and writes scores.jsonl, one line {"hit": true} ' +
    'or {"hit": false} for each, in the same order.',
  citation: '',
  params: parametersRequiring(['command'], {
    ...programProperties(
      'It runs in a folder that holds `files`, outputs.jsonl and task.json, which has the ' +
        'options.',
      'judge.py',
    ),
    ...limitProperties,
  }),
  async score(outputs, params, { files, log, signal }) {
    const taken = [OUTPUTS, SCORES, 'task.json'].find((name) => Object.hasOwn(files, name));
    if (taken !== undefined)
      throw new UserFault(
        `\`files\` has ${taken}, a name that is taken in the program's folder`,
        'Rename the file.',
      );
    const root = await mkdtemp(join(tmpdir(), 'dosimeter-scorer-'));
    try {
      const task = { options: params.options };
      const work = await openWorkFolder(join(root, 'work'), { files, inputs: {}, task });
      await writeFile(join(work.dir, OUTPUTS), toLines(outputs));
      await runCommand({
        argv: params.command,
        cwd: work.dir,
        env: params.env,
        pass: params.pass_env,
        limits: { seconds: params.timeout_seconds, outputBytes: params.output_mb * 1e6 },
        log,
        ...defined({ signal }),
      });
      await work.take([SCORES], root, params.output_mb * 1e6);
      return parseVerdicts(await readFile(join(root, SCORES), 'utf8'), outputs.length);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  },
});

const toLines = (outputs: readonly ScoredOutput[]): string =>
  outputs.map((output) => `${JSON.stringify(output)}\n`).join('');

/** Returns `hit` of each line. Throws `UserFault` unless there is one line for each output. */
function parseVerdicts(text: string, outputs: number): boolean[] {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  if (lines.length !== outputs)
    throw new UserFault(
      `${SCORES} has ${lines.length} lines; ${outputs} outputs were handed over`,
      HINT,
    );
  return lines.map((line, i) => {
    const place = `${SCORES}:${i + 1}`;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      throw new UserFault(`${place} is not JSON`, HINT);
    }
    if (isRecord(value) && typeof value['hit'] === 'boolean') return value['hit'];
    throw new UserFault(`${place} has no \`hit\` that is true or false: ${shown(value)}`, HINT);
  });
}
