/**
 * A hub on this machine's loopback that serves repository info, file lists and downloads as the
 * real one does.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SourceContext } from '../../../src/api.ts';
import { pathOf, startServer } from './loopback.ts';

export interface HubRepository {
  commit: string;
  files: { [name: string]: string | Uint8Array };
  /** If set, the repository is private, and needs this token. */
  token?: string;
}

export interface HubRig {
  readonly dir: string;
  readonly context: SourceContext;
  readonly logged: string[];
  /** The paths asked for; a download counts once. */
  readonly requests: string[];
  /** The repositories by `models/OWNER/NAME` or `datasets/OWNER/NAME`. */
  readonly repositories: Map<string, HubRepository>;
  /** Set `damage` to answer downloads with other bytes than the list says. */
  readonly faulty: { damage: boolean };
  close(): Promise<void>;
}

export async function startHub(): Promise<HubRig> {
  const dir = mkdtempSync(join(tmpdir(), 'dosimeter-hub-'));
  const repositories: HubRig['repositories'] = new Map(),
    requests: string[] = [],
    logged: string[] = [],
    faulty = { damage: false };
  const server = await startServer((request, response) => {
    const path = pathOf(request);
    if (request.headers.range !== 'bytes=0-0') requests.push(path);
    const asked = parse(path);
    const repository = asked && repositories.get(asked.repository);
    const fault = faultOf(asked, repository, request);
    if (!asked || !repository || fault) sendJson(response, ...(fault ?? NOT_FOUND));
    else if (asked.what === 'revision') sendJson(response, infoOf(asked.repository, repository));
    else if (asked.what === 'tree') sendJson(response, listOf(repository));
    else sendFile(request, response, repository.files[asked.file], faulty.damage);
  });
  return {
    dir,
    repositories,
    requests,
    logged,
    faulty,
    context: {
      cacheDir: join(dir, 'cache'),
      log: (message) => {
        logged.push(message);
      },
      env: { HOME: dir, HF_HOME: join(dir, 'hf'), HF_ENDPOINT: server.origin },
    },
    close: () => server.close(),
  };
}

interface Asked {
  readonly what: 'revision' | 'tree' | 'file';
  readonly repository: string;
  readonly revision: string;
  readonly file: string;
}

function parse(path: string): Asked | null {
  const [, kind = '', id = '', what, at] =
    /^\/api\/(models|datasets)\/(.+)\/(revision|tree)\/([^/]+)$/.exec(path) ?? [];
  if (what !== undefined && at !== undefined)
    return {
      what: what === 'tree' ? 'tree' : 'revision',
      repository: `${kind}/${id}`,
      revision: at,
      file: '',
    };
  const [, ofDatasets = 'models', name = '', revision, file] =
    /^\/(?:(datasets)\/)?(.+)\/resolve\/([^/]+)\/(.+)$/.exec(path) ?? [];
  return revision === undefined || file === undefined
    ? null
    : { what: 'file', repository: `${ofDatasets}/${name}`, revision, file };
}

type Refusal = readonly [body: { readonly error: string }, status: number];
const NOT_FOUND: Refusal = [{ error: 'Repository not found' }, 401];

function faultOf(
  asked: Asked | null,
  repository: HubRepository | null | undefined,
  { headers }: IncomingMessage,
): Refusal | null {
  if (!asked || !repository) return NOT_FOUND;
  const { token, commit } = repository;
  if (token !== undefined && headers.authorization !== `Bearer ${token}`)
    return [{ error: 'Access is restricted' }, 401];
  return asked.revision === 'main' || asked.revision === commit
    ? null
    : [{ error: 'Revision not found' }, 404];
}

const infoOf = (path: string, { commit }: HubRepository): unknown => ({
  _id: '1',
  id: path.slice(path.indexOf('/') + 1),
  sha: commit,
  private: false,
  gated: false,
  downloads: 0,
  likes: 0,
  lastModified: '2024-01-01T00:00:00.000Z',
});

/**
 * Weights and Parquet are large files with a sha256; everything else is in Git, under its blob id.
 */
const listOf = ({ files }: HubRepository): unknown => [
  { type: 'directory', path: 'data', size: 0, oid: '0'.repeat(40) },
  ...Object.entries(files).map(([path, text]) => {
    const content = Buffer.from(text),
      size = content.length;
    const oid = createHash('sha1').update(`blob ${size}\0`).update(content).digest('hex');
    const sha256 = createHash('sha256').update(content).digest('hex');
    const lfs = { oid: sha256, size, pointerSize: 130 };
    const isLarge = /\.(safetensors|parquet)$/.test(path);
    return { type: 'file', path, size, oid, ...(isLarge ? { lfs } : {}) };
  }),
];

function sendJson(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  file: string | Uint8Array | undefined,
  damage: boolean,
): void {
  if (file === undefined) {
    response.writeHead(404, { 'x-error-code': 'EntryNotFound' });
    response.end();
    return;
  }
  const whole = Buffer.from(file),
    content = damage ? Buffer.alloc(whole.length, 'x') : whole;
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const headers = { etag: '"etag"', 'accept-ranges': 'bytes' };
  if (from === undefined) {
    response.writeHead(200, headers);
    response.end(content);
    return;
  }
  const start = Number(from),
    end = Math.min(to === '' ? Infinity : Number(to), content.length - 1);
  const range = `bytes ${start}-${end}/${content.length}`;
  response.writeHead(206, { ...headers, 'content-range': range });
  response.end(content.subarray(start, end + 1));
}
