import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, type TestProject } from './project.ts';

const test = suite<{ project: TestProject; ran: Ran }>('setup/run-tests');

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

/** One file of each kind, which are run together. */
const FILES = {
  'sums/one': GOOD,
  'sums/deep/two': GOOD,
  'failing/two': file(
    'test("a", () => undefined); test("b", () => { throw new Error("broken on purpose"); });',
  ),
  forgotten: file('test("a", () => undefined);', ''),
  early: file('test("a", () => process.exit(0));'),
  load: 'import "./nowhere.ts";\n',
  'ended/a': file('test("a", () => process.exit(0));'),
  'ended/b': file('test("a", () => process.exit(0));'),
  'ended/c': GOOD,
  'environment/one': file('test("a", () => { process.env.COLOUR = "red"; });'),
  'environment/two': file('test("a", () => { if (process.env.COLOUR) throw new Error("seen"); });'),
};
test.before((context) => {
  context.project = createProject();
  for (const [name, text] of Object.entries(FILES))
    context.project.write(`test/${name}.test.ts`, text);
  context.ran = runTests(context.project);
});

/** What the line of a file says of it, without the seconds. */
const saidOf = ({ lines }: Ran, name: keyof typeof FILES): string | undefined =>
  lines
    .find((line) => /^(FAIL| {2}ok) /.test(line) && line.includes(` test/${name}.test.ts `))
    ?.replace(/ test\/\S+ |, [\d.]+ s$/g, '');

test('the last line has the sums over all files', ({ ran }) => {
  assert.is(ran.code, 1);
  assert.is(ran.lines.at(-1), '9 passed, 7 failed');
  assert.is(saidOf(ran, 'sums/one'), '  ok  2 passed');
  assert.is(saidOf(ran, 'sums/deep/two'), '  ok  2 passed');
});

test('a failing test is counted and its message shown', ({ ran }) => {
  assert.is(saidOf(ran, 'failing/two'), 'FAIL  1 passed, 1 failed');
  assert.ok(ran.lines.includes('failed: test/failing/two.test.ts'));
  assert.match(ran.lines.join('\n'), 'broken on purpose');
});

test('a file that forgets .run() is a failure', ({ ran }) => {
  const why = 'ran no test: does it end with .run()?';
  assert.is(saidOf(ran, 'forgotten'), `FAIL  0 passed, 1 failed (${why})`);
});

test('a file that ends early or breaks at load is a failure', ({ ran }) => {
  assert.match(saidOf(ran, 'early') ?? '', /^FAIL {2}0 passed, 1 failed /);
  assert.match(saidOf(ran, 'load') ?? '', /^FAIL {2}0 passed, 1 failed /);
});

test('files after one that ended its process are run', ({ ran }) => {
  for (const name of ['ended/a', 'ended/b'] as const)
    assert.match(saidOf(ran, name) ?? '', /^FAIL .*ended its process with exit code/);
  assert.is(saidOf(ran, 'ended/c'), '  ok  2 passed');
});

test('a file that does not restore the environment is a failure, named', ({ ran }) => {
  assert.is(saidOf(ran, 'environment/one'), 'FAIL  1 passed, 1 failed (did not restore COLOUR)');
  assert.is(saidOf(ran, 'environment/two'), '  ok  1 passed');
});

test('a filter chooses files by path', ({ project }) => {
  const { code, lines } = runTests(project, 'deep/');
  assert.is(code, 0);
  assert.is(lines.at(-1), '2 passed, 0 failed');
});

test('the files of one folder are shared between processes', () => {
  const project = createProject();
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

test('a suite is left out by default, and runs by itself with its environment', () => {
  const project = createProject();
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

test('the suite of the science is left out too, unless a filter names its files', () => {
  const project = createProject();
  project.write('test/one.test.ts', GOOD);
  project.write('test/science/kernel.test.ts', GOOD);
  assert.is(runTests(project).lines.at(-1), '2 passed, 0 failed');
  assert.is(runTests(project, 'science/k').lines.at(-1), '2 passed, 0 failed');
  assert.is(runSuite(project, { suite: 'science' }).lines.at(-1), '2 passed, 0 failed');
});

test.run();
