/**
 * Runs test files, each in a separate process, and counts their tests, because uvu exits with 0
 * even if a file ran no test (its `.run()` was forgotten).
 */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

const PARALLEL = Math.min(2, availableParallelism());
const LIMIT_MINUTES = 15;

/** Folders of tests that `npm test` leaves out; `npm run test:NAME` runs one of them. */
export const SUITES = /** @type {const} */ (['faults', 'peers', 'install', 'slurm']);

/**
 * `why`: what is wrong with the file itself, besides its failed tests.
 * @typedef {{ file: string, passed: number, failed: number, seconds: number, output: string,
 *   why: string | null }} Result
 */

/**
 * @typedef {{ suite?: typeof SUITES[number], limitMinutes?: number, env?: NodeJS.ProcessEnv }}
 *   Options
 */

/**
 * @param {string} project
 * @param {readonly string[]} filters a file is run if its path contains one of them
 * @param {Options['suite']} suite default: every folder that is not a suite
 */
function testFiles(project, filters, suite) {
  return readdirSync(join(project, 'test'), { recursive: true, encoding: 'utf8' })
    .map((file) => `test/${file.replaceAll('\\', '/')}`)
    .filter((file) =>
      suite === undefined
        ? !SUITES.some((name) => file.startsWith(`test/${name}/`))
        : file.startsWith(`test/${suite}/`),
    )
    .filter(
      (file) =>
        file.endsWith('.test.ts') &&
        (filters.length === 0 || filters.some((filter) => file.includes(filter))),
    )
    .sort();
}

/**
 * Returns the sum, over a file's suites, of one line of uvu's summary.
 * @param {string} output @param {'Total' | 'Passed'} line
 */
function sum(output, line) {
  // A test may have forced colours.
  const plain = output.replace(/\u001b\[\d+m/g, '');
  return [...plain.matchAll(new RegExp(`^ {2}${line}:\\s+(\\d+)$`, 'gm'))].reduce(
    (total, [, count]) => total + Number(count),
    0,
  );
}

/**
 * @param {string} project
 * @param {string} file
 * @param {Options} options
 * @returns {Promise<Result>}
 */
function runFile(project, file, { limitMinutes = LIMIT_MINUTES, env = {} }) {
  const started = performance.now();
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--import', 'tsx', file], {
      cwd: project,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env, NODE_ENV: 'test' },
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, limitMinutes * 60_000);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const [total, passed] = [sum(output, 'Total'), sum(output, 'Passed')];
      const failed = total - passed; // uvu's total leaves skipped tests out
      let why = null;
      if (late) why = `ran longer than ${limitMinutes} minutes`;
      else if (total === 0 && code === 0) why = 'ran no test: does it end with .run()?';
      else if (code !== 0 && failed === 0) why = `ended with ${signal ?? `exit code ${code}`}`;
      resolve({
        file,
        passed,
        failed: failed + (why === null ? 0 : 1),
        seconds: (performance.now() - started) / 1000,
        output,
        why,
      });
    });
  });
}

/** @param {Result} result */
function resultLine({ file, passed, failed, seconds, why }) {
  const counts = failed > 0 ? `${passed} passed, ${failed} failed` : `${passed} passed`;
  const reason = why === null ? '' : ` (${why})`;
  return `${failed > 0 ? 'FAIL' : '  ok'}  ${file}  ${counts}${reason}, ${seconds.toFixed(1)} s`;
}

/**
 * Prints one line per file, the whole output of each file that fails, and finally the
 * totals, such as `12 passed, 0 failed`.
 * @param {string} project the folder whose `test/` is searched for `*.test.ts`
 * @param {readonly string[]} filters if empty, every file is run
 * @param {Options} [options]
 * @returns {Promise<boolean>} whether all passed
 */
export async function runTests(project, filters, options = {}) {
  const waiting = testFiles(project, filters, options.suite);
  if (waiting.length === 0) {
    const where = options.suite === undefined ? '' : ` of test/${options.suite}`;
    throw new Error(`no test file${where} matches ${filters.join(' ')}`);
  }
  /** @type {Result[]} */
  const results = [];
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
        const result = await runFile(project, file, options);
        results.push(result);
        if (result.failed > 0) console.log(result.output.trimEnd());
        console.log(resultLine(result));
      }
    }),
  );
  const passed = results.reduce((count, result) => count + result.passed, 0);
  const failed = results.reduce((count, result) => count + result.failed, 0);
  for (const { file } of results.filter((result) => result.failed > 0))
    console.log(`failed: ${file}`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0;
}
