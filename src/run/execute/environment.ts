/**
 * Describes the environment of a run: enough to repeat the run elsewhere, and to see why the last
 * bits of a number may differ.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import type { Readable } from 'node:stream';
import type { BackendName, JsonObject } from '../../api.ts';
import { projectDir } from '../../base/project-dir.ts';

interface PackageJson {
  readonly version: string;
  readonly dependencies?: { readonly [name: string]: string };
  readonly optionalDependencies?: { readonly [name: string]: string };
}
const readPackage = (dir: string): PackageJson =>
  JSON.parse(readFileSync(path.join(dir, 'package.json'), 'utf8')) as PackageJson;

export const ownVersion = (): string => readPackage(projectDir()).version;

/**
 * Returns the installed releases of the dependencies, by name. Leaves out those that are not
 * installed.
 */
function packageVersions(): { [name: string]: string } {
  const root = projectDir(),
    { resolve } = createRequire(path.join(root, 'package.json')),
    { dependencies, optionalDependencies } = readPackage(root);
  const versions: { [name: string]: string } = {};
  // The folders to look in are the same for every package: if dosimeter itself is installed, its
  // dependencies mostly lie beside it.
  const places = resolve.paths('dosimeter') ?? [];
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
    const dir = places
      .map((modules) => path.join(modules, name))
      .find((found) => existsSync(path.join(found, 'package.json')));
    if (dir !== undefined) versions[name] = readPackage(dir).version;
  }
  return versions;
}

/** Returns the processor's instruction sets for numbers; '' where there is no /proc/cpuinfo. */
function cpuFeatures(): string {
  if (!existsSync('/proc/cpuinfo')) return '';
  const flags =
    /^(?:flags|Features)\s*:\s*(.*)$/m
      .exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]
      ?.split(' ') ?? [];
  // Only the flags that decide which numeric code runs.
  return flags.filter((flag) => /^(avx|fma|sse4|amx|f16c|asimd|sve|bf16)/.test(flag)).join(' ');
}

/** Returns what git prints; null if git is missing or fails. */
const gitOutput = (args: readonly string[]): Promise<string | null> =>
  new Promise((resolve) => {
    // With one pipe instead of the three that `execFile` opens.
    const git = spawn('git', args, { stdio: ['ignore', 'pipe', 'ignore'] });
    const chunks: Buffer[] = [];
    // `stdout` is null if git could not be started.
    (git.stdout as Readable | null)?.on('data', (chunk: Buffer) => chunks.push(chunk));
    git
      .once('error', () => resolve(null))
      .once('close', (code) => resolve(code === 0 ? Buffer.concat(chunks).toString() : null));
  });

/**
 * Returns the commit and whether tracked files differ from it (`dirty`). Null outside a repository,
 * without a commit, or without git.
 */
async function gitState(dir: string): Promise<{ commit: string; dirty: boolean } | null> {
  const text = await gitOutput([
    '-C',
    dir,
    'status',
    '--porcelain=v2',
    '--branch',
    '--no-ahead-behind',
    '--untracked-files=no',
  ]);
  const lines = text?.trim().split('\n') ?? [];
  const commit = lines.flatMap((line) => /^# branch\.oid ([0-9a-f]+)$/.exec(line)?.[1] ?? [])[0];
  return commit === undefined
    ? null
    : { commit, dirty: lines.some((line) => !line.startsWith('#')) };
}

/**
 * Returns the environment of a run, as `environment.json` records it.
 * @param specFile the spec, whose folder is looked for in git
 * @param jobs how many cores the run may use
 */
export async function describeEnvironment(
  specFile: string,
  backend: BackendName,
  jobs: number,
): Promise<JsonObject> {
  // Git starts first, and runs while the rest is found out.
  const git = gitState(path.dirname(specFile));
  const { probeOne } = await import('../../tensor/backend.ts');
  const cpus = os.cpus(),
    packages = packageVersions(),
    { version, detail } = await probeOne(backend);
  return {
    dosimeter: ownVersion(),
    node: process.version,
    platform: process.platform,
    arch: process.arch,
    os: `${os.type()} ${os.release()}`,
    cpu: { model: cpus[0]?.model.trim() ?? 'unknown', count: cpus.length, features: cpuFeatures() },
    memory_mb: Math.round(os.totalmem() / 2 ** 20),
    jobs,
    backend: { name: backend, version, precision: 'float32', detail },
    packages,
    git: await git,
  };
}
