/**
 * A secret reaches the program that it is for, and no store, log, record or output of a command.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../rig/present.ts';
import { createProject, type Project, type Said } from '../rig/project.ts';

const test = suite<{ project: Project }>('secrets');
const SECRET = 'hunter2-0a7f',
  OTHER = 'rotated-51bc';

/**
 * @param body the body of a program that has the secret as TOKEN
 * @param env the command's `env`, in YAML
 */
function write(
  project: Project,
  body: string,
  env = 'TOKEN: "${env.SERVICE_KEY}"',
  more = '',
): void {
  project.write('rows.tsv', 'text\tlabel\na\t0\nb\t1\n');
  project.write('model/config.json', '{}');
  project.write('probe.mjs', `import { appendFileSync, writeFileSync } from 'node:fs';\n${body}\n`);
  project.write(
    'spec.yaml',
    `name: hidden
secrets: [SERVICE_KEY]
${more}model: { source: "file:model" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
commands:
  probe:
    run: [${JSON.stringify(process.execPath)}, probe.mjs]
    files: ["file:probe.mjs"]
    outputs: [metrics.json]
    env: { ${env} }
stages: [probe]
`,
  );
}

test.before.each((context) => {
  context.project = createProject();
});

const run = (project: Project, secret: string | undefined, ...args: string[]): Promise<Said> =>
  project.dosimeterWith(secret === undefined ? {} : { SERVICE_KEY: secret }, ...args);

/** Files below the project that hold the text. */
const filesWith = (project: Project, text: string): string[] =>
  readdirSync(project.dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => readFileSync(file).includes(text));

const WELL = `if (!process.env.TOKEN) throw new Error('no token');
console.log('using ' + process.env.TOKEN);
writeFileSync('metrics.json', JSON.stringify({ length: process.env.TOKEN.length }));`;

test('the program gets the secret, and no file and no output of a command contains it', async ({
  project,
}) => {
  write(project, WELL);
  const said = [await run(project, SECRET, 'run', 'spec.yaml')];
  assert.is(said[0]?.code, 0, said[0]?.stderr);
  for (const args of [
    ['plan', 'spec.yaml', '--json'],
    ['results', 'spec.yaml', '--json'],
    ['explain', 'spec.yaml', 'probe', '--json'],
    ['explain', 'spec.yaml', '--set', 'commands.probe.outputs=[other.json]'],
    ['diff', 'spec.yaml', 'spec.yaml', '--json'],
    ['logs', 'probe'],
    ['status', '--json'],
    ['report', 'spec.yaml'],
  ])
    said.push(await run(project, SECRET, ...args));
  assert.equal(filesWith(project, SECRET), []);
  for (const { stdout, stderr } of said) assert.not.match(stdout + stderr, SECRET);
  assert.match(present(said[1 + 5]).stdout, 'using ${env.SERVICE_KEY}');
  assert.match(present(said[2]).stdout, `"value": ${SECRET.length}`);
});

test('the secret is in no key: a result is found with another secret, or with none', async ({
  project,
}) => {
  write(project, WELL);
  assert.is((await run(project, SECRET, 'run', 'spec.yaml')).code, 0);
  assert.match((await run(project, OTHER, 'run', 'spec.yaml')).stderr, 'nothing to do');
  assert.is((await run(project, undefined, 'results', 'spec.yaml')).code, 0);
});

test('a program that prints or stores the secret is reported, and the secret is not', async ({
  project,
}) => {
  write(project, `console.error('refused: ' + process.env.TOKEN); process.exit(1);`);
  const failed = await run(project, SECRET, 'run', 'spec.yaml');
  assert.is(failed.code, 1);
  assert.match(failed.stderr, 'refused: ${env.SERVICE_KEY}');
  write(
    project,
    `writeFileSync('metrics.json', JSON.stringify({ length: 1, ['x' + process.env.TOKEN]: 2 }));`,
  );
  const leaked = await run(project, SECRET, 'run', 'spec.yaml');
  assert.is(leaked.code, 1);
  assert.match(leaked.stderr, 'the program wrote the secret SERVICE_KEY into metrics.json');
  assert.equal(filesWith(project, SECRET), []);
  for (const { stdout, stderr } of [failed, leaked]) assert.not.match(stdout + stderr, SECRET);
});

for (const [where, env, more, message] of [
  [
    'in a longer text',
    'TOKEN: "Bearer ${env.SERVICE_KEY}"',
    '',
    /the secret SERVICE_KEY is part of a longer text/,
  ],
  [
    'as a field of the grid',
    '',
    'train: { optimizer: "${env.SERVICE_KEY}" }\n',
    /the secret SERVICE_KEY is used where a run would record its value[^]*spec\.yaml:3:21/,
  ],
  [
    'with a default',
    'TOKEN: "${env.SERVICE_KEY}"',
    'env: { SERVICE_KEY: abc }\n',
    /the secret SERVICE_KEY has a default/,
  ],
  [
    'undeclared, under a name that gives it away',
    'TOKEN: "${env.SERVICE_PASSWORD}"',
    'env: { SERVICE_PASSWORD: null }\n',
    /SERVICE_PASSWORD looks like a credential[^]*secrets: \[SERVICE_PASSWORD\]/,
  ],
] as const)
  test(`a secret ${where} is refused at its place`, async ({ project }) => {
    write(project, WELL, env, more);
    const said = await project.dosimeterWith(
      { SERVICE_KEY: SECRET, SERVICE_PASSWORD: SECRET },
      'run',
      'spec.yaml',
    );
    assert.is(said.code, 2, said.stderr);
    assert.match(said.stderr, message);
    assert.not.match(said.stderr, SECRET);
  });

test('a secret that is not set is reported before anything runs', async ({ project }) => {
  write(project, WELL);
  const said = await run(project, undefined, 'run', 'spec.yaml');
  assert.is(said.code, 2);
  assert.match(said.stderr, 'the environment variable SERVICE_KEY is not set');
});

test.run();
