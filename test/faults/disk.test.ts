/** Full disks, missing permissions and jumping clocks: clear messages, and nothing is lost. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import path from 'node:path';
import * as assert from 'uvu/assert';
import type { Project, Said } from '../rig/project.ts';
import {
  contentsOf,
  fresh,
  gridSuite,
  outputsOf,
  planOf,
  published,
  ranAgain,
  settle,
  STAGES,
  times,
} from './grid.ts';
import { UNPRIVILEGED } from './unprivileged.ts';

const test = gridSuite('faults/disk');

const preload = new URL('./preload.mjs', import.meta.url).href;
const withPreload = (
  project: Project,
  env: Readonly<Record<string, string>>,
  ...args: readonly string[]
): Promise<Said> =>
  project.startWith({ env: { ...env, NODE_OPTIONS: `--import ${preload}` } }, ...args).ended;

/** Asserts that the user is told by a plain sentence, without a stack trace. */
function assertPlain(said: Said, sentence: RegExp): void {
  assert.ok(
    sentence.test(said.stderr),
    `${String(sentence)} in exit code ${String(said.code)}: ${said.stderr}`,
  );
  assert.not.match(said.stderr, /^\s+at /m);
  assert.not.match(said.stderr, /internal error/);
  assert.ok(said.code === 1 || said.code === 2, `${String(said.code)}: ${said.stderr}`);
}

const FULL = new RegExp(
  'the disk is full \\(ENOSPC\\)[^]*free some space, or ' +
    '(give another place with (--store|DOSIMETER_CACHE)|run it in another folder); ' +
    'what is finished is kept',
);

/** Mounts a small file system. False if this machine does not allow that. */
function mount(dir: string, size: string): boolean {
  mkdirSync(dir, { recursive: true });
  return spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', dir]).status === 0;
}

for (const size of times(1, 4) === 1 ? ['500k'] : ['60k', '200k', '500k', '800k']) {
  test(`a run on a disk of ${size} stops when it is full, and goes on when there is room`, async ({
    project,
    expected,
  }) => {
    fresh(project);
    const dir = path.join(project.dir, '.dosimeter');
    if (!mount(dir, size)) {
      console.log(
        'no file system may be mounted here: the next test fills an imitated disk instead',
      );
      return;
    }
    try {
      assertPlain(await project.dosimeter('run', 'spec.yaml', '--jobs', '2'), FULL);
      const before = published(project),
        ran = project.lines('ran.log').length;
      // The full store can still be read.
      assert.is((await project.dosimeter('plan', 'spec.yaml')).code, 0);
      assert.is((await project.dosimeter('verify')).code, 0);
      assert.is(spawnSync('mount', ['-o', 'remount,size=64m', dir]).status, 0);
      await settle(project, expected);
      assert.equal(ranAgain(project, before, ran), []);
    } finally {
      spawnSync('umount', ['-l', dir]);
    }
  });
}

test('a disk that is full from the nth write on stops the run plainly', async ({
  project,
  expected,
}) => {
  const step = times(25, 1);
  for (let n = 0; ; n += step) {
    fresh(project);
    // The built copies of the spec's plugins are written too.
    rmSync(path.join(project.dir, '.cache'), { recursive: true, force: true });
    const said = await withPreload(
      project,
      { DISK_FULL: String(n) },
      'run',
      'spec.yaml',
      '--jobs',
      '2',
    );
    if (said.code !== 0) assertPlain(said, FULL);
    else assert.equal(contentsOf(project), expected, said.stderr);
    const before = published(project),
      ran = project.lines('ran.log').length;
    await settle(project, expected);
    assert.equal(ranAgain(project, before, ran), [], `full at write ${n}`);
    if (said.code === 0) break;
  }
});

const under = (project: Project, ...args: readonly string[]): Promise<Said> =>
  project.startWith({ under: UNPRIVILEGED }, ...args).ended;

/** Makes a folder and everything below it writable or read-only. */
function setModes(dir: string, writable: boolean): void {
  if (writable) chmodSync(dir, 0o755);
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const full = path.join(dir, entry.name);
    if (entry.isDirectory()) setModes(full, writable);
    else chmodSync(full, writable ? 0o644 : 0o444);
  }
  if (!writable) chmodSync(dir, 0o555);
}

test('a read-only store serves what it has and refuses to store more', async ({
  project,
  expected,
}) => {
  await settle(project, expected);
  const store = path.join(project.dir, '.dosimeter/store');
  const train = await outputsOf(project, 'grid-train');
  const modes = (writable: boolean): void => setModes(store, writable);
  try {
    modes(false);
    const nothing = await under(project, 'run', 'spec.yaml');
    assert.equal([nothing.code, nothing.stderr], [0, 'nothing to do: 20 stages cached\n']);
    for (const args of [
      ['verify'],
      ['plan', 'spec.yaml'],
      ['results', 'spec.yaml'],
      ['explain', 'spec.yaml'],
    ])
      assert.is((await under(project, ...args)).code, 0, args[0]);
    modes(true);
    rmSync(train, { recursive: true });
    modes(false);
    for (const args of [
      ['run', 'spec.yaml'],
      ['pin', 'spec.yaml'],
      ['gc', '--max-size', '0'],
    ]) {
      const said = await under(project, ...args);
      assertPlain(said, /there is no permission to write there \(EACCES\)\n/);
      assertPlain(said, /\n {2}give another place with --store, or mend the permissions/);
    }
  } finally {
    modes(true);
  }
  await settle(project, expected);
});

test('a store on a read-only file system serves what it has and refuses more', async ({
  project,
  expected,
}) => {
  const store = path.join(project.dir, '.dosimeter/store'),
    away = path.join(project.dir, 'away');
  fresh(project);
  if (!mount(store, '64m')) {
    console.log(
      'no file system may be mounted here: the test before has a store without permission instead',
    );
    await settle(project, expected);
    return;
  }
  try {
    await settle(project, expected);
    rmSync(await outputsOf(project, 'grid-train'), { recursive: true });
    assert.is(spawnSync('mount', ['-o', 'remount,ro', store]).status, 0);
    for (const args of [
      ['plan', 'spec.yaml'],
      ['results', 'spec.yaml'],
      ['explain', 'spec.yaml'],
      ['verify'],
    ])
      assert.is((await project.dosimeter(...args)).code, 0, args[0]);
    const before = project.lines('ran.log').length;
    for (const args of [
      ['run', 'spec.yaml'],
      ['pin', 'spec.yaml'],
      ['gc', '--max-size', '0'],
    ])
      assertPlain(
        await project.dosimeter(...args),
        /the file system is read-only \(EROFS\)\n {2}give another place with --store/,
      );
    assert.is(project.lines('ran.log').length, before);
    const elsewhere = await project.dosimeter('run', 'spec.yaml', '--store', away);
    assert.is(elsewhere.code, 0, elsewhere.stderr);
    assert.match(elsewhere.stderr, '20 ran');
    assert.is(spawnSync('mount', ['-o', 'remount,rw', store]).status, 0);
    assert.match(await settle(project, expected), '1 ran, 19 cached');
  } finally {
    spawnSync('umount', ['-l', store]);
    rmSync(away, { recursive: true, force: true });
  }
});

test('a quota that is used up costs only what could not be written', async ({
  project,
  expected,
}) => {
  for (const where of ['grid-report-', 'store/durations.json', 'reports/', 'runs/']) {
    fresh(project);
    const said = await withPreload(project, { QUOTA: where }, 'run', 'spec.yaml', '--jobs', '2');
    const ran = project.lines('ran.log').length;
    if (where === 'grid-report-') {
      assertPlain(said, /the disk quota is used up \(EDQUOT\)/);
      assertPlain(said, /free some space, or give another place with --store; what is finished is/);
      assert.is(published(project).size, STAGES - 1);
    } else if (where === 'runs/') {
      assertPlain(said, /runs: the disk quota is used up \(EDQUOT\)/);
      assertPlain(said, /free some space, or run it in another folder/);
      assert.is(ran, 0);
    } else {
      assert.is(said.code, 0, said.stderr);
      assert.match(said.stderr, /EDQUOT/);
      assert.equal(contentsOf(project), expected);
    }
    assert.match(
      await settle(project, expected),
      where === 'grid-report-'
        ? '1 ran, 19 cached'
        : where === 'runs/'
          ? '20 ran'
          : 'nothing to do',
    );
  }
});

test('a read-only .dosimeter folder still shows the finished report', async ({
  project,
  expected,
}) => {
  await settle(project, expected);
  const dir = path.join(project.dir, '.dosimeter');
  try {
    setModes(dir, false);
    const { code, stdout, stderr } = await under(project, 'run', 'spec.yaml');
    assert.is(code, 0, stderr);
    assert.match(stderr, /the report could not be copied to .*grid\.html \(EACCES\)/);
    assert.match(stdout, /\.dosimeter\/store\/.*\/report\.html\n$/);
  } finally {
    setModes(dir, true);
  }
});

test('a stored file that may not be read counts as damaged', async ({ project, expected }) => {
  for (const file of ['manifest.json', 'rows.jsonl']) {
    await settle(project, expected);
    const id = (await planOf(project)).find(({ kind }) => kind === 'grid-rows')?.id ?? '';
    chmodSync(path.join(await outputsOf(project, 'grid-rows'), file), 0);
    rmSync(await outputsOf(project, 'grid-train'), { recursive: true });
    const { code, stderr } = await under(project, 'run', 'spec.yaml');
    assert.is(code, 0, stderr);
    assert.match(
      stderr,
      new RegExp(`the entry of ${id} was damaged \\(.*can't be read \\(EACCES\\)\\)`),
    );
    await settle(project, expected);
  }
});

for (const every of [1, 7, 50]) {
  test(`a clock that jumps by days at every ${every}th reading changes nothing`, async ({
    project,
    expected,
  }) => {
    fresh(project);
    const { code, stderr } = await withPreload(
      project,
      { CLOCK: String(every) },
      'run',
      'spec.yaml',
      '--jobs',
      '2',
    );
    assert.is(code, 0, stderr);
    assert.match(await settle(project, expected), 'nothing to do: 20 stages cached');
    assert.is((await project.json<{ state: string }>('status', '--json')).state, 'done');
    assert.is((await withPreload(project, { CLOCK: String(every) }, 'gc')).code, 0);
    assert.match(
      (await withPreload(project, { CLOCK: String(every) }, 'run', 'spec.yaml')).stderr,
      'nothing to do: 20 stages cached',
    );
  });
}

for (const [what, seconds] of [
  ['put back', 86_400],
  ['put forward', -86_400 * 365],
] as const) {
  test(`a clock that was ${what} after the results were stored changes nothing`, async ({
    project,
    expected,
  }) => {
    await settle(project, expected);
    const store = path.join(project.dir, '.dosimeter/store');
    for (const entry of readdirSync(store, { recursive: true, withFileTypes: true })) {
      const file = path.join(entry.parentPath, entry.name),
        then = statSync(file).mtimeMs / 1000 + seconds;
      utimesSync(file, then, then);
    }
    assert.match(await settle(project, expected), 'nothing to do: 20 stages cached');
  });
}

test.run();
