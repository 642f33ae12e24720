/** A hub on this machine's loopback: repository info, file lists and downloads, as the real one answers them. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SourceContext } from '../../../src/api.ts';

export interface HubRepository {
  commit: string;
  files: { [name: string]: string | Uint8Array };
  token?: string;
}

export interface HubRig {
  readonly dir: string;
  readonly context: SourceContext;
  readonly logged: string[];
  /** Paths asked for, downloads once each. */
  readonly requests: string[];
  /** By `models/OWNER/NAME` or `datasets/OWNER/NAME`. */
  readonly repositories: Map<string, HubRepository>;
  /** Answers downloads with other bytes than the list says. */
  readonly faulty: { damage: boolean };
  close(): Promise<void>;
}

/** Weights are kept as large files, by sha256; everything else in Git, by blob id. */
export async function startHub(): Promise<HubRig> {
  const dir = mkdtempSync(join(tmpdir(), 'dosimeter-hub-'));
  const repositories = new Map<string, HubRepository>(),
    requests: string[] = [],
    logged: string[] = [],
    faulty = { damage: false };
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url!.split('?')[0]!);
    const json = (value: unknown, status = 200): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(value));
    };
    const api = /^\/api\/(models|datasets)\/(.+)\/(revision|tree)\/([^/]+)$/.exec(path);
    const download = /^\/(?:(datasets)\/)?(.+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    const repository = repositories.get(
      api ? `${api[1]}/${api[2]}` : download ? `${download[1] ?? 'models'}/${download[2]}` : '',
    );
    if (request.headers.range !== 'bytes=0-0') requests.push(path);
    if (repository === undefined) return json({ error: 'Repository not found' }, 401);
    if (
      repository.token !== undefined &&
      request.headers.authorization !== `Bearer ${repository.token}`
    )
      return json({ error: 'Access is restricted' }, 401);
    const revision = api?.[4] ?? download![3]!;
    if (revision !== 'main' && revision !== repository.commit)
      return json({ error: 'Revision not found' }, 404);
    if (api?.[3] === 'revision')
      return json({
        _id: '1',
        id: api[2],
        sha: repository.commit,
        private: false,
        gated: false,
        downloads: 0,
        likes: 0,
        lastModified: '2024-01-01T00:00:00.000Z',
      });
    const bytes = Object.fromEntries(
      Object.entries(repository.files).map(([name, content]) => [name, Buffer.from(content)]),
    );
    if (api) {
      return json([
        { type: 'directory', path: 'data', size: 0, oid: '0'.repeat(40) },
        ...Object.entries(bytes).map(([name, content]) => ({
          type: 'file',
          path: name,
          size: content.length,
          oid: createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex'),
          ...(/\.(safetensors|parquet)$/.test(name)
            ? {
                lfs: {
                  oid: createHash('sha256').update(content).digest('hex'),
                  size: content.length,
                  pointerSize: 130,
                },
              }
            : {}),
        })),
      ]);
    }
    let content = bytes[download![4]!];
    if (content === undefined) {
      response.writeHead(404, { 'x-error-code': 'EntryNotFound' });
      response.end();
      return;
    }
    if (faulty.damage) content = Buffer.alloc(content.length, 'x');
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const headers = { etag: '"etag"', 'accept-ranges': 'bytes' };
    if (range === null) {
      response.writeHead(200, headers);
      response.end(content);
      return;
    }
    const start = Number(range[1]),
      end = Math.min(range[2] === '' ? Infinity : Number(range[2]), content.length - 1);
    response.writeHead(206, {
      ...headers,
      'content-range': `bytes ${start}-${end}/${content.length}`,
    });
    response.end(content.subarray(start, end + 1));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
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
      env: {
        HOME: dir,
        HF_HOME: join(dir, 'hf'),
        HF_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      },
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
      rmSync(dir, { recursive: true });
    },
  };
}
