/** Other programs that fetch for us: npm and pip, as the user has them set up. What they may take is bounded, and watched. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';
import { GB, inWords, limitOf, LONGEST_MS, MB, SLOWEST } from '../../untrusted/limits.ts';

export interface ClientResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** npm holds an archive in memory while it checks it. */
const OWN_MEMORY = 2 * GB;
/** A package's file list is part of npm's answer, thousands of lines for a corpus. */
const PRINTED = 256 * MB;
const LOOK_MS = 200;

/**
 * Runs a program to its end. Null where there is no such program.
 * @param options.what the source, as messages begin with it
 * @throws UserFault where it prints, downloads or takes more than allowed, or too long; it is ended then
 */
export function runClient(
  command: string,
  args: readonly string[],
  options: {
    readonly what: string;
    /** Where it downloads to, and its temporary files. */
    readonly cwd: string;
    readonly env: Readonly<Record<string, string | undefined>>;
  },
): Promise<ClientResult | null> {
  const { what, cwd, env } = options;
  const archive = limitOf('archive', env),
    patience = limitOf('seconds', env);
  const seconds = patience.value + archive.value / SLOWEST,
    memory = OWN_MEMORY + archive.value;
  return new Promise((resolve, reject) => {
    let fault: UserFault | null = null;
    // On Windows npm is a script and needs a shell; what is passed to it was checked against the grammar of package names.
    const child = execFile(
      command,
      args,
      {
        cwd,
        env: { ...env, TMPDIR: cwd },
        maxBuffer: PRINTED,
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
          reject(new UserFault(`${what}: ${command} printed more than ${inWords(PRINTED)}.`));
        else if (error.killed === true)
          reject(
            new UserFault(
              `${what}: ${command} took more than ${Math.round(seconds)} s and was ended.`,
              patience.raise,
            ),
          );
        else if (typeof error.code === 'number') resolve({ code: error.code, stdout, stderr });
        else
          reject(
            new UserFault(
              `${what}: ${command} ended before it was done (${error.signal ?? error.message}).`,
            ),
          );
      },
    );
    let silentSince = performance.now(),
      before = '';
    const end = (message: string, hint: string): void => {
      fault ??= new UserFault(message, hint);
      child.kill('SIGKILL');
    };
    const watch = setInterval(() => {
      const bytes = bytesBelow(cwd),
        taken = memoryOf(child.pid);
      // Twice: pip has its temporary file and the copy at once.
      if (bytes > 2 * archive.value || taken > memory)
        end(
          `${what}: ${command} fetches more than ${inWords(archive.value)} and was ended.`,
          archive.raise,
        );
      // Its memory, its files and its work together: what waits for a server that is silent changes none of them.
      const now = `${bytes} ${taken} ${workOf(child.pid)}`;
      if (now !== before) silentSince = performance.now();
      before = now;
      if (performance.now() - silentSince > patience.value * 1000)
        end(
          `${what}: ${command} has done nothing for ${patience.value} s and was ended.`,
          `Does its server answer? ${patience.raise}`,
        );
    }, LOOK_MS);
  });
}

function bytesBelow(dir: string): number {
  let sum = 0;
  try {
    for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' }))
      sum += statSync(join(dir, name), { throwIfNoEntry: false })?.size ?? 0;
  } catch (error) {
    // It removes its own temporary files while they are looked at.
    if (!['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
  return sum;
}

/** Linux only: elsewhere files and time alone are watched. */
function procFile(pid: number | undefined, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch {
    return ''; // it ended meanwhile, or there is no /proc
  }
}

const memoryOf = (pid: number | undefined): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(procFile(pid, 'status'))?.[1] ?? 0) * 1024;

/** Bytes that it read from anywhere, sockets included; where that is not told, the time, so that the limit on the whole is all that holds. */
const workOf = (pid: number | undefined): string =>
  /rchar: (\d+)/.exec(procFile(pid, 'io'))?.[1] ?? String(performance.now());

/** The last lines that say something, for a message. */
export function lastLines(text: string, count = 4): string {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .slice(-count)
    .join(' | ')
    .slice(0, 1000);
}

/** Whether a client's words speak of a network that can't be reached. */
export const speaksOfNetwork = (text: string): boolean =>
  /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTCACHED|ERR_SOCKET_TIMEOUT|NewConnectionError|ConnectTimeout|ConnectionError|Max retries exceeded|Temporary failure in name resolution|Network is unreachable|ProxyError|SSLError|CERT_|self.signed certificate/i.test(
    text,
  );
