/** The failings of published code that docs/checks.md names each have the test that it names. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../rig/present.ts';
import { read, repository } from './blocks.ts';

const test = suite('docs: failings');

/** The lines of the table: what failed, the test's file, the test's name. */
const table = read('docs/checks.md')
  .split('\n')
  .map((line) => /^\| (.+) \| `(test\/[^`]+)` \| (.+) \|$/.exec(line)?.slice(1))
  .filter((cells) => cells !== undefined);

test('the table has each failing of the specification', () => {
  const failures = table.map(([what]) => what).join('\n');
  for (const name of ['BKI', 'RAP', 'CUBE', 'STRIP', 'Booster#1', 'Booster#2', '184', '6688'])
    assert.match(failures, name);
});

test('each test that it names exists', () => {
  for (const [, file, name] of table) {
    assert.ok(existsSync(path.join(repository, present(file))), file);
    const plain = read(present(file)).replaceAll("\\'", "'");
    assert.ok(plain.includes(present(name).replaceAll('\\', '')), `${file}: ${name}`);
  }
});

test.run();
