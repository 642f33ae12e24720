import { defineAttack, UserFault } from '../../src/api.ts';
import type { Json } from '../../src/api.ts';
import { parameters } from '../../src/poisoning/backdoor.ts';
import { askedRows } from '../../src/poisoning/dose.ts';
import { fromLines, toLines } from '../../src/poisoning/exchange.ts';

interface Params {
  readonly command: readonly string[];
  readonly rate?: number;
  readonly options: { readonly [name: string]: Json };
  readonly env: { readonly [name: string]: string };
  readonly pass_env: readonly string[];
  readonly timeout_seconds: number;
  readonly output_mb: number;
}

/** The program's folder: its declared files by their own names, and these. */
const TASK = 'task.json', GIVEN = 'rows.jsonl', TAKEN = 'poisoned.jsonl';

export default defineAttack<Params>({
  name: 'command',
  summary: 'Any program poisons the rows: it reads rows.jsonl and task.json, and writes poisoned.jsonl.',
  family: 'untargeted',
  citation: '',
  params: {
    ...parameters({
      command: { type: 'array', items: { type: 'string' }, minItems: 1, description: 'The program and its arguments; no shell reads them. It runs in a folder that holds `files`, rows.jsonl and task.json, and nothing else.' },
      files: { type: 'array', items: { type: 'string' }, format: 'source', default: [], description: 'What the program is made of and reads, such as file:attack.py. Each lies in its folder under its own name; their content is part of the key.' },
      rate: { type: 'number', minimum: 0, maximum: 1, description: 'The share of rows that must come back changed, exactly; handed over in task.json as `asked`. Without it the program chooses.' },
      options: { type: 'object', default: {}, description: 'Handed over in task.json as it is.' },
      env: { type: 'object', additionalProperties: { type: 'string' }, default: {}, description: 'Environment variables with their values.' },
      pass_env: { type: 'array', items: { type: 'string' }, default: [], description: 'Names of more environment variables that it may see, beside PATH, HOME, LANG, LC_ALL and TMPDIR. Their values are no part of the key: they must not change the result.' },
      timeout_seconds: { type: 'number', exclusiveMinimum: 0, default: 600, description: 'It is ended after this time.' },
      output_mb: { type: 'number', exclusiveMinimum: 0, default: 64, description: 'Limit on what it prints, and on the size of poisoned.jsonl.' },
    }),
    required: ['command'],
  },
  async poison({ rows, classes, params, random, files = {}, log = () => undefined }) {
    const [{ runCommand }, fs, os, path] = await Promise.all([import('../../src/command/run.ts'), import('node:fs/promises'), import('node:os'), import('node:path')]);
    const asked = params.rate === undefined ? null : askedRows({ rate: params.rate }, rows.length);
    const dir = await fs.mkdtemp(path.join(os.tmpdir(), 'dosimeter-command-'));
    try {
      for (const [name, from] of Object.entries(files)) {
        if ([TASK, GIVEN, TAKEN].includes(name)) throw new UserFault(`\`files\` has ${name}, which is the name of what is handed over`, 'rename the file');
        await fs.cp(from, path.join(dir, name), { recursive: true });
      }
      await fs.writeFile(path.join(dir, GIVEN), toLines(rows));
      // A seed of the attack's own: from the spec's seed and the purpose, never from the cell.
      await fs.writeFile(path.join(dir, TASK), `${JSON.stringify({ classes, asked, options: params.options, seed: random('command').integer(2 ** 31) }, null, 2)}\n`);
      const bytes = params.output_mb * 1e6;
      await runCommand({ argv: params.command, cwd: dir, env: params.env, pass: params.pass_env, limits: { seconds: params.timeout_seconds, outputBytes: bytes }, log });
      const taken = path.join(dir, TAKEN);
      const found = await fs.lstat(taken).catch(() => null);
      if (!found?.isFile()) throw new UserFault(`the command ${JSON.stringify(params.command.join(' '))} wrote no ${TAKEN}`, `its working folder is where ${GIVEN} lies`);
      if (found.size > bytes) throw new UserFault(`${TAKEN} has ${found.size} bytes, more than \`output_mb\` allows`);
      const poisoned = fromLines(rows, await fs.readFile(taken, 'utf8'), classes, TAKEN);
      if (asked !== null && poisoned.changed.length !== asked) throw new UserFault(`the command was asked to change ${asked} rows and changed ${poisoned.changed.length}`, '`asked` in task.json says how many; leave `rate` out if the program chooses');
      return poisoned;
    } finally {
      await fs.rm(dir, { recursive: true, force: true });
    }
  },
});
