/** The folder `dist`: one folder for each build. */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { builtFile, pluginModule } from './bundle.mjs';
import { sha256 } from './closure.mjs';

/**
 * The text of `cli.js`: runs the command line, `program.js` beside it, with the process's arguments.
 * Nothing is left to do when it has ended; Node would first take its heap apart, which takes
 * milliseconds.
 */
const CLI = `import { main } from './program.ts';
export const ended = main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
  process.once('beforeExit', () => process.exit());
});
`;

/**
 * Writes the outputs as `dist/<digest>/`; the folder appears whole or not at all. The digest is
 * over the outputs and the plugins' code versions: a new release of a package that is not bundled
 * changes only the versions.
 * @param {string} project @param {readonly import('esbuild').OutputFile[]} outputs
 * @param {import('./registry-file.mjs').Versions} versions @param {readonly string[]} plugins
 * @returns {string} the build's name
 */
export function writeBuild(project, outputs, versions, plugins) {
  const dist = join(project, 'dist');
  const files = outputs
    .map(({ path, contents }) => ({ path: relative(dist, path), contents }))
    .concat(
      plugins.map((source) => ({
        path: builtFile(source),
        contents: Buffer.from(pluginModule(source)),
      })),
      { path: 'cli.js', contents: Buffer.from(CLI) },
    )
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  const name = sha256(
    JSON.stringify([
      files.map(({ path, contents }) => [path, sha256(contents)]),
      [...versions].map(([source, { code }]) => [source, code]),
    ]),
  ).slice(0, 12);
  const target = join(dist, name);
  if (!existsSync(target)) {
    const temporary = join(dist, `.tmp-${process.pid}`);
    rmSync(temporary, { recursive: true, force: true });
    for (const { path, contents } of files) {
      mkdirSync(dirname(join(temporary, path)), { recursive: true });
      writeFileSync(join(temporary, path), contents);
    }
    renameSync(temporary, target);
  }
  return name;
}

/**
 * Writes what `dosimeter schema` prints, for editors: the first line of a spec names the file.
 * @param {string} dist @param {string} name of the build
 */
export function writeSchema(dist, name) {
  const { stdout } = spawnSync(process.execPath, [join(dist, name, 'cli.js'), 'schema'], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  if (!stdout?.startsWith('{')) return; // a program without that command
  const file = join(dist, 'pipeline.schema.json');
  writeFileSync(`${file}.tmp`, stdout);
  renameSync(`${file}.tmp`, file);
}

/**
 * Deletes builds that no live process uses. Keeps the current build and the newest other one.
 * @param {string} dist @param {string} current the build's name
 */
export function prune(dist, current) {
  const builds = readdirSync(dist)
    .filter((name) => /^[0-9a-f]{12}$/.test(name) && name !== current)
    .map((name) => ({ name, time: statSync(join(dist, name)).mtimeMs }))
    .sort((a, b) => b.time - a.time);
  for (const { name, time } of builds.slice(1)) {
    const users = existsSync(join(dist, name, 'users'))
      ? readdirSync(join(dist, name, 'users'))
      : [];
    const used = users.some((pid) => {
      try {
        return process.kill(Number(pid), 0);
      } catch (error) {
        return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
      }
    });
    // Builds of the last hour stay too, because their user may run on another host.
    if (!used && Date.now() - time > 3_600_000)
      rmSync(join(dist, name), { recursive: true, force: true });
  }
}
