/**
 * Finds the files of this program: in a build (`dist/<build>`), or as source under a TypeScript
 * loader.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AnyPlugin } from '../../api.ts';
import { ancestorWith, projectDir } from '../../base/project-dir.ts';

/** Whether this module runs as source under a TypeScript loader (as in tests), not from a build. */
export const asSource = import.meta.url.endsWith('.ts');

// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- what was written
export const readJson = <T>(file: string): T => JSON.parse(readFileSync(file, 'utf8')) as T;

type BuiltPlugins = { readonly [source: string]: AnyPlugin };

/**
 * Returns the built-in plugins, by source. They are in one file, so that a start opens only one.
 */
export async function builtPlugins(): Promise<BuiltPlugins> {
  const file = join(buildDir(), 'plugins.js');
  return ((await importFile(file)) as { readonly default: BuiltPlugins }).default;
}

export const importFile = (file: string): Promise<unknown> => import(pathToFileURL(file).href);

/** Returns the folder of the running build or, under a TypeScript loader, of the newest. */
export function buildDir(): string {
  if (!asSource) return ancestorWith('registry.json');
  const pointer = join(projectDir(), 'dist', 'build.json');
  if (!existsSync(pointer)) throw new Error('nothing is built: run `npm run build`');
  return join(projectDir(), 'dist', readJson<{ build: string }>(pointer).build);
}

/**
 * Returns the path of a module: under a TypeScript loader, of its source below `src`; else of the
 * file `built` in the build.
 */
const modulePath = (source: string, built: string): string =>
  asSource ? join(projectDir(), 'src', source) : join(buildDir(), built);

export const workerModule = (): string => modulePath('run/execute/worker.ts', 'worker.js');

/**
 * Returns the command that starts dosimeter from the same build. Another build may not be able to
 * read this one's jobs.
 */
export const jobProgram = (): readonly string[] => [
  process.execPath,
  ...(asSource ? ['--import', import.meta.resolve('tsx')] : []),
  modulePath('cli.ts', 'cli.js'),
];

/** Returns the module of 'dosimeter/science' in this process, which the built-in plugins use. */
export const scienceModule = (): string => modulePath('science.ts', 'science.js');

/** Returns the module that `import … from 'dosimeter'` gives a plugin in this process. */
export const apiModule = (): string => modulePath('api.ts', 'api.js');
