/**
 * Runs test files and counts their tests, because uvu exits with 0 even if a file ran no test (its
 * `.run()` was forgotten). A few processes at once each take a list of files (`listsForProcesses`)
 * and run them one after another. Once every list is taken, a process that is done takes half of
 * what is left of the longest list. In a suite other than `science`, each file has its own process.
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const TEST_PROCESS = fileURLToPath(new URL('test-process.mjs', import.meta.url));
const CORES = Math.min(2, availableParallelism());
/** How many processes run files at once: more than CORES, since tests wait half of their time. */
const PROCESSES = CORES + 2;
/**
 * How many processes run the files of a suite: fewer, since these tests start more programs that
 * compute.
 */
const SUITE_PROCESSES = CORES + 1;
/** A folder with this many files or more has a list of its own (`listsForProcesses`). */
const MANY = 8;
/** The longest time for one file, and for a process to end after its last file. */
const LIMIT_MINUTES = 15;
const END_SECONDS = 60;

/** The files that take longest, which start first so that none ends long after the rest. */
const LONGEST = [
  'test/science/models/families.test.ts',
  'test/cli/attack-training.test.ts',
  'test/science/models/generate/generate.test.ts',
  'test/science/models/minilm.test.ts',
  'test/report/browser.test.ts',
  'test/science/models/adapters.test.ts',
  'test/cli/completion.test.ts',
  'test/science/measures/ntk/vectors.test.ts',
  'test/setup/run-tests.test.ts',
  'test/science/measures/ntk/double.test.ts',
  'test/science/measures/ntk/delta-kernel.test.ts',
  'test/faults/disk.test.ts',
  'test/faults/records.test.ts',
  'test/faults/kill.test.ts',
  'test/faults/damage.test.ts',
  'test/peers/tokenizers.test.ts',
  'test/peers/dropout.test.ts',
  'test/peers/parity.test.ts',
  'test/peers/adapters.test.ts',
  'test/torch/equality.test.ts',
  'test/torch/devices.test.ts',
  'test/torch/packs.test.ts',
  'test/torch/stages.test.ts',
  'test/torch/any-model.test.ts',
  'test/torch/command-line.test.ts',
  'test/torch/quantization.test.ts',
  'test/torch/memory.test.ts',
  'test/slurm/real.test.ts',
  'test/slurm/slurm.test.ts',
  'test/slurm/faults.test.ts',
];

/**
 * A suite of many short files, which share processes as files outside all suites do. `npm test`
 * runs them only if a filter names them.
 */
const SCIENCE = 'science';
/** Folders of tests that `npm test` leaves out; `npm run test:NAME` runs one of them. */
export const SUITES = [SCIENCE, 'faults', 'peers', 'torch', 'install', 'slurm', 'sanitized'];

/**
 * `why`: what is wrong with the file itself, besides its failed tests.
 * @typedef {{ file: string, passed: number, failed: number, seconds: number, output: string,
 *   why: string | null }} Result
 */

/**
 * Returns the paths of the test files that match one of the filters, or of all if there are none.
 * These are the files of a suite or, if `suite` is undefined, those outside all suites. With
 * filters, the files of `science` count as outside.
 */
function testFiles(project, filters, suite) {
  const leftOut = SUITES.filter((name) => filters.length === 0 || name !== SCIENCE);
  return readdirSync(join(project, 'test'), { recursive: true, encoding: 'utf8' })
    .map((file) => `test/${file.replaceAll('\\', '/')}`)
    .filter((file) =>
      suite === undefined
        ? !leftOut.some((name) => file.startsWith(`test/${name}/`))
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
 * Divides the files into lists, each for one process. Each file of LONGEST is alone in a list.
 * Then, the longest list first, there is a list for each folder of at least MANY files, and one for
 * all smaller folders of one parent: files of one folder import much the same, and every process
 * has to load that anew.
 * @param isSuite whether each file is to have a process of its own. The files of a suite are few
 *   and long.
 */
function listsForProcesses(all, isSuite) {
  const longest = LONGEST.filter((file) => all.includes(file)).map((file) => [file]);
  const files = all.filter((file) => !LONGEST.includes(file));
  if (isSuite) return [...longest, ...files.map((file) => [file])];
  const folders = groupBy(files, (file) => dirname(file));
  const lists = groupBy(files, (file) => {
    const folder = dirname(file);
    return (folders.get(folder)?.length ?? 0) < MANY ? `${dirname(folder)}/…` : folder;
  });
  return [...longest, ...[...lists.values()].sort((a, b) => b.length - a.length)];
}

function groupBy(files, by) {
  const groups = new Map();
  for (const file of files) groups.set(by(file), [...(groups.get(by(file)) ?? []), file]);
  return groups;
}

/**
 * Returns a function that hands out the lists one by one and, after the last, half of what is left
 * of the longest list; undefined if no file is left. The caller takes a file off its list to run
 * it.
 */
function createFileQueue(lists) {
  const begun = [];
  return () => {
    const longest = begun.reduce((most, list) => (list.length > most.length ? list : most), []);
    const list = lists.shift() ?? longest.splice(Math.floor(longest.length / 2));
    if (list.length === 0) return undefined;
    begun.push(list);
    return list;
  };
}

/** Adds up the counts in all lines `LINE: COUNT` of uvu's summaries, one for each suite. */
function sumOfCounts(output, line) {
  // A test may have forced colours.
  const plain = output.replace(/\u001b\[\d+m/g, '');
  return [...plain.matchAll(new RegExp(`^ {2}${line}:\\s+(\\d+)$`, 'gm'))].reduce(
    (total, [, count]) => total + Number(count),
    0,
  );
}

/** Runs test files in one process, which is started again after a file that ended it. */
class TestProcess {
  constructor(project, { limitMinutes = LIMIT_MINUTES, env = {} }) {
    this.project = project;
    this.limitMinutes = limitMinutes;
    this.env = env;
    this.endOfFile = `end of file ${randomUUID()}`;
    // The tests' temporary folder, which others may read: some tests run programs as another user.
    this.folder = mkdtempSync(join(tmpdir(), 'dosimeter-tests-'));
    chmodSync(this.folder, 0o755);
    this.child = null;
    this.output = '';
    /** Called when the process has printed something or has ended; `run` and `end` set it. */
    this.changed = () => {};
  }

  /** Starts the process and returns it. What it prints is added to `output`. */
  start() {
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', TEST_PROCESS, this.endOfFile, this.folder],
      {
        cwd: this.project,
        stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
        env: { ...process.env, ...this.env, NODE_ENV: 'test' },
      },
    );
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => {
        this.output += text;
        this.changed();
      });
    // The process may end while a path is being written to it.
    child.stdio[3].on('error', () => {});
    child.on('close', () => {
      this.child = null;
      this.changed();
    });
    return child;
  }

  /**
   * Runs a file and counts its tests. A `why` counts as one more failure.
   * @returns {Promise<Result>}
   */
  async run(file) {
    const started = performance.now();
    this.output = '';
    this.child ??= this.start();
    const { child } = this;
    child.stdio[3].write(`${file}\n`);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, this.limitMinutes * 60_000);
    const end = new RegExp(`\\n${this.endOfFile} (.*)\\n`);
    await new Promise((resolve) => {
      this.changed = () => {
        if (this.child === null || end.test(this.output)) resolve();
      };
    });
    clearTimeout(timer);
    const left = end.exec(this.output)?.[1];
    const output = this.output.replace(end, '');
    const [total, passed] = [sumOfCounts(output, 'Total'), sumOfCounts(output, 'Passed')];
    const failed = total - passed; // uvu's total leaves skipped tests out
    let why = null;
    if (late) why = `ran longer than ${this.limitMinutes} minutes`;
    else if (left === undefined)
      why = `ended its process with ${child.signalCode ?? `exit code ${child.exitCode}`}`;
    else why = whyBroken(JSON.parse(left), total);
    return {
      file,
      passed,
      failed: failed + (why === null ? 0 : 1),
      seconds: (performance.now() - started) / 1000,
      output,
      why,
    };
  }

  /**
   * Lets the process end and removes what its tests left. Returns what is wrong if the process had
   * to be killed; otherwise null.
   */
  async end() {
    const why = this.child === null ? null : await this.#waitForEnd(this.child);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
    return why;
  }

  /** Tells the process that no file follows, and waits for its end. Returns what `end` does. */
  async #waitForEnd(child) {
    let why = null;
    const timer = setTimeout(() => {
      why = `a file left something open that keeps its process alive after ${END_SECONDS} s`;
      child.kill('SIGKILL');
    }, END_SECONDS * 1000);
    const ended = new Promise((resolve) => {
      this.changed = () => {
        if (this.child === null) resolve();
      };
    });
    child.stdio[3].end();
    await ended;
    clearTimeout(timer);
    return why;
  }
}

/** Returns what is wrong with a file besides its failed tests; null if nothing is. */
function whyBroken({ changed, broken }, total) {
  if (broken) return 'could not be run';
  if (total === 0) return 'ran no test: does it end with .run()?';
  return changed.length > 0 ? `did not restore ${changed.join(', ')}` : null;
}

function resultLine({ file, passed, failed, seconds, why }) {
  const counts = failed > 0 ? `${passed} passed, ${failed} failed` : `${passed} passed`;
  const reason = why === null ? '' : ` (${why})`;
  return `${failed > 0 ? 'FAIL' : '  ok'}  ${file}  ${counts}${reason}, ${seconds.toFixed(1)} s`;
}

/**
 * Runs tests. Prints one line per file, the whole output of each file that fails, and the totals.
 * @param filters if empty, every file is run
 * @returns {Promise<boolean>} whether all passed
 */
export async function runTests(project, filters, options = {}) {
  const files = testFiles(project, filters, options.suite);
  if (files.length === 0) {
    const where = options.suite === undefined ? '' : ` of test/${options.suite}`;
    throw new Error(`no test file${where} matches ${filters.join(' ')}`);
  }
  const isSuite = options.suite !== undefined && options.suite !== SCIENCE;
  const next = createFileQueue(listsForProcesses(files, isSuite));
  const results = [];
  const faults = [];
  await Promise.all(
    Array.from({ length: isSuite ? SUITE_PROCESSES : PROCESSES }, async () => {
      let tests = new TestProcess(project, options);
      const folders = new Set();
      /**
       * Lets the process end; what is wrong with it becomes a fault of the folders whose files it
       * ran.
       */
      const end = async () => {
        const why = await tests.end();
        if (why !== null) faults.push(`${[...folders].join(', ')}: ${why}`);
        folders.clear();
      };
      for (let list = next(); list !== undefined; list = next()) {
        for (let file = list.shift(); file !== undefined; file = list.shift()) {
          folders.add(dirname(file));
          const result = await tests.run(file);
          results.push(result);
          if (result.failed > 0) console.log(result.output.trimEnd());
          console.log(resultLine(result));
        }
        if (!isSuite) continue;
        await end();
        tests = new TestProcess(project, options);
      }
      await end();
    }),
  );
  const passed = results.reduce((count, result) => count + result.passed, 0);
  const failed = results.reduce((count, result) => count + result.failed, faults.length);
  for (const why of faults) console.log(`FAIL  ${why}`);
  for (const { file } of results.filter((result) => result.failed > 0))
    console.log(`failed: ${file}`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0;
}
