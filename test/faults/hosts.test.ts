/**
 * Two hosts share a store on a file system that shows late what the other one has changed. Each is
 * a namespace with a host name, process ids and a mount of its own: a FUSE file system for which
 * the kernel caches attributes, names and absent names for two seconds, as it does for NFS. It
 * needs root, and Debian's package bindfs, which is installed where it is missing.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import type { Project, Started } from '../rig/project.ts';
import { createStores, putEntry } from '../store/remote/double.ts';
import {
  contentsOf,
  fresh,
  gridSuite,
  published,
  ranAgain,
  settle,
  STAGES,
  times,
} from './grid.ts';

const test = gridSuite('faults/hosts');

const CACHED_SECONDS = 2;
const CACHE = ['attr', 'entry', 'negative'].map((of) => `${of}_timeout=${CACHED_SECONDS}`).join();

test.before(() => {
  if (spawnSync('bindfs', ['--version']).status === 0) return;
  const apt = (...args: readonly string[]) =>
    spawnSync('apt-get', ['-q', '-y', ...args], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      encoding: 'utf8',
    });
  apt('update');
  const { status, stderr } = apt('install', '--no-install-recommends', 'bindfs');
  assert.is(status, 0, `bindfs can't be installed: ${stderr}`);
});

const SILENCE = { DOSIMETER_LEASE_SECONDS: '4' };
const RUN_TWO = ['run', 'spec.yaml', '--jobs', '2'],
  RUN_ONE = ['run', 'spec.yaml', '--jobs', '1'];

/** Starts a command on a host, whose process 1 it becomes. */
function startOn(
  host: string,
  project: Project,
  args: readonly string[],
  env: { readonly [name: string]: string } = {},
): Started {
  const state = path.join(project.dir, '.dosimeter');
  mkdirSync(state, { recursive: true });
  const unshare = 'unshare --pid --uts --mount --fork --kill-child --mount-proc'.split(' ');
  const enter = `hostname "$0" && bindfs -o ${CACHE} "$1" "$1" && shift && exec "$@"`;
  return project.startWith(
    {
      env,
      under: [...unshare, '--', 'sh', '-c', enter, host, state],
    },
    ...args,
  );
}

test('an entry of a host that has ended is found, although it was absent a moment ago', async () => {
  const stores = createStores();
  const near = path.join(stores.dir, 'near'),
    far = path.join(stores.dir, 'far');
  mkdirSync(path.join(near, 'store'), { recursive: true });
  mkdirSync(far);
  const mounted = spawnSync('bindfs', ['-o', CACHE, near, far], { encoding: 'utf8' });
  assert.is(mounted.status, 0, mounted.stderr);
  try {
    const files = { 'model.bin': 'm' },
      { key } = await putEntry(stores.open('elsewhere'), files);
    const late = stores.open('far/store');
    assert.is(late.lookUp(key).state, 'absent');
    const early = stores.open('near/store');
    await putEntry(early, files);
    early.close();
    assert.ok('held' in late.take(key));
    assert.is((await late.lookUpShared(key, false)).state, 'hit');
    late.close();
  } finally {
    spawnSync('umount', [far]);
    await stores.clean();
  }
});

const PAIRS = times(2, 20);

test(`each stage runs once when two hosts go at the same time (${PAIRS} times)`, async ({
  project,
  expected,
  took,
}) => {
  for (let n = 0; n < PAIRS; n++) {
    fresh(project);
    const first = startOn('one', project, RUN_TWO);
    await sleep((n % 2) * (took / 3));
    const second = startOn('two', project, RUN_TWO);
    const said = await Promise.all([first.ended, second.ended]);
    for (const { code, stderr } of said) assert.is(code, 0, stderr);
    const ran = project.lines('ran.log');
    assert.equal(
      [ran.length, new Set(ran).size],
      [STAGES, STAGES],
      `${ran.join(', ')}\n${said.map(({ stderr }) => stderr).join('\n')}`,
    );
    assert.equal(readdirSync(path.join(project.dir, '.dosimeter/store/leases')), []);
    await settle(project, expected);
  }
});

test('a host that is gone is replaced once it has been silent, although its pid lives on', async ({
  project,
  expected,
}) => {
  fresh(project);
  const first = startOn('one', project, RUN_ONE, SILENCE);
  while (project.lines('ran.log').length < 3 && first.process.exitCode === null) await sleep(5);
  // Both commands are process 1 of their hosts, so the owner's pid is alive on each of them.
  const second = startOn('two', project, RUN_ONE, SILENCE);
  first.process.kill('SIGKILL');
  await first.ended;
  const before = published(project),
    ran = project.lines('ran.log').length;
  const { code, stderr } = await second.ended;
  assert.is(code, 0, stderr);
  assert.equal(ranAgain(project, before, ran), []);
  // What the other host was writing is swept after an hour, so the store is not as `settle` wants
  // it.
  const contents = contentsOf(project);
  for (const [file, digest] of Object.entries(expected)) assert.is(contents[file], digest, file);
  assert.is((await project.dosimeter('verify')).code, 0);
});

test.run();
