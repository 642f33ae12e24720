/**
 * The worked example of pipelines/command-stage on a tiny model, and the rules for programs that
 * are stages.
 */
import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../rig/present.ts';
import { createProject, outputText, type Project, type StageJson } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('command stages');
const pipelines = fileURLToPath(new URL('../../pipelines/', import.meta.url));

test.before.each((context) => {
  context.project = createProject();
});

const stages = async (project: Project, kind: string): Promise<readonly StageJson[]> =>
  (await project.stages('spec.yaml')).filter((stage) => stage.kind === kind);

/** The Brier score of a stage's clean predictions, for two classes. */
function brierScore(stage: StageJson): number {
  const lines = outputText(stage, 'predictions.csv')
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(','))
    .filter((line) => line[1] === '0');
  const sum = lines.reduce((total, [, , label, , zero, first]) => {
    const p = 1 / (1 + Math.exp(Number(zero) - Number(first)));
    return total + 2 * (p - Number(label)) ** 2;
  }, 0);
  return sum / lines.length;
}

/** A grid of two seeds whose only stage is a program in JavaScript. */
function writeProgram(project: Project, program: string, more = '', spec = ''): void {
  project.write('rows.tsv', 'text\tlabel\na b\t0\nc d\t1\n');
  project.write(
    'program.mjs',
    `import { appendFileSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
const task = JSON.parse(readFileSync('task.json', 'utf8'));
${program}
`,
  );
  project.write(
    'spec.yaml',
    `name: program
seeds: [1, 2]
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
commands:
  probe: { run: [node, program.mjs], files: ["file:program.mjs"]${more === '' ? '' : `, ${more}`} }
${spec}stages: [probe]
`,
  );
}

test('the example: a stage for each cell and one that joins them, in results and report', async ({
  project,
}) => {
  cpSync(path.join(pipelines, 'command-stage'), path.join(project.dir, 'command-stage'), {
    recursive: true,
  });
  const rated = Array.from(
    { length: 12 },
    (_, i) => `the film was ${i % 2 === 1 ? 'good' : 'bad'} ${i}\t${i % 2}\n`,
  );
  project.write('rows.tsv', `text\tlabel\n${rated.join('')}`);
  project.write(
    'spec.yaml',
    readFileSync(path.join(pipelines, 'command-stage.yaml'), 'utf8')
      .replace(/model: .*/, `model: { source: "file:${checkpoint}" }`)
      .replace(
        /^data:.*?\n\n/ms,
        'data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }\n\n',
      )
      .replace('target: ham', 'target: 1, mode: mix')
      .replace(
        'epochs: 1, batch_size: 16, max_length: 64',
        'steps: 2, batch_size: 4, max_length: 16',
      ),
  );
  const oneSeed = ['spec.yaml', '--set', 'seeds=[1]'];
  const run = await project.succeeds('run', ...oneSeed);
  const rows = await project.results(...oneSeed);
  const calibration = rows.filter(({ stage }) => stage === 'calibration');
  assert.equal(
    calibration
      .filter(({ cell }) => cell['poisoning.attack'] === 'badnets' && cell['adapter.rank'] === 2)
      .map(({ metric }) => metric),
    ['ece', 'brier', 'triggered_ece', 'triggered_brier'],
  );

  const all = await project.stages(...oneSeed);
  const table = outputText(present(all.find(({ kind }) => kind === 'table')), 'calibration.csv')
    .trim()
    .split(/\r?\n/)
    .map((line) => line.split(','));
  assert.equal(table[0]?.slice(0, 5), ['seed', 'poisoning.attack', 'adapter.rank', 'ece', 'brier']);
  assert.is(table.length, 5);
  const { value } = present(
    calibration.find(
      ({ cell, metric }) =>
        metric === 'brier' && cell['poisoning.attack'] === 'none' && cell['adapter.rank'] === 8,
    ),
  );
  assert.is(
    Number(table.find(([, attack, rank]) => attack === 'none' && rank === '8')?.[4]),
    value,
  );
  const scores = all.filter(({ kind }) => kind === 'evaluate').map(brierScore);
  assert.ok(
    scores.some((brier) => Math.abs(brier - value) < 1e-6),
    `${value} is not among ${scores.join(', ')}`,
  );
  const html = readFileSync(run.stdout.trim(), 'utf8');
  assert.match(html, /<h3>Stage calibration<\/h3>/);
  assert.not.match(html, /<h3>Stage table<\/h3>/, 'a stage that joins the grid belongs to no cell');

  project.write('command-stage/table.py', `${project.read('command-stage/table.py')}# edited\n`);
  const after = (await project.stages(...oneSeed)).filter(({ state }) => state !== 'cached');
  assert.equal(
    after.map(({ kind }) => kind),
    ['table', 'report'],
  );
  assert.match(
    (await project.dosimeter('explain', 'spec.yaml', 'table', '--set', 'seeds=[1]')).stdout,
    /table\.py has other content/,
  );
});

test('what a program reads is in its key: fields, files, options, but not limits', async ({
  project,
}) => {
  writeProgram(
    project,
    `const { length } = readFileSync(task.inputs["data(train)"] + "/rows.jsonl", "utf8");
writeFileSync("metrics.json", JSON.stringify({ length }));`,
    'inputs: ["data(train)"]',
  );
  assert.is((await project.dosimeter('run', 'spec.yaml')).code, 0);
  assert.equal(
    (await stages(project, 'probe')).map(({ state }) => state),
    ['cached'],
    'one run serves both seeds',
  );
  const say = async (from: string, to: string): Promise<string> => {
    const spec = project.read('spec.yaml');
    project.write('spec.yaml', spec.replace(from, to));
    const states = (await stages(project, 'probe')).map(({ state }) => state).join(' ');
    project.write('spec.yaml', spec);
    return states;
  };
  assert.is(await say('inputs:', 'timeout_seconds: 5, output_mb: 1, cpu: 2, inputs:'), 'cached');
  assert.is(await say('inputs:', 'fields: [seed], inputs:'), 'ready ready');
  assert.is(await say('inputs:', 'options: { a: 1 }, inputs:'), 'ready');
  assert.is(await say('data(train)"]', 'data(validation)"]'), 'pending');
  project.write('elsewhere/program.mjs', project.read('program.mjs'));
  assert.is(
    await say('file:program.mjs', 'file:elsewhere/program.mjs'),
    'cached',
    'the place of a file is not in the key',
  );
});

test('a program sees what is declared, and files that it did not declare are dropped', async ({
  project,
}) => {
  process.env['PROBE_SECRET'] = 'x';
  writeProgram(
    project,
    `const env = [process.env.PROBE_SECRET, process.env.PROBE_SET];
writeFileSync('seen.json', JSON.stringify({ here: readdirSync('.').sort(), task, env }));
writeFileSync('left.txt', 'dropped'); writeFileSync('metrics.json', '{"x": 1}');`,
    'outputs: [seen.json, metrics.json], fields: [seed, poisoning.attack, poisoning.rate], ' +
      'env: { PROBE_SET: z }, options: { deep: [1, { a: null }] }',
  );
  try {
    assert.is((await project.dosimeter('run', 'spec.yaml')).code, 0);
  } finally {
    delete process.env['PROBE_SECRET'];
  }
  const stage = present((await stages(project, 'probe')).find(({ seed }) => seed === 2));
  assert.equal(readdirSync(present(stage.outputs)).sort(), [
    'manifest.json',
    'metrics.json',
    'seen.json',
  ]);
  assert.equal(JSON.parse(outputText(stage, 'seen.json')), {
    here: ['inputs', 'program.mjs', 'task.json'],
    task: {
      name: 'probe',
      fields: { seed: 2, 'poisoning.attack': 'none', 'poisoning.rate': null },
      inputs: {},
      options: { deep: [1, { a: null }] },
      outputs: ['seen.json', 'metrics.json'],
    },
    env: [null, 'z'],
  });
});

for (const [what, program, more, says] of [
  [
    'fails',
    'console.error("no numbers today"); process.exit(3);',
    '',
    'the command "node program.mjs" ended with exit code 3: no numbers today',
  ],
  ['writes nothing', '', '', 'the command wrote no metrics.json'],
  [
    'hangs',
    'setInterval(() => {}, 1000);',
    'timeout_seconds: 1',
    'ran for more than 1 s and was ended',
  ],
  [
    'writes too much',
    'writeFileSync("metrics.json", "x".repeat(2e6));',
    'output_mb: 1',
    'outputs are larger than 1000000 bytes',
  ],
  [
    'writes no numbers',
    'writeFileSync("metrics.json", JSON.stringify({ a: 1, b: "two" }));',
    '',
    'wrote a metrics.json that is not a flat object of numbers: "b" is "two"',
  ],
  [
    'writes no JSON',
    'writeFileSync("metrics.json", "{a");',
    '',
    'wrote a metrics.json that is not JSON',
  ],
  [
    'writes into its input',
    'appendFileSync("inputs/data(train)/rows.jsonl", "x"); writeFileSync("metrics.json", "{}");',
    'inputs: ["data(train)"]',
    'wrote into its input data(train)',
  ],
  [
    'writes into its input and sets its time back',
    `const { execFileSync } = await import('node:child_process');
const file = 'inputs/data(train)/rows.jsonl';
execFileSync('touch', ['-r', file, 'times']);
writeFileSync(file, readFileSync(file, 'utf8').replace(/[a-z]/, 'Z'));
execFileSync('touch', ['-r', 'times', file]);
writeFileSync("metrics.json", "{}");`,
    'inputs: ["data(train)"]',
    'wrote into its input data(train)',
  ],
] as const) {
  test(`only the stage of a program that ${what} fails, and the program is named`, async ({
    project,
  }) => {
    writeProgram(project, program, more, 'adapter: { type: full }\n');
    const said = await project.dosimeter('run', 'spec.yaml');
    assert.is(said.code, 1, said.stderr);
    assert.ok(said.stderr.includes(says), said.stderr);
    assert.not.ok((await project.dosimeter('verify')).stderr.includes('internal'));
  });
}

test('a stage run by hand keeps the folder of a program that failed', async ({ project }) => {
  writeProgram(project, 'writeFileSync("half.txt", "so far"); process.exit(1);');
  const said = await project.dosimeter('exec', 'spec.yaml', 'probe', '--out', 'look');
  assert.is(said.code, 1);
  assert.ok(existsSync(path.join(project.dir, 'look', '.work', 'half.txt')), said.stderr);
});

test('a missing program is reported at its place before anything runs', async ({ project }) => {
  writeProgram(project, '');
  project.write('spec.yaml', project.read('spec.yaml').replace('[node,', '[no-such-program,'));
  const said = await project.dosimeter('run', 'spec.yaml');
  assert.is(said.code, 2);
  assert.match(said.stderr, /there is no program "no-such-program"\n --> spec\.yaml:6:18\n/);
});

test.run();
