/** Refusals of the system (open files, space, permission to write) are reported plainly. */
import { chmodSync, chownSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../rig/present.ts';
import { createProject, type Project, type Said, writeToys } from '../rig/project.ts';
import { UNPRIVILEGED } from './unprivileged.ts';

const test = suite<{ project: Project }>('faults/refused');
test.before.each((context) => {
  context.project = createProject({ warm: false });
  writeToys(context.project, { seeds: [1], poisoning: '[{ attack: none }]' });
});

const preload = new URL('./preload.mjs', import.meta.url).href;

/** Asserts exit code 2 and a plain sentence, without a stack trace. */
function assertPlain({ code, stderr }: Said, sentence: RegExp): void {
  assert.match(stderr, sentence);
  assert.not.match(stderr, /internal error|^\s+at /m);
  assert.is(code, 2, stderr);
}

for (const limit of [22, 32, 40])
  test(`a run with at most ${limit} open files works or says why not`, async ({ project }) => {
    const said = await project.startWith(
      { under: ['sh', '-c', `ulimit -n ${limit} && exec "$@"`, 'sh'] },
      'run',
      'spec.yaml',
    ).ended;
    if (said.code !== 0) assertPlain(said, /too many files are open \(E[MN]FILE\)/);
  });

for (const command of [['results', 'spec.yaml'], ['schema'], ['status', '--json']])
  test(`\`${command.join(' ')} > /dev/full\` says that its output could not be written`, async ({
    project,
  }) => {
    const ran = await project.dosimeter('run', 'spec.yaml');
    assert.is(ran.code, 0, ran.stderr);
    assertPlain(
      await project.startWith({ under: ['sh', '-c', 'exec "$@" > /dev/full', 'sh'] }, ...command)
        .ended,
      /the output could not be written: ENOSPC/,
    );
  });

test('a run that cannot write to stderr succeeds all the same', async ({ project }) => {
  const { code } = await project.startWith(
    { under: ['sh', '-c', 'exec "$@" 2> /dev/full', 'sh'] },
    'run',
    'spec.yaml',
  ).ended;
  assert.is(code, 0);
  assert.is(project.entries().length, 3);
});

test('names of plugins, specs and folders may have a backslash', async ({ project }) => {
  const below = 'a\\folder';
  mkdirSync(path.join(project.dir, below));
  for (const name of ['toy-train.mjs', 'toy-evaluate.mjs'])
    project.write(`${below}/${name}`, project.read(name));
  for (const name of ['rows.tsv', 'model/config.json'])
    project.write(`${below}/${name}`, project.read(name));
  project.write(`${below}/toy\\report.mjs`, project.read('toy-report.mjs'));
  project.write(
    `${below}/a\\spec.yaml`,
    project.read('spec.yaml').replace('toy-report.mjs', 'toy\\report.mjs'),
  );
  const { code, stderr } = await project.dosimeter('run', `${below}/a\\spec.yaml`);
  assert.is(code, 0, stderr);
});

test('a backslash in the path of the cache is reported, with a way out', async ({ project }) => {
  assertPlain(
    await project.startWith(
      { env: { DOSIMETER_CACHE: path.join(project.dir, 'a\\cache') } },
      'run',
      'spec.yaml',
    ).ended,
    /Node loads no module from a path with a backslash in it[^]*DOSIMETER_CACHE/,
  );
});

test("a lack of space for a run's records is reported for the folder of the runs", async ({
  project,
}) => {
  const said = await project.startWith(
    { env: { NODE_OPTIONS: `--import ${preload}`, QUOTA: 'plan.json' } },
    'run',
    'spec.yaml',
  ).ended;
  assert.is(said.code, 0, said.stderr);
  const runs = path.join(project.dir, '.dosimeter', 'runs');
  assert.match(
    said.stderr,
    `${path.join(runs, present(readdirSync(runs)[0]))}: the disk quota is used up (EDQUOT)`,
  );
  assert.not.match(said.stderr, `${path.join(project.dir, '.dosimeter', 'store')}:`);
});

test('without space for its folder a run leaves nothing and runs nothing', async ({ project }) => {
  const said = await project.startWith(
    { env: { NODE_OPTIONS: `--import ${preload}`, QUOTA: 'resolved.json' } },
    'run',
    'spec.yaml',
  ).ended;
  assertPlain(said, /\.dosimeter\/runs: the disk quota is used up \(EDQUOT\)/);
  assert.equal(readdirSync(path.join(project.dir, '.dosimeter', 'runs')), []);
  assert.equal(project.entries(), []);
});

for (const [variable, sentence] of [
  ['QUOTA', /the disk quota is used up \(EDQUOT\)[^]*free some space, or /],
  ['DISK_FAILS', /the disk failed to read or write it \(EIO\)[^]*look at the disk/],
] as const)
  for (const place of ['.dosimeter/store', '.dosimeter/store/leases', '.cache/plugins'])
    test(`a refusal (${variable}) to write to ${place} is told plainly`, async ({ project }) => {
      const env = { NODE_OPTIONS: `--import ${preload}`, [variable]: `${project.dir}/${place}` };
      assertPlain(await project.startWith({ env }, 'run', 'spec.yaml').ended, sentence);
    });

for (const place of ['journal.jsonl', '/logs/', 'run.log'])
  test(`a run whose quota leaves no room for ${place} ends with its results`, async ({
    project,
  }) => {
    const env = { NODE_OPTIONS: `--import ${preload}`, QUOTA: place };
    const { code, stderr } = await project.startWith({ env }, 'run', 'spec.yaml').ended;
    assert.not.match(stderr, /internal error|^\s+at /m);
    assert.ok(code === 0 || /EDQUOT/.test(stderr), `${String(code)}: ${stderr}`);
  });

if (process.getuid?.() === 0)
  test('what another user keeps private is told with its owner and a way out', async ({
    project,
  }) => {
    const ran = await project.dosimeter('run', 'spec.yaml');
    assert.is(ran.code, 0, ran.stderr);
    const store = path.join(project.dir, '.dosimeter', 'store');
    const [key = ''] = project.entries();
    const shard = path.join(store, key.slice(0, 2)),
      entry = path.join(shard, key);
    const record = path.join(store, 'code', present(readdirSync(path.join(store, 'code'))[0]));
    const command = (...args: string[]): Promise<Said> =>
      project.startWith({ under: UNPRIVILEGED }, ...args).ended;
    /** As under a umask of 077. */
    const keepPrivate = (file: string): void => {
      chmodSync(file, statSync(file).isDirectory() ? 0o700 : 0o600);
      chownSync(file, 12345, 12345);
    };
    keepPrivate(record);
    for (const file of [path.join(entry, 'manifest.json'), entry, shard]) {
      keepPrivate(file);
      const sentence = new RegExp(
        `${file} belongs to another user \\(id 12345\\)[^]*chmod -R a\\+rX`,
      );
      for (const args of [['results'], ['plan'], ['run']])
        assertPlain(await command(...args, 'spec.yaml'), sentence);
      const { code, stdout } = await command('verify');
      assert.is(code, 1);
      assert.match(stdout, `not checked ${file} belongs to another user`);
      assert.match(stdout, `not checked ${record} belongs to another user`);
      assert.match(stdout, `${project.entries().length - 1} entries checked, all whole`);
    }
  });

for (const [args, env] of [
  [['run', 'spec.yaml', '--store', '/proc/x'], {}],
  [['init', '/proc/x'], {}],
  [['gc', '--store', '/proc'], {}],
  [['run', 'spec.yaml'], { DOSIMETER_CACHE: '/proc/x' }],
] as const) {
  const cache = 'DOSIMETER_CACHE' in env ? `DOSIMETER_CACHE=${env.DOSIMETER_CACHE} ` : '';
  test(`\`${cache}${args.join(' ')}\` says that no folder can be made`, async ({ project }) => {
    assertPlain(await project.startWith({ env }, ...args).ended, /no folder can be made there/);
  });
}

test.run();
