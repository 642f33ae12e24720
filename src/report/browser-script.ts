import path from 'node:path';
import { projectDir } from '../base/project-dir.ts';

/**
 * Bundles the script of a page from the sources, as one text that may stand in a `<script>`.
 * @param folder where the sources are, relative to the package's folder
 * @param entry the code of the module that the page runs; it imports from `folder`
 * @throws esbuild's BuildFailure if the sources are at fault
 */
export async function browserScript(folder: string, entry: string): Promise<string> {
  const { build } = await import('esbuild');
  const resolveDir = path.join(projectDir(), folder);
  const { outputFiles } = await build({
    stdin: { contents: entry, resolveDir },
    absWorkingDir: resolveDir,
    bundle: true,
    minify: true,
    write: false,
    format: 'iife',
    platform: 'browser',
    target: 'es2022',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    tsconfigRaw: '{}',
    legalComments: 'none',
    logLevel: 'silent',
  });
  return outputFiles.map(({ text }) => text).join('');
}
