/** The tables that `npm run docs:tables` writes: each has a command, and what it printed. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { documents, read, repository } from './blocks.ts';

const test = suite('docs: tables');

interface Table {
  /** The document and the command. */
  readonly place: string;
  readonly words: readonly string[];
  readonly lines: readonly string[];
}

const tables = documents.flatMap((file): Table[] =>
  [...read(file).matchAll(/<!-- dosimeter ([^>]*?) -->\n([^]*?)\n<!-- end -->/g)].map(
    ([, command = '', printed = '']) => ({
      place: `${file}: ${command}`,
      words: command.trim().split(/\s+/),
      // Its notes follow a blank line.
      lines: printed.split('\n').filter((line) => line.startsWith('|')),
    }),
  ),
);

test('every table that is opened is closed', () => {
  const opened = documents.flatMap((file) => [...read(file).matchAll(/<!-- dosimeter /g)]);
  assert.ok(tables.length > 0);
  assert.is(opened.length, tables.length);
});

test('each is printed in Markdown from the results of a shipped spec', () => {
  for (const { place, words } of tables) {
    const [command, spec = ''] = words;
    assert.is(command, 'results', place);
    assert.ok(words.includes('--markdown'), place);
    assert.ok(existsSync(path.join(repository, spec)), place);
  }
});

test('each has been printed, with as many cells in every line', () => {
  for (const { place, lines } of tables) {
    assert.ok(lines.length > 2, place);
    const widths = lines.map((line) => line.split(/(?<!\\)\|/).length);
    assert.equal(new Set(widths).size, 1, place);
  }
});

test.run();
