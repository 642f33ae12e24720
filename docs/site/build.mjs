/**
 * `npm run docs`: the Markdown of the repository, and a reference generated from schemas, plugins,
 * commands and docstrings, as a static site in `dist/docs`. A dead link is an error.
 *
 * The pages are gathered in `.cache/docs`, where the generators of package.json are installed once.
 */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dependenciesAreCurrent } from '../../src/setup/dependencies.mjs';
import { writeReference } from './reference.mjs';

const project = fileURLToPath(new URL('../../', import.meta.url));
const here = join(project, 'docs', 'site');
const work = join(project, '.cache', 'docs');
const pages = join(work, 'pages');
const output = join(project, 'dist', 'docs');

/** Markdown outside docs/ that has a page, each at its own path. */
const OUTSIDE = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'bench/README.md',
];
const IMAGES = ['pipelines/quickstart.png'];

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @param {string} cwd
 */
function run(command, args, cwd) {
  const { status, error } = spawnSync(command, args, { cwd, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args[0]} failed; its message is above`);
}

/** Installs the generators unless those of this lock file are there. */
function installGenerators() {
  mkdirSync(work, { recursive: true });
  const lock = readFileSync(join(here, 'package-lock.json'), 'utf8');
  const stamp = join(work, 'installed.json');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  for (const file of ['package.json', 'package-lock.json'])
    copyFileSync(join(here, file), join(work, file));
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], work);
  writeFileSync(stamp, lock);
}

/**
 * A page's text for the site: a folder's README.md is its index.md there, and links to files
 * without a page become names.
 * @param {string} text
 */
const forSite = (text) =>
  text
    .replace(/(\]\((?:[^)\s]*\/)?)README\.md/g, '$1index.md')
    .replace(/(?<!!)\[([^\]]+)\]\((?!https?:|#)[^)\s]+\.(?!md\b)[a-z]+\)/g, '`$1`');

/** @param {string} from @param {string} to */
function copyPage(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(to.replace(/README\.md$/, 'index.md'), forSite(readFileSync(from, 'utf8')));
}

function gatherPages() {
  rmSync(pages, { recursive: true, force: true });
  for (const file of OUTSIDE) copyPage(join(project, file), join(pages, file));
  for (const file of readdirSync(join(project, 'docs'), { recursive: true, encoding: 'utf8' }))
    if (file.endsWith('.md') && !file.startsWith('site'))
      copyPage(join(project, 'docs', file), join(pages, 'docs', file));
  for (const file of IMAGES) cpSync(join(project, file), join(pages, file));
  mkdirSync(join(pages, '.vitepress'), { recursive: true });
  for (const file of ['config.mjs', 'search.mjs'])
    copyFileSync(join(here, file), join(pages, '.vitepress', file));
}

function writeApi() {
  const bin = join(work, 'node_modules');
  run(
    process.execPath,
    [
      join(bin, 'typedoc', 'bin', 'typedoc'),
      '--options',
      join(here, 'typedoc.json'),
      '--plugin',
      join(bin, 'typedoc-plugin-markdown', 'dist', 'index.js'),
      '--out',
      join(pages, 'docs', 'reference', 'api'),
    ],
    project,
  );
  const named = (/** @type {string} */ text) =>
    text
      .replaceAll(/<a id="[^"]*"><\/a> ?/g, '')
      .replace(/^# index$/m, '# dosimeter')
      .replace('[index](', '[dosimeter](')
      .replace(/^# science\/api$/m, '# dosimeter/science')
      .replace('[science/api](', '[dosimeter/science](')
      .replace(/^# dosimeter\n\n## Modules$/m, '# The API\n\n## Packages');
  for (const file of readdirSync(join(pages, 'docs', 'reference', 'api'), {
    recursive: true,
    encoding: 'utf8',
  })) {
    const path = join(pages, 'docs', 'reference', 'api', file);
    if (!file.endsWith('.md')) continue;
    writeFileSync(path, named(readFileSync(path, 'utf8')));
    copyPage(path, path);
    if (file.endsWith('README.md')) rmSync(path);
  }
}

/** Writes the search of pages that are opened from disk, with VitePress's index in it. */
async function writeSearch() {
  const { build } = await import('esbuild');
  const chunks = join(output, 'assets', 'chunks');
  const index = readdirSync(chunks).find((name) => name.startsWith('@localSearchIndexroot'));
  if (index === undefined) throw new Error(`there is no index of the search in ${chunks}`);
  await build({
    entryPoints: [join(here, 'from-disk.mjs')],
    outfile: join(output, 'assets', 'from-disk.js'),
    bundle: true,
    minify: true,
    format: 'iife',
    logLevel: 'warning',
    nodePaths: [join(work, 'node_modules')],
    alias: { 'search-index': join(chunks, index) },
    define: { BASE: JSON.stringify(process.env.DOCS_BASE ?? '/') },
  });
}

try {
  if (!dependenciesAreCurrent(project))
    throw new Error('the dependencies are not installed; run `npm run setup`');
  installGenerators();
  gatherPages();
  writeReference(project, join(pages, 'docs', 'reference'));
  writeApi();
  rmSync(output, { recursive: true, force: true });
  run(
    process.execPath,
    [
      join(work, 'node_modules', 'vitepress', 'bin', 'vitepress.js'),
      'build',
      pages,
      '--outDir',
      output,
    ],
    work,
  );
  await writeSearch();
  const { checkSite } = await import('./check.mjs');
  await checkSite(output);
  console.log(join(output, 'index.html'));
} catch (error) {
  console.error(`docs: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
