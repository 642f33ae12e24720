/** `dosimeter report --pdf`: writes the report's figures outside the store, as SVG, CSV and PDF. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pdfOf } from '../report/figures/pdf.ts';
import { onDisk } from '../store/faults.ts';
import { fileFault } from '../store/files.ts';
import { makeFolder } from '../store/folders.ts';
import type { Manifest } from '../store/manifest.ts';
import type { Prepared } from './prepare.ts';
import { reportsDir } from './state-folder.ts';
import type { RunSummary } from './types.ts';

const FIGURES = 'figures/';

export interface WrittenFigures {
  readonly dir: string;
  /** The number of figures that were written as PDF. */
  readonly drawn: number;
  /** The files that differ from what was stored. They are left out. */
  readonly damaged: readonly string[];
  /** Figures with characters that the PDF's font lacks; the SVG has them. */
  readonly lacking: readonly { readonly figure: string; readonly characters: readonly string[] }[];
}

/**
 * Writes the figures of the report that a run made or found. The default folder is emptied first.
 * In a folder that the user names, only files of the same names are replaced.
 * @param asked the folder; true for the default one
 * @returns null if there is no report
 * @throws UserFault if the folder can't be written to
 */
export async function writeFigures(
  prepared: Prepared,
  summary: RunSummary,
  asked: string | true,
): Promise<WrittenFigures | null> {
  const report = reportEntry(prepared, summary);
  if (report === null) return null;
  // The folder is beside the page and named after it. Specs of one name, and parts of a spec, have
  // separate pages.
  const page = summary.report;
  const name = page === null ? prepared.experiment.name : path.basename(page, '.html');
  const dir = asked === true ? path.join(reportsDir(), `${name}-figures`) : path.resolve(asked);
  const write = (file: string, content: string | Buffer): Promise<void> =>
    onDisk(dir, () => writeFileSync(path.join(dir, file), content), 'folder');
  if (asked === true)
    await onDisk(dir, () => rmSync(dir, { recursive: true, force: true }), 'folder');
  await onDisk(dir, () => makeFolder(dir), 'folder');
  let drawn = 0;
  const damaged: string[] = [];
  const lacking: WrittenFigures['lacking'][number][] = [];
  for (const file of report.manifest.files) {
    if (!isFigure(file)) continue;
    const stored = path.join(report.dir, file.path);
    if ((await fileFault(report.dir, file)) !== null) {
      damaged.push(stored);
      continue;
    }
    const figure = path.basename(file.path);
    const text = readFileSync(stored, 'utf8');
    await write(figure, text);
    if (!figure.endsWith('.svg')) continue;
    const { pdf, missing } = await pdfOf(text);
    await write(`${figure.slice(0, -'.svg'.length)}.pdf`, pdf);
    drawn++;
    if (missing.length > 0) lacking.push({ figure, characters: missing });
  }
  return { dir, drawn, damaged, lacking };
}

const isFigure = (file: { readonly path: string }): boolean => file.path.startsWith(FIGURES);

/** Returns the last entry of a joining stage that has figures. */
function reportEntry(
  { statuses, store }: Prepared,
  { outcomes }: RunSummary,
): { readonly dir: string; readonly manifest: Manifest } | null {
  return statuses.reduce<{ dir: string; manifest: Manifest } | null>((last, { stage, entry }) => {
    if (stage.descriptor.scope !== 'experiment') return last;
    const outcome = outcomes.get(stage.id);
    const made = outcome?.state === 'ran' || outcome?.state === 'cached' ? outcome : entry;
    const manifest = made ? store.manifest(made.key) : null;
    return made && manifest?.files.some(isFigure) ? { dir: made.dir, manifest } : last;
  }, null);
}
