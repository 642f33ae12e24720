/**
 * The way in for a stranger: `npm pack` in the clone, `npm install` of the tarball into an empty folder, `dosimeter
 * setup`, `dosimeter init`, and every command that the starter prints. Asks npm's registry for the dependencies.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { RegistryFile } from '../../src/registry/types.ts';

const repository = fileURLToPath(new URL('../../', import.meta.url));
const root = realpathSync(mkdtempSync(path.join(tmpdir(), 'dosimeter-install-')));
const folder = path.join(root, 'mine');

const test = suite('install');
test.after(() => rmSync(root, { recursive: true, force: true }));

/** As typed into a terminal. What the test's own npm has set is left out, and a prompt would find no answer. */
function type(command: string, dir = folder): string {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^npm_|^NODE_(TEST_CONTEXT|ENV|OPTIONS)$|^INIT_CWD$/.test(name),
    ),
  );
  const { status, stdout, stderr } = spawnSync('sh', ['-c', command], {
    cwd: dir,
    encoding: 'utf8',
    env: { ...env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  assert.is(status, 0, `${command}\n${stdout}\n${stderr}`);
  return stdout;
}

/** The commands of a README: its indented lines, without what is said of them. */
const commandsOf = (readme: string): string[] =>
  readme
    .split('\n')
    .filter((line) => line.startsWith('    '))
    .map((line) => line.replace(/\s#.*$/, '').trim());

const registryOf = (project: string): RegistryFile => {
  const dist = path.join(project, 'dist');
  const { build } = JSON.parse(readFileSync(path.join(dist, 'build.json'), 'utf8')) as {
    build: string;
  };
  return JSON.parse(readFileSync(path.join(dist, build, 'registry.json'), 'utf8')) as RegistryFile;
};

test('the packed tarball installs into an empty folder, without install scripts', () => {
  mkdirSync(folder);
  type(`npm pack --pack-destination ${root}`, repository);
  type(`npm install --ignore-scripts --no-audit --no-fund ${path.join(root, 'dosimeter-*.tgz')}`);
  for (const name of ['test', 'bench', 'dist', '.ci'])
    assert.not.ok(existsSync(path.join(folder, 'node_modules/dosimeter', name)), name);
});

test('dosimeter setup builds it and brings the backend that the clone has', () => {
  assert.match(type('npx dosimeter setup'), /^setup: .*(TensorFlow|WebAssembly)/m);
  const backend = (dir: string): unknown =>
    (JSON.parse(type('npx dosimeter doctor --json', dir)) as { backend: unknown }).backend;
  assert.is(backend(folder), backend(repository));
});

test('its code has the versions that the clone’s has, its dependencies counted as packages', () => {
  const [clone, installed] = [repository, path.join(folder, 'node_modules/dosimeter')].map(
    (project) => {
      const { parts } = registryOf(project);
      return Object.entries(parts).filter(([part]) => !part.startsWith('npm:'));
    },
  );
  assert.equal(installed, clone);
  assert.ok('npm:@tensorflow/tfjs-core' in registryOf(repository).parts);
  assert.ok('npm:@tensorflow/tfjs-core' in registryOf(`${folder}/node_modules/dosimeter`).parts);
});

test('init, and then every command that it and the starter print', () => {
  const next = /^next: (.*)$/m.exec(type('npx dosimeter init'))?.[1];
  assert.is(next, 'npx dosimeter plan experiment.yaml');
  const commands = commandsOf(readFileSync(path.join(folder, 'README.md'), 'utf8'));
  assert.equal(
    commands.map((command) => command.split(' ').slice(0, 3).join(' ')),
    ['npx dosimeter plan', 'npx dosimeter run', 'npx dosimeter results', 'npm test'],
  );
  const said = Object.fromEntries(commands.map((command) => [command, type(command)]));
  assert.match(said[next!]!, /^starter: 6 cells × 2 seeds/);
  const report = said['npx dosimeter run experiment.yaml']!.trimEnd().split('\n').at(-1)!;
  assert.match(readFileSync(report, 'utf8'), /^<!doctype html>/i);
  assert.match(said['npx dosimeter results experiment.yaml']!, /\basr_clean\b/);
  assert.match(said['npm test']!, /pass 3\b/);
});

test('a folder elsewhere, made by init: npx there runs this program', () => {
  const said = type(`npx dosimeter init ${path.join(root, 'other')}`);
  const next = /^next: (.*)$/m.exec(said)![1]!;
  assert.match(type(next), /^starter: 6 cells × 2 seeds/);
  assert.match(type('npm test', path.join(root, 'other')), /pass 3\b/);
});

test('the library is imported from there', () => {
  const script = `import { plan } from 'dosimeter';
    const { ok, value } = await plan('experiment.yaml');
    console.log(ok, value.stages.every(({ state }) => state === 'cached'));`;
  assert.is(type(`node --input-type=module -e "${script}"`), 'true true\n');
});

test.run();
