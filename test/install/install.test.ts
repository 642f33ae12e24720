/**
 * The first steps of a new user: `npm pack` in the clone, `npm install` of the tarball in an empty
 * folder, `dosimeter setup`, `dosimeter init`, and every command that the starter prints. Downloads
 * the dependencies from npm's registry.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ResultRow } from '../../src/report/results.ts';
import type { ClosuresFile } from '../../src/run/registry/types.ts';
import { present } from '../rig/present.ts';
import { lastLine } from '../rig/project.ts';

const repository = fileURLToPath(new URL('../../', import.meta.url));
const root = realpathSync(mkdtempSync(path.join(tmpdir(), 'dosimeter-install-')));
const folder = path.join(root, 'mine');

const test = suite('install');

/** Runs a command as if typed into a terminal, without the environment of npm and without input. */
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

/** The commands of a README: its indented lines, without their comments. */
const commandsOf = (readme: string): string[] =>
  readme
    .split('\n')
    .filter((line) => line.startsWith('    '))
    .map((line) => line.replace(/\s#.*$/, '').trim());

const closuresOf = (project: string): ClosuresFile => {
  const dist = path.join(project, 'dist');
  const { build } = JSON.parse(readFileSync(path.join(dist, 'build.json'), 'utf8')) as {
    build: string;
  };
  return JSON.parse(readFileSync(path.join(dist, build, 'closures.json'), 'utf8')) as ClosuresFile;
};

test('the packed tarball installs into an empty folder, without install scripts', () => {
  mkdirSync(folder);
  type(`npm pack --pack-destination ${root}`, repository);
  type(`npm install --ignore-scripts --no-audit --no-fund ${path.join(root, 'dosimeter-*.tgz')}`);
  for (const name of ['test', 'bench', 'dist', '.ci'])
    assert.not.ok(existsSync(path.join(folder, 'node_modules/dosimeter', name)), name);
});

test('dosimeter setup builds the program and gives it the same backend as the clone', () => {
  assert.match(type('npx dosimeter setup'), /^setup: .*(TensorFlow|WebAssembly)/m);
  const backend = (dir: string): unknown =>
    (JSON.parse(type('npx dosimeter doctor --json', dir)) as { backend: unknown }).backend;
  assert.is(backend(folder), backend(repository));
});

test('its code versions are those of the clone, with its dependencies as packages', () => {
  const [clone, installed] = [repository, path.join(folder, 'node_modules/dosimeter')].map(
    (project) => {
      const { parts } = closuresOf(project);
      return Object.entries(parts).filter(([part]) => !part.startsWith('npm:'));
    },
  );
  assert.equal(installed, clone);
  assert.ok('npm:@tensorflow/tfjs-core' in closuresOf(repository).parts);
  assert.ok('npm:@tensorflow/tfjs-core' in closuresOf(`${folder}/node_modules/dosimeter`).parts);
});

test('init works, and then every command that it and the starter print', () => {
  const next = /^next: (.*)$/m.exec(type('npx dosimeter init'))?.[1];
  assert.is(next, 'npx dosimeter plan experiment.yaml');
  const commands = commandsOf(readFileSync(path.join(folder, 'README.md'), 'utf8'));
  assert.equal(
    commands.map((command) => command.split(' ').slice(0, 3).join(' ')),
    ['npx dosimeter plan', 'npx dosimeter run', 'npx dosimeter results', 'npm test'],
  );
  const said = new Map(commands.map((command) => [command, type(command)]));
  const saidBy = (command: string | undefined): string => present(said.get(present(command)));
  assert.match(saidBy(next), /^starter: 12 cells \(6 conditions × 2 seeds\)/);
  const report = lastLine(saidBy('npx dosimeter run experiment.yaml'));
  assert.match(readFileSync(report, 'utf8'), /^<!doctype html>/i);
  assert.match(saidBy('npx dosimeter results experiment.yaml'), /\basr_clean\b/);
  const shares = (
    JSON.parse(type('npx dosimeter results experiment.yaml --json')) as readonly ResultRow[]
  ).filter(({ metric }) => metric === 'predicted_share');
  assert.is(shares.length, 12);
  for (const { cell, value } of shares) assert.ok(value < 1, JSON.stringify(cell));
  assert.match(saidBy('npm test'), /pass 3\b/);
});

test('npx runs this program in another folder that init made', () => {
  const said = type(`npx dosimeter init ${path.join(root, 'other')}`);
  const next = present(/^next: (.*)$/m.exec(said)?.[1]);
  assert.match(type(next), /^starter: 12 cells \(6 conditions × 2 seeds\)/);
  assert.match(type('npm test', path.join(root, 'other')), /pass 3\b/);
});

test('the library can be imported in the folder', () => {
  const script = `import { plan } from 'dosimeter';
    const { ok, value } = await plan('experiment.yaml');
    console.log(ok, value.stages.every(({ state }) => state === 'cached'));`;
  assert.is(type(`node --input-type=module -e "${script}"`), 'true true\n');
});

test.run();
