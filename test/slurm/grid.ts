/**
 * A grid whose trainings do as they are told, and say if two processes perform the same one at
 * once.
 */
import path from 'node:path';
import { createProject, type Project } from '../rig/project.ts';

/**
 * What a training does, by its name `SEED` or `SEED/RATE`, in `does.json`: `hold` waits for the
 * file `go`, `save` saves its state when it is asked to stop and goes on from there, `eat` takes
 * 700 MB for five seconds, `fill` writes more than a small disk holds.
 */
const TRAIN = (dir: string): string => `\
import { appendFileSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync,
  writeFileSync, writeSync } from 'node:fs';
import { defineStage } from 'dosimeter';
const dir = ${JSON.stringify(dir)};
const note = (file, text) => appendFileSync(dir + '/' + file, text + '\\n');
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
// A process that was killed, and that its new parent has not waited for, is dead.
const lives = (pid) => {
  try {
    return !/\\) [ZX] /.test(readFileSync('/proc/' + pid + '/stat', 'utf8'));
  } catch { return false; }
};
const lock = (name) => {
  const file = dir + '/lock-' + name;
  if (existsSync(file) && lives(Number(readFileSync(file, 'utf8')))) note('twice.log', name);
  rmSync(file, { force: true });
  const handle = openSync(file, 'wx');
  writeSync(handle, String(process.pid));
  closeSync(handle);
  return () => rmSync(file);
};
const train = async ({ params: { seed, rate }, outDir, resumeDir, signal, log, progress }) => {
  const name = seed + '-' + rate;
  const unlock = lock(name);
  const does = JSON.parse(readFileSync(dir + '/does.json', 'utf8'));
  const does_ = does[seed + '/' + rate] ?? does[seed];
  note('began.log', name);
  console.log('this is ' + name);
  log('training ' + name);
  progress(1, 2, 'step');
  if (does_ === 'save' && !existsSync(resumeDir + '/state')) {
    while (!signal.aborted) await sleep(20);
    mkdirSync(resumeDir, { recursive: true });
    writeFileSync(resumeDir + '/state', name);
    note('saved.log', name);
    unlock();
    throw new Error('stopped');
  }
  if (does_ === 'hold')
    while (!existsSync(dir + '/go') && !signal.aborted) await sleep(20);
  if (does_ === 'eat') {
    const eaten = Buffer.alloc(700 * 2 ** 20, 1);
    await sleep(5000); // Slurm looks once a second
    log('it had ' + eaten.length + ' bytes');
  }
  if (does_ === 'fill')
    try {
      writeFileSync(outDir + '/large.bin', Buffer.alloc(16 * 2 ** 20));
    } catch (error) { unlock(); throw error; }
  if (signal.aborted) { unlock(); throw new Error('stopped'); }
  if (does_ === 'fault') { unlock(); throw Object.assign(new Error('no'), { name: 'UserFault' }); }
  writeFileSync(outDir + '/model.txt', name);
  note('ran.log', 'train ' + name);
  unlock();
};
export default defineStage({
  name: 's-train', summary: 'Trains nothing.', compute: false, scope: 'cell',
  define: ([cell]) => ({
    params: { seed: cell.seed, rate: cell.poisoning.rate ?? 0 }, inputs: {},
    assets: { rows: cell.data.train.source },
  }),
  run: train,
  pack: {},
});
`;

const EVALUATE = (dir: string): string => `\
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
export default defineStage({
  name: 's-evaluate', summary: 'Evaluates nothing.', compute: false, scope: 'cell',
  define: ([cell]) => ({ params: {}, inputs: { model: { kind: 's-train', cell } } }),
  async run({ inputs, outDir }) {
    const name = readFileSync(inputs.model.dir + '/model.txt', 'utf8');
    writeFileSync(outDir + '/metrics.json', JSON.stringify({ length: name.length }));
    appendFileSync(${JSON.stringify(dir)} + '/ran.log', 'evaluate ' + name + '\\n');
  },
});
`;

const COMMAND = (input: string): string =>
  `{ run: [sh, probe.sh], files: ["file:probe.sh"], inputs: [${input}], ` +
  'fields: [seed, poisoning.rate], outputs: [metrics.json] }';

const COMMANDS = `commands:
  probe: ${COMMAND('s-evaluate')}
  again: ${COMMAND('probe')}
stages: [s-train, s-evaluate, probe, again]`;

const PROBE = `set -e
bytes=$(cat inputs/*/metrics.json | wc -c)
echo "{\\"bytes\\": $bytes}" >metrics.json
`;

export interface GridOptions {
  readonly seeds?: readonly number[];
  readonly rates?: readonly number[];
  /** Lines of the profile, in place of the usual ones. */
  readonly profile?: readonly string[];
  /** Whether two programs follow each evaluation: `probe`, and `again`, which reads the first. */
  readonly commands?: boolean;
}

/** What every profile of the tests begins with: no waiting. */
export const QUICK: readonly string[] = ['poll: 1s', 'memory_mb: 512', 'time: 10m'];

/**
 * A project with two stages for each cell: s-train and s-evaluate. They add their names to
 * `ran.log`; `twice.log` has the trainings that two processes performed at once.
 */
export function createSlurmGrid({
  seeds = [1, 2],
  rates = [0.1],
  profile = QUICK,
  commands = false,
}: GridOptions = {}): Project {
  const project = createProject({ warm: false });
  project.write('rows.tsv', 'text\tlabel\na\t0\nb\t1\n');
  project.write('model/config.json', '{}');
  project.write('does.json', '{}');
  project.write('slurm.yaml', `${profile.join('\n')}\n`);
  project.write(
    'spec.yaml',
    `name: slurm
seeds: [${seeds.join(', ')}]
model: { source: "file:model" }
data:
  train: { source: "file:rows.tsv" }
  validation: { source: "file:rows.tsv" }
poisoning: { attack: label-flip, rate: [${rates.join(', ')}] }
plugins: [./s-train.mjs, ./s-evaluate.mjs]
${commands ? COMMANDS : 'stages: [s-train, s-evaluate]'}
`,
  );
  if (commands) project.write('probe.sh', PROBE);
  project.write('s-train.mjs', TRAIN(project.dir));
  project.write('s-evaluate.mjs', EVALUATE(project.dir));
  return project;
}

/** The number of jobs and arrays that the runs of a project have submitted or adopted, by kind. */
export const recorded = (project: Project, run: string): readonly { readonly name: string }[] =>
  project
    .lines(path.join('.dosimeter', 'runs', run, 'slurm.jsonl'))
    .map((line) => JSON.parse(line) as { readonly name: string });
