/**
 * Enforces the table of rooms in ARCHITECTURE.md: the test fails for an import that the table does
 * not allow, and for a room that the table lacks.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fragments, roomOf, roomTable, sources as houseSources } from '../.ci/house.mjs';

const test = suite('architecture');
const root = fileURLToPath(new URL('../', import.meta.url));

/** How many files still break the rule of fragments. It may fall. */
const FRAGMENTS = 2;

interface Import {
  readonly from: string;
  readonly specifier: string;
  readonly typesOnly: boolean;
  readonly dynamic: boolean;
}

const filesUnder = (dir: string): string[] =>
  readdirSync(join(root, dir), { recursive: true, encoding: 'utf8' })
    .map((file) => `${dir}/${file.replaceAll('\\', '/')}`)
    .filter((file) => /\.(tsx?|mjs)$/.test(file))
    .sort();

const parse = (file: string): ts.SourceFile =>
  ts.createSourceFile(file, readFileSync(join(root, file), 'utf8'), ts.ScriptTarget.Latest);

/** Several tests read the imports of the same files. */
const known = new Map<string, Import[]>();

function importsOf(file: string): Import[] {
  const before = known.get(file);
  if (before !== undefined) return before;
  const imports: Import[] = [];
  known.set(file, imports);
  const add = (specifier: string, typesOnly: boolean, dynamic: boolean): void => {
    imports.push({ from: file, specifier, typesOnly, dynamic });
  };
  const allTypes = (node: ts.ImportDeclaration): boolean => {
    const clause = node.importClause;
    if (clause === undefined) return false;
    if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
    const named = clause.namedBindings;
    return (
      clause.name === undefined &&
      named !== undefined &&
      ts.isNamedImports(named) &&
      named.elements.length > 0 &&
      named.elements.every((element) => element.isTypeOnly)
    );
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier))
      add(node.moduleSpecifier.text, allTypes(node), false);
    if (
      ts.isExportDeclaration(node) &&
      node.moduleSpecifier !== undefined &&
      ts.isStringLiteral(node.moduleSpecifier)
    )
      add(node.moduleSpecifier.text, node.isTypeOnly, false);
    if (
      ts.isImportTypeNode(node) &&
      ts.isLiteralTypeNode(node.argument) &&
      ts.isStringLiteral(node.argument.literal)
    )
      add(node.argument.literal.text, true, false);
    if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [specifier] = node.arguments;
      if (specifier !== undefined && ts.isStringLiteral(specifier))
        add(specifier.text, false, true);
    }
    ts.forEachChild(node, visit);
  };
  visit(parse(file));
  return imports;
}

interface Rule {
  readonly values: ReadonlySet<string>;
  readonly types: ReadonlySet<string>;
}

/** The third column: `api, spec (types)`, `–`, or `everything but science, data`. */
function readTable(): Map<string, Rule> {
  const rooms = roomTable.flatMap((row) => row.rooms);
  const rules = new Map<string, Rule>();
  for (const { rooms: own, allowed } of roomTable) {
    const values = new Set<string>();
    const types = new Set<string>();
    if (allowed.startsWith('everything but ')) {
      const without = allowed.slice('everything but '.length).split(', ');
      for (const room of rooms) if (!without.includes(room)) values.add(room);
    } else if (allowed !== '–') {
      for (const item of allowed.split(', '))
        (item.endsWith(' (types)') ? types : values).add(item.replace(' (types)', ''));
    }
    for (const room of own) rules.set(room, { values, types });
  }
  return rules;
}

const rules = readTable();
const sources = [...filesUnder('src'), ...filesUnder('plugins')];

test('the table names every room, and only rooms that exist', () => {
  const rooms = new Set(sources.map((file) => roomOf(file)));
  assert.equal([...rules.keys()].sort(), [...rooms].sort());
});

test('imports follow the arrows', () => {
  const wrong: string[] = [];
  for (const { from, specifier, typesOnly } of sources.flatMap(importsOf)) {
    if (!specifier.startsWith('.')) continue;
    const to = posix.join(posix.dirname(from), specifier);
    const [fromRoom, toRoom] = [roomOf(from), roomOf(to)];
    // Schemas and package.json are data; the package's entry hands on the plugin API as it was
    // built.
    if (
      fromRoom === null ||
      fromRoom === toRoom ||
      (toRoom === null &&
        (to.endsWith('.json') || `${from} ${to}` === 'src/setup/index.mjs dist/api.js'))
    )
      continue;
    const rule = rules.get(fromRoom);
    if (toRoom === null || !(rule?.values.has(toRoom) || (typesOnly && rule?.types.has(toRoom))))
      wrong.push(`${from} imports ${typesOnly ? 'types from ' : ''}${to}`);
  }
  assert.equal(wrong, []);
});

test('the table keeps engine and science apart', () => {
  const [engine, science] = [
    ['spec', 'plan', 'store', 'run/execute', 'run/log', 'run/registry', 'report'],
    ['science/models', 'science/training', 'science/measures', 'poisoning', 'data'],
  ];
  for (const [rooms, others] of [
    [engine, [...science, 'plugins']],
    [science, [...engine, 'plugins', 'cli']],
  ] as const) {
    for (const room of rooms) {
      const rule = rules.get(room);
      assert.equal(
        others.filter((other) => rule?.values.has(other) || rule?.types.has(other)),
        [],
        room,
      );
    }
  }
});

test("what runs before npm ci imports Node's own modules only", () => {
  const early = new Set([
    'src/setup/setup.mjs',
    'src/setup/launcher.mjs',
    'src/setup/quickstart.mjs',
    'src/setup/test.mjs',
  ]);
  const wrong: string[] = [];
  for (const file of early) {
    for (const { specifier, dynamic } of importsOf(file)) {
      if (dynamic) continue;
      if (specifier.startsWith('.')) early.add(posix.join(posix.dirname(file), specifier));
      else if (!builtinModules.includes(specifier.replace(/^node:/, '')))
        wrong.push(`${file} imports ${specifier}`);
    }
  }
  assert.ok(early.has('src/setup/dependencies.mjs') && early.has('src/setup/current-build.mjs'));
  assert.equal(wrong, []);
});

test('a file that one other file alone imports is part of that one, or has 80 lines', () => {
  const small = fragments(houseSources());
  assert.ok(
    small.length <= FRAGMENTS,
    `${small.length} do not: ${small.map(({ path, reader }) => `${path} (${reader})`).join(', ')}`,
  );
});

test('src imports no plugin but through the entry of the science', () => {
  const wrong = filesUnder('src')
    .filter((file) => file !== 'src/science.ts')
    .flatMap(importsOf)
    .filter(({ specifier }) => /^(\.\.\/)+plugins\//.test(specifier));
  assert.equal(
    wrong.map(({ from, specifier }) => `${from} imports ${specifier}`),
    [],
  );
});

test('planning and a run with nothing to do load no numerics: they are imported when used', () => {
  const heavy = /^(@tensorflow\/|@huggingface\/|@stdlib\/|vega|winston)/;
  const isEntry = (file: string): boolean =>
    /^plugins\/[^/]+\/(?:[^/]+|[^/]+\/index)\.tsx?$/.test(file);
  // What is loaded with a plugin, its entry, or with the command: every file that these import
  // statically.
  const loaded = new Set([...filesUnder('plugins').filter(isEntry), 'src/cli/run.ts']);
  const wrong: string[] = [];
  for (const file of loaded) {
    for (const { specifier, typesOnly, dynamic } of importsOf(file)) {
      if (typesOnly || dynamic) continue;
      const to = specifier.startsWith('.') ? posix.join(posix.dirname(file), specifier) : specifier;
      if (/^(src|plugins)\/.*\.tsx?$/.test(to)) loaded.add(to);
      if (heavy.test(to)) wrong.push(`${file} imports ${to}`);
    }
  }
  assert.equal(wrong, []);
});

test('every test file runs its tests', () => {
  const tests = filesUnder('test').filter((file) => file.endsWith('.test.ts'));
  // A file runs its suite, or imports other test files that do.
  const runs = (file: string): boolean =>
    parse(file).statements.some(
      (statement) =>
        (ts.isImportDeclaration(statement) &&
          ts.isStringLiteral(statement.moduleSpecifier) &&
          statement.moduleSpecifier.text.endsWith('.test.ts')) ||
        (ts.isExpressionStatement(statement) &&
          ts.isCallExpression(statement.expression) &&
          ts.isPropertyAccessExpression(statement.expression.expression) &&
          statement.expression.expression.name.text === 'run'),
    );
  assert.ok(tests.length > 0);
  assert.equal(
    tests.filter((file) => !runs(file)),
    [],
  );
});

test.run();
