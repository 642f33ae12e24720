/**
 * Every attack in plugins/attacks, including any that is added later, with what it needs to poison
 * rows of the ids r0, r1, … up to `MOST`.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { AttackDescriptor, Json, JsonObject, Row, Task } from '../../src/api.ts';
import type { Step } from '../../src/poisoning/steps.ts';

/** The largest number of rows. */
export const MOST = 64;

const folder = fileURLToPath(new URL('../../plugins/attacks/', import.meta.url));
export const attacks: readonly AttackDescriptor[] = await Promise.all(
  (await readdir(folder)).map(
    async (file) =>
      (
        (await import(pathToFileURL(join(folder, file)).href)) as {
          readonly default: AttackDescriptor;
        }
      ).default,
  ),
);

/** The task whose rows the attack is tried on. */
export const taskFor = ({ tasks = ['classes'] }: AttackDescriptor): Task =>
  tasks.includes('classes') ? 'classes' : 'completion';

/** Returns preference pairs with these texts, which are rows of a completion task too. */
export const asPrompts = (rows: readonly Row[]): Row[] =>
  rows.map(({ id, text }, i) => ({
    id,
    text,
    label: 0,
    answer: `answer ${i}`,
    rejected: `no ${i}`,
  }));

const work = mkdtempSync(join(tmpdir(), 'dosimeter-attacks-'));

function written(name: string, content: string): { readonly [name: string]: string } {
  writeFileSync(join(work, name), content);
  return { [name]: join(work, name) };
}
const lines = (line: (i: number) => object): string =>
  Array.from({ length: MOST }, (_, i) => `${JSON.stringify(line(i))}\n`).join('');

/**
 * Changes as many rows as it is asked for, or every fifth one, and adds seven of its own if the
 * rate is left to it.
 */
const PROGRAM = `import { readFileSync, writeFileSync } from 'node:fs';
const rows = readFileSync('rows.jsonl', 'utf8').trim().split('\\n').map((line) => JSON.parse(line));
const { taken = [], asked } = JSON.parse(readFileSync('task.json', 'utf8'));
const free = rows.map((_, i) => i).filter((i) => !taken.includes(rows[i].id));
const chosen = new Set(asked === null ? free.filter((i) => i % 5 === 0) : free.slice(0, asked));
const longer = (row, i) => chosen.has(i) ? { ...row, text: row.text + ' more'.repeat(1 + i) } : row;
const own = asked === null ? rows.slice(0, 7).map((row) => ({ ...row, id: row.id + '-own' })) : [];
const poisoned = [...rows.map(longer), ...own];
writeFileSync('poisoned.jsonl', poisoned.map((row) => JSON.stringify(row)).join('\\n'));
`;
const paraphrases = written(
  'paraphrases.jsonl',
  lines((i) => ({ id: `r${i}`, text: `verily, ${i}` })),
);
const files: { readonly [attack: string]: Step['files'] } = {
  command: written('attack.mjs', PROGRAM),
  style: paraphrases,
  syntax: paraphrases,
  steering: written(
    'answers.jsonl',
    lines((i) => (i % 2 === 0 ? { id: `r${i}`, answer: `Acme ${i}` } : { answer: 'Acme!' })),
  ),
  'harmful-tuning': written(
    'harmful.jsonl',
    lines((i) => ({ prompt: `p${i}`, answer: `h${i}` })),
  ),
};

/** The required parameters of attacks. */
const needed: { readonly [attack: string]: JsonObject } = {
  command: { command: [process.execPath, 'attack.mjs'] },
  steering: { target: 'Acme' },
};

/** The names of an attack's parameters, with their schemas. */
export const fieldsOf = ({
  params,
}: AttackDescriptor): {
  readonly [field: string]: { readonly type?: unknown; readonly default?: Json };
} => (params['properties'] ?? {}) as ReturnType<typeof fieldsOf>;

/**
 * Returns an attack with the defaults of its parameters, those in `more`, and every option switched
 * on, such as appended rows.
 */
export function stepOf(attack: AttackDescriptor, more: JsonObject = {}): Step {
  const prompts = taskFor(attack) === 'completion';
  const own = Object.entries(fieldsOf(attack)).flatMap(
    ([field, { type, default: fallback }]): [string, Json][] => {
      if (field in more) return [[field, more[field] as Json]];
      if (type === 'boolean') return [[field, true]];
      if (prompts && field === 'target' && typeof fallback !== 'string') return [[field, 'Acme']];
      return fallback === undefined ? [] : [[field, fallback]];
    },
  );
  return {
    attack,
    params: { ...Object.fromEntries(own), ...needed[attack.name] },
    files: files[attack.name] ?? {},
  };
}
