import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, renameSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { attack, commandLine, createProject, type TestProject } from './project.ts';

const test = suite<{ project: TestProject }>('setup/launcher');
test.before.each((context) => {
  context.project = createProject();
});

const LAUNCHER = 'src/setup/launcher.mjs';
/** A time long before these tests. */
const OLD = new Date('2020-01-01');
const currentBuild = (project: TestProject): string =>
  (JSON.parse(project.read('dist/build.json')) as { build: string }).build;

test('the first start builds, and the next one runs that build', ({ project }) => {
  assert.equal(project.node([LAUNCHER, 'run', 'x']), {
    code: 0,
    stdout: 'one run x\n',
    stderr: 'dosimeter: building\n',
  });
  assert.equal(project.node([LAUNCHER, 'plan']), { code: 0, stdout: 'one plan\n', stderr: '' });
});

test('an edited source is built again, and one line says so', ({ project }) => {
  project.node([LAUNCHER]);
  project.write('src/cli.ts', commandLine('console.log("two");'));
  assert.equal(project.node([LAUNCHER]), {
    code: 0,
    stdout: 'two\n',
    stderr: 'dosimeter: building again, src/cli.ts changed\n',
  });
  assert.equal(project.node([LAUNCHER]), { code: 0, stdout: 'two\n', stderr: '' });
});

test('a source that was only touched is not built again, and not read twice', ({ project }) => {
  project.node([LAUNCHER]);
  const before = currentBuild(project);
  utimesSync(join(project.dir, 'src/cli.ts'), new Date(), new Date());
  const record = project.read('dist/build.json');
  assert.is(project.node([LAUNCHER]).stderr, '');
  assert.is(currentBuild(project), before);
  assert.is.not(project.read('dist/build.json'), record);
});

test('an edit that keeps the size and the time of a source is noticed', ({ project }) => {
  const source = join(project.dir, 'src/cli.ts');
  project.write('src/cli.ts', commandLine('console.log("one");'));
  utimesSync(source, OLD, OLD);
  assert.is(project.node([LAUNCHER]).stdout, 'one\n');
  project.write('src/edited.ts', commandLine('console.log("two");'));
  utimesSync(join(project.dir, 'src/edited.ts'), OLD, OLD);
  cpSync(join(project.dir, 'src/edited.ts'), source, { preserveTimestamps: true });
  assert.is(project.node([LAUNCHER]).stdout, 'two\n');
});

test('a new plugin and a removed one are noticed', ({ project }) => {
  project.node([LAUNCHER]);
  project.write('plugins/attacks/third.ts', attack('third'));
  assert.match(project.node([LAUNCHER]).stderr, 'building again, plugins/attacks changed');
  renameSync(join(project.dir, 'plugins/attacks/third.ts'), join(project.dir, 'third.ts'));
  assert.match(
    project.node([LAUNCHER]).stderr,
    'building again, plugins/attacks, plugins/attacks/third.ts changed',
  );
});

test("the exit code is the program's", ({ project }) => {
  project.write('src/cli.ts', commandLine('return 130;'));
  assert.is(project.node([LAUNCHER]).code, 130);
});

test('a program that ends before its command does is no success', ({ project }) => {
  project.write('src/cli.ts', commandLine('await new Promise(() => undefined);'));
  assert.is(project.node([LAUNCHER]).code, 13);
});

test('what a command has begun is finished before the process ends', ({ project }) => {
  project.write(
    'src/cli.ts',
    `import { writeFile } from 'node:fs/promises';
${commandLine('setTimeout(() => void writeFile("late.txt", "written"), 50);')}`,
  );
  assert.is(project.node([LAUNCHER]).code, 0);
  assert.is(project.read('late.txt'), 'written');
});

test('a plugin that does not build: its place, exit code 2, no stack', ({ project }) => {
  project.node([LAUNCHER]);
  project.write('plugins/attacks/first.ts', 'export default {\n  name: "first",,\n};\n');
  const { code, stdout, stderr } = project.node([LAUNCHER, 'run']);
  assert.is(code, 2);
  assert.is(stdout, '');
  assert.match(stderr, 'plugins/attacks/first.ts:2:16');
  assert.not.match(stderr, '    at ');
});

test('without dependencies one sentence says what to do', ({ project }) => {
  renameSync(join(project.dir, 'node_modules'), join(project.dir, 'elsewhere'));
  assert.equal(project.node([LAUNCHER, 'run']), {
    code: 2,
    stdout: '',
    stderr: 'dosimeter: the dependencies are not installed; run `npm run setup`\n',
  });
});

test('--version answers without a build', ({ project }) => {
  const { version } = JSON.parse(project.read('package.json')) as { version: string };
  assert.equal(project.node([LAUNCHER, '--version']), {
    code: 0,
    stdout: `${version}\n`,
    stderr: '',
  });
  assert.not.ok(existsSync(join(project.dir, 'dist')));
});

test('--version fails with a message if its output can not be written', ({ project }) => {
  const { status, stderr } = spawnSync(
    'sh',
    ['-c', '"$0" "$1" --version > /dev/full', process.execPath, LAUNCHER],
    { cwd: project.dir, encoding: 'utf8' },
  );
  assert.is(status, 2);
  assert.match(stderr, /^error: the output could not be written: ENOSPC[^\n]*\n$/);
});

test('an installed package without sources starts', ({ project }) => {
  project.node([LAUNCHER]);
  for (const gone of ['src/cli.ts', 'src/api.ts', 'src/helper.ts', 'plugins'])
    renameSync(join(project.dir, gone), join(project.dir, `gone-${gone.replace('/', '-')}`));
  assert.equal(project.node([LAUNCHER, 'x']), { code: 0, stdout: 'one x\n', stderr: '' });
});

test('concurrent starts after an edit all run the new code', async ({ project }) => {
  project.node([LAUNCHER]);
  project.write('src/cli.ts', commandLine('console.log("two");'));
  const outputs = await Promise.all(
    [1, 2, 3, 4].map(
      () =>
        new Promise<string>((resolve) => {
          const child = spawn(process.execPath, [LAUNCHER], {
            cwd: project.dir,
            stdio: ['ignore', 'pipe', 'inherit'],
          });
          let output = '';
          child.stdout.on('data', (chunk: Buffer) => {
            output += chunk.toString();
          });
          child.on('close', (code) => resolve(`${output}${code}`));
        }),
    ),
  );
  assert.equal(outputs, ['two\n0', 'two\n0', 'two\n0', 'two\n0']);
});

test('a running program keeps its own build while sources are edited', async ({ project }) => {
  project.write('src/late.ts', 'export const late = "old";\n');
  project.write(
    'src/cli.ts',
    commandLine(`console.log("started");
  process.stdin.once("data", async () => {
    const { late } = await import("./late.ts");
    console.log(late);
    process.exit();
  });`),
  );
  const child = spawn(process.execPath, [LAUNCHER], {
    cwd: project.dir,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let output = '';
  await new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      resolve();
    });
  });
  const closed = new Promise((resolve) => {
    child.on('close', resolve);
  });
  project.write('src/late.ts', 'export const late = "new";\n');
  assert.is(project.build().code, 0);
  child.stdin.write('go\n');
  await closed;
  assert.is(output, 'started\nold\n');
});

test.run();
