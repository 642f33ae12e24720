/**
 * Every command in the documents exists and has the options used there. Cheap commands that change
 * nothing are run.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, type Project } from '../rig/project.ts';
import { blocksIn, read, repository } from './blocks.ts';
import { reader } from './reader.ts';
import {
  argumentsOf,
  callFault,
  type Command,
  commandNames,
  commandsOf,
  type Usage,
  usageOf,
} from './shell.ts';

const test = suite<{ project: Project }>('docs: shell');
test.before((context) => {
  context.project = reader();
});

const commands = blocksIn('sh').flatMap(commandsOf);
const shown = ({ place, words }: Command): string => `${place}: ${words.join(' ')}`;

test('a fenced block is of a language that these tests read', () => {
  const known = ['sh', 'yaml', 'js', 'python', 'text'];
  const others = blocksIn('').map(({ place }) => place);
  assert.equal(others, []);
  assert.ok(known.every((language) => language === 'text' || blocksIn(language).length > 0));
});

test('npm scripts that the documents name exist', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const unknown = commands
    .filter(({ words }) => words[0] === 'npm' && words[1] === 'run')
    .filter(({ words }) => !((words[2] ?? '') in scripts))
    .map(shown);
  assert.equal(unknown, []);
});

test('no block needs a program that a reader may lack', () => {
  const known = ['npm run', 'npm test', 'npm install', 'npm pack', 'npx dosimeter', 'npx --no'];
  const others = commands
    .filter(({ words }) => words[0] !== 'export' && !known.includes(words.slice(0, 2).join(' ')))
    .map(shown);
  assert.equal(others, []);
});

test('commands of dosimeter exist, with their options and arguments', async ({ project }) => {
  const known = commandNames((await project.dosimeter('--help')).stdout);
  const usages = new Map<string, Usage>();
  const faults: string[] = [];
  for (const command of commands) {
    const [name, ...rest] = argumentsOf(command) ?? [];
    if (name === undefined) continue;
    if (!known.includes(name)) {
      faults.push(`${shown(command)}: there is no such command`);
      continue;
    }
    const usage = usages.get(name) ?? usageOf((await project.dosimeter(name, '--help')).stdout);
    usages.set(name, usage);
    const fault = callFault(rest, usage);
    if (fault !== null) faults.push(`${shown(command)}: ${fault}`);
  }
  assert.equal(faults, []);
});

test('files of the repository that a command names exist', () => {
  const missing = commands.filter(({ words }) =>
    words.some((word) => word.startsWith('pipelines/') && !existsSync(path.join(repository, word))),
  );
  assert.equal(missing.map(shown), []);
});

test('in a folder of one’s own, a spec of the guides is the package’s', async () => {
  const own = createProject();
  await own.succeeds('init');
  const { code, stderr } = await own.dosimeter('plan', 'pipelines/composed.yaml');
  const packaged = 'node_modules/dosimeter/pipelines/composed.yaml';
  assert.is(code, 2);
  assert.match(stderr, `  = dosimeter's own file is ${packaged}`);
  assert.match(read('docs/guides/getting-started.md'), '`node_modules/dosimeter/pipelines/');
  await own.succeeds('plan', packaged);
});

/** Commands that write no result and take a second at most. */
const CHEAP = ['plan', 'schema', 'plugins', 'doctor', 'explain'];

test('commands that change nothing run as written', async ({ project }) => {
  const calls = new Map(
    commands.flatMap((command) => {
      const call = argumentsOf(command);
      if (call === null || !CHEAP.includes(call[0] ?? '')) return [];
      const [, spec] = call;
      // Specs that a document shows are planned by specs.test.ts.
      const isShown = spec?.endsWith('.yaml') === true && !project.exists(spec);
      return isShown ? [] : [[call.join(' '), { command, call }]];
    }),
  );
  assert.ok(calls.size > 10);
  const faults: string[] = [];
  for (const { command, call } of calls.values()) {
    const { code, stderr } = await project.dosimeter(...call);
    if (code !== 0) faults.push(`${shown(command)}: exit code ${String(code)}\n${stderr}`);
  }
  assert.equal(faults, []);
});

test.run();
