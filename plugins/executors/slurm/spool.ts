/**
 * The files through which a coordinator, its jobs and a later coordinator communicate.
 *
 *     stages/KEY/claim.json         the task that a stage was given to, written before sbatch
 *     stages/KEY/result.json        how the stage ended, written by the task; it counts whatever
 *                                   Slurm says of the job
 *     stages/KEY/files-…            the stage's outputs
 *     submissions/NAME/script.sh    what sbatch reads
 *     submissions/NAME/intent.json  what sbatch is asked for, written before sbatch
 *     submissions/NAME/submitted.json   the id that sbatch gave
 *     submissions/NAME/INDEX.json   a task; beside it are INDEX.out (what it printed), INDEX.events
 *                                   (its events), INDEX.bad (why its node is unfit) and
 *                                   INDEX.signalled (it got Slurm's signal)
 *     said/NAME.INDEX               slurmstepd's messages on a task
 *     leases/                       the leases of tasks
 *
 * The spool takes no locks and compares no file times, which network file systems get wrong.
 * Methods that remove files throw `UserFault` if a folder below the root is a link.
 */
import {
  appendFileSync,
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import type { JobResult, ScheduledTask } from '../../../src/api.ts';
import { replaceFile } from '../../../src/base/replace-file.ts';
import { isRecord } from '../../../src/base/untrusted/json.ts';
import { ownFolder, ownNames } from '../../../src/base/untrusted/paths.ts';
import type { Request } from './script.ts';

/** The task that a stage was given to. */
export interface Claim {
  readonly submission: string;
  /** The task's index in the submission. */
  readonly task: number;
}

/** What sbatch is asked for in one submission. */
interface Intent {
  readonly name: string;
  /** When the submission was made: ISO 8601, by the submitting host's clock. */
  readonly created: string;
  readonly request: Request;
  readonly arguments: readonly string[];
  /** How many times the stages had been submitted before this. */
  readonly tries: number;
  /** How many times their time limit has been doubled. */
  readonly longer: number;
  /** How many times their memory has been doubled. */
  readonly more: number;
}

const NAME = /^dosimeter-[a-z0-9-]{1,100}$/;
const KEY = /^[0-9a-f]{64}(-[0-9a-f]{16})?$/;
const SCRIPT = 'script.sh';
/** How many days a submission is kept for its logs once it is in no stage's claim. */
const KEEP_DAYS = 7;

/** Returns a file's text; null if it is not there or can't be read, which may be temporary. */
function readText(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}

/** Returns the JSON object in a text; null if the text is not one, as when its end is missing. */
export function parseRecord(text: string): { readonly [name: string]: unknown } | null {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

/** Returns the JSON object in a file; null if the file can't be read or has none. */
const readJson = (file: string) => parseRecord(readText(file) ?? '');

const replaceJson = (file: string, value: unknown): void =>
  replaceFile(file, `${JSON.stringify(value)}\n`);

/**
 * Lists a folder; empty if it can't be read. To look for one file, callers list its folder: a
 * network file system then looks for new files.
 */
function namesIn(dir: string): readonly string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

export class Spool {
  constructor(readonly root: string) {}

  /** Returns the folder of a stage. Throws if the key could lead out of the spool. */
  stageDir(key: string): string {
    if (!KEY.test(key)) throw new Error(`"${key}" is not the key of a job`);
    return path.join(this.root, 'stages', key);
  }

  /** The folder into which slurmstepd writes its messages on each task, as NAME.INDEX. */
  get saidDir(): string {
    return path.join(this.root, 'said');
  }

  /** Returns the folder of a submission. Throws if the name could lead out of the spool. */
  submissionDir(name: string): string {
    if (!NAME.test(name)) throw new Error(`"${name}" is not the name of a submission`);
    return path.join(this.root, 'submissions', name);
  }

  /**
   * Returns the task that a stage was given to; null if it was given to none, or if its claim can't
   * be read.
   */
  claim(key: string): Claim | null {
    const found = readJson(path.join(this.stageDir(key), 'claim.json'));
    if (found === null) return null;
    const { submission, task } = found;
    const isSound = typeof submission === 'string' && NAME.test(submission);
    return isSound && Number.isInteger(task) ? { submission, task: Number(task) } : null;
  }

  setClaim(key: string, claim: Claim): void {
    mkdirSync(this.stageDir(key), { recursive: true });
    replaceJson(path.join(this.stageDir(key), 'claim.json'), claim);
  }

  /**
   * Returns a stage's result; null if there is none that can be read, or if it is a success whose
   * files are not there: they were moved into the store, or this host does not see them.
   */
  result(key: string): JobResult | null {
    const dir = this.stageDir(key);
    if (!this.hasResult(key)) return null;
    const found = readJson(path.join(dir, 'result.json'));
    if (found === null || typeof found['type'] !== 'string') return null;
    const result = found as unknown as JobResult & { readonly folder?: unknown };
    if (result.type !== 'done') return result;
    const folder = String(result.folder);
    if (!/^files-[A-Za-z0-9-]+$/.test(folder)) return null;
    const outDir = path.join(dir, folder);
    return areFilesThere(outDir, result.files) ? { ...result, outDir } : null;
  }

  /** Removes all that the spool has of a stage: claim, result and outputs. */
  forget(key: string): void {
    ownFolder(this.root, 'stages');
    rmSync(this.stageDir(key), { recursive: true, force: true });
  }

  /** Removes a stage's claim alone, so that the next coordinator submits the stage anew. */
  disclaim(key: string): void {
    ownFolder(this.root, 'stages', key);
    rmSync(path.join(this.stageDir(key), 'claim.json'), { force: true });
  }

  /**
   * Writes a submission's script and the files of its tasks, and makes the folders that they use.
   */
  writeSubmission(
    name: string,
    script: string,
    tasks: readonly Pick<ScheduledTask, 'members' | 'graceSeconds'>[],
  ): void {
    const dir = this.submissionDir(name);
    mkdirSync(dir, { recursive: true });
    for (const shared of [path.join(this.root, 'leases'), this.saidDir])
      mkdirSync(shared, { recursive: true });
    writeFileSync(path.join(dir, SCRIPT), script);
    tasks.forEach(({ members, graceSeconds }, index) => {
      const task: ScheduledTask = {
        members,
        leases: path.join(this.root, 'leases'),
        events: path.join(dir, `${index}.events`),
        graceSeconds,
      };
      for (const member of members) mkdirSync(member.dir, { recursive: true });
      writeFileSync(path.join(dir, `${index}.json`), JSON.stringify(task));
    });
  }

  scriptFile(name: string): string {
    return path.join(this.submissionDir(name), SCRIPT);
  }

  hasScript(name: string): boolean {
    return namesIn(this.submissionDir(name)).includes(SCRIPT);
  }

  setIntent(intent: Intent): void {
    replaceJson(path.join(this.submissionDir(intent.name), 'intent.json'), intent);
  }

  /**
   * Returns a submission's intent; null if its folder is gone, or the file is damaged. An earlier
   * version wrote no `more`, which is then 0.
   */
  intent(name: string): Intent | null {
    const found = readJson(path.join(this.submissionDir(name), 'intent.json'));
    if (found?.['name'] !== name || !isRecord(found['request'])) return null;
    return { more: 0, ...(found as unknown as Omit<Intent, 'more'>) };
  }

  /** Stores the id that sbatch gave. Ignores errors, since jobs are also found by name. */
  setSubmitted(name: string, id: string): void {
    try {
      replaceJson(path.join(this.submissionDir(name), 'submitted.json'), { id });
    } catch {
      // the disk is full, or the submission's folder was removed
    }
  }

  /** Returns the id that sbatch gave to a submission; null if it is not recorded. */
  submitted(name: string): string | null {
    const id = readJson(path.join(this.submissionDir(name), 'submitted.json'))?.['id'];
    return typeof id === 'string' && /^\d+$/.test(id) ? id : null;
  }

  /** Returns the keys of a task's stages, in order; null if the task's file can't be read. */
  taskKeys({ submission, task }: Claim): readonly string[] | null {
    const members = readJson(path.join(this.submissionDir(submission), `${task}.json`))?.[
      'members'
    ];
    if (!Array.isArray(members)) return null;
    return members.map((member: unknown) =>
      path.basename(String(isRecord(member) ? member['dir'] : '')),
    );
  }

  /** Whether the stage has a result, even one whose files are gone. */
  hasResult(key: string): boolean {
    return namesIn(this.stageDir(key)).includes('result.json');
  }

  hasSubmission(name: string): boolean {
    return namesIn(path.join(this.root, 'submissions')).includes(name);
  }

  /** Returns the node that a task's script found unfit, and why; null if it found no fault. */
  faultyNode({ submission, task }: Claim): { readonly node: string; readonly why: string } | null {
    const text = readText(path.join(this.submissionDir(submission), `${task}.bad`));
    if (text === null) return null;
    const [node = '', why = ''] = text.split('\n');
    return { node, why };
  }

  /**
   * Whether Slurm signalled the task before its time limit, perhaps too late for it to save its
   * state.
   */
  wasSignalled({ submission, task }: Claim): boolean {
    return namesIn(this.submissionDir(submission)).includes(`${task}.signalled`);
  }

  /** Whether the task's program was started: it makes the file of events. */
  hasBegun({ submission, task }: Claim): boolean {
    return namesIn(this.submissionDir(submission)).includes(`${task}.events`);
  }

  /**
   * Whether slurmstepd says that it killed the task for its memory. Where Slurm itself, and no
   * cgroup, limits memory (OverMemoryKill), the job's state does not tell this.
   */
  outgrewMemory({ submission, task }: Claim): boolean {
    const text = readText(path.join(this.saidDir, `${submission}.${task}`)) ?? '';
    return /^slurmstepd\b.*\bexceeded memory limit\b/m.test(text);
  }

  /**
   * Returns the last line that a task printed, such as an error of `setup`; '' if it printed
   * nothing.
   */
  lastPrinted(claim: Claim): string {
    return (readText(this.logFile(claim)) ?? '').trim().split('\n').at(-1) ?? '';
  }

  logFile({ submission, task }: Claim): string {
    return path.join(this.submissionDir(submission), `${task}.out`);
  }

  eventsFile({ submission, task }: Claim): string {
    return path.join(this.submissionDir(submission), `${task}.events`);
  }

  /** Returns the keys of the stages that were given to tasks of a submission. */
  claimedBy(name: string): readonly string[] {
    return namesIn(path.join(this.root, 'stages')).filter(
      (key) => KEY.test(key) && this.claim(key)?.submission === name,
    );
  }

  /** Removes a submission's folder, and slurmstepd's messages on its tasks. */
  removeSubmission(name: string): void {
    const said = ownNames(this.root, 'said');
    ownFolder(this.root, 'submissions');
    rmSync(this.submissionDir(name), { recursive: true, force: true });
    for (const file of said)
      if (file.startsWith(`${name}.`)) rmSync(path.join(this.saidDir, file), { force: true });
  }

  /**
   * Removes submissions that are in no stage's claim and that are older than KEEP_DAYS. Those whose
   * age is not known stay.
   */
  sweep(now: Date): void {
    for (const part of ['stages', 'submissions', 'said']) ownFolder(this.root, part);
    const claimed = new Set(
      namesIn(path.join(this.root, 'stages')).flatMap((key) =>
        KEY.test(key) ? (this.claim(key)?.submission ?? []) : [],
      ),
    );
    for (const name of namesIn(path.join(this.root, 'submissions'))) {
      if (!NAME.test(name) || claimed.has(name)) continue;
      const created = Date.parse(this.intent(name)?.created ?? '');
      if (now.getTime() - created > KEEP_DAYS * 86_400_000) this.removeSubmission(name);
    }
  }
}

function withOpen<T>(file: string, use: (handle: number) => T): T {
  const handle = openSync(file, 'r');
  try {
    return use(handle);
  } finally {
    closeSync(handle);
  }
}

/** Whether all files are there, each with its recorded size. */
function areFilesThere(
  dir: string,
  files: readonly { readonly path: string; readonly size: number }[],
): boolean {
  return files.every((file) => {
    try {
      // Opened, since a network file system may answer `stat` from a cache.
      return withOpen(path.join(dir, file.path), (handle) => fstatSync(handle).size) === file.size;
    } catch {
      return false;
    }
  });
}

/** Reads a file that grows: each call of `lines` goes on where the last one ended. */
export class Tail {
  #offset = 0;
  #rest = Buffer.alloc(0);

  constructor(readonly file: string) {}

  /**
   * Returns the complete lines that were appended, from at most 4 MiB in one call; [] if there are
   * none or the file can't be read.
   */
  lines(): readonly string[] {
    let text: Buffer;
    try {
      text = withOpen(this.file, (handle) => {
        const left = Math.max(0, fstatSync(handle).size - this.#offset);
        const read = Buffer.alloc(Math.min(left, 4 * 2 ** 20));
        this.#offset += readSync(handle, read, 0, read.length, this.#offset);
        return read;
      });
    } catch {
      return [];
    }
    const all = Buffer.concat([this.#rest, text]);
    const end = all.lastIndexOf(0x0a); // the last line break
    this.#rest = all.subarray(end + 1);
    return end < 0 ? [] : all.subarray(0, end).toString('utf8').split('\n');
  }
}

/** The file beside a run's journal that lists its submissions, for `cancel` and for people. */
const RUN_RECORD = 'slurm.jsonl';

export const hasRecord = (dir: string): boolean => existsSync(path.join(dir, RUN_RECORD));

/** Adds a submission to the list of a run. Throws if the file can't be written. */
export const recordSubmission = (
  dir: string,
  record: {
    readonly name: string;
    /** Slurm's id; null if it is not known. */
    readonly id: string | null;
    /** The number of jobs; null for a submission that an earlier run made. */
    readonly tasks: number | null;
    /** The root of the spool. */
    readonly spool: string;
  },
): void => appendFileSync(path.join(dir, RUN_RECORD), `${JSON.stringify(record)}\n`);

/**
 * Returns the submissions that a run made or adopted: by the name of each, the root of its spool.
 * Leaves out damaged lines; empty if the run has listed none.
 */
export function recordedSubmissions(dir: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of (readText(path.join(dir, RUN_RECORD)) ?? '').split('\n')) {
    const { name, spool } = parseRecord(line) ?? {}; // the last line may be cut short
    if (typeof name === 'string' && NAME.test(name) && typeof spool === 'string')
      found.set(name, spool);
  }
  return found;
}
