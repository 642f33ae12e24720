/** Mistakes in outside plugins: each is reported with its file, and never with a stack. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, type Project, type Said } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('plugins with a mistake');
test.before.each((context) => {
  context.project = createProject();
  context.project.write('rows.tsv', 'text\tlabel\na\tham\nb\tspam\nc\tham\nd\tspam\n');
});

const attack = (rest: string): string => `import { defineAttack } from 'dosimeter';
export default defineAttack({
  name: 'own', summary: 'Own.', citation: '', family: 'untargeted',
  poison: () => ({ changed: [], negatives: [], asked: 0, eligible: 0 }),
  ${rest}
});
`;
const stage = (rest: string): string => `import { writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
export default defineStage({
  name: 'own', summary: 'Own.', compute: false, scope: 'cell',
  define: () => ({ params: {}, inputs: {} }), run: async () => undefined,
  ${rest}
});
`;
/** A stage that writes this text as its metrics.json. */
const stageWriting = (metrics: string): string =>
  stage(`run: async ({ outDir }) => writeFileSync(outDir + '/metrics.json', ${metrics})`);

async function run(project: Project, plugin: string, more: string): Promise<Said> {
  project.write('own.mjs', plugin);
  project.write(
    'spec.yaml',
    `name: own
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
plugins: [./own.mjs]
${more}
`,
  );
  const said = await project.dosimeter('run', 'spec.yaml');
  assert.not.match(said.stderr, /\n\s+at /);
  return { ...said, stderr: said.stderr.replaceAll(project.dir, 'DIR') };
}

test('a wrong schema of parameters, and a parameter with a reserved name, are refused', async ({
  project,
}) => {
  const schema = await run(
    project,
    attack('params: { type: "object", properties: { x: { type: "strng" } } }'),
    'poisoning: { attack: own, x: 3 }\nstages: [poison]',
  );
  assert.equal(
    [schema.code, schema.stderr],
    [
      2,
      `error[bad-plugin]: the parameters of the attack "own" are not a JSON Schema: type must be JSONType or JSONType[]: strng
 --> spec.yaml:4:10
  |
4 | plugins: [./own.mjs]
  |          ^^^^^^^^^^^
  = its \`params\` must be a JSON Schema, draft 7

1 error
`,
    ],
  );
  const wrong = await run(
    project,
    attack(
      'params: { type: "object", properties: { words: { type: "integer", minimum: 1, default: ' +
        '"two" } } }',
    ),
    'stages: [poison]',
  );
  assert.is(wrong.code, 2);
  assert.match(
    wrong.stderr,
    'error[bad-plugin]: DIR/own.mjs: the default of its parameter "words" is "two", which its own ' +
      'schema refuses: it must be a whole number of at least 1\n --> spec.yaml:4:11\n',
  );
  const listed = await project.dosimeter('plugins', 'own', '--plugin', 'own.mjs');
  assert.match(listed.stderr, 'the default of its parameter "words" is "two"');
  const reserved = await run(
    project,
    attack('params: { type: "object", properties: { when: { type: "string" } } }'),
    'stages: [poison]',
  );
  assert.is(reserved.code, 2);
  assert.match(
    reserved.stderr,
    'error[bad-plugin]: DIR/own.mjs: the attack it exports has the wrong shape: params must have ' +
      'no "when", which has a meaning of its own in a spec\n',
  );
});

test('an error that a plugin throws before anything runs is reported as its fault', async ({
  project,
}) => {
  const check = await run(
    project,
    attack('params: { type: "object", properties: {} }, check() { throw new Error("boom"); }'),
    'poisoning: { attack: own }\nstages: [poison]',
  );
  assert.equal(
    [check.code, check.stderr],
    [
      2,
      'error[plugin-fault]: the stage plugin "poison" threw before anything ran: boom\n  = this ' +
        'is a fault of DIR/own.mjs:5:63, not of the spec\n\n1 error\n',
    ],
  );
  const define = await run(project, stage('define: ([cell]) => cell.nope.params'), 'stages: [own]');
  assert.equal(
    [define.code, define.stderr],
    [
      2,
      'error[plugin-fault]: the stage plugin "own" threw while planning: Cannot read properties of undefined (reading \'params\')\n  = this is a fault of DIR/own.mjs, not of the spec\n\n1 error\n',
    ],
  );
});

test('an error that a plugin throws in a run is reported at the line of its source', async ({
  project,
}) => {
  project.write(
    'helper.ts',
    `interface Row {
  readonly text: string;
}

export const lengthOf = (row: Row | undefined): number => row!.text.length;
export const parsed = (text: string): unknown => JSON.parse(text);
`,
  );
  const hint = "  this is a fault of the plugin's code, not of the spec; the log has the stack\n";
  const poisons = await run(
    project,
    attack('params: { type: "object", properties: {} },')
      .replace('poison: () => (', 'poison: () => lengthOf(undefined) || (')
      .replace('import', "import { lengthOf } from './helper.ts';\nimport"),
    'poisoning: { attack: own }\nstages: [poison]',
  );
  const place = 'DIR/helper.ts:5:64 threw: ';
  assert.is(poisons.code, 1);
  assert.match(
    poisons.stderr,
    `failed: poison: ${place}Cannot read properties of undefined (reading 'text')\n${hint}`,
  );
  const [, log = ''] = /\n {2}log: (\S+poison\S+)\n/.exec(poisons.stderr) ?? [];
  const stack = project.read(log).replaceAll(project.dir, 'DIR');
  assert.match(
    stack,
    /at lengthOf \(DIR\/helper\.ts:5:64\)\n.* at Object\.poison \(DIR\/own\.mjs:5:/,
  );
  const example = await project.dosimeter('plugins', 'attack', 'own', '--plugin', 'own.mjs');
  assert.equal(
    [example.code, example.stderr.replaceAll(project.dir, 'DIR')],
    [
      2,
      `error: ${place}Cannot read properties of undefined (reading 'text')\n` +
        "  this is a fault of the plugin's code\n",
    ],
  );
  const writes = await run(
    project,
    attack('params: { type: "object", properties: {} },').replace(
      'poison: () => (',
      "poison: ({ rows }) => (rows[0].text = 'x') && (",
    ),
    'poisoning: { attack: own }\nstages: [poison]',
  );
  assert.match(
    writes.stderr,
    /failed: poison: DIR\/own\.mjs:4:\d+: the attack "own" wrote to what it may only read \(/,
  );
  const parses = await run(
    project,
    `import { parsed } from './helper.ts';\n${stage('run: () => parsed("{")')}`,
    'stages: [own]',
  );
  assert.match(parses.stderr, /failed: own: DIR\/helper\.ts:6:\d+ threw: [^\n]*JSON/);
  const said = await project.dosimeter('exec', 'spec.yaml', 'own');
  assert.match(said.stderr.replaceAll(project.dir, 'DIR'), /\(DIR\/helper\.ts:6:\d+\)\n/);
});

test('a metrics.json that cannot be read fails its stage, but not `results`', async ({
  project,
}) => {
  const said = await run(project, stageWriting(`'{ "loss": NaN }'`), 'stages: [own]');
  assert.is(said.code, 1);
  assert.match(
    said.stderr,
    /\[1\/1\] own {2}failed: the stage "own" wrote a metrics\.json that is not JSON: [^\n]*\n/,
  );
  assert.match(said.stderr, 'JSON has no form for a number that is not finite');
  const unseen = await run(
    project,
    stageWriting('JSON.stringify({ accuracy: 0.5, loss: NaN })'),
    'stages: [own]',
  );
  assert.is(unseen.code, 1);
  assert.match(
    unseen.stderr,
    'failed: the stage "own" wrote a metrics.json that is not a flat object of numbers: "loss" ' +
      'is null\n',
  );
  const infinite = await run(
    project,
    stageWriting(`'{ "accuracy": 0.5, "loss": 1e400 }'`),
    'stages: [own]',
  );
  assert.is(infinite.code, 1);
  assert.match(
    infinite.stderr,
    'failed: the stage "own" wrote a metrics.json that holds a number that is not finite: "loss" ' +
      'is beyond what a double holds\n',
  );
  const results = await project.dosimeter('results', 'spec.yaml');
  assert.equal(
    [results.code, results.stderr],
    [0, '1 goal stage not run yet: dosimeter run spec.yaml\n'],
  );
});

test('verify and gc refuse a folder that is not a store', async ({ project }) => {
  for (const command of ['verify', 'gc']) {
    const said = await project.dosimeter(command, '--store', 'stroe');
    assert.equal(
      [said.code, said.stdout, said.stderr.replaceAll(project.dir, 'DIR')],
      [
        2,
        '',
        'error: there is no store in DIR/stroe\n' +
          '  --store names the folder that a run keeps its results in\n',
      ],
    );
  }
});

test.run();
