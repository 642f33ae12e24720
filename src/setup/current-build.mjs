/**
 * Finds the build to run, for the launcher and the library, and makes a new one if sources have
 * changed. Imports only Node's own modules.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { changedSources, ifWritable, readRecord } from './build-record.mjs';

/**
 * @param {string} project
 * @param {(message: string) => void} tell called if it builds, with the reason
 * @returns {Promise<string>} the build's folder. It is kept while this process is alive, so that a
 *   long run keeps its code while sources are edited
 * @throws {Error} named BuildFault on a fault in a source file
 */
export async function currentBuild(project, tell) {
  const dir = join(project, 'dist', await name());
  const mark = join(dir, 'users', String(process.pid));
  ifWritable(() => {
    mkdirSync(join(dir, 'users'), { recursive: true });
    writeFileSync(mark, '');
    process.on('exit', () => rmSync(mark, { force: true }));
  });
  return dir;

  async function name() {
    const record = readRecord(project);
    // Without sources nothing can have changed.
    if (!existsSync(join(project, 'src', 'cli.ts')) && record !== null) return record.build;
    const built =
      record !== null && existsSync(join(project, 'dist', record.build, 'registry.json'));
    const changed = built ? changedSources(project, record) : [];
    if (built && changed.length === 0) return record.build;
    const rest = changed.length > 2 ? ` and ${changed.length - 2} more` : '';
    tell(built ? `building again, ${changed.slice(0, 2).join(', ')}${rest} changed` : 'building');
    const { build } = await import('./build.mjs');
    return build(project);
  }
}
