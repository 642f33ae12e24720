import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, repository, type TestProject } from './project.ts';

const test = suite<{ project: TestProject }>('setup');
test.before.each((context) => {
  context.project = createProject();
});

const SETUP = 'src/setup/setup.mjs';
const TFJS = join('node_modules', '@tensorflow');

/** Gives the project a copy of tfjs-node-gpu as npm installs it, without a binding. */
function withFreshTfjs(project: TestProject): void {
  rmSync(join(project.dir, TFJS));
  mkdirSync(join(project.dir, TFJS));
  for (const name of readdirSync(join(repository, TFJS))) {
    if (name !== 'tfjs-node-gpu')
      symlinkSync(join(repository, TFJS, name), join(project.dir, TFJS, name));
  }
  cpSync(join(repository, TFJS, 'tfjs-node-gpu'), join(project.dir, TFJS, 'tfjs-node-gpu'), {
    recursive: true,
    filter: (source) => !/tfjs-node-gpu\/(lib|deps)$/.test(source),
  });
}

test('without Python or a compiler WebAssembly is used, and a command to change that is named', ({
  project,
}) => {
  withFreshTfjs(project);
  for (const room of ['tensor', 'torch'])
    cpSync(join(repository, 'src', room), join(project.dir, 'src', room), { recursive: true });
  mkdirSync(join(project.dir, 'empty'));
  const { code, stdout } = project.node([SETUP], {
    PATH: join(project.dir, 'empty'),
    DOSIMETER_CACHE: join(project.dir, 'cache'),
    CXX: '',
  });
  assert.is(code, 0);
  assert.match(
    stdout,
    'setup: TensorFlow is not available: no Python was found (looked for python3, python).\n',
  );
  assert.match(
    stdout,
    'WebAssembly instead, several times slower; ' +
      'to get TensorFlow: apt-get install -y python3 && npx dosimeter setup\n',
  );
  project.write(
    'probe.ts',
    `
    import { chooseBackend, probe } from './src/tensor/backend.ts';
    const refusal = await chooseBackend('tensorflow').catch(({ message, hint }) => [message, hint]);
    console.log(JSON.stringify([(await chooseBackend()).name, (await probe())[0], refusal]));
  `,
  );
  assert.equal(JSON.parse(project.node(['--import', 'tsx', 'probe.ts']).stdout), [
    'wasm',
    {
      name: 'tensorflow',
      available: false,
      detail: 'no Python was found (looked for python3, python)',
      version: 'tensorflow',
      gpu: false,
      remedy: 'apt-get install -y python3 && npx dosimeter setup',
    },
    [
      'the backend "tensorflow" is not available: no Python was found (looked for python3, python)',
      'run `apt-get install -y python3 && npx dosimeter setup`',
    ],
  ]);
});

test('set-up makes a Python for PyTorch once, unless one is named', ({ project }) => {
  withFreshTfjs(project);
  const requirements = 'src/torch/python/requirements.txt';
  project.write(requirements, '# nothing\n');
  const cache = join(project.dir, 'cache');
  const setUp = (env: Readonly<Record<string, string>> = {}): string => {
    const { code, stdout } = project.node([SETUP, '--torch'], {
      DOSIMETER_CACHE: cache,
      DOSIMETER_PYTHON: '',
      CXX: '/no/compiler',
      ...env,
    });
    assert.is(code, 0, stdout);
    return stdout;
  };
  assert.match(
    setUp({ DOSIMETER_PYTHON: '/own/python' }),
    'setup: DOSIMETER_PYTHON names /own/python, which `--backend torch` uses; no other is made\n',
  );
  const python = join(cache, 'torch-python', 'bin', 'python');
  const uses = `setup: \`--backend torch\` uses ${python}\n`;
  const installs = `setup: installing PyTorch and what ${join(project.dir, requirements)} lists`;
  const first = setUp();
  assert.ok(first.includes(uses) && first.includes(installs), first);
  const second = setUp();
  assert.ok(second.includes(uses) && !second.includes(installs), second);
});

test('set-up removes and replaces nothing behind a link', ({ project }) => {
  withFreshTfjs(project);
  mkdirSync(join(project.dir, 'cache', 'tensorflow'), { recursive: true });
  mkdirSync(join(project.dir, 'wheels'));
  const downloads = join(project.dir, 'cache', 'tensorflow', 'downloads');
  symlinkSync(join(project.dir, 'wheels'), downloads);
  const { stdout } = project.node([SETUP, '--tensorflow', 'cpu'], {
    DOSIMETER_CACHE: join(project.dir, 'cache'),
  });
  assert.match(stdout, `setup: TensorFlow is not available: ${downloads} is a link`);
});

test("the headers of npm's package `node` are found in the package that it installs", ({
  project,
}) => {
  withFreshTfjs(project);
  mkdirSync(join(project.dir, 'node', 'bin'), { recursive: true });
  cpSync(realpathSync(process.execPath), join(project.dir, 'node', 'bin', 'node'));
  const setUp = (): string =>
    spawnSync(join(project.dir, 'node', 'bin', 'node'), [SETUP], {
      cwd: project.dir,
      encoding: 'utf8',
      env: { PATH: '', DOSIMETER_CACHE: join(project.dir, 'cache') },
    }).stdout;
  assert.match(setUp(), `not available: the headers of Node ${process.version} are missing`);
  const inner = `node/node_modules/node-${process.platform}-${process.arch}`;
  project.write(`${inner}/include/node/node_api.h`, '');
  assert.match(setUp(), 'not available: no Python was found');
});

test('a path without a TensorFlow is refused', ({ project }) => {
  withFreshTfjs(project);
  const { code, stderr } = project.node([SETUP, '--tensorflow', project.dir], {
    DOSIMETER_CACHE: join(project.dir, 'cache'),
  });
  assert.is(code, 1);
  assert.match(stderr, `${project.dir} holds no TensorFlow: expected libtensorflow_cc.so.2`);
  assert.not.ok(existsSync(join(project.dir, TFJS, 'tfjs-node-gpu', 'lib')));
});

test('dependencies are current if they are what the lock file says', ({ project }) => {
  const current = (): string =>
    project
      .node([
        '--input-type=module',
        '-e',
        `
    import { dependenciesAreCurrent } from './src/setup/dependencies.mjs';
    console.log(dependenciesAreCurrent(process.cwd()));
  `,
      ])
      .stdout.trim();
  const packages = {
    '': { name: 'x' },
    'node_modules/a': { version: '1.0.0', integrity: 'i' },
    'node_modules/b': { version: '1.0.0', optional: true },
  };
  const lock = (file: string, entries: object): void =>
    project.write(file, JSON.stringify({ packages: entries }));
  rmSync(join(project.dir, 'node_modules', '.package-lock.json'));
  lock('package-lock.json', packages);
  assert.is(current(), 'false');
  // An optional package, such as another platform's binary, may be absent.
  lock('node_modules/.package-lock.json', { 'node_modules/a': packages['node_modules/a'] });
  assert.is(current(), 'true');
  lock('node_modules/.package-lock.json', {
    'node_modules/a': { version: '1.0.1', integrity: 'i' },
  });
  assert.is(current(), 'false');
});

test.run();
