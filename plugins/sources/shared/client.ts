/** Runs npm and pip with the user's settings. Their memory, disk space and time are limited. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { UserFault } from '../../../src/api.ts';
import { isMissing } from '../../../src/base/system-error.ts';
import {
  GB,
  inWords,
  LONGEST_MS,
  MB,
  readLimit,
  SLOWEST,
} from '../../../src/base/untrusted/limits.ts';

interface ClientResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * The bytes of memory that npm may use beside the archive, which it holds in memory while it checks
 * it.
 */
const MEMORY_BESIDE_ARCHIVE = 2 * GB;
/** In bytes. npm prints a package's list of files, which has thousands of lines for a corpus. */
const MOST_PRINTED = 256 * MB;
const WATCH_INTERVAL_MS = 200;

interface ClientOptions {
  /** The source, with which messages begin: `npm:NAME`. */
  readonly what: string;
  /** The folder for the program's downloads and temporary files. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * Runs a program to its end. Returns null if there is no such program. If it prints, downloads or
 * uses more than allowed, or takes too long, ends it and throws `UserFault`.
 */
export function runClient(
  command: string,
  args: readonly string[],
  options: ClientOptions,
): Promise<ClientResult | null> {
  const { what, cwd, env } = options;
  const faultThat = (did: string, hint?: string): UserFault =>
    new UserFault(`${what}: ${command} ${did}.`, hint);
  const patience = readLimit('seconds', env);
  const seconds = patience.value + readLimit('archive', env).value / SLOWEST;
  return new Promise((resolve, reject) => {
    let fault: UserFault | null = null;
    // On Windows, npm is a script and needs a shell. Its arguments have been checked against the
    // grammar of package names.
    const child = execFile(
      command,
      args,
      {
        cwd,
        env: { ...env, TMPDIR: cwd },
        maxBuffer: MOST_PRINTED,
        timeout: Math.min(Math.ceil(seconds * 1000), LONGEST_MS),
        killSignal: 'SIGKILL',
        shell: process.platform === 'win32',
      },
      (error, stdout, stderr) => {
        clearInterval(watch);
        if (fault !== null) reject(fault);
        else if (error === null) resolve({ code: 0, stdout, stderr });
        else if (error.code === 'ENOENT') resolve(null);
        else if (String(error.code) === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER')
          reject(faultThat(`printed more than ${inWords(MOST_PRINTED)}`));
        else if (error.killed === true)
          reject(
            faultThat(`took more than ${Math.round(seconds)} s and was ended`, patience.raise),
          );
        else if (typeof error.code === 'number') resolve({ code: error.code, stdout, stderr });
        else reject(faultThat(`ended before it was done (${error.signal ?? error.message})`));
      },
    );
    const excess = watchClient(child.pid, options, faultThat);
    const watch = setInterval(() => {
      const found = excess();
      if (found === null) return;
      fault ??= found;
      child.kill('SIGKILL');
    }, WATCH_INTERVAL_MS);
  });
}

/**
 * Returns a function that returns the fault of a limit that the program exceeds at the time of the
 * call; null if it exceeds none.
 */
function watchClient(
  pid: number | undefined,
  { cwd, env }: ClientOptions,
  faultThat: (did: string, hint: string) => UserFault,
): () => UserFault | null {
  const archive = readLimit('archive', env),
    patience = readLimit('seconds', env);
  let silentSince = performance.now(),
    before = '';
  return () => {
    const bytes = bytesBelow(cwd),
      taken = residentBytes(pid);
    // Twice the limit is allowed, because pip briefly has both its temporary file and the copy.
    if (bytes > 2 * archive.value || taken > MEMORY_BESIDE_ARCHIVE + archive.value)
      return faultThat(`fetches more than ${inWords(archive.value)} and was ended`, archive.raise);
    // While a program waits for a silent server, neither its files, its memory nor the bytes that
    // it has read change.
    const now = `${bytes} ${taken} ${readMark(pid)}`;
    if (now !== before) silentSince = performance.now();
    before = now;
    return performance.now() - silentSince > patience.value * 1000
      ? faultThat(
          `has done nothing for ${patience.value} s and was ended`,
          `Does its server answer? ${patience.raise}`,
        )
      : null;
  };
}

/** Returns the bytes of all that is below a folder, as far as it is still there. */
function bytesBelow(dir: string): number {
  let sum = 0;
  try {
    for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' }))
      sum += statSync(join(dir, name), { throwIfNoEntry: false })?.size ?? 0;
  } catch (error) {
    // The program may remove its temporary files while they are being looked at.
    if (!isMissing(error)) throw error;
  }
  return sum;
}

/** Returns a file of a process in /proc; '' if there is none, as on any system but Linux. */
function procFile(pid: number | undefined, name: string): string {
  try {
    return readFileSync(`/proc/${pid ?? 0}/${name}`, 'latin1');
  } catch {
    return '';
  }
}

/** Returns the memory that a process takes, in bytes; 0 if that is not known. */
const residentBytes = (pid: number | undefined): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(procFile(pid, 'status'))?.[1] ?? 0) * 1024;

/**
 * Returns a mark that changes whenever the program has read something: the number of bytes that it
 * has read, sockets included. If that is not known, returns the time: then the program never counts
 * as silent, and only the limit on the total time applies.
 */
const readMark = (pid: number | undefined): string =>
  /rchar: (\d+)/.exec(procFile(pid, 'io'))?.[1] ?? String(performance.now());

/** Returns the last four lines of a text that are not empty, for a message. */
export function lastLines(text: string): string {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .slice(-4)
    .join(' | ')
    .slice(0, 1000);
}

/** Matches what npm and pip print when the network can't be reached. */
const NETWORK = new RegExp(
  [
    'ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTCACHED',
    'ERR_SOCKET_TIMEOUT|NewConnectionError|ConnectTimeout|ConnectionError|Max retries exceeded',
    'Temporary failure in name resolution|Network is unreachable|ProxyError|SSLError|CERT_',
    'self.signed certificate',
  ].join('|'),
  'i',
);

export const speaksOfNetwork = (text: string): boolean => NETWORK.test(text);
