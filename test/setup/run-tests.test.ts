import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, type TestProject } from './project.ts';

const test = suite<{ project: TestProject }>('setup/run-tests');
test.before.each((context) => {
  context.project = createProject();
});

const file = (body: string, end = 'test.run();'): string =>
  `import { suite } from 'uvu';\nconst test = suite('x');\n${body}\n${end}\n`;
const GOOD = file(
  'test("a", () => undefined); test("b", () => undefined); test.skip("c", () => undefined);',
);

interface Ran {
  readonly code: number | null;
  readonly lines: readonly string[];
}

const runTests = (project: TestProject, ...filters: string[]): Ran =>
  runSuite(project, {}, ...filters);

function runSuite(project: TestProject, options: object, ...filters: string[]): Ran {
  const { code, stdout } = project.node([
    '--input-type=module',
    '-e',
    `
    import { runTests } from './src/setup/run-tests.mjs';
    const [filters, options] = ${JSON.stringify([filters, options])};
    process.exitCode = (await runTests(process.cwd(), filters, options)) ? 0 : 1;
  `,
  ]);
  return { code, lines: stdout.trimEnd().split('\n') };
}

test('the last line has the sums over all files', ({ project }) => {
  project.write('test/one.test.ts', GOOD);
  project.write('test/deep/two.test.ts', GOOD);
  const { code, lines } = runTests(project);
  assert.is(code, 0);
  assert.is(lines.at(-1), '4 passed, 0 failed');
});

test('a failing test is counted and its message shown', ({ project }) => {
  project.write('test/one.test.ts', GOOD);
  project.write(
    'test/two.test.ts',
    file('test("a", () => undefined); test("b", () => { throw new Error("broken on purpose"); });'),
  );
  const { code, lines } = runTests(project);
  assert.is(code, 1);
  assert.is(lines.at(-1), '3 passed, 1 failed');
  assert.is(lines.at(-2), 'failed: test/two.test.ts');
  assert.match(lines.join('\n'), 'broken on purpose');
});

test('a file that forgets .run() is a failure', ({ project }) => {
  project.write('test/one.test.ts', GOOD);
  project.write('test/forgotten.test.ts', file('test("a", () => undefined);', ''));
  const { code, lines } = runTests(project);
  assert.is(code, 1);
  assert.is(lines.at(-1), '2 passed, 1 failed');
  assert.match(lines.join('\n'), 'ran no test: does it end with .run()?');
});

test('a file that ends early or breaks at load is a failure', ({ project }) => {
  project.write('test/early.test.ts', file('test("a", () => process.exit(0));'));
  project.write('test/load.test.ts', 'import "./nowhere.ts";\n');
  const { code, lines } = runTests(project);
  assert.is(code, 1);
  assert.is(lines.at(-1), '0 passed, 2 failed');
});

test('files after one that ended its process are run', ({ project }) => {
  for (const name of ['a', 'b', 'c'])
    project.write(`test/${name}.test.ts`, file('test("a", () => process.exit(0));'));
  project.write('test/d.test.ts', GOOD);
  const { lines } = runTests(project);
  assert.is(lines.at(-1), '2 passed, 3 failed');
  assert.match(lines.join('\n'), 'ended its process with exit code');
});

test('the files of one folder are shared between processes', ({ project }) => {
  const names = ['a', 'b', 'c', 'd'];
  for (const name of names)
    project.write(
      `test/${name}.test.ts`,
      `import { writeFileSync } from 'node:fs';\n${file(
        `test("a", () => writeFileSync("${name}.txt", String(process.pid)));`,
      )}`,
    );
  assert.is(runTests(project).lines.at(-1), '4 passed, 0 failed');
  assert.ok(new Set(names.map((name) => project.read(`${name}.txt`))).size > 1);
});

test('a file that does not restore the environment is a failure, named', ({ project }) => {
  project.write('test/one.test.ts', file('test("a", () => { process.env.COLOUR = "red"; });'));
  project.write(
    'test/two.test.ts',
    file('test("a", () => { if (process.env.COLOUR) throw new Error("seen"); });'),
  );
  const { lines } = runTests(project);
  assert.is(lines.at(-1), '2 passed, 1 failed');
  assert.match(lines.join('\n'), 'did not restore COLOUR');
});

test('a filter chooses files by path', ({ project }) => {
  project.write('test/one.test.ts', GOOD);
  project.write('test/deep/two.test.ts', file('test("a", () => undefined);'));
  assert.is(runTests(project, 'deep/').lines.at(-1), '1 passed, 0 failed');
});

test('a suite is left out by default, and runs by itself with its environment', ({ project }) => {
  project.write('test/one.test.ts', GOOD);
  project.write(
    'test/faults/two.test.ts',
    file(`test("full", () => {
  if (process.env.DOSIMETER_TESTS_FULL !== "1") throw new Error("short");
});`),
  );
  assert.is(runTests(project).lines.at(-1), '2 passed, 0 failed');
  assert.is(runSuite(project, { suite: 'faults' }).lines.at(-1), '0 passed, 1 failed');
  assert.is(
    runSuite(project, { suite: 'faults', env: { DOSIMETER_TESTS_FULL: '1' } }).lines.at(-1),
    '1 passed, 0 failed',
  );
});

test.run();
