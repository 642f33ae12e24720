/** `--remote`, `dosimeter push` and `dosimeter pull`, with a folder as the remote. */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../../rig/present.ts';
import {
  createProject,
  lastLine,
  type Project,
  type StageJson,
  writeToys,
} from '../../rig/project.ts';

const test = suite<{ project: Project }>('remote on the command line');
test.before((context) => {
  context.project = createProject();
  writeToys(context.project);
});

const REMOTE = ['--remote', 'file:shared'];
const store = (project: Project): string => path.join(project.dir, '.dosimeter/store');
const forget = (project: Project): void => {
  rmSync(store(project), { recursive: true });
  rmSync(path.join(project.dir, 'ran.log'), { force: true });
};

/** The files of a folder with their content, by path. */
const filesIn = (dir: string): readonly (readonly [string, string])[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile())
    .map((file) => {
      const full = path.join(file.parentPath, file.name);
      return [path.relative(dir, full), readFileSync(full, 'utf8')] as const;
    })
    .sort(([a], [b]) => (a < b ? -1 : 1));

test('what one run pushes, another fetches and does not compute', async ({ project }) => {
  const first = await project.succeeds('run', 'spec.yaml', ...REMOTE, '--push');
  assert.match(first.stderr, /entries: 13 sent to file:shared/);
  const entries = project.entries().sort(),
    [shard = ''] = entries;
  const before = filesIn(path.join(store(project), shard.slice(0, 2)));
  const numbers = await project.results('spec.yaml');
  forget(project);
  const second = await project.succeeds('run', 'spec.yaml', ...REMOTE);
  assert.match(second.stderr, /13 cached in/);
  assert.match(second.stderr, /entries: 13 fetched from file:shared/);
  assert.equal(project.lines('ran.log'), []);
  assert.is(lastLine(second.stdout), lastLine(first.stdout));
  assert.equal(project.entries().sort(), entries);
  assert.equal(filesIn(path.join(store(project), shard.slice(0, 2))), before);
  assert.equal(await project.results('spec.yaml'), numbers);
  assert.equal((await project.succeeds('verify')).stdout, '13 entries checked, all whole\n');
  // The next run needs no remote.
  const third = await project.succeeds('run', 'spec.yaml');
  assert.is(third.stderr, 'nothing to do: 13 stages cached\n');
});

test('what was damaged in the remote is refused, computed here, and mended by push', async ({
  project,
}) => {
  const [damaged] = (await project.stages('spec.yaml')).filter(({ kind }) => kind === 'toy-train');
  const key = present(present(damaged).key);
  const manifest = path.join(project.dir, `shared/v1/entries/${key.slice(0, 2)}/${key}.json`);
  const text = readFileSync(manifest, 'utf8');
  writeFileSync(manifest, text.slice(0, -30));
  forget(project);
  const run = await project.succeeds('run', 'spec.yaml', ...REMOTE);
  assert.match(
    run.stderr,
    `${key.slice(0, 10)}: what file:shared holds is refused: its manifest is not JSON`,
  );
  assert.match(run.stderr, /1 ran, 12 cached in/);
  assert.match(run.stderr, /entries: 12 fetched from file:shared; 1 not transferred/);
  assert.is(project.lines('ran.log').length, 1);
  const pushed = await project.succeeds('push', 'spec.yaml', ...REMOTE);
  assert.match(pushed.stdout, /^1 entry \(\d.* MB\) sent to file:shared; 12 were there\n$/);
});

test('a spec, a run or keys are pulled and pushed by name', async ({ project }) => {
  const runs = readdirSync(path.join(project.dir, '.dosimeter/runs')).sort(),
    run = present(runs[0]);
  assert.match((await project.succeeds('push', run, ...REMOTE)).stdout, /13 were there\n$/);
  const keys = project.entries().sort();
  forget(project);
  renameSync(path.join(project.dir, '.dosimeter/runs'), path.join(project.dir, 'other-runs'));
  const [one = '', two = ''] = keys;
  const pull = (...args: readonly string[]) => project.json<object>('pull', ...args, '--json');
  const at = { DOSIMETER_REMOTE: 'file:shared' };
  const some = await project.startWith({ env: at }, 'pull', one, two, '0'.repeat(64), '--json')
    .ended;
  const counted = JSON.parse(some.stdout) as { readonly bytes: number };
  assert.is(some.code, 1);
  assert.match(some.stderr, `${'0'.repeat(64)} is not there`);
  assert.ok(counted.bytes > 0);
  assert.equal(counted, {
    remote: 'file:shared',
    fetched: 2,
    here: 0,
    bytes: counted.bytes,
    lacking: 1,
    failed: 0,
  });
  assert.equal(project.entries().sort(), [one, two]);
  const ofRun = await pull(run, ...REMOTE);
  assert.equal({ ...ofRun, bytes: 0 }, { ...counted, fetched: 11, here: 2, bytes: 0, lacking: 0 });
  forget(project);
  const ofSpec = await pull('spec.yaml', ...REMOTE, '--only', 'seed=1');
  assert.equal({ ...ofSpec, bytes: 0 }, { ...counted, fetched: 6, bytes: 0, lacking: 1 });
  assert.equal(project.lines('ran.log'), []);
});

test('plan says what would be fetched, and fetches nothing but manifests', async ({ project }) => {
  forget(project);
  const planned = await project.succeeds('plan', 'spec.yaml', ...REMOTE);
  assert.match(
    planned.stdout,
    /0 cached, 13 to fetch from file:shared \(\d+\.\d MB\), nothing to run/,
  );
  assert.match(planned.stdout, /stage +all +cached +to fetch +ready +pending\n/);
  const { stages } = await project.json<{ stages: readonly StageJson[] }>(
    ...['plan', 'spec.yaml', ...REMOTE, '--json'],
  );
  assert.equal(
    stages.map(({ state, outputs, key }) => [state, outputs, key?.length]),
    stages.map(() => ['remote', null, 64]),
  );
  assert.equal(project.entries(), []);
  // What the remote lacks would run, and what waits for it.
  const lost = present(stages.find(({ kind }) => kind === 'toy-train')?.key);
  const manifest = path.join(project.dir, `shared/v1/entries/${lost.slice(0, 2)}/${lost}.json`);
  const text = readFileSync(manifest, 'utf8');
  rmSync(manifest);
  const less = await project.succeeds('plan', 'spec.yaml', ...REMOTE);
  assert.match(less.stdout, /10 to fetch from file:shared/);
  assert.match(less.stdout, /3 to run/);
  writeFileSync(manifest, text);
});

test('gc of a remote says what it would sweep, and sweeps it', async ({ project }) => {
  const gc = (...args: readonly string[]) => project.succeeds('gc', ...REMOTE, ...args);
  const dry = await gc('--max-size', '0', '--grace', '0m', '--dry-run');
  assert.match(dry.stdout, /^would sweep 13 entries, .* from file:shared; 0 left \(0\.0 MB\)\n$/);
  assert.match((await gc('--max-size', '0')).stdout, /^swept 0 entries, .*; 13 left/);
  assert.match((await gc()).stdout, /^swept 0 entries, 0 damaged manifests and 0 objects/);
  for (const [args, fault] of [
    [['--grace', '7d'], /--grace needs --remote/],
    [[...REMOTE, '--grace', 'soon'], /--grace takes a time such as 12h or 7d/],
    [[...REMOTE, '--runs'], /--runs is of this folder/],
    [['--remote', 'file:nowhere'], /file:nowhere is not a remote/],
  ] as const) {
    const { code, stderr } = await project.dosimeter('gc', ...args);
    assert.match(stderr, fault);
    assert.is(code, 2, stderr);
  }
  assert.not(existsSync(path.join(project.dir, 'nowhere')));
  // The variable that names the remote of runs is not for gc, which would then sweep another store.
  const own = await project.startWith({ env: { DOSIMETER_REMOTE: 'file:nowhere' } }, 'gc').ended;
  assert.is(own.code, 0, own.stderr);
});

test('a URI that is not a remote is a fault that says so', async ({ project }) => {
  for (const [args, fault] of [
    [['run', 'spec.yaml', '--remote', 'file:nowhere'], /file:nowhere is not a remote: there is no/],
    [['pull', 'spec.yaml'], /no remote is named\n {2}name it: --remote URI/],
    [['pull', '20200101-000000-1', ...REMOTE], /file:shared has no run 20200101-000000-1/],
  ] as const) {
    const { code, stderr } = await project.dosimeter(...args);
    assert.match(stderr, fault);
    assert.is(code, 2, stderr);
  }
});

test("a bucket without Amazon's client is a fault that says what to install", async ({
  project,
}) => {
  project.write(
    'hide.mjs',
    `import { register } from 'node:module';
const hook = \`export const resolve = (name, context, next) => {
  if (name.startsWith('@aws-sdk/'))
    throw Object.assign(new Error(name), { code: 'ERR_MODULE_NOT_FOUND' });
  return next(name, context);
};\`;
register('data:text/javascript,' + encodeURIComponent(hook));
`,
  );
  const env = { NODE_OPTIONS: `--import=${path.join(project.dir, 'hide.mjs')}` };
  const { code, stderr } = await project.startWith(
    { env },
    'pull',
    '0'.repeat(64),
    '--remote',
    's3://results',
  ).ended;
  assert.is(code, 2, stderr);
  assert.match(stderr, /s3:\/\/results needs packages that are not installed/);
  assert.match(stderr, /npm install @aws-sdk\/client-s3 @aws-sdk\/lib-storage/);
});

test.run();
