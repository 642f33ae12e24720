/**
 * Finds where the packages that compute are installed, and reads the record that set-up left beside
 * them.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const require = createRequire(import.meta.url);

/** The record that `npx dosimeter setup` writes; src/setup/tensorflow.mjs defines its form. */
export interface SetupStamp {
  readonly tensorflow: string | null;
  readonly variant: 'cpu' | 'cuda' | 'own';
  readonly libraries: string | null;
  /** The version of the fused operations in the binding; null or absent where it has none. */
  readonly fused?: string | null;
  readonly platform: string;
  readonly arch: string;
  readonly reason?: string;
  readonly remedy?: string;
}

/** Returns the folder of an installed package, or null if it is not installed. */
export function packageDir(name: string): string | null {
  try {
    return dirname(require.resolve(`${name}/package.json`));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return null;
    throw error;
  }
}

/** Returns the version of an installed package. Throws if it is not installed. */
export function packageVersion(name: string): string {
  const dir = packageDir(name);
  if (dir === null) throw new Error(`${name} is not installed`);
  return (JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')) as { version: string })
    .version;
}

/** Returns set-up's record about TensorFlow, or null if set-up has not run. */
export function readSetupStamp(tfjsDir: string): SetupStamp | null {
  const file = join(tfjsDir, 'lib', 'dosimeter.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as SetupStamp) : null;
}

export function bindingFile(tfjsDir: string): string {
  return join(tfjsDir, 'lib', 'napi-v8', 'tfjs_binding.node');
}
