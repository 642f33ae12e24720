/**
 * Writes the logs of a run with winston: `run.log` for the whole, and `logs/STAGE.log` for each
 * stage that printed something or failed.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { Writable } from 'node:stream';
import winston from 'winston';
import type { Redact } from '../../base/secret.ts';
import { errorCode } from '../../store/faults.ts';
import { makeFolder } from '../../store/folders.ts';

export type RunLog = ReturnType<typeof openRunLog>;
export type StageLog = ReturnType<typeof createStageLog>;

/** The most bytes that are kept of what one stage prints and logs. */
const OUTPUT_LIMIT = 10 * 1024 * 1024;

/** A file to write to. `closed` is called after its last line. */
interface Target {
  /** Null if it could not be opened, or is closed. */
  handle: number | null;
  closed: () => void;
}

interface Info {
  readonly target: Target;
  /** ISO 8601, UTC. */
  readonly time: string;
  /** Set if this marks the file's end, and is no line. */
  readonly last?: true;
  readonly [text: symbol]: string;
}
/** The key under which winston puts the formatted line. */
const TEXT = Symbol.for('message');

/**
 * Writes a line to its file, or closes the file after the last. One logger serves all files of a
 * run: a logger for each stage would take longer than many stages do, and winston's own file
 * transport loses lines when it is closed under load.
 */
function writeInfo({ target, last, ...info }: Info): void {
  const { handle } = target;
  if (last !== true) {
    if (handle !== null) ifPossible(() => writeSync(handle, `${info[TEXT] ?? ''}\n`));
    return;
  }
  if (handle !== null) closeSync(handle);
  target.handle = null;
  target.closed();
}

const DISK_CODES = ['ENOSPC', 'EDQUOT', 'EIO', 'EMFILE', 'EROFS', 'EACCES'];

/**
 * Returns what `write` returns; null if the disk refuses the write. On a full disk, the store's own
 * error ends the run, and an error about a log should not hide it.
 */
function ifPossible<T>(write: () => T): T | null {
  try {
    return write();
  } catch (error) {
    if (!DISK_CODES.includes(errorCode(error) ?? '')) throw error;
    return null;
  }
}

/** Opens the logs of a run. @param redact applied to each line that is written */
export function openRunLog(dir: string, redact: Redact = (text) => text) {
  const logs = path.join(dir, 'logs');
  makeFolder(logs);
  const logger = createLogger();
  const file = path.join(dir, 'run.log');
  const run = openFile(logger, file, redact);
  return {
    file,
    line: run.line,
    stage: (id: string) => {
      const stageFile = `${logs}/${id}.log`;
      return createStageLog(stageFile, () => openFile(logger, stageFile, redact));
    },
    async close(): Promise<void> {
      await run.close();
      logger.close();
    },
  };
}

/**
 * Returns a logger that hands each message to `writeInfo`, with the time before each of its lines.
 */
function createLogger(): winston.Logger {
  const stream = new Writable({
    objectMode: true,
    write: (info: Info, _encoding, next) => {
      writeInfo(info);
      next();
    },
  });
  const logger = winston.createLogger({
    format: winston.format.printf(({ time, message }) =>
      String(message)
        .split('\n')
        .map((line) => `${String(time)} ${line}`)
        .join('\n'),
    ),
  });
  // A stream, since a transport of winston would take several times as long for a line.
  logger.pipe(stream);
  return logger;
}

const now = (): string => new Date().toISOString();

interface LogFile {
  readonly line: (message: string, time?: string) => void;
  readonly close: () => Promise<void>;
}

/** Opens a log to append to it. If someone has removed its folder, the folder is made again. */
function openToAppend(file: string): number {
  try {
    return openSync(file, 'a');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    makeFolder(path.dirname(file));
    return openSync(file, 'a');
  }
}

/** Opens a log. If the disk refuses the file, its lines are dropped. */
function openFile(logger: winston.Logger, file: string, redact: Redact): LogFile {
  const target: Target = {
    handle: ifPossible(() => openToAppend(file)),
    closed: () => undefined,
  };
  return {
    line: (message, time = now()) => {
      logger.log({ level: 'info', message: redact(message), time, target });
    },
    close: () =>
      new Promise((resolve) => {
        target.closed = resolve;
        logger.log({ level: 'info', message: '', time: '', target, last: true });
      }),
  };
}

/** Makes a stage's log. Calls `open` at the first line that is no detail. */
function createStageLog(file: string, open: () => LogFile) {
  const details: (readonly [message: string, time: string])[] = [];
  let opened: LogFile | null = null,
    kept = 0,
    rest = '';
  const line = (message: string): void => {
    if (opened === null) {
      opened = open();
      for (const [before, time] of details) opened.line(before, time);
    }
    opened.line(message);
  };
  /** Counts a text towards OUTPUT_LIMIT, and returns whether it may still be kept. */
  const countTowardsLimit = (text: string): boolean => {
    if (kept > OUTPUT_LIMIT) return false;
    kept += Buffer.byteLength(text);
    if (kept > OUTPUT_LIMIT) line('… what it prints beyond 10 MB is not kept');
    return kept <= OUTPUT_LIMIT;
  };
  return {
    /** The log's path. The file does not exist before the first line or output. */
    file,
    line,
    /** Adds a line that is kept only if the log has some other line. */
    detail(message: string): void {
      if (opened === null) details.push([message, now()]);
      else line(message);
    },
    /** Adds what the process printed, up to OUTPUT_LIMIT. */
    output(text: string): void {
      if (!countTowardsLimit(text)) return;
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      if (lines.length > 0) line(lines.map((one) => `| ${one}`).join('\n'));
    },
    /** Adds a line that the stage's code logs, which counts towards OUTPUT_LIMIT too. */
    stageLine(message: string): void {
      if (countTowardsLimit(message)) line(message);
    },
    async close(): Promise<void> {
      if (rest !== '') line(`| ${rest}`);
      await opened?.close();
    },
  };
}
