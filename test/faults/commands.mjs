/**
 * Runs commands of the built program one after another in one process, each in its own folder, and
 * logs what each printed as a line of JSON. A process for each command would take a second longer.
 *
 *     node commands.mjs CLI LOG    reads the commands from stdin: [{ "dir", "args" }]
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [cli, log] = process.argv.slice(2);
const commands = JSON.parse(readFileSync(0, 'utf8'));
let said = '';
for (const stream of [process.stdout, process.stderr])
  stream.write = (text) => {
    said += text;
    return true;
  };

let started = 0;
for (const { dir, args } of commands) {
  said = '';
  process.chdir(dir);
  process.argv.splice(2, Infinity, ...args);
  process.exitCode = undefined;
  appendFileSync(log, `${JSON.stringify({ begins: args })}\n`);
  let thrown = '';
  try {
    // Node runs the program's entry again, with all that it imports still loaded.
    await (
      await import(`${pathToFileURL(cli).href}?${++started}`)
    ).ended;
  } catch (error) {
    thrown = String(error?.stack ?? error);
  }
  // A command would end the process once it has nothing left to do.
  process.removeAllListeners('beforeExit');
  appendFileSync(log, `${JSON.stringify({ args, code: process.exitCode, said, thrown })}\n`);
}
process.exit(0);
