/** A spec on three stages that take no time, for tests of the engine and the command line. */
import path from 'node:path';
import type { Project, Started } from './project.ts';

export interface Toys {
  readonly seeds?: readonly number[];
  /** The spec's `poisoning`, in YAML. */
  readonly poisoning?: string;
}

/**
 * Writes `spec.yaml`: toy-train → toy-evaluate → toy-report. Each stage adds a line to `ran.log`.
 * What toy-train does for a seed (`"2"`), or a seed at a rate (`"2/0.3"`), is looked up in the
 * environment's TOY or in `toy.json`: `throw`, `fault`, `exit`, `hang`, `wait` (for a file `go`, a
 * minute at most), or milliseconds to wait.
 */
export function writeToys(
  project: Project,
  {
    seeds = [1, 2],
    poisoning = '[{ attack: none }, { attack: label-flip, rate: [0.1, 0.3] }]',
  }: Toys = {},
): void {
  project.write('rows.tsv', 'text\tlabel\na\t0\nb\t1\n');
  project.write('model/config.json', '{}');
  project.write(
    'spec.yaml',
    `name: toys
seeds: [${seeds.join(', ')}]
model: { source: "file:model" }
data:
  train: { source: "file:rows.tsv" }
  validation: { source: "file:rows.tsv" }
poisoning: ${poisoning}
plugins: [./toy-train.mjs, ./toy-evaluate.mjs, ./toy-report.mjs]
stages: [toy-train, toy-evaluate, toy-report]
`,
  );
  const log = JSON.stringify(path.join(project.dir, 'ran.log'));
  const toy = JSON.stringify(path.join(project.dir, 'toy.json'));
  const go = JSON.stringify(path.join(project.dir, 'go'));
  project.write('toy-train.mjs', train(log, toy, go));
  project.write('toy-evaluate.mjs', evaluate(log));
  project.write('toy-report.mjs', REPORT);
}

/**
 * Starts a run of the toys, and waits until 5 of its 13 stages have ended and the training of seed
 * 2 at rate 0.3 hangs. The environment says so, since a worker that outlives its run for a moment
 * would read a changed `toy.json`.
 */
export async function startHanging(project: Project): Promise<Started> {
  const env = { TOY: '{"2/0.3": "hang"}' };
  const run = project.startWith({ env }, 'run', 'spec.yaml', '--jobs', '1');
  await run.saw('[5/13]');
  return run;
}

const train = (log: string, toy: string, go: string): string => `\
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
const fault = (message, hint) => Object.assign(new Error(message), { name: 'UserFault', hint });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export default defineStage({
  name: 'toy-train', summary: 'Trains nothing.', compute: false, scope: 'cell',
  define: ([cell]) => ({
    params: { seed: cell.seed, poisoning: cell.poisoning },
    inputs: {},
    assets: { rows: cell.data.train.source },
  }),
  async run(ctx) {
    const { seed, poisoning } = ctx.params;
    const text = process.env.TOY || (existsSync(${toy}) ? readFileSync(${toy}, 'utf8') : '{}');
    const toy = JSON.parse(text);
    const does = toy[seed + '/' + poisoning.rate] ?? toy[seed];
    if (does === 'throw') throw new Error('no training today');
    if (does === 'fault')
      throw fault(
        'the loss is NaN at step 7; the last finite one was 0.3',
        'lower the learning rate',
      );
    if (does === 'exit') process.exit(3);
    if (does === 'hang') { ctx.log('hanging'); await sleep(60_000); }
    if (does === 'wait') for (let n = 0; n < 3000 && !existsSync(${go}); n++) await sleep(20);
    if (typeof does === 'number') await sleep(does);
    appendFileSync(${log}, \`train \${seed} \${poisoning.attack} \${poisoning.rate ?? ''}\\n\`);
    const rows = readFileSync(ctx.assets.rows.path, 'utf8').length;
    writeFileSync(ctx.outDir + '/model.json', JSON.stringify({ seed, poisoning, rows }));
    writeFileSync(ctx.outDir + '/metrics.json', JSON.stringify({ steps: 7 }));
  },
});
`;

const evaluate = (log: string): string => `\
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
export default defineStage({
  name: 'toy-evaluate', summary: 'Evaluates nothing.', compute: false, scope: 'cell',
  define: ([cell]) => ({ params: {}, inputs: { model: { kind: 'toy-train', cell } } }),
  async run(ctx) {
    const model = readFileSync(ctx.inputs.model.dir + '/model.json', 'utf8');
    const { seed, poisoning } = JSON.parse(model);
    appendFileSync(${log}, \`evaluate \${seed} \${poisoning.attack} \${poisoning.rate ?? ''}\\n\`);
    const metrics = { accuracy: 1 - (poisoning.rate ?? 0) - seed / 100 };
    writeFileSync(ctx.outDir + '/metrics.json', JSON.stringify(metrics));
  },
});
`;

const REPORT = `\
import { writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
export default defineStage({
  name: 'toy-report', summary: 'Reports nothing.', compute: false, scope: 'experiment',
  tolerant: true,
  define: (cells) => ({
    params: {},
    inputs: Object.fromEntries(cells.map((cell, i) => ['e' + i, { kind: 'toy-evaluate', cell }])),
  }),
  async run(ctx) {
    const done = Object.keys(ctx.inputs).length;
    const all = ctx.experiment.cells.length;
    writeFileSync(ctx.outDir + '/report.html', '<p>' + done + ' of ' + all + '</p>');
  },
});
`;

/** How many stages of the toy spec there are in each state. */
export async function stateCounts(project: Project): Promise<{ readonly [state: string]: number }> {
  const counts: { [state: string]: number } = {};
  for (const { state } of await project.stages('spec.yaml'))
    counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}
