/** Logs of a run, by winston: `run.log` for the whole, `logs/STAGE.log` for each stage that ran. */
import { createWriteStream, mkdirSync } from 'node:fs';
import path from 'node:path';
import winston from 'winston';

export interface StageLog {
  readonly file: string;
  line(message: string): void;
  /** What the process printed: kept up to a size, since a stage may print without end. */
  output(text: string): void;
  close(): Promise<void>;
}

export interface RunLog {
  readonly file: string;
  line(message: string): void;
  stage(id: string): StageLog;
  close(): Promise<void>;
}

/** Bytes of a stage's own output that its log keeps. */
const OUTPUT_LIMIT = 10 * 1024 * 1024;

/** winston's own file transport loses lines when it is closed under load, so the stream is ours. */
function fileLogger(file: string): { readonly logger: winston.Logger; close(): Promise<void> } {
  const stream = createWriteStream(file, { flags: 'a' });
  const transport = new winston.transports.Stream({ stream, eol: '\n' });
  const format = winston.format.combine(
    winston.format.timestamp(),
    winston.format.printf(({ timestamp, message }) => `${String(timestamp)} ${String(message)}`),
  );
  const logger = winston.createLogger({ format, transports: [transport] });
  // A full disk ends the run by the store's plain error; a log that can't be written is not a second one.
  stream.on('error', () => undefined);
  return {
    logger,
    close: () => new Promise((resolve) => {
      transport.once('finish', () => {
        stream.once('close', () => resolve());
        stream.end();
      });
      logger.end();
    }),
  };
}

export function openRunLog(dir: string): RunLog {
  const logs = path.join(dir, 'logs');
  mkdirSync(logs, { recursive: true });
  const file = path.join(dir, 'run.log');
  const run = fileLogger(file);
  return {
    file,
    line: (message) => { run.logger.info(message); },
    stage(id) {
      const file = path.join(logs, `${id}.log`);
      const { logger, close } = fileLogger(file);
      let kept = 0, rest = '';
      return {
        file,
        line: (message) => { logger.info(message); },
        output(text) {
          if (kept > OUTPUT_LIMIT) return;
          kept += Buffer.byteLength(text);
          if (kept > OUTPUT_LIMIT) { logger.info('… what it prints beyond 10 MB is not kept'); return; }
          const lines = (rest + text).split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines) logger.info(`| ${line}`);
        },
        async close() {
          if (rest !== '') logger.info(`| ${rest}`);
          await close();
        },
      };
    },
    close: () => run.close(),
  };
}
