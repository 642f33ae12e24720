/** `dosimeter init [DIR]`: writes a starter folder: a spec that runs, an attack with its test, data. */
import { copyFileSync, existsSync, readdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { packageRoot } from '../execute/environment.ts';
import { json, out } from './terminal.ts';
import { makeFolder } from '../store/folders.ts';

/** npm leaves a file of the dotted name out of a package. */
const RENAMED: { readonly [name: string]: string } = { gitignore: '.gitignore' };

export async function initCommand(
  dir: string | undefined,
  options: { readonly json?: boolean },
): Promise<number> {
  const from = path.join(packageRoot(), 'pipelines', 'starter'),
    to = path.resolve(dir ?? '.');
  const files = readdirSync(from, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(from, path.join(entry.parentPath, entry.name)))
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
    // As `npm link` does: the plugin's `import … from 'dosimeter'` then works in its test and in an editor.
    const link = path.join(to, 'node_modules', 'dosimeter');
    if (!existsSync(link)) {
      makeFolder(path.dirname(link));
      symlinkSync(packageRoot(), link, 'junction');
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new UserFault(`${to} could not be written: ${message}`);
  }
  if (options.json) json({ dir: to, files: files.map(({ name }) => name) });
  else {
    out(files.map(({ name }) => `  ${name}`).join('\n'));
    const near = path.relative('', to),
      where = near.startsWith('..') ? to : near;
    out(`next: ${where === '' ? '' : `cd ${where} && `}dosimeter plan experiment.yaml`);
  }
  return 0;
}
