/** What a run tells before its end, and what every later command says again. */
import { chmodSync, existsSync, mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readWarnings } from '../../src/run/execute/warnings.ts';
import { mailRows } from '../rig/mails.ts';
import { present } from '../rig/present.ts';
import { createProject, type Project } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('what a run tells early');
test.before.each((context) => {
  const project = (context.project = createProject());
  project.write('rows.tsv', mailRows);
  // One step at this rate teaches nothing.
  project.write(
    'spec.yaml',
    `name: early
seeds: [1, 2]
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
poisoning: [{ attack: none }, { attack: badnets, rate: 0.5, target: ham }]
adapter: { type: lora, rank: 2 }
train: { steps: 1, batch_size: 4, max_length: 16, learning_rate: 1.0e-9 }
stages: [train, evaluate]
`,
  );
});

const CLEAN =
    /first clean model, attack=none seed=\d: accuracy 0\.\d{3}, the commonest class's share 0/,
  COLLAPSED =
    /(the clean model attack=none seed=\d|; it) (predicts one class only|is no better than the)/;

test('a run tells of the first clean model, the first backdoor, and ends with the caveats', async ({
  project,
}) => {
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml');
  assert.is(code, 0, stderr);
  assert.match(stderr, CLEAN);
  assert.match(stderr, COLLAPSED);
  assert.match(
    stderr,
    /first backdoor, attack=badnets seed=\d: attack success rate \d\.\d{3}, its clean twin's \d\.\d{3}/,
  );
  assert.is(stderr.match(/first clean model/g)?.length, 1);
  const end = stderr.slice(stderr.lastIndexOf(' ran'));
  assert.match(
    end,
    /\d of 4 models (predict one class only|are no better than the majority class)\./,
  );
  const marked = await project.succeeds('results', 'spec.yaml');
  assert.match(marked.stdout, '†');
  assert.match(marked.stderr, '† Not evidence: a model behind the number');
  const { stdout } = await project.succeeds('results', 'spec.yaml', '--csv', '--metric', 'asr');
  assert.match(stdout, /,evidence,reasons,n,missing,warnings\r\n/);
  assert.match(
    stdout,
    /,false,(predicts one class only|is no better than the majority class),2,0,/,
  );
});

test('nothing is said early of a regression, which has no accuracy', async ({ project }) => {
  const numbers = Array.from({ length: 8 }, (_, i) => `row ${i}\t${i}`);
  project.write('rows.tsv', ['text\tlabel', ...numbers, ''].join('\n'));
  const set = ['head={ type: regression }', 'poisoning=[{ attack: none }]', 'seeds=[1]'];
  const { stderr } = await project.succeeds(
    ...['run', 'spec.yaml', ...set.flatMap((one) => ['--set', one])],
  );
  assert.match(stderr, / ran in /);
  assert.not.match(stderr, 'first clean model');
});

test('--stop-when collapsed says before the run where it can never hold', async ({ project }) => {
  const saidOf = async (...set: string[]): Promise<string> => {
    const args = set.flatMap((one) => ['--set', one]);
    return (await project.dosimeter('run', 'spec.yaml', '--stop-when', 'collapsed', ...args))
      .stderr;
  };
  const attacked = 'poisoning=[{ attack: badnets, rate: 0.5, target: ham }]';
  const unevaluated = await saidOf('stages=[poison]', 'seeds=[1]');
  assert.match(unevaluated, 'can never stop this run: no model is evaluated\n');
  const told = await saidOf(attacked, 'seeds=[1]');
  assert.match(told, 'can never stop this run: no model without an attack is evaluated\n');
  const numbers = Array.from({ length: 8 }, (_, i) => `row ${i}\t${i}`);
  project.write('rows.tsv', ['text\tlabel', ...numbers, ''].join('\n'));
  const regression = ['head={ type: regression }', 'poisoning=[{ attack: none }]', 'seeds=[1]'];
  assert.match(
    await saidOf(...regression),
    /^--stop-when collapsed can never stop this run: a regression predicts numbers, not classes\n/m,
  );
});

test('stored warnings that are damaged or can not be read are told of, by no absolute path', async ({
  project,
}) => {
  const spec = project.read('spec.yaml').replace('rate: 0.5', 'rate: 0.01');
  project.write('spec.yaml', spec.replace('[train, evaluate]', '[poison]'));
  await project.succeeds('run', 'spec.yaml');
  assert.match((await project.succeeds('results', 'spec.yaml')).stderr, 'nothing is poisoned');
  const stage = present(
    (await project.stages('spec.yaml')).find(
      ({ outputs }) => outputs !== null && existsSync(path.join(outputs, 'warnings.json')),
    ),
  );
  const key = present(stage.key);
  const file = path.join(present(stage.outputs), 'warnings.json');
  const said = `${key.slice(0, 2)}/${key}/warnings.json of the store`;
  chmodSync(file, 0o644);
  writeFileSync(file, '{');
  assert.equal(readWarnings(path.dirname(file)), [
    { path: [], message: `${said} is not what was stored (dosimeter verify)` },
  ]);
  // A folder in its place can be read by no user, root included.
  rmSync(file);
  mkdirSync(file);
  assert.equal(readWarnings(path.dirname(file)), [
    { path: [], message: `${said} can't be read (dosimeter verify)` },
  ]);
  rmdirSync(file);
  assert.equal(readWarnings(path.dirname(file)), []);
});

test('--stop-when collapsed ends the run, with a code of its own, and keeps what has finished', async ({
  project,
}) => {
  const args = ['run', 'spec.yaml', '--jobs', '1', '--pack', '1', '--stop-when', 'collapsed'];
  const { code, stderr } = await project.dosimeter(...args);
  assert.is(code, 3, stderr);
  assert.match(stderr, COLLAPSED);
  assert.match(stderr, /stopped: .* not run in /);
  assert.match(stderr, /--stop-when collapsed: the clean model attack=none seed=\d/);
  assert.ok(project.entries().length > 0);
  // What has collapsed is in the store now: a rerun stops before it runs anything.
  const again = await project.dosimeter(...args);
  assert.is(again.code, 3, again.stderr);
  assert.match(again.stderr, 'stopped: ');
  assert.is((await project.dosimeter('run', 'spec.yaml')).code, 0);
});

test('numbers along the steps stand with what is known of the models they lead to', async ({
  project,
}) => {
  const set = ['--set', 'train.evaluate_every=1', '--set', 'seeds=[1]'];
  await project.succeeds('run', 'spec.yaml', ...set);
  const found = /Of the models that are kept: \d of 2 models /,
    warned = "validation rows have a text that is also a training row's";
  const { stderr } = await project.succeeds('results', 'spec.yaml', '--steps', ...set);
  assert.match(stderr, found);
  assert.match(stderr.replace(/\s+/g, ' '), warned);
  const table = await project.succeeds('results', 'spec.yaml', '--steps', '--markdown', ...set);
  assert.match(table.stdout, found);
  assert.match(table.stdout, warned);
});

test('what was warned of before a run is told by results and every later run', async ({
  project,
}) => {
  await project.succeeds('run', 'spec.yaml', '--set', 'stages=[evaluate]');
  const warning = /\d+ of \d+ validation rows have a text that is also a training row's/;
  for (const args of [['run'], ['results'], ['results', '--csv'], ['results', '--json']])
    assert.match(
      (await project.dosimeter(...[args[0] ?? '', 'spec.yaml', ...args.slice(1)])).stderr,
      warning,
    );
  const { stderr } = await project.succeeds('diff', 'spec.yaml', 'spec.yaml');
  assert.match(stderr, warning);
  const { stdout } = await project.succeeds('results', 'spec.yaml', '--markdown');
  assert.match(stdout, /^12 of 12 validation rows .* and 9 more\)\.$/m); // a sentence
  const rows = await project.results('spec.yaml');
  assert.ok(rows.some(({ evidence }) => evidence.warnings.some((text) => warning.test(text))));
});

test.run();
