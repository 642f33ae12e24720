/** A server on this machine's loopback that answers as a test says, and a folder in which nothing but the cache may appear. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SourceContext } from '../../../src/api.ts';

export interface Hostile {
  readonly dir: string;
  readonly origin: string;
  /** How many requests came. */
  readonly seen: { requests: number };
  readonly script: {
    answer: (path: string, response: ServerResponse, request: IncomingMessage) => void;
  };
  context(env?: SourceContext['env']): SourceContext;
  /** Names in the folder that is the cache's parent: what slipped out would lie there. */
  beside(): string[];
  close(): Promise<void>;
}

export async function startHostile(): Promise<Hostile> {
  const dir = mkdtempSync(join(tmpdir(), 'dosimeter-hostile-'));
  mkdirSync(join(dir, 'bin'));
  const seen = { requests: 0 };
  const server = createServer((request, response) => {
    seen.requests++;
    hostile.script.answer(decodeURIComponent(request.url!.split('?')[0]!), response, request);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const hostile: Hostile = {
    dir,
    origin,
    seen,
    script: {
      answer: (_path, response) => {
        response.end();
      },
    },
    context: (env = {}) => ({
      cacheDir: join(dir, 'a/b/cache'),
      log: () => undefined,
      env: {
        HOME: dir,
        HF_HOME: join(dir, 'a/b/hf'),
        HF_ENDPOINT: origin,
        PIP_INDEX_URL: `${origin}/simple`,
        PIP_CONFIG_FILE: '/dev/null',
        PATH: join(dir, 'bin'), // no Python, no npm but a test's own
        ...env,
      },
    }),
    beside: () =>
      readdirSync(dir, { recursive: true, encoding: 'utf8' })
        .filter((name) => !/^(bin|a(\/b(\/(hf|cache)(\/.*)?)?)?)(\/.*)?$/.test(name))
        .concat(readdirSync(join(dir, '..')).filter((name) => name.startsWith('escaped'))),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
      rmSync(dir, { recursive: true, force: true });
    },
  };
  return hostile;
}

export function sendJson(
  response: ServerResponse,
  value: unknown,
  headers: { readonly [name: string]: string } = {},
): void {
  response.writeHead(200, { 'content-type': 'application/json', ...headers });
  response.end(typeof value === 'string' ? value : JSON.stringify(value));
}

/** Sends the same piece for as long as anybody reads. */
export function sendForEver(response: ServerResponse, piece: string): void {
  const more = (): void => {
    while (!response.destroyed && response.write(piece));
    if (!response.destroyed) response.once('drain', more);
  };
  more();
}
