/**
 * `dosimeter setup`: `npm run setup` for an installed package. It runs in another process, since it
 * replaces files that this one has loaded.
 */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { packageRoot } from '../run/execute/environment.ts';

export function setupCommand({ tensorflow }: { readonly tensorflow?: string }): Promise<number> {
  const script = path.join(packageRoot(), 'src', 'setup', 'setup.mjs');
  const args = tensorflow === undefined ? [] : ['--tensorflow', tensorflow];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, ...args], { stdio: 'inherit' });
    child.on('error', reject);
    child.on('exit', (code) => resolve(code ?? 1));
  });
}
