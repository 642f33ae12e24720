/** Other programs that fetch for us: npm and pip, as the user has them set up. */
import { execFile } from 'node:child_process';

export interface ClientResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. Null where there is no such program. */
export function runClient(
  command: string,
  args: readonly string[],
  options: { readonly cwd: string; readonly env: Readonly<Record<string, string | undefined>> },
): Promise<ClientResult | null> {
  return new Promise((resolve, reject) => {
    // A package's file list is part of npm's answer, thousands of lines for a corpus. On Windows npm is a script and needs a
    // shell; what is passed to it was checked against the grammar of package names.
    execFile(
      command,
      args,
      { ...options, maxBuffer: 1 << 28, shell: process.platform === 'win32' },
      (error, stdout, stderr) => {
        if (error === null) resolve({ code: 0, stdout, stderr });
        else if (error.code === 'ENOENT') resolve(null);
        else if (typeof error.code === 'number') resolve({ code: error.code, stdout, stderr });
        else reject(error as Error);
      },
    );
  });
}

/** The last lines that say something, for a message. */
export function lastLines(text: string, count = 4): string {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .slice(-count)
    .join(' | ');
}

/** Whether a client's words speak of a network that can't be reached. */
export const speaksOfNetwork = (text: string): boolean =>
  /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTCACHED|ERR_SOCKET_TIMEOUT|NewConnectionError|ConnectTimeout|ConnectionError|Max retries exceeded|Temporary failure in name resolution|Network is unreachable|ProxyError|SSLError|CERT_|self.signed certificate/i.test(
    text,
  );
