/**
 * Names from outside become paths by `joinInside` alone. Where such names are read, every other
 * call that makes a path from a value that is not a literal is listed here, with what the value is.
 * A new call fails the test until somebody has looked at it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { nameFault } from '../../../src/base/untrusted/paths.mjs';
import { fileInside, pathInside } from '../../../src/base/untrusted/paths.ts';

const test = suite('joins');
const root = fileURLToPath(new URL('../../../', import.meta.url));

/** Where names of hubs, indexes, archives, checkpoints, specs and programs are read. */
const WATCHED = [
  ...'plugins/attacks plugins/datasets plugins/sources plugins/stages/command'.split(' '),
  ...'src/run/export/export.ts src/base/command src/data src/store/remote'.split(' '),
  ...'src/run/state-folder.ts src/science/models/io src/science/text'.split(' '),
  ...'src/setup/wheels.mjs'.split(' '),
];

const LISTED = 'the name of a file that a folder on this disk lists';
const OWN = 'a name of our own';
const CHECKED = 'checked by nameFault or a grammar before';
/** For each file, what is joined: the text of each argument after the first. */
const KNOWN: { readonly [file: string]: { readonly [argument: string]: string } } = {
  'plugins/datasets/spam-assassin/index.ts': { folder: OWN, name: LISTED },
  'plugins/sources/file.ts': { near: LISTED },
  'plugins/sources/npm.ts': { file: LISTED },
  'plugins/sources/pypi/index.ts': { file: LISTED },
  'src/run/export/export.ts': { form: OWN, name: LISTED },
  'src/base/command/folder.ts': { 'entry.name': LISTED, name: LISTED },
  'plugins/stages/command/run.ts': {
    'entry.name': LISTED,
    'program + ending': 'a program on PATH, looked for and not written',
  },
  'plugins/datasets/shared/asset-files.ts': { name: LISTED },
  'plugins/sources/shared/client.ts': { name: LISTED, template: 'of a process id, in /proc' },
  'plugins/sources/shared/digest.ts': {
    digest: OWN,
    name: LISTED,
    'entry.name': LISTED,
    template: OWN,
  },
  'plugins/sources/hf/hub.ts': { digest: OWN, commit: CHECKED, name: CHECKED },
  'plugins/sources/shared/package-store.ts': {
    'manifest.folder': CHECKED,
    name: CHECKED,
    folder: OWN,
    stale: CHECKED,
    template: 'encodeURIComponent of a version, with a prefix',
  },
  'plugins/sources/shared/within.ts': { inside: 'normalised, and refused where it begins with ..' },
  'src/data/model-folder.ts': { name: LISTED, 'entry.name': LISTED },
  'src/store/remote/folder.ts': { 'randomUUID()': OWN, 'file.name': LISTED, name: LISTED },
  'src/store/remote/send.ts': { template: 'a digest' },
  'src/science/models/io/checkpoint.ts': { file: OWN },
  'src/science/models/io/saved-state.ts': {
    template: 'of a process id',
    name: 'of a step and a digest: made here, or listed and matched',
    other: LISTED,
  },
  'src/science/text/tokenizer.ts': { file: OWN },
  'src/setup/wheels.mjs': { kept: LISTED, name: LISTED, template: OWN },
};

/** Path functions, and those of node:fs that would take a path made in place. */
const JOINS = new Set(['join', 'resolve']);
const READS = new RegExp(
  [
    '^(access|appendFile|copyFile|cp|create(Read|Write)Stream|exists|lstat|mkdir|open|readFile',
    'readdir|realpath|rename|rm|stat|symlink|truncate|unlink|writeFile)(Sync)?$',
  ].join('|'),
);

const files = (path: string): string[] =>
  /\.\w+$/.test(path)
    ? [path]
    : readdirSync(join(root, path), { recursive: true, encoding: 'utf8' })
        .map((file) => `${path}/${file.replaceAll('\\', '/')}`)
        .filter((file) => /\.(tsx?|mjs)$/.test(file) && !file.endsWith('.d.ts'))
        .sort();

/** What an argument is called in KNOWN; null where it is written in the source itself. */
function variable(argument: ts.Expression): string | null {
  if (ts.isStringLiteralLike(argument)) return null;
  if (ts.isIdentifier(argument) && /^[A-Z_]+$/.test(argument.text)) return null; // a constant
  if (ts.isTemplateExpression(argument))
    return /createHash|sha256\(/.test(argument.getText()) ? 'digest' : 'template';
  return argument.getText().replace(/\s+/g, ' ');
}

interface Made {
  readonly file: string;
  readonly line: number;
  readonly argument: string;
}

function made(file: string): Made[] {
  const source = ts.createSourceFile(
    file,
    readFileSync(join(root, file), 'utf8'),
    ts.ScriptTarget.Latest,
    true,
  );
  const found: Made[] = [];
  const add = (node: ts.Node, argument: string | null): void => {
    if (argument !== null)
      found.push({
        file,
        line: source.getLineAndCharacterOfPosition(node.getStart()).line + 1,
        argument,
      });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node)) {
      const { expression } = node;
      const name = ts.isIdentifier(expression)
        ? expression.text
        : ts.isPropertyAccessExpression(expression)
          ? expression.name.text
          : '';
      const owner = ts.isPropertyAccessExpression(expression)
        ? expression.expression.getText()
        : 'path';
      if (JOINS.has(name) && owner === 'path' && node.arguments.length > 1)
        for (const argument of node.arguments.slice(1)) add(argument, variable(argument));
      if (READS.test(name)) {
        const [path] = node.arguments;
        if (path !== undefined && (ts.isTemplateExpression(path) || ts.isBinaryExpression(path)))
          add(path, variable(path));
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

const all = WATCHED.flatMap(files).flatMap(made);

test('names from outside are joined to paths by joinInside only', () => {
  assert.equal(
    all
      .filter(({ file, argument }) => KNOWN[file]?.[argument] === undefined)
      .map(
        ({ file, line, argument }) =>
          `${file}:${line} joins ${argument}: make the path with pathInside, or list it in KNOWN`,
      ),
    [],
  );
  assert.ok(all.length > 30); // else nothing was looked at
});

test('whatever is listed as known is still there', () => {
  const there = new Set(all.map(({ file, argument }) => `${file} ${argument}`));
  assert.equal(
    Object.entries(KNOWN)
      .flatMap(([file, known]) => Object.keys(known).map((argument) => `${file} ${argument}`))
      .filter((known) => !there.has(known)),
    [],
  );
});

test('a name is a path below its folder, or a fault that says why', () => {
  for (const name of [
    'a',
    'a/b.c',
    '.hidden',
    'ä/ß',
    'a..b',
    '...',
    'with space',
    'x'.repeat(255),
  ]) {
    assert.is(nameFault(name), null, name);
    assert.is(pathInside('/r', name, 'it'), join('/r', name));
  }
  const bad: [unknown, RegExp][] = [
    ['', /is empty/],
    ['..', /leads out/],
    ['a/../../b', /leads out/],
    ['/a', /absolute/],
    ['C:\\a', /backslash/],
    ['C:a', /absolute/],
    ['a\\..\\b', /backslash/],
    ['a//b', /empty part/],
    ['a/', /empty part/],
    ['./a', /empty part/],
    ['a\0b', /control/],
    ['a\nb', /control/],
    ['\ud800', /Unicode/],
    ['ä'.repeat(128), /longer than 255/],
    ['a/'.repeat(2000) + 'a', /longer than 2048/],
    [null, /not text/],
    [7, /not text/],
    [['a'], /not text/],
  ];
  for (const [name, why] of bad)
    assert.throws(() => pathInside('/r', name, 'it'), why, JSON.stringify(name));
  assert.is(fileInside('/r', 'a', 'it'), join('/r', 'a'));
  assert.throws(() => fileInside('/r', 'a/b', 'it'), /a path and not a name/);
});

test.run();
