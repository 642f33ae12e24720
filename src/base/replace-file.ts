import { renameSync, rmSync, writeFileSync } from 'node:fs';

/**
 * Replaces a file as a whole, or leaves it unchanged if that fails. Makes no folder. Writes a draft
 * first, whose name is the file's with `.`, the tag and this process's id behind it. By the id, a
 * sweep knows whether the draft's writer still runs.
 * @param tag tells apart writers that may have the same process id, as in two containers; ends in
 *   `.` unless it is ''
 */
export function replaceFile(file: string, text: string, tag = ''): void {
  const draft = `${file}.${tag}${process.pid}`;
  try {
    writeFileSync(draft, text);
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true }); // else every run on a full disk would leave a draft
    throw error;
  }
}
