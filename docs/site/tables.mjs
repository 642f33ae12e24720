/**
 * Writes the tables of the guides from the results of runs: `npm run docs:tables -- FILE…`.
 *
 * A table stands between `<!-- dosimeter results …` and `<!-- end -->`. The command in the first
 * comment is run, and what it prints replaces what stands between. The runs themselves come first:
 * a spec that has no result yet is a fault, and leaves the document as it was.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const launcher = fileURLToPath(new URL('../../src/setup/launcher.mjs', import.meta.url));
const repository = fileURLToPath(new URL('../../', import.meta.url));

/** A table with its command, which may be continued over lines. */
const TABLE = /(<!-- dosimeter ([^>]*?) -->\n)[^]*?(\n<!-- end -->)/g;

/** Returns what a command of dosimeter prints. Ends the process if it fails. */
function printed(command) {
  const args = command.trim().split(/\s+/);
  const { status, stdout } = spawnSync(process.execPath, [launcher, ...args], {
    cwd: repository,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) {
    process.stderr.write(`dosimeter ${command} failed\n`);
    process.exit(status ?? 1);
  }
  return stdout.trim();
}

const files = process.argv.slice(2);
if (files.length === 0) {
  process.stderr.write('usage: npm run docs:tables -- docs/guides/threat-table.md\n');
  process.exit(2);
}
for (const file of files) {
  const text = readFileSync(file, 'utf8');
  const written = text.replace(
    TABLE,
    (_, head, command, end) => `${head}\n${printed(command)}\n${end}`,
  );
  writeFileSync(file, written);
}
