/**
 * `dosimeter init`, `doctor` and `setup`: a starter folder, and what this machine computes with.
 */
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type BackendName, UserFault } from '../api.ts';
import { projectDir } from '../base/project-dir.ts';
import { ownVersion } from '../run/execute/environment.ts';
import { sourceContext } from '../run/prepare.ts';
import { makeFolder } from '../store/folders.ts';
import { chooseBackend, probe } from '../tensor/backend.ts';
import { json, out, paint, say } from './terminal.ts';

/**
 * By name in the package: the name under which a file is written. npm leaves `.gitignore` out of
 * packages.
 */
const RENAMED: { readonly [name: string]: string } = { gitignore: '.gitignore' };

/** The file that `npm install` may already have written. It is completed, not overwritten. */
const PACKAGE = 'package.json';

/**
 * Writes the starter folder, and returns the exit code. A package.json that is there is kept, and
 * gets a test script. Throws `UserFault`, before anything is written, if any other file to be
 * written already exists.
 */
export function initCommand(dir: string | undefined, options: { readonly json?: boolean }): number {
  const from = path.join(projectDir(), 'pipelines', 'starter');
  const to = path.resolve(dir ?? '.');
  const hasPackage = existsSync(path.join(to, PACKAGE));
  const files = readdirSync(from, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(from, path.join(entry.parentPath, entry.name)))
    .filter((name) => !(hasPackage && name === PACKAGE))
    .map((name) => ({ source: path.join(from, name), name: RENAMED[name] ?? name }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const taken = files.filter(({ name }) => existsSync(path.join(to, name)));
  if (taken.length > 0)
    throw new UserFault(
      `${to} has ${taken.map(({ name }) => name).join(', ')} already; nothing was written`,
      'name another folder: dosimeter init DIR',
    );
  try {
    for (const { source, name } of files) {
      makeFolder(path.dirname(path.join(to, name)));
      copyFileSync(source, path.join(to, name));
    }
    linkProgram(to);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new UserFault(`${to} could not be written: ${message}`);
  }
  const changed = hasPackage && addTestScript(path.join(to, PACKAGE));
  const written = files.map(({ name }) => name);
  if (options.json) json({ dir: to, files: written });
  else {
    out(written.map((name) => `  ${name}`).join('\n'));
    if (changed) out(`  ${PACKAGE}, which was there: now with a test script`);
    const near = path.relative('', to);
    const where = near.startsWith('..') ? to : near;
    out(`next: ${where === '' ? '' : `cd ${where} && `}npx dosimeter plan experiment.yaml`);
  }
  return 0;
}

/**
 * Links this program into `node_modules`, as `npm link` does. A plugin's `import … from
 * 'dosimeter'` then works in its test and in an editor, and `npx dosimeter` runs this program. An
 * installed dosimeter already has both links.
 */
function linkProgram(dir: string): void {
  const modules = path.join(dir, 'node_modules');
  const bin = path.join(modules, '.bin', 'dosimeter');
  if (!existsSync(path.join(modules, 'dosimeter'))) {
    makeFolder(modules);
    symlinkSync(projectDir(), path.join(modules, 'dosimeter'), 'junction');
  }
  if (!existsSync(bin) && process.platform !== 'win32') {
    makeFolder(path.dirname(bin));
    symlinkSync(path.join('..', 'dosimeter', 'src', 'setup', 'launcher.mjs'), bin);
  }
}

/**
 * Makes `npm test` run the attack's tests, if it runs nothing yet. Returns whether the file was
 * changed.
 */
function addTestScript(file: string): boolean {
  let own: { scripts?: { test?: string } };
  try {
    own = JSON.parse(readFileSync(file, 'utf8')) as typeof own;
  } catch {
    return false; // npm reports what is wrong with it
  }
  if (own.scripts?.test !== undefined && !own.scripts.test.includes('no test specified'))
    return false;
  writeFileSync(
    file,
    `${JSON.stringify({ ...own, scripts: { ...own.scripts, test: 'node --test' } }, null, 2)}\n`,
  );
  return true;
}

/** Whether a folder, or the nearest existing one above it, can be written to. */
function isWritable(dir: string): boolean {
  let at = dir;
  while (!existsSync(at)) at = path.dirname(at);
  try {
    accessSync(at, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Says what this machine computes with. Returns 1 if it has no backend. Throws if it has not the
 * backend that was asked for.
 */
export async function doctorCommand(options: {
  readonly store: string;
  readonly backend?: BackendName;
  readonly json?: boolean;
}): Promise<number> {
  const backends = await probe({ deep: true });
  const { cacheDir } = sourceContext(say);
  const store = path.resolve(options.store);
  const usable = backends.find(
    ({ available, name }) =>
      available && (options.backend === undefined || name === options.backend),
  );
  const facts = {
    backend: usable?.name ?? null,
    backends,
    dosimeter: ownVersion(),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    cores: os.availableParallelism(),
    memory_mb: Math.round(os.totalmem() / 2 ** 20),
    store: { path: store, writable: isWritable(store) },
    cache: { path: cacheDir, writable: isWritable(cacheDir) },
  };
  if (options.json) json(facts);
  else {
    for (const { name, available, detail, remedy } of backends) {
      // PyTorch is nobody's default, so that nothing is wrong without it.
      const fine = available || name === 'torch';
      const mark = name === usable?.name ? paint.green('▸') : fine ? ' ' : paint.red('✗');
      out(`${mark} ${name.padEnd(10)} ${detail}`);
      if (!available && remedy !== null) out(`             to get it: ${paint.bold(remedy)}`);
    }
    out(
      `  dosimeter ${facts.dosimeter}, Node ${facts.node}, ${facts.platform}, ` +
        `${facts.cores} cores, ${facts.memory_mb} MB`,
    );
    for (const [name, place] of [
      ['store', facts.store],
      ['cache', facts.cache],
    ] as const)
      out(`  ${name} ${place.path}${place.writable ? '' : paint.red(' (not writable)')}`);
    out(usable ? `${usable.name} is used` : paint.red('no compute backend: npx dosimeter setup'));
  }
  // Throws the reason why the backend that was asked for is not available.
  if (options.backend !== undefined && !usable) await chooseBackend(options.backend);
  return usable ? 0 : 1;
}

/** Runs setup.mjs, and returns its exit code; 1 if a signal ended it. */
export function setupCommand({
  tensorflow,
  torch,
}: {
  readonly tensorflow?: string;
  readonly torch?: true;
}): number {
  const script = path.join(projectDir(), 'src', 'setup', 'setup.mjs');
  const args = [
    ...(tensorflow === undefined ? [] : ['--tensorflow', tensorflow]),
    ...(torch ? ['--torch'] : []),
  ];
  const { status, error } = spawnSync(process.execPath, [script, ...args], { stdio: 'inherit' });
  if (error !== undefined) throw error;
  return status ?? 1;
}
