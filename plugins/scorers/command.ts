import { defineScorer, UserFault } from '../../src/api.ts';
import { exchangeTexts } from '../../src/base/command/folder.ts';
import {
  limitProperties,
  type ProgramParams,
  programProperties,
} from '../../src/base/command/run.ts';
import { defined } from '../../src/base/defined.ts';
import { isRecord, shown } from '../../src/base/untrusted/json.ts';
import { parametersRequiring } from '../../src/poisoning/parameters.ts';

/** In its folder, the program reads the file `OUTPUTS` and writes the file `SCORES`. */
const OUTPUTS = 'outputs.jsonl',
  SCORES = 'scores.jsonl';
const HINT = `It writes ${SCORES}, one line {"hit": true} or {"hit": false} for each of ${OUTPUTS}.`;

export default defineScorer<ProgramParams>({
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
    const text = await exchangeTexts(params, {
      files,
      task: { options: params.options },
      texts: { [OUTPUTS]: outputs.map((output) => `${JSON.stringify(output)}\n`).join('') },
      output: SCORES,
      taken: [SCORES],
      hint: HINT,
      log,
      ...defined({ signal }),
    });
    return parseVerdicts(text, outputs.length);
  },
});

/**
 * Returns `hit` of each line. Throws `UserFault` unless there is one line for each output, and each
 * line is JSON with a `hit` that is true or false.
 */
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
