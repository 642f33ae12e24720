/** Logs of a run, by winston: `run.log` for the whole, `logs/STAGE.log` for each stage that said something or failed. */
import { closeSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { Writable } from 'node:stream';
import winston from 'winston';
import { makeFolder } from '../store/folders.ts';
import type { Redact } from './redact.ts';

export interface StageLog {
  /** Made by the first line or output. */
  readonly file: string;
  line(message: string): void;
  /** A line about the stage: kept where the stage says something, before or after. */
  aside(message: string): void;
  /** What the process printed: kept up to a size, since a stage may print without end. */
  output(text: string): void;
  /** What the stage's code says of itself: kept up to the same size, both together. */
  said(message: string): void;
  close(): Promise<void>;
}

export interface RunLog {
  readonly file: string;
  line(message: string): void;
  stage(id: string): StageLog;
  close(): Promise<void>;
}

/** Bytes of what a stage prints and says that its log keeps. */
const OUTPUT_LIMIT = 10 * 1024 * 1024;

/** A file that one logger's lines go to; `closed` is told after the last of them. */
interface Target {
  /** Null: it could not be opened, or is closed. */
  handle: number | null;
  closed: () => void;
}

interface Info {
  readonly target: Target;
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly last?: true;
  readonly [text: symbol]: string;
}
const TEXT = Symbol.for('message');

/**
 * One logger writes all files of a run: a logger and a stream a stage would take longer than many a stage, and
 * winston's own file transport loses lines when it is closed under load.
 */
function writeInfo({ target, last, ...info }: Info): void {
  const { handle } = target;
  if (last !== true) {
    if (handle !== null) attempt(() => writeSync(handle, `${info[TEXT]!}\n`));
    return;
  }
  if (handle !== null) closeSync(handle);
  target.handle = null;
  target.closed();
}

/** A full disk ends the run by the store's plain error; a log that can't be written is not a second one. */
function attempt<T>(write: () => T): T | null {
  try {
    return write();
  } catch (error) {
    if (
      !['ENOSPC', 'EDQUOT', 'EIO', 'EMFILE', 'EROFS', 'EACCES'].includes(
        (error as NodeJS.ErrnoException).code ?? '',
      )
    )
      throw error;
    return null;
  }
}

/** @param redact what each line goes through before it is written */
export function openRunLog(dir: string, redact: Redact = (text) => text): RunLog {
  const logs = path.join(dir, 'logs');
  makeFolder(logs);
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
    transports: [new winston.transports.Stream({ stream })],
  });
  const now = (): string => new Date().toISOString();
  const open = (
    file: string,
  ): {
    readonly line: (message: string, time?: string) => void;
    readonly close: () => Promise<void>;
  } => {
    const target: Target = { handle: attempt(() => openSync(file, 'a')), closed: () => undefined };
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
  };
  const file = path.join(dir, 'run.log');
  const run = open(file);
  return {
    file,
    line: run.line,
    stage(id) {
      const file = path.join(logs, `${id}.log`),
        asides: (readonly [message: string, time: string])[] = [];
      let opened: ReturnType<typeof open> | null = null,
        kept = 0,
        rest = '';
      const line = (message: string): void => {
        if (opened === null) {
          opened = open(file);
          for (const [before, time] of asides) opened.line(before, time);
        }
        opened.line(message);
      };
      const keeps = (text: string): boolean => {
        if (kept > OUTPUT_LIMIT) return false;
        kept += Buffer.byteLength(text);
        if (kept > OUTPUT_LIMIT) line('… what it prints beyond 10 MB is not kept');
        return kept <= OUTPUT_LIMIT;
      };
      return {
        file,
        line,
        aside(message) {
          if (opened === null) asides.push([message, now()]);
          else line(message);
        },
        output(text) {
          if (!keeps(text)) return;
          const lines = (rest + text).split('\n');
          rest = lines.pop() ?? '';
          if (lines.length > 0) line(lines.map((one) => `| ${one}`).join('\n'));
        },
        said(message) {
          if (keeps(message)) line(message);
        },
        async close() {
          if (rest !== '') line(`| ${rest}`);
          await opened?.close();
        },
      };
    },
    async close() {
      await run.close();
      logger.close();
    },
  };
}
