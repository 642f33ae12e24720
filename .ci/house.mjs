/**
 * Prints the weight of the house: lines and ties of each room, and the files that are too small to
 * stand alone. `npm run house` runs it; `test/architecture.test.ts` holds its rules.
 *
 * A room is the innermost row of ARCHITECTURE.md's table that holds a file, and `plugins/KIND`.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** A file with fewer lines than this has at least two importers. */
const SMALL = 80;

/** @typedef {{ code: number, imports: number, comments: number, lines: number }} Lines */
/**
 * `imports` are the files that it imports; `late`, those of them that it imports dynamically alone.
 * @typedef {{
 *   path: string, room: string, lines: Lines, imports: readonly string[], late: readonly string[]
 * }} SourceFile
 */

/** @param {string} text @returns {Lines} */
function countLines(text) {
  const count = { code: 0, imports: 0, comments: 0, lines: 0 };
  let inComment = false,
    inImport = false;
  for (const line of text.split('\n').map((each) => each.trim())) {
    count.lines++;
    if (line === '') continue;
    if (inComment || line.startsWith('/*')) {
      count.comments++;
      inComment = !line.includes('*/');
    } else if (line.startsWith('//')) count.comments++;
    else if (inImport || /^(import\b(?!\()|export (type )?\{[^}]*$|export .* from )/.test(line)) {
      count.imports++;
      inImport = !/(from '[^']+';|^import '[^']+';|\};?)$/.test(line);
    } else count.code++;
  }
  return count;
}

/**
 * @param {string} path as the table names rooms: `src/run/log` → `run/log`, `src/api.ts` → `api`
 */
const nameOf = (path) => path.replace(/^src\/|\.ts$|\/$/g, '');

/** ARCHITECTURE.md's table: each row's rooms, and what its last column allows them to import. */
export const roomTable = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8')
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .filter((cells) => cells.length === 5 && /^`(src|plugins)/.test(cells[1] ?? ''))
  .map(([, rooms = '', , allowed = '']) => ({
    rooms: [...new Set([...rooms.matchAll(/`([^`]+)`/g)].map(([, path = '']) => nameOf(path)))],
    allowed,
  }));

const named = roomTable.flatMap(({ rooms }) => rooms).sort((a, b) => b.length - a.length);

/**
 * Returns the innermost room of the table that holds a file: `src/run/log/run-log.ts` → `run/log`;
 * the path of a file of src or plugins that is in none, and null for any other.
 * @param {string} path
 */
export function roomOf(path) {
  if (!/^(src|plugins)\//.test(path)) return null;
  const inside = nameOf(path);
  return named.find((room) => inside === room || inside.startsWith(`${room}/`)) ?? path;
}

/**
 * Returns the tracked sources of src and plugins, without generated ones.
 * @returns {readonly SourceFile[]}
 */
export function sources() {
  const paths = execFileSync('git', ['ls-files', 'src', 'plugins'], { cwd: root, encoding: 'utf8' })
    .split('\n')
    .filter((path) => /\.(tsx?|mjs|cc|h|inc)$/.test(path) && !/\.generated\.|\.d\.mts$/.test(path))
    .filter((path) => existsSync(join(root, path)));
  const known = new Set(paths);
  return paths.map((path) => {
    const text = readFileSync(join(root, path), 'utf8');
    /** @param {RegExp} form */
    const found = (form) => [
      ...new Set(
        [...text.matchAll(form)]
          .map(([, to = '']) => posix.join(posix.dirname(path), to))
          .filter((to) => known.has(to)),
      ),
    ];
    const early = found(/(?:from|import) '(\.[^']+)'/g),
      late = found(/import\(\s*'(\.[^']+)'/g).filter((to) => !early.includes(to));
    const room = roomOf(path);
    return {
      path,
      room: room === 'plugins' ? path.split('/').slice(0, 2).join('/') : (room ?? ''),
      lines: countLines(text),
      imports: [...early, ...late],
      late,
    };
  });
}

/**
 * Returns the files under 80 lines that one other file alone imports, with that file. A plugin's
 * entry is none, nor is what is imported dynamically, which has a file so that it can be loaded
 * late.
 * @param {readonly SourceFile[]} files
 */
export function fragments(files) {
  /** @type {Map<string, SourceFile[]>} */
  const importers = new Map();
  for (const file of files)
    for (const to of file.imports) importers.set(to, [...(importers.get(to) ?? []), file]);
  return files.flatMap(({ path, lines: { lines } }) => {
    const [reader, ...more] = importers.get(path) ?? [];
    const stands =
      reader === undefined || more.length > 0 || lines >= SMALL || reader.late.includes(path);
    return stands || isEntry(path) ? [] : [{ path, reader: reader.path, lines }];
  });
}

/** @param {string} path */
const isEntry = (path) => /^plugins\/[^/]+\/([^/]+|[^/]+\/index)\.tsx?$/.test(path);

/** @param {readonly string[]} cells @param {readonly number[]} widths */
const row = (cells, widths) =>
  cells
    .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
    .join('  ');

function print() {
  const files = sources();
  const byPath = new Map(files.map(({ path, room }) => [path, room]));
  const rooms = [...new Set(byPath.values())].sort();
  const ties = files.flatMap(({ room, imports }) =>
    imports.map((to) => ({ from: room, to: byPath.get(to) ?? '' })),
  );
  const crossing = ties.filter(({ from, to }) => from !== to);
  /** @param {readonly SourceFile[]} some @param {keyof Lines} kind */
  const sum = (some, kind) => String(some.reduce((total, { lines }) => total + lines[kind], 0));
  /** @param {string} name @param {readonly SourceFile[]} some @param {readonly string[]} others */
  const line = (name, some, others) => [
    name,
    String(some.length),
    ...['code', 'comments', 'imports'].map((kind) => sum(some, /** @type {keyof Lines} */ (kind))),
    String(others.length),
  ];
  const table = [
    ['room', 'files', 'code', 'comments', 'imports', 'rooms it imports'],
    ...rooms.map((name) => {
      const others = new Set(crossing.filter(({ from }) => from === name).map(({ to }) => to));
      return line(
        name,
        files.filter(({ room }) => room === name),
        [...others],
      );
    }),
    line('all', files, [...new Set(crossing.map(({ from, to }) => `${from} ${to}`))]),
  ];
  const widths = (table[0] ?? []).map((_, i) =>
    Math.max(...table.map((cells) => cells[i]?.length ?? 0)),
  );
  console.log(table.map((cells) => row(cells, widths)).join('\n'));
  console.log(`\n${Math.round((100 * crossing.length) / ties.length)}% of imports cross a room`);
  const small = fragments(files);
  console.log(`${small.length} files under ${SMALL} lines have one importer:`);
  for (const { path, reader, lines } of small) console.log(`  ${path} (${lines}) ← ${reader}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) print();
