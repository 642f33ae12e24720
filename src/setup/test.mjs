/**
 * `npm test [-- FILTER…]`: sets up and builds what is needed, then runs every test/**\/*.test.ts in a process of its own.
 * uvu exits 0 when a file ran nothing (a forgotten `.run()`), so counts are read and nought is a failure.
 */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setup } from './setup.mjs';

const project = fileURLToPath(new URL('../../', import.meta.url));
const PARALLEL = Math.min(2, availableParallelism());
const LIMIT_MS = 15 * 60_000;

/** @typedef {{ file: string, passed: number, failed: number, seconds: number, output: string, why: string | null }} Result */

/** @param {readonly string[]} filters a file is run if its path contains one of them */
function testFiles(filters) {
  return readdirSync(join(project, 'test'), { recursive: true, encoding: 'utf8' })
    .map((file) => `test/${file.replaceAll('\\', '/')}`)
    .filter((file) => file.endsWith('.test.ts') && (filters.length === 0 || filters.some((filter) => file.includes(filter))))
    .sort();
}

/** The sum over a file's suites of a line of uvu's summary. @param {string} output @param {'Total' | 'Passed' | 'Skipped'} line */
function sum(output, line) {
  // Colours, where a test forces them.
  const plain = output.replace(/\u001b\[\d+m/g, '');
  return [...plain.matchAll(new RegExp(`^ {2}${line}:\\s+(\\d+)$`, 'gm'))].reduce((total, [, count]) => total + Number(count), 0);
}

/** @param {string} file @returns {Promise<Result>} */
function runFile(file) {
  const started = performance.now();
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--import', 'tsx', file], { cwd: project, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NODE_ENV: 'test' } });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => { output += text; });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, LIMIT_MS);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const [total, passed] = [sum(output, 'Total'), sum(output, 'Passed')];
      const failed = total - passed - sum(output, 'Skipped');
      const why = late ? `ran longer than ${LIMIT_MS / 60_000} minutes`
        : total === 0 && code === 0 ? 'ran no test: does it end with .run()?'
          : code !== 0 && failed === 0 ? `ended with ${signal ?? `exit code ${code}`}` : null;
      resolve({ file, passed, failed: failed + (why === null ? 0 : 1), seconds: (performance.now() - started) / 1000, output, why });
    });
  });
}

/** @param {readonly string[]} files @returns {Promise<Result[]>} */
async function runAll(files) {
  const waiting = [...files];
  /** @type {Result[]} */
  const results = [];
  await Promise.all(Array.from({ length: PARALLEL }, async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const result = await runFile(file);
      results.push(result);
      if (result.failed > 0) console.log(result.output.trimEnd());
      console.log(`${result.failed > 0 ? 'FAIL' : '  ok'}  ${file}  ${result.passed} passed${result.failed > 0 ? `, ${result.failed} failed` : ''}${result.why === null ? '' : ` (${result.why})`}, ${result.seconds.toFixed(1)} s`);
    }
  }));
  return results;
}

try {
  await setup({ quiet: true });
  const { build } = await import('./build.mjs');
  await build(project);
  const filters = process.argv.slice(2);
  const files = testFiles(filters);
  if (files.length === 0) throw new Error(`no test file matches ${filters.join(' ')}`);
  const results = await runAll(files);
  const [passed, failed] = [results.reduce((count, result) => count + result.passed, 0), results.reduce((count, result) => count + result.failed, 0)];
  for (const { file } of results.filter((result) => result.failed > 0)) console.log(`failed: ${file}`);
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  console.log('0 passed, 1 failed');
  process.exitCode = 1;
}
