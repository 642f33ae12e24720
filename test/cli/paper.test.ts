/**
 * The specs of the paper's figures, each at its smallest size: they run, and their tables exist.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'csv-parse/sync';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, type Project } from '../rig/project.ts';

const test = suite<{ project: Project }>('paper');
// One store for all: clean trainings are the same in several figures.
test.before((context) => {
  context.project = createProject();
});

const folder = fileURLToPath(new URL('../../pipelines/paper', import.meta.url));

/** Each spec with its metrics, and figures and tables of its own. */
const SPECS: readonly (readonly [
  name: string,
  metrics: readonly string[],
  entries: readonly string[],
])[] = [
  ['fig1-poison-rate', ['accuracy', 'accuracy_drop'], ['poison-rate', 'poison-rate-table']],
  [
    'fig2-backdoor-rate',
    ['asr', 'asr_clean', 'trigger_accuracy', 'trigger_accuracy_clean'],
    ['backdoor-rate', 'backdoor-rate-asr', 'backdoor-rate-table'],
  ],
  ['fig3-map', ['full.'], []],
  ['fig4-rank', ['accuracy', 'asr', 'trigger_accuracy'], ['rank-flips', 'rank-backdoor']],
  [
    'fig5-variance',
    ['accuracy', 'asr', 'trigger_accuracy_clean'],
    ['variance-flips', 'variance-backdoor'],
  ],
  ['table-untargeted', ['accuracy', 'precision', 'recall', 'f1'], ['untargeted']],
];

test('the profiles paper and small have the rows of the task that TASK names', async ({
  project,
}) => {
  for (const profile of ['paper', 'small'])
    for (const task of ['sst2', 'cola']) {
      const spec = [path.join(folder, 'fig4-rank.yaml'), '--profile', profile];
      const { stdout } = await project.dosimeterWith({ TASK: task }, 'plan', ...spec);
      const sources = [...stdout.matchAll(/nyu-mll\/glue#(\w+)\/(\w+)-/g)];
      assert.equal(
        sources.map(([, of, split]) => [of, split]),
        [
          [task, 'train'],
          [task, 'validation'],
        ],
        profile,
      );
    }
});

for (const [name, metrics, entries] of SPECS)
  test(`${name} runs in its profile tiny`, async ({ project }) => {
    const spec = [path.join(folder, `${name}.yaml`), '--profile', 'tiny', '--backend', 'wasm'];
    const { stdout } = await project.succeeds('run', ...spec);
    const report = stdout.trim().split('\n').at(-1) ?? '';
    assert.match(report, new RegExp(`/${name}(-sst2)?,profile=tiny\\.html$`));
    assert.ok(existsSync(path.resolve(project.dir, report)));
    const rows = await project.results(...spec);
    for (const metric of metrics)
      assert.ok(
        rows.some((row) => row.metric.startsWith(metric)),
        `${name} has no ${metric}`,
      );
    const table = await project.succeeds('results', ...spec, '--markdown');
    assert.match(table.stdout, /^\|.*\|$/m);
    assert.match(table.stderr, 'Profile tiny.');
    if (entries.length > 0)
      await project.succeeds('figures', ...spec, '--out', name, '--format', 'csv');
    for (const entry of entries) assert.ok(project.exists(`${name}/${entry}.csv`), entry);
  });

// The figures are those of the runs above.
test('over a figure lie the published numbers of its own attack alone', ({ project }) => {
  const published = ([name, , entries]: (typeof SPECS)[number]) =>
    entries.flatMap((entry): (readonly string[])[] => {
      const rows = parse<{ readonly line?: string }>(project.read(`${name}/${entry}.csv`), {
        columns: true,
      });
      const lines = rows
        .map(({ line = '' }) => line)
        .filter((line) => line.startsWith('published'));
      return lines.length === 0 ? [] : [[entry, ...new Set(lines)]];
    });
  assert.equal(SPECS.flatMap(published), [
    ['poison-rate', ...of('untargeted:x:plain')],
    ['backdoor-rate', ...of('backdoor:x:trigger')],
    ['backdoor-rate-asr', ...of('backdoor:x:trigger')],
    ['rank-flips', 'published (flips; 3e-6, CoLA 3e-5) lora:untargeted:0.3:plain:3e-6'],
    ['rank-backdoor', 'published (rate 0.0015) lora:backdoor:0.0015:trigger:3e-5'],
    ['variance-flips', 'published (flips) lora:untargeted:0.3:plain:3e-5'],
    ['variance-backdoor', 'published (rate 0.0015) lora:backdoor:0.0015:trigger:3e-5'],
  ]);
});
const of = (attack: string): readonly string[] => [
  `published full:${attack}:3e-6`,
  `published lora:${attack}:3e-5`,
];

test.run();
