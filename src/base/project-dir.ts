import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Returns the nearest folder above the program that has a file of this name. Throws if none has.
 */
export function ancestorWith(name: string): string {
  for (let dir = dirname(fileURLToPath(import.meta.url)); ; dir = dirname(dir)) {
    if (existsSync(join(dir, name))) return dir;
    if (dir === dirname(dir)) throw new Error(`no folder above the program has a ${name}`);
  }
}

export const projectDir = (): string => ancestorWith('package.json');
