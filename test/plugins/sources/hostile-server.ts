/** A server that answers as a test says, and a folder in which only the cache may appear. */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SourceContext } from '../../../src/api.ts';
import { pathOf, startServer } from './loopback.ts';

export interface Hostile {
  readonly dir: string;
  readonly origin: string;
  /** Answers each request; set by the test. */
  readonly script: {
    answer: (path: string, response: ServerResponse, request: IncomingMessage) => void;
  };
  context(env?: SourceContext['env']): SourceContext;
  /** The names in the cache's parent folder: whatever got out of the cache would be among them. */
  beside(): string[];
  close(): Promise<void>;
}

export async function startHostile(): Promise<Hostile> {
  const dir = mkdtempSync(join(tmpdir(), 'dosimeter-hostile-'));
  mkdirSync(join(dir, 'bin'));
  const script: Hostile['script'] = {
    answer: (_path, response) => {
      response.end();
    },
  };
  const server = await startServer((request, response) => {
    script.answer(pathOf(request), response, request);
  });
  const { origin } = server;
  return {
    dir,
    origin,
    script,
    context: (env = {}) => ({
      cacheDir: join(dir, 'a/b/cache'),
      log: () => undefined,
      env: {
        HOME: dir,
        HF_HOME: join(dir, 'a/b/hf'),
        HF_ENDPOINT: origin,
        PIP_INDEX_URL: `${origin}/simple`,
        PIP_CONFIG_FILE: '/dev/null',
        PATH: join(dir, 'bin'), // no Python, and no npm but a test's own
        ...env,
      },
    }),
    beside: () =>
      readdirSync(dir, { recursive: true, encoding: 'utf8' })
        .filter((name) => !/^(bin|a(\/b(\/(hf|cache)(\/.*)?)?)?)(\/.*)?$/.test(name))
        .concat(readdirSync(join(dir, '..')).filter((name) => name.startsWith('escaped'))),
    close: () => server.close(),
  };
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
export function sendForever(response: ServerResponse, piece: string): void {
  const more = (): void => {
    while (!response.destroyed && response.write(piece));
    if (!response.destroyed) response.once('drain', more);
  };
  more();
}

/** The commit that a hostile hub names. */
export const commit = 'a'.repeat(40);

/** An honest entry of a hub's list of files. */
export const entry = (path: string, text: string): { readonly [field: string]: unknown } => ({
  type: 'file',
  path,
  size: Buffer.byteLength(text),
  oid: createHash('sha1')
    .update(`blob ${Buffer.byteLength(text)}\0${text}`)
    .digest('hex'),
});

/** The files of a small model. */
export const model = {
  'config.json': '{"model_type":"bert"}',
  'model.safetensors': 'weights',
  'tokenizer.json': '{}',
} as const;
export const honest = Object.entries(model).map(([path, text]) => entry(path, text));
const textOf = (path: string): string =>
  Object.entries(model).find(([name]) => name === path)?.[1] ?? '';

/**
 * A hub that is honest except for its list of files and their bytes.
 * @param bytes the bytes of a file that are not the model's; null for an endless body
 */
export function hub(
  { script }: Hostile,
  list: unknown,
  bytes: { readonly [path: string]: string | null } = {},
): void {
  script.answer = (path, response) => {
    if (path.includes('/revision/')) sendJson(response, { sha: commit });
    else if (path.includes('/tree/')) sendJson(response, list);
    else {
      const name = path.slice(path.lastIndexOf('/') + 1);
      const text = name in bytes ? (bytes[name] ?? null) : textOf(name);
      if (text === null) sendForever(response, 'x'.repeat(65_536));
      else response.end(text);
    }
  };
}
