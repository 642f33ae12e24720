/**
 * A small clone of dosimeter in a temporary folder: the real set-up code, and sources that the test
 * controls.
 */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ClosuresFile, RegistryFile } from '../../src/run/registry/types.ts';

export const repository = fileURLToPath(new URL('../../', import.meta.url));

export interface TestProject {
  readonly dir: string;
  write(file: string, text: string): void;
  read(file: string): string;
  /** Runs Node in the project. */
  node(
    args: readonly string[],
    env?: Readonly<Record<string, string>>,
  ): { readonly code: number | null; readonly stdout: string; readonly stderr: string };
  /** Builds, and returns the build's registry, and what the plugins' code versions cover. */
  build(): {
    readonly code: number | null;
    readonly stderr: string;
    readonly registry: RegistryFile;
    readonly closures: ClosuresFile['closures'];
  };
}

export const attack = (
  name: string,
  body = 'return { changed: [], negatives: [], asked: 0, eligible: 0 };',
): string => `import { defineAttack } from '../../src/api.ts';
import { helper } from '../../src/helper.ts';
export default defineAttack({
  name: '${name}', summary: 'Does nothing.', family: 'none', citation: '-',
  params: { type: 'object' },
  poison: () => { helper(); ${body} },
});
`;

/** Returns the source of a command line that does something. */
export const commandLine = (body: string): string =>
  `export async function main(argv: readonly string[]): Promise<number> { ${body} return 0; }\n`;

export function createProject(): TestProject {
  const dir = mkdtempSync(join(tmpdir(), 'dosimeter-project-'));
  const project: TestProject = {
    dir,
    write(file, text) {
      mkdirSync(dirname(join(dir, file)), { recursive: true });
      writeFileSync(join(dir, file), text);
    },
    read: (file) => readFileSync(join(dir, file), 'utf8'),
    node(args, env = {}) {
      const { status, stdout, stderr } = spawnSync(process.execPath, args, {
        cwd: dir,
        encoding: 'utf8',
        env: { ...process.env, ...env },
      });
      return { code: status, stdout, stderr };
    },
    build() {
      const { code, stderr } = project.node(['src/setup/build.mjs']);
      if (code !== 0) return { code, stderr, registry: { format: 1, plugins: [] }, closures: {} };
      const { build } = JSON.parse(project.read('dist/build.json')) as { build: string };
      return {
        code,
        stderr,
        registry: JSON.parse(project.read(`dist/${build}/registry.json`)) as RegistryFile,
        closures: (JSON.parse(project.read(`dist/${build}/closures.json`)) as ClosuresFile)
          .closures,
      };
    },
  };
  for (const file of [
    ...'package.json package-lock.json tsconfig.json src/setup src/tensor/native'.split(' '),
    ...'src/api.ts src/api src/base src/spec/pipeline.generated.ts src/tensor/native'.split(' '),
  ]) {
    cpSync(join(repository, file), join(dir, file), { recursive: true });
  }
  // One link for each package, so that a test can add a package of its own.
  mkdirSync(join(dir, 'node_modules'));
  for (const name of readdirSync(join(repository, 'node_modules')))
    symlinkSync(join(repository, 'node_modules', name), join(dir, 'node_modules', name));
  project.write('src/cli.ts', commandLine('console.log(`one ${argv.join(" ")}`);'));
  project.write('src/run/execute/worker.ts', 'export {};\n');
  project.write('src/helper.ts', 'export const helper = (): number => 1;\n');
  project.write('plugins/attacks/first.ts', attack('first'));
  project.write(
    'plugins/attacks/second.ts',
    attack('second')
      .replace(/.*helper.*\n/, '')
      .replace('helper(); ', ''),
  );
  return project;
}
