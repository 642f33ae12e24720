/**
 * A grid of cheap stages whose outputs depend only on their keys, and what must be true of its
 * store after any fault.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { suite, type Test } from 'uvu';
import * as assert from 'uvu/assert';
import { openStore } from '../../src/store/store.ts';
import { verifyStore } from '../../src/store/verify.ts';
import { createProject, type Project, type Started } from '../rig/project.ts';

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

/** The start of each of the grid's plugins: `ran(name)` adds a line to `ran.log`. */
const header = (project: Project): string => `import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
const log = ${JSON.stringify(path.join(project.dir, 'ran.log'))};
const ran = (name) => appendFileSync(log, name + '\\n');
const sha256 = (...parts) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};
`;

const ROWS = `export default defineStage({
  name: 'grid-rows', summary: 'Rows.', compute: false, scope: 'cell',
  define: ([cell]) => ({ params: {}, inputs: {}, assets: { rows: cell.data.train.source } }),
  async run({ outDir }) {
    writeFileSync(outDir + '/rows.jsonl', '{"text":"a"}\\n'.repeat(2000));
    ran('rows');
  },
});
`;

const TRAIN = `export default defineStage({
  name: 'grid-train', summary: 'A model.', compute: false, scope: 'cell',
  volatile: ['timing.json'],
  define: ([cell]) => ({
    params: { seed: cell.seed, poisoning: cell.poisoning },
    inputs: { rows: { kind: 'grid-rows', cell } },
  }),
  async run({ params: { seed, poisoning }, inputs, outDir, log }) {
    const name = ['train', seed, poisoning.attack, poisoning.rate ?? 0].join(' ');
    const digest = sha256(name, readFileSync(inputs.rows.dir + '/rows.jsonl'));
    mkdirSync(outDir + '/model/deep', { recursive: true });
    writeFileSync(outDir + '/model/weights.bin', Buffer.concat(Array(2000).fill(digest)));
    log('half');
    await new Promise((resolve) => setTimeout(resolve, 5));
    writeFileSync(outDir + '/model/deep/name.txt', name);
    writeFileSync(outDir + '/model/empty', '');
    const timing = { seconds: performance.now(), pid: process.pid };
    writeFileSync(outDir + '/timing.json', JSON.stringify(timing));
    ran(name);
  },
});
`;

const EVALUATE = `export default defineStage({
  name: 'grid-evaluate', summary: 'Numbers.', compute: false, scope: 'cell',
  define: ([cell]) => ({ params: {}, inputs: { model: { kind: 'grid-train', cell } } }),
  async run({ inputs: { model: { dir } }, outDir }) {
    const name = readFileSync(dir + '/model/deep/name.txt', 'utf8');
    const digest = sha256(readFileSync(dir + '/model/weights.bin'));
    const accuracy = digest.readUInt32LE(0) / 2 ** 32;
    writeFileSync(outDir + '/metrics.json', JSON.stringify({ accuracy }));
    writeFileSync(outDir + '/predictions.csv', digest.toString('hex') + '\\n');
    ran(name.replace('train', 'evaluate'));
  },
});
`;

const REPORT = `export default defineStage({
  name: 'grid-report', summary: 'Joins.', compute: false, scope: 'experiment', tolerant: true,
  define: (cells) => ({
    params: {},
    inputs: Object.fromEntries(
      cells.map((cell, i) => ['e' + i, { kind: 'grid-evaluate', cell }]),
    ),
  }),
  async run({ inputs, outDir }) {
    const metrics = Object.values(inputs).map(({ dir }) => dir + '/metrics.json');
    const html = metrics.map((file) => '<p>' + readFileSync(file, 'utf8')).join('');
    writeFileSync(outDir + '/report.html', html);
    ran('report');
  },
});
`;

/**
 * A project with 20 stages: rows → train → evaluate for nine cells, and one report that joins them.
 * A stage adds its name to `ran.log` when it has written everything. The train stages write large
 * and nested files in two steps, and one volatile file.
 */
export function createGrid(): Project {
  const project = createProject({ warm: false });
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
  const stages = { rows: ROWS, train: TRAIN, evaluate: EVALUATE, report: REPORT };
  for (const [name, text] of Object.entries(stages))
    project.write(`grid-${name}.mjs`, header(project) + text);
  return project;
}

/** Keeps track of whether a process has ended. */
export function watch(process: Started): { readonly hasEnded: boolean } {
  const state = { hasEnded: false };
  void process.ended.then(() => {
    state.hasEnded = true;
  });
  return state;
}

/** The folder with the outputs of the first stage of a kind. */
export async function outputsOf(project: Project, kind: string): Promise<string> {
  const outputs = (await planOf(project)).find((stage) => stage.kind === kind)?.outputs;
  if (typeof outputs !== 'string') throw new Error(`no stage of the kind ${kind} has outputs`);
  return outputs;
}

/** The stages that ran after the first `ran` lines of the log although they had been published. */
export const ranAgain = (project: Project, before: ReadonlySet<string>, ran: number): string[] =>
  project
    .lines('ran.log')
    .slice(ran)
    .filter((name) => before.has(name));

export const planOf = async (project: Project): Promise<readonly StageInPlan[]> =>
  (await project.json<{ stages: readonly StageInPlan[] }>('plan', 'spec.yaml', '--json')).stages;

/** Removes the store and the log, as if nothing had run. */
export const fresh = (project: Project): void => {
  for (const name of ['.dosimeter', 'ran.log', 'count', 'once'])
    rmSync(path.join(project.dir, name), { recursive: true, force: true });
};

const storeOf = (project: Project): string => path.join(project.dir, '.dosimeter', 'store');

export interface Undisturbed {
  readonly project: Project;
  /** The contents of the store after an undisturbed run. */
  readonly expected: { readonly [file: string]: string };
  /** How long that run took, in milliseconds. */
  readonly took: number;
}

/** A suite of tests on one grid, which has been run once before they start. */
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
  return test;
}

const volatile = new Set(['manifest.json', 'timing.json']);

/** The digest of every stored file that is not volatile, by key and path. */
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

/** The names, as in `ran.log`, of the published stages, read from the folders of the store. */
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

/**
 * Runs the grid to its end and asserts that the run succeeds, that its outputs are `expected`, that
 * every entry is whole, and that gc leaves nothing of dead processes. Returns what the run printed.
 */
export async function settle(
  project: Project,
  expected: { readonly [file: string]: string },
): Promise<string> {
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml', '--jobs', '2');
  assert.is(code, 0, stderr);
  const contents = contentsOf(project);
  // There may be further entries: those of reports that were made without stages that failed.
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

/** The files in a store that belong to a running process: scratch, claims and drafts. */
function leftovers(project: Project): string[] {
  const store = storeOf(project);
  return readdirSync(store, { recursive: true, withFileTypes: true })
    .map((entry) => path.relative(store, path.join(entry.parentPath, entry.name)))
    .filter((name) => /^(tmp|leases)\/./.test(name) || /\.\d+$/.test(name) || /\.tmp$/.test(name));
}
