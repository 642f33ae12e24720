/** Makes the page's script: `browser/` in one file, without a source map. */
import path from 'node:path';
import { projectDir } from '../run/registry/build.ts';

/** Throws esbuild's BuildFailure if the sources are at fault. */
export async function pageScript(): Promise<string> {
  const { build } = await import('esbuild');
  const folder = path.join(projectDir(), 'src', 'serve', 'browser');
  const { outputFiles } = await build({
    entryPoints: [path.join(folder, 'main.tsx')],
    absWorkingDir: folder,
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
