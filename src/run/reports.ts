/**
 * Publishes the newest report of each spec, and of each part of a spec, under its own name, and
 * writes its figures and tables outside the store (`report --pdf`, `figures`).
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../base/fault.ts';
import { replaceFile } from '../base/replace-file.ts';
import { sha256 } from '../base/sha256.ts';
import { fileInside } from '../base/untrusted/paths.ts';
import type { PlannedStage } from '../plan/types.ts';
import { OUTPUTS } from '../report/outputs.ts';
import { ENTRIES, type EntryContents, FIGURE_FORMATS, type FigureFormat } from '../report/types.ts';
import type { Diagnostic } from '../spec/types.ts';
import { errorCode, onDisk } from '../store/faults.ts';
import { fileFault } from '../store/files.ts';
import { makeFolder } from '../store/folders.ts';
import type { Manifest } from '../store/manifest.ts';
import { isFinished } from './execute/execution.ts';
import { distinctDiagnostics, repeatsIn } from './execute/warnings.ts';
import type { Note, Prepared } from './prepare.ts';
import { asSource, buildDir } from './registry/build.ts';
import { reportsDir } from './state-folder.ts';
import type { RunSummary } from './types.ts';

export const REPORT = 'report.html';

type Asked = Pick<Prepared, 'asked' | 'experiment' | 'backend'>;

/**
 * Copies the report to a path that can be bookmarked, with the page of all outputs
 * (`NAME,page=outputs.html`) beside it. The newest report of an experiment is
 * `.dosimeter/reports/NAME.html`. The report of a part of the grid, or with other values, is
 * `NAME,rank=4.html`; the report of a profile, `NAME,profile=small.html`; that of the backend
 * torch, `NAME,backend=torch.html`. Another spec of the same name has `NAME@FILE.html`.
 * @returns the copy's path, or the path of the report in the store if it can't be copied; null if
 *   there is no report
 */
export async function publishReport(
  prepared: Prepared,
  stages: readonly { readonly stage: PlannedStage; readonly dir: string | null }[],
  note: Note,
): Promise<string | null> {
  for (const { stage, dir } of stages) {
    if (stage.descriptor.scope !== 'experiment' || dir === null) continue;
    const from = path.join(dir, REPORT);
    if (!existsSync(from)) continue;
    // PyTorch's report has its own name. If a report can't be copied, the store still has it.
    const engine = prepared.backend === 'torch' ? ['backend=torch'] : [];
    const outputs = await publishOutputs(prepared, engine, dir, note);
    const linked = readFileSync(from, 'utf8').replaceAll(
      /<a href="outputs\.html">(.*?)<\/a>/g,
      (_, text: string) =>
        outputs === null ? `${text} (not written)` : `<a href="${outputs}">${text}</a>`,
    );
    const html = withNotes(linked, prepared, [...(await repeatsIn(prepared)).values()]);
    return publish(prepared, engine, html, note) ?? from;
  }
  return null;
}

/**
 * Writes the page of all outputs, unless it is there already. The page's first line says what it
 * was made from.
 * @param dir the report's folder in the store
 * @returns the page's name; null if there is none, or if it can't be written
 */
async function publishOutputs(
  prepared: Asked,
  nameParts: readonly string[],
  dir: string,
  note: Note,
): Promise<string | null> {
  const data = path.join(dir, OUTPUTS);
  if (!existsSync(data)) return null;
  const { file } = reportFile(prepared, [...nameParts, 'outputs']);
  const name = path.basename(file);
  const made = asSource ? '' : `<!-- ${path.basename(dir)} ${path.basename(buildDir())} -->\n`;
  if (made !== '' && startsWith(file, made)) return name;
  const { outputsPage } = await import('../report/outputs-page.tsx');
  const page = await outputsPage({
    name: prepared.experiment.name,
    data: readFileSync(data),
    report: path.basename(reportFile(prepared, nameParts).file),
  });
  const written = publish(prepared, [...nameParts, 'outputs'], made + page, note, 'output browser');
  return written === null ? null : name;
}

/** Whether a file starts with a text; false if the file can't be read. */
function startsWith(file: string, text: string): boolean {
  try {
    return readFileSync(file, 'latin1').startsWith(text);
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return false;
  }
}

/** Writes `NAME,page=crosscheck.html`. Returns its path; null if it could not be written. */
export const publishCrosscheck = (prepared: Asked, html: string, note: Note): string | null =>
  publish(prepared, ['crosscheck'], html, note);

/**
 * Writes a page. Returns its path; null if the disk refuses it. @param parts parts of the page's
 * name
 */
function publish(
  prepared: Asked,
  parts: readonly string[],
  html: string,
  note: Note,
  page: 'report' | 'output browser' = 'report',
): string | null {
  const { file, taken } = reportFile(prepared, parts);
  try {
    makeFolder(reportsDir());
    replaceFile(ownerFile(file), specPath(prepared));
    replaceFile(file, html);
  } catch (error) {
    const code = errorCode(error);
    if (code === undefined) throw error;
    note(`the ${page} could not be copied to ${file} (${code})`);
    return null;
  }
  if (taken !== null && page === 'report')
    note(
      `${path.relative('', taken.file)} is the report of ${path.relative('', taken.owner)}, ` +
        `a spec of the same name; the report of this spec is ${path.relative('', file)}`,
    );
  return file;
}

/**
 * Fills in the spec's notes and the warnings, which are in no key: the stored report may be older.
 */
function withNotes(html: string, { experiment }: Asked, warnings: readonly Diagnostic[]): string {
  const notes = [
    ...(experiment.notes === '' ? [] : [experiment.notes]),
    ...distinctDiagnostics(warnings).map(({ message }) => `${message}.`),
  ].join('\n');
  return html.replace('<p class="notes"></p>', () =>
    notes === ''
      ? ''
      : `<p class="notes">${notes.replaceAll('&', '&amp;').replaceAll('<', '&lt;')}</p>`,
  );
}

const specPath = ({ experiment }: Asked): string => path.resolve(experiment.file);

/** Returns the file beside a page that holds the path of the page's spec (its owner). */
const ownerFile = (file: string): string =>
  path.join(path.dirname(file), `.${path.basename(file, '.html')}.spec`);

/**
 * Returns the path of the spec that owns the page `file`, if that is another than `spec` and still
 * exists; else null.
 */
function otherOwner(file: string, spec: string): string | null {
  const record = ownerFile(file);
  if (!existsSync(file) || !existsSync(record)) return null;
  const owner = readFileSync(record, 'utf8');
  return owner !== spec && existsSync(owner) ? owner : null;
}

/**
 * Returns a page's file. If another spec owns the page of the plain name, adds the name of this
 * spec's file to the name or, if another spec owns that page as well, a digest; `taken` is then the
 * plain name's page and its owner.
 */
function reportFile(
  prepared: Asked,
  pageParts: readonly string[],
): {
  readonly file: string;
  readonly taken: { readonly file: string; readonly owner: string } | null;
} {
  const { asked, experiment } = prepared;
  const spec = specPath(prepared);
  /** Returns the page's file, whose name begins with `name`. */
  const named = (name: string): string => {
    const chosen = asked.profile === undefined ? [] : [`profile=${asked.profile}`];
    // A part that names a page always has a `=`, unlike a part that is a tag given to `--only`.
    const pages = pageParts.map((part) => (part.includes('=') ? part : `page=${part}`));
    const head = [name, ...chosen, ...pages].map(fileName);
    const parts = [...head, ...[...asked.only, ...asked.set].map(fileName)].join(',');
    return fileInside(reportsDir(), `${boundedName(parts, head.join(','))}.html`, 'The report');
  };
  const plain = named(experiment.name);
  const owner = otherOwner(plain, spec);
  if (owner === null) return { file: plain, taken: null };
  const own = named(`${experiment.name}@${path.basename(spec).replace(/\.ya?ml$/, '')}`);
  const file =
    otherOwner(own, spec) === null ? own : named(`${experiment.name}@${shortDigest(spec)}`);
  return { file, taken: { file: plain, owner } };
}

/**
 * The most characters of one part of a page's name and, below, of a whole name. Most file systems
 * allow 255 bytes for a name.
 */
const LONGEST = 60;
const LONGEST_NAME = 180;
const shortDigest = (text: string): string => sha256(text).slice(0, 8);

/**
 * Bounds the length of an ASCII name, with room for a file ending. If the name is too long, returns
 * the beginning of `head`, which is the name itself by default, with a digest of the whole name.
 */
export const boundedName = (name: string, head = name): string =>
  name.length > LONGEST_NAME ? `${head.slice(0, LONGEST_NAME - 9)}-${shortDigest(name)}` : name;

/** Returns the text if every file system allows it, else a safe form with a digest. */
export function fileName(text: string): string {
  const plain = text.replace(/[^\w=.,@-]+/g, '_').slice(0, LONGEST);
  return plain === text ? text : `${plain}-${shortDigest(text)}`;
}

export interface FiguresAsked {
  /** The folder to write to; true for the default folder. */
  readonly dir: string | true;
  readonly formats: readonly FigureFormat[];
  /** The names of the figures, tables and entries of `report` to write; null for all. */
  readonly only: readonly string[] | null;
}

export interface WrittenFigures {
  readonly dir: string;
  readonly files: readonly string[];
  /** How many figures were written as PDF or PNG. */
  readonly drawn: number;
  /** Files that differ from what was stored. They are left out. */
  readonly damaged: readonly string[];
  /** Figures with characters that the font of PDF and PNG lacks; the SVG has them. */
  readonly lacking: readonly { readonly figure: string; readonly characters: readonly string[] }[];
  /** The spec's entries of `report` that were asked for. */
  readonly entries: readonly EntryContents[];
}

/**
 * Writes figures and tables of a run's report. The default folder is emptied first; in another,
 * only files of the same names are replaced.
 * @returns null if there is no report
 * @throws UserFault if the folder can't be written to, or there is no figure of a name
 */
export async function writeFigures(
  prepared: Prepared,
  summary: RunSummary,
  { dir: asked, formats, only }: FiguresAsked,
): Promise<WrittenFigures | null> {
  const report = reportEntry(prepared, summary);
  if (report === null) return null;
  // The folder is beside the page and named after it. Specs of one name, and parts of a spec, have
  // separate pages.
  const page = summary.report;
  const name = page === null ? prepared.experiment.name : path.basename(page, '.html');
  const dir = asked === true ? path.join(reportsDir(), `${name}-figures`) : path.resolve(asked);
  const entries = entriesIn(report.dir),
    chosen = chooseFiles(figuresAndTables(report.manifest), entries, only);
  const written: string[] = [];
  const write = async (file: string, content: string | Buffer): Promise<void> => {
    await onDisk(dir, () => writeFileSync(path.join(dir, file), content), 'folder');
    written.push(file);
  };
  if (asked === true)
    await onDisk(dir, () => rmSync(dir, { recursive: true, force: true }), 'folder');
  await onDisk(dir, () => makeFolder(dir), 'folder');
  let drawn = 0;
  const damaged: string[] = [];
  const lacking: WrittenFigures['lacking'][number][] = [];
  for (const { file, format, name: place } of chosen) {
    const isDrawn = format === 'svg' && (formats.includes('pdf') || formats.includes('png'));
    const isWritten = format === null || formats.includes(format);
    if (!isWritten && !isDrawn) continue;
    const stored = path.join(report.dir, file.path);
    if ((await fileFault(report.dir, file)) !== null) {
      damaged.push(stored);
      continue;
    }
    const content = readFileSync(stored),
      figure = path.basename(file.path),
      text = content.toString('utf8');
    if (isWritten) await write(figure, content);
    if (!isDrawn) continue;
    const { pdf, missing } = await (await import('../report/figures/pdf.ts')).paintPdf(text),
      plain = path.basename(place);
    if (formats.includes('pdf')) await write(`${plain}.pdf`, pdf);
    if (formats.includes('png')) {
      const { paintPng: pngOf } = await import('../report/figures/png.ts');
      await write(`${plain}.png`, await pngOf(text));
    }
    drawn++;
    if (missing.length > 0) lacking.push({ figure, characters: missing });
  }
  return {
    ...{ dir, files: written, drawn, damaged, lacking },
    entries: entries.filter((entry) => only?.includes(entry.name) ?? true),
  };
}

/**
 * Returns what the spec's own entries of `report` show; [] if the spec has none, or there is no
 * report.
 */
export function ownEntries(prepared: Prepared, summary: RunSummary): readonly EntryContents[] {
  const { figures = [], tables = [] } = prepared.experiment.report ?? {};
  const names = [...figures, ...tables].map(({ name }) => name);
  const report = names.length === 0 ? null : reportEntry(prepared, summary);
  return report === null ? [] : entriesIn(report.dir).filter((entry) => names.includes(entry.name));
}

const isFigure = (file: { readonly path: string }): boolean => file.path.startsWith('figures/');

const FORMATS = Object.keys(FIGURE_FORMATS) as readonly FigureFormat[];

interface StoredFile {
  readonly file: Manifest['files'][number];
  /** The file's format; null for an unknown ending, as an outside plugin's stage may write it. */
  readonly format: FigureFormat | null;
  /** The file's path without the ending of its format: `figures/dose`. */
  readonly name: string;
}

/** Returns the report's files in the folders `figures` and `tables`. */
const figuresAndTables = ({ files }: Manifest): readonly StoredFile[] =>
  files.flatMap((file) => {
    if (!/^(?:figures|tables)\//.test(file.path)) return [];
    const format = FORMATS.find((one) => file.path.endsWith(`.${FIGURE_FORMATS[one]}`)) ?? null;
    const ending = format === null ? path.extname(file.path) : `.${FIGURE_FORMATS[format]}`;
    return { file, format, name: file.path.slice(0, file.path.length - ending.length) };
  });

/**
 * Returns what the report in this folder stores of the spec's entries of `report`; [] if nothing.
 */
function entriesIn(dir: string): readonly EntryContents[] {
  const file = path.join(dir, ENTRIES);
  return existsSync(file)
    ? (JSON.parse(readFileSync(file, 'utf8')) as readonly EntryContents[])
    : [];
}

/**
 * Returns the files of these names; all if `only` is null. @throws UserFault for an unknown name
 */
function chooseFiles(
  stored: readonly StoredFile[],
  entries: readonly EntryContents[],
  only: FiguresAsked['only'],
): readonly StoredFile[] {
  if (only === null) return stored;
  const nameOf = ({ name }: StoredFile): string => path.basename(name);
  const chosen = only.flatMap((name) => {
    const files = entries.find((entry) => entry.name === name)?.files,
      own = stored.filter((one) => files?.includes(one.name) ?? nameOf(one) === name);
    if (files === undefined && own.length === 0) {
      const names = [...new Set([...entries.map((entry) => entry.name), ...stored.map(nameOf)])];
      throw new UserFault(
        `the report has no figure and no table "${name}"`,
        `it has ${names.sort().join(', ')}`,
      );
    }
    return own;
  });
  return [...new Set(chosen)];
}

/**
 * Returns the entry of the last stage that joins the grid and has figures; null if there is none.
 */
function reportEntry(
  { statuses, store }: Prepared,
  { outcomes }: RunSummary,
): { readonly dir: string; readonly manifest: Manifest } | null {
  return statuses.reduce<{ dir: string; manifest: Manifest } | null>((last, { stage, entry }) => {
    if (stage.descriptor.scope !== 'experiment') return last;
    const outcome = outcomes.get(stage.id);
    const made = isFinished(outcome) ? outcome : entry;
    const manifest = made ? store.manifest(made.key) : null;
    return made && manifest?.files.some(isFigure) ? { dir: made.dir, manifest } : last;
  }, null);
}
