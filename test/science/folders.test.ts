import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const science = fileURLToPath(new URL('../../src/science/', import.meta.url));

/** The other folders of src/science from which the files of a folder import values or types. */
function importsOf(folder: string): string[] {
  const files = readdirSync(`${science}${folder}`, { recursive: true, encoding: 'utf8' });
  const imported = files
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) =>
      [...readFileSync(`${science}${folder}/${file}`, 'utf8').matchAll(/'(\.\.?\/[^']+)'/g)]
        .map(([, to = '']) => path.relative(science, path.resolve(science, folder, file, '..', to)))
        .filter((to) => !to.startsWith('..') && to.includes(path.sep))
        .map((to) => to.split(path.sep)[0] ?? ''),
    );
  return [...new Set(imported)].filter((other) => other !== folder);
}

test('the folders of src/science import each other without a circle', () => {
  const folders = readdirSync(science, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
  const open = new Map(folders.map((folder) => [folder, new Set(importsOf(folder))]));
  // Removes the folders that import from no other, until none is left or all that are left import
  // from each other.
  for (;;) {
    const free = [...open].filter(([, imports]) => imports.size === 0).map(([folder]) => folder);
    if (free.length === 0) break;
    for (const folder of free) open.delete(folder);
    for (const imports of open.values()) for (const folder of free) imports.delete(folder);
  }
  assert.equal([...open.keys()], []);
});

test.run();
