/** `dosimeter report SPEC --pdf`: the report's figures outside the store: SVG and CSV as they are there, and each as PDF. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { reportsDir } from '../engine/places.ts';
import type { Prepared } from '../engine/prepare.ts';
import type { RunSummary } from '../engine/types.ts';
import { pdfOf } from '../report/figures/pdf.ts';
import { onDisk } from '../store/faults.ts';
import { fileFault } from '../store/files.ts';
import { makeFolder } from '../store/folders.ts';
import type { Manifest } from '../store/types.ts';
import { count, paintErr, say } from './terminal.ts';

const FIGURES = 'figures/';

/**
 * Writes the figures of the report that a run has made or found. What lies in the default folder from an earlier report
 * goes; in a folder of the user's own, files of the same names are written over and others are left alone.
 * @param asked the folder; true: the default one
 * @returns the folder, or null where there is no report
 */
export async function writeFigures(
  prepared: Prepared,
  { outcomes, report: page }: RunSummary,
  asked: string | true,
): Promise<string | null> {
  const { experiment, statuses, store } = prepared;
  let report: { readonly dir: string; readonly manifest: Manifest } | null = null;
  for (const { stage, entry } of statuses) {
    if (stage.descriptor.scope !== 'experiment') continue;
    const outcome = outcomes.get(stage.id);
    const made = outcome?.state === 'ran' || outcome?.state === 'cached' ? outcome : entry;
    const manifest = made ? store.manifest(made.key) : null;
    if (made && manifest?.files.some(({ path: name }) => name.startsWith(FIGURES)))
      report = { dir: made.dir, manifest };
  }
  if (report === null) {
    say(paintErr.yellow('there are no figures: no stage of it has made a report'));
    return null;
  }
  // Beside the page, and named after it: that tells specs, and parts of one, apart.
  const name = page === null ? experiment.name : path.basename(page, '.html');
  const dir = asked === true ? path.join(reportsDir(), `${name}-figures`) : path.resolve(asked);
  const files = report.manifest.files.filter(({ path: name }) => name.startsWith(FIGURES));
  const write = (name: string, content: string | Buffer): Promise<void> =>
    onDisk(dir, () => writeFileSync(path.join(dir, name), content), 'folder');
  if (asked === true)
    await onDisk(dir, () => rmSync(dir, { recursive: true, force: true }), 'folder');
  await onDisk(dir, () => makeFolder(dir), 'folder');
  let drawn = 0;
  for (const file of files) {
    const fault = await fileFault(report.dir, file);
    if (fault !== null) {
      say(
        paintErr.red(
          `${path.join(report.dir, file.path)} is not what was stored; left out (dosimeter verify)`,
        ),
      );
      continue;
    }
    const name = path.basename(file.path),
      text = readFileSync(path.join(report.dir, file.path), 'utf8');
    await write(name, text);
    if (!name.endsWith('.svg')) continue;
    const { pdf, missing } = await pdfOf(text);
    await write(`${name.slice(0, -'.svg'.length)}.pdf`, pdf);
    drawn++;
    if (missing.length > 0)
      say(
        paintErr.yellow(
          `${name}: the PDF's font (Inter) has no ${missing.slice(0, 10).join(' ')}: drawn as boxes; the SVG has them`,
        ),
      );
  }
  say(`${count(drawn, 'figure')} as PDF, SVG and CSV: ${path.relative('', dir) || '.'}`);
  return dir;
}
