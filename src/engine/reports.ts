/** The newest report of each spec, and of each part of one, under a name of its own. */
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { PlannedStage } from '../plan/types.ts';
import { makeFolder } from '../store/folders.ts';
import { fileInside } from '../untrusted/path.ts';
import { reportsDir } from './places.ts';
import type { Note, Prepared } from './prepare.ts';

export const REPORT = 'report.html';

type Asked = Pick<Prepared, 'asked' | 'experiment'>;

/**
 * A store path is no place to bookmark: the newest report of an experiment lies at `.dosimeter/reports/NAME.html`, that of
 * a part of it, or of it with other values, at `NAME,rank=4.html`, and that of another spec of its name beside it.
 * @returns where it lies; null where there is none
 */
export function publishReport(
  prepared: Asked,
  stages: readonly { readonly stage: PlannedStage; readonly dir: string | null }[],
  note: Note,
): string | null {
  for (const { stage, dir } of stages) {
    if (stage.descriptor.scope !== 'experiment' || dir === null) continue;
    const from = path.join(dir, REPORT);
    if (!existsSync(from)) continue;
    const { file, taken } = placeOf(prepared);
    try {
      makeFolder(reportsDir());
      replace(ownerFile(file), (draft) => writeFileSync(draft, specOf(prepared)));
      replace(file, (draft) => copyFileSync(from, draft));
      if (taken !== null)
        note(
          `${path.relative('', taken.file)} is the report of ${path.relative('', taken.owner)}, a spec of the same name: this one's is ${path.relative('', file)}`,
        );
      return file;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === undefined) throw error;
      // It is in the store all the same.
      note(`the report could not be copied to ${file} (${code})`);
      return from;
    }
  }
  return null;
}

const specOf = ({ experiment }: Asked): string => path.resolve(experiment.file);

/** Beside a report: the spec that it is of. */
const ownerFile = (file: string): string =>
  path.join(path.dirname(file), `.${path.basename(file, '.html')}.spec`);

function replace(file: string, write: (draft: string) => void): void {
  const draft = `${file}.${process.pid}`;
  write(draft);
  renameSync(draft, file);
}

/** The spec whose report this is, if that is another one, and still there. */
function otherOwner(file: string, spec: string): string | null {
  const record = ownerFile(file);
  if (!existsSync(file) || !existsSync(record)) return null;
  const owner = readFileSync(record, 'utf8');
  return owner !== spec && existsSync(owner) ? owner : null;
}

function placeOf(prepared: Asked): {
  readonly file: string;
  readonly taken: { readonly file: string; readonly owner: string } | null;
} {
  const { asked, experiment } = prepared,
    spec = specOf(prepared);
  const named = (name: string): string => {
    const parts = [name, ...asked.only, ...asked.set].map(fileName).join(',');
    return fileInside(reportsDir(), `${boundedName(parts, fileName(name))}.html`, 'The report');
  };
  const plain = named(experiment.name),
    owner = otherOwner(plain, spec);
  if (owner === null) return { file: plain, taken: null };
  const own = named(`${experiment.name}@${path.basename(spec).replace(/\.ya?ml$/, '')}`);
  const file = otherOwner(own, spec) === null ? own : named(`${experiment.name}@${digest(spec)}`);
  return { file, taken: { file: plain, owner } };
}

/** A part of a name, and a name: most file systems have 255 bytes. */
const LONGEST = 60,
  LONGEST_NAME = 180;
const digest = (text: string): string =>
  createHash('sha256').update(text).digest('hex').slice(0, 8);

/** A name of ASCII characters that leaves room for an ending: one that is too long is cut, or replaced by `head`, and ends in a digest of the whole. */
export const boundedName = (name: string, head = name): string =>
  name.length > LONGEST_NAME ? `${head.slice(0, LONGEST_NAME - 9)}-${digest(name)}` : name;

/** As it is written, where every file system has that; else with a digest, so that no two are one. */
function fileName(text: string): string {
  const plain = text.replace(/[^\w=.,@-]+/g, '_').slice(0, LONGEST);
  return plain === text ? text : `${plain}-${digest(text)}`;
}
