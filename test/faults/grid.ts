/** A grid of cheap stages whose outputs depend on nothing but their keys, and what must be true of its store whatever was done to it. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { suite, type Test } from 'uvu';
import * as assert from 'uvu/assert';
import { openStore } from '../../src/store/store.ts';
import { verifyStore } from '../../src/store/verify.ts';
import type { Project } from '../rig/project.ts';
import { createProject } from '../rig/project.ts';

export { times } from '../rig/times.ts';

export interface StageInPlan {
  readonly id: string;
  readonly kind: string;
  readonly key: string | null;
  readonly state: string;
  readonly reason: string;
  readonly outputs: string | null;
  readonly inputs: { readonly [name: string]: string };
}

export const STAGES = 1 + 3 * 3 * 2 + 1;

/**
 * rows → train → evaluate for nine cells, one joining report: 20 stages. A stage adds its name to `ran.log` when it has
 * written everything; train writes large, nested, in two steps, and one volatile file.
 */
export function createGrid(): Project {
  const project = createProject();
  project.write('rows.tsv', 'text\tlabel\na\t0\nb\t1\n');
  project.write('model/config.json', '{}');
  project.write(
    'spec.yaml',
    `name: grid
seeds: [1, 2, 3]
model: { source: "file:model" }
data:
  train: { source: "file:rows.tsv" }
  validation: { source: "file:rows.tsv" }
poisoning: [{ attack: none }, { attack: label-flip, rate: [0.1, 0.3] }]
plugins: [./grid-rows.mjs, ./grid-train.mjs, ./grid-evaluate.mjs, ./grid-report.mjs]
stages: [grid-train, grid-evaluate, grid-report]
`,
  );
  const ran = `const ran = (name) => appendFileSync(${JSON.stringify(path.join(project.dir, 'ran.log'))}, name + '\\n');`;
  project.write(
    'grid-rows.mjs',
    `import { appendFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
${ran}
export default defineStage({
  name: 'grid-rows', summary: 'Rows.', compute: false, scope: 'cell',
  define: ([cell]) => ({ params: {}, inputs: {}, assets: { rows: cell.data.train.source } }),
  async run({ outDir }) { writeFileSync(outDir + '/rows.jsonl', '{"text":"a"}\\n'.repeat(2000)); ran('rows'); },
});
`,
  );
  project.write(
    'grid-train.mjs',
    `import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
${ran}
export default defineStage({
  name: 'grid-train', summary: 'A model.', compute: false, scope: 'cell', volatile: ['timing.json'],
  define: ([cell]) => ({ params: { seed: cell.seed, poisoning: cell.poisoning }, inputs: { rows: { kind: 'grid-rows', cell } } }),
  async run({ params, inputs, outDir, log }) {
    const name = ['train', params.seed, params.poisoning.attack, params.poisoning.rate ?? 0].join(' ');
    const digest = createHash('sha256').update(name).update(readFileSync(inputs.rows.dir + '/rows.jsonl')).digest();
    mkdirSync(outDir + '/model/deep', { recursive: true });
    writeFileSync(outDir + '/model/weights.bin', Buffer.concat(Array(2000).fill(digest)));
    log('half');
    await new Promise((resolve) => setTimeout(resolve, 5));
    writeFileSync(outDir + '/model/deep/name.txt', name);
    writeFileSync(outDir + '/model/empty', '');
    writeFileSync(outDir + '/timing.json', JSON.stringify({ seconds: performance.now(), pid: process.pid }));
    ran(name);
  },
});
`,
  );
  project.write(
    'grid-evaluate.mjs',
    `import { createHash } from 'node:crypto';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
${ran}
export default defineStage({
  name: 'grid-evaluate', summary: 'Numbers.', compute: false, scope: 'cell',
  define: ([cell]) => ({ params: {}, inputs: { model: { kind: 'grid-train', cell } } }),
  async run({ inputs, outDir }) {
    const { dir } = inputs.model, name = readFileSync(dir + '/model/deep/name.txt', 'utf8');
    const digest = createHash('sha256').update(readFileSync(dir + '/model/weights.bin')).digest();
    writeFileSync(outDir + '/metrics.json', JSON.stringify({ accuracy: digest.readUInt32LE(0) / 2 ** 32 }));
    writeFileSync(outDir + '/predictions.csv', digest.toString('hex') + '\\n');
    ran(name.replace('train', 'evaluate'));
  },
});
`,
  );
  project.write(
    'grid-report.mjs',
    `import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
${ran}
export default defineStage({
  name: 'grid-report', summary: 'Joins.', compute: false, scope: 'experiment', tolerant: true,
  define: (cells) => ({ params: {}, inputs: Object.fromEntries(cells.map((cell, i) => ['e' + i, { kind: 'grid-evaluate', cell }])) }),
  async run({ inputs, outDir }) {
    writeFileSync(outDir + '/report.html', Object.keys(inputs).map((name) => '<p>' + readFileSync(inputs[name].dir + '/metrics.json', 'utf8')).join(''));
    ran('report');
  },
});
`,
  );
  return project;
}

export const planOf = async (project: Project): Promise<readonly StageInPlan[]> =>
  (await project.json<{ stages: readonly StageInPlan[] }>('plan', 'spec.yaml', '--json')).stages;

/** Nothing has run yet. */
export const fresh = (project: Project): void => {
  for (const name of ['.dosimeter', 'ran.log', 'count', 'once'])
    rmSync(path.join(project.dir, name), { recursive: true, force: true });
};

const storeOf = (project: Project): string => path.join(project.dir, '.dosimeter', 'store');

export interface Undisturbed {
  readonly project: Project;
  /** What a run that nothing disturbed left. */
  readonly expected: { readonly [file: string]: string };
  /** Milliseconds that it took. */
  readonly took: number;
}

/** Tests on one grid, which ran to its end once before them. */
export function gridSuite(name: string): Test<Undisturbed> {
  const test = suite<{ -readonly [field in keyof Undisturbed]: Undisturbed[field] }>(name);
  test.before(async (context) => {
    context.project = createGrid();
    const started = performance.now();
    const { code, stderr } = await context.project.dosimeter('run', 'spec.yaml', '--jobs', '2');
    context.took = performance.now() - started;
    assert.is(code, 0, stderr);
    context.expected = contentsOf(context.project);
  });
  test.after(({ project }) => project.clean());
  return test;
}

const volatile = new Set(['manifest.json', 'timing.json']);

/** Digests of every file that isn't volatile, by key and path, as they lie on the disk. */
export function contentsOf(project: Project): { readonly [file: string]: string } {
  const contents: { [file: string]: string } = {};
  for (const key of project.entries()) {
    const dir = path.join(storeOf(project), key.slice(0, 2), key);
    for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || volatile.has(entry.name)) continue;
      const file = path.join(entry.parentPath, entry.name);
      contents[`${key} ${path.relative(dir, file)}`] = createHash('sha256')
        .update(readFileSync(file))
        .digest('hex');
    }
  }
  return contents;
}

/** Names, as `ran.log` has them, of the stages that are published; read from the store's folders alone. */
export function published(project: Project): Set<string> {
  const store = storeOf(project),
    names = new Set<string>();
  const nameOf = (shard: string, key: string): string | null => {
    const file = path.join(store, shard, key, 'manifest.json');
    if (!existsSync(file)) return null;
    const { kind, facts } = JSON.parse(readFileSync(file, 'utf8')) as {
      kind: string;
      facts: { cell: { [axis: string]: unknown }; seed: number | null };
    };
    if (kind === 'grid-rows') return 'rows';
    if (kind === 'grid-report') return 'report';
    return [
      kind.replace('grid-', ''),
      facts.seed,
      facts.cell['poisoning.attack'],
      facts.cell['poisoning.rate'] ?? 0,
    ].join(' ');
  };
  for (const key of project.entries()) {
    const name = nameOf(key.slice(0, 2), key);
    if (name !== null) names.add(name);
  }
  return names;
}

/** Runs the grid to its end: it succeeds, what it made is `expected`, every entry is whole, and gc leaves nothing that only a living process may have. */
export async function settle(
  project: Project,
  expected: { readonly [file: string]: string },
): Promise<string> {
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml', '--jobs', '2');
  assert.is(code, 0, stderr);
  const contents = contentsOf(project);
  // A stage that reads what is missing (the report) leaves another entry for that.
  assert.equal(
    Object.fromEntries(Object.keys(expected).map((name) => [name, contents[name]])),
    expected,
  );
  const store = openStore(storeOf(project));
  assert.equal((await verifyStore(store)).damaged, []);
  store.close();
  if (leftovers(project).length > 0) {
    const swept = await project.dosimeter('gc');
    assert.is(swept.code, 0, swept.stderr);
    assert.equal(leftovers(project), []);
  }
  return stderr;
}

/** What only a running process may have in a store: scratch, claims, drafts. */
function leftovers(project: Project): string[] {
  const store = storeOf(project);
  return readdirSync(store, { recursive: true, withFileTypes: true })
    .map((entry) => path.relative(store, path.join(entry.parentPath, entry.name)))
    .filter((name) => /^(tmp|leases)\/./.test(name) || /\.\d+$/.test(name) || /\.tmp$/.test(name));
}
