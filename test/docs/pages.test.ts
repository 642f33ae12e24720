/**
 * What the documents say about the repository: their links, the files that they name, the examples
 * that they quote.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, writeToys } from '../rig/project.ts';
import { blocksOf, documents, read, repository } from './blocks.ts';

const test = suite('docs: pages');

const exists = (file: string): boolean => existsSync(path.join(repository, file));

/** A document without its fenced and indented blocks. */
const prose = (file: string): string =>
  read(file)
    .replaceAll(/^```[\s\S]*?^```$/gm, '')
    .replaceAll(/^ {4}.*$/gm, '');

/** The anchors of a document's headings, as GitHub and the site make them. */
const anchors = (file: string): string[] =>
  [...read(file).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

test('links lead to files and headings of the repository', () => {
  const broken = documents.flatMap((file) =>
    [...prose(file).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target = '']) => target)
      .filter((target) => !/^https?:/.test(target))
      .filter((target) => {
        const [to = '', anchor] = target.split('#');
        const page = to === '' ? file : path.posix.join(path.posix.dirname(file), to);
        return !exists(page) || (anchor !== undefined && !anchors(page).includes(anchor));
      })
      .map((target) => `${file}: ${target}`),
  );
  assert.equal(broken, []);
});

test('files that the documents name exist', () => {
  const rooms = /^(src|plugins|pipelines|test|docs|bench|schemas|\.ci)\//;
  const missing = documents.flatMap((file) =>
    [...prose(file).matchAll(/`([^`\s]+)`/g)]
      .map(([, named = '']) => named)
      .filter((named) => rooms.test(named) && !/[A-Z*]{2}|\*/.test(named.replace('README', '')))
      .filter((named) => !exists(named))
      .map((named) => `${file}: ${named}`),
  );
  assert.equal(missing, []);
});

test('the README is at most 900 words long', () => {
  assert.ok(read('README.md').trim().split(/\s+/).length <= 900);
});

test('every page of docs/ is reached by a link', () => {
  const linked = new Set(
    documents.flatMap((file) =>
      [...prose(file).matchAll(/\]\(([^)\s#]+)/g)].map(([, target = '']) =>
        path.posix.join(path.posix.dirname(file), target),
      ),
    ),
  );
  const alone = documents.filter(
    (file) =>
      file.startsWith('docs/') &&
      file !== 'docs/index.md' &&
      !/^docs\/decisions\/\d/.test(file) &&
      !linked.has(file),
  );
  assert.equal(alone, []);
});

test('the guides quote the plugin examples as they are, and name every one', () => {
  const quotes = (guide: string, example: string): boolean =>
    blocksOf(guide).some(
      ({ language, text }) => language === 'js' && text === read(`pipelines/plugins/${example}`),
    );
  assert.ok(quotes('docs/guides/own-attack.md', 'word-dropout-attack.mjs'));
  assert.ok(quotes('docs/guides/own-stage.md', 'length-stage.mjs'));
  const table = read('docs/guides/plugins.md');
  const unnamed = readdirSync(path.join(repository, 'pipelines/plugins')).filter(
    (name) => !table.includes(name),
  );
  assert.equal(unnamed, []);
});

test('in a clone without its dependencies, the site says so before anything is fetched', () => {
  const clone = createProject();
  for (const file of ['docs/site', 'src/setup/dependencies.mjs', 'package-lock.json'])
    cpSync(path.join(repository, file), path.join(clone.dir, file), { recursive: true });
  const { status, stderr } = spawnSync(process.execPath, ['docs/site/build.mjs'], {
    cwd: clone.dir,
    encoding: 'utf8',
  });
  assert.equal(
    [status, stderr],
    [1, 'docs: the dependencies are not installed; run `npm run setup`\n'],
  );
  assert.not.ok(existsSync(path.join(clone.dir, '.cache/docs')));
});

test('the program of the library guide runs', () => {
  const project = createProject();
  writeToys(project);
  project.write('experiment.yaml', project.read('spec.yaml'));
  const [program] = blocksOf('docs/guides/library.md').filter(({ language }) => language === 'js');
  // The program imports the package by its name, as if it were installed.
  project.write(
    'program.mjs',
    (program?.text ?? '').replace(
      "'dosimeter'",
      JSON.stringify(path.join(repository, 'src/setup/index.mjs')),
    ),
  );
  const { status, stdout, stderr } = spawnSync(process.execPath, ['program.mjs'], {
    cwd: project.dir,
    encoding: 'utf8',
    env: { ...process.env, DOSIMETER_CACHE: path.join(project.dir, '.cache') },
  });
  assert.equal([status, stderr], [0, '']);
  assert.match(stdout, /accuracy/);
});

test.run();
