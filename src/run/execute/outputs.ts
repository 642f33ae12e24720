/** Checks and hashes the outputs of a stage that has ended. */
import { utimesSync } from 'node:fs';
import type { OutputFile } from '../../api.ts';
import { UserFault } from '../../api.ts';
import { listFiles, SETTLED_MS, sha256File } from '../../store/files.ts';
import { readRegularText } from '../../store/regular.ts';
import { METRICS, parseMetrics } from './metrics.ts';

/**
 * Returns every file below `dir` with its digest. The times of young files are set back before they
 * are hashed, so that a later write shows in the mtime and the file need not be hashed again.
 */
export async function digestOutputs(dir: string): Promise<OutputFile[]> {
  const files: OutputFile[] = [];
  for (const { path: name, size, mtimeMs, nlink } of listFiles(dir)) {
    const file = `${dir}/${name}`;
    // A file with another name may be an input.
    if (nlink === 1 && mtimeMs > Date.now() - SETTLED_MS) setBack(file);
    files.push({ path: name, size, sha256: await sha256File(file, size) });
  }
  return files;
}

function setBack(file: string): void {
  try {
    utimesSync(file, new Date(), new Date(Date.now() - SETTLED_MS));
  } catch (error) {
    // The file belongs to another user. It is hashed again after it has been read.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
  }
}

/**
 * Throws a UserFault if a stage's metrics are not a flat object of finite numbers, because
 * `results`, `diff` and the report would silently leave out the rest.
 */
export function checkMetrics(dir: string, files: readonly OutputFile[], stage: string): void {
  if (!files.some(({ path: name }) => name === METRICS)) return;
  const parsed = parseMetrics(readRegularText(`${dir}/${METRICS}`));
  if ('fault' in parsed)
    throw new UserFault(
      `the stage "${stage}" wrote a metrics.json that ${parsed.fault}`,
      'write an object of numbers, such as {"accuracy": 0.9}; JSON has no form for a number ' +
        'that is not finite (JSON.stringify turns it into null)',
    );
}
