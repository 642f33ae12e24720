/**
 * A package registry on this machine's loopback that answers npm and pip, and a context whose
 * clients use it.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as tar from 'tar';
import type { SourceContext } from '../../../src/api.ts';
import { pathOf, startServer } from './loopback.ts';

export type Files = { readonly [name: string]: string | Uint8Array };
export interface Release {
  readonly version: string;
  readonly archive: Uint8Array;
  readonly filename: string;
  /** The digest that the registry gives for the archive, if it lies. */
  readonly claimed?: string;
}

export interface Rig {
  readonly dir: string;
  readonly context: SourceContext;
  readonly logged: string[];
  /** The paths asked for, in order. */
  readonly requests: string[];
  /** Releases by package name. */
  readonly packages: Map<string, Release[]>;
  close(): Promise<void>;
}

export async function startRig(): Promise<Rig> {
  const dir = mkdtempSync(join(tmpdir(), 'dosimeter-registry-'));
  const packages: Rig['packages'] = new Map(),
    requests: string[] = [],
    logged: string[] = [];
  const server = await startServer((request, response) => {
    const path = pathOf(request);
    requests.push(path);
    answer(path, packages, `http://${request.headers.host ?? ''}`, response);
  });
  const home = join(dir, 'home');
  mkdirSync(home);
  const env = {
    PATH: process.env['PATH'],
    HOME: home,
    npm_config_registry: `${server.origin}/npm/`,
    npm_config_cache: join(dir, 'npm-cache'),
    npm_config_fetch_retries: '0',
    npm_config_userconfig: join(home, 'npmrc'),
    npm_config_prefer_online: 'true',
    PIP_INDEX_URL: `${server.origin}/simple`,
    PIP_NO_CACHE_DIR: '1',
    PIP_CONFIG_FILE: '/dev/null',
    PIP_RETRIES: '1',
  };
  return {
    dir,
    packages,
    requests,
    logged,
    context: {
      cacheDir: join(dir, 'cache'),
      env,
      log: (message) => {
        logged.push(message);
      },
    },
    close: () => server.close(),
  };
}

function answer(
  path: string,
  packages: Rig['packages'],
  origin: string,
  response: ServerResponse,
): void {
  const [, kind, rest = ''] = /^\/(npm|simple|files)\/(.*)$/.exec(path) ?? [];
  const name = rest.replace(/\/$/, ''),
    releases = packages.get(name);
  const file = [...packages.values()].flat().find(({ filename }) => filename === rest);
  if (kind === 'files' && file !== undefined) response.end(file.archive);
  else if (releases === undefined) {
    response.statusCode = 404;
    response.end('{"error":"not found"}');
  } else if (kind === 'npm') {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(npmDocument(name, releases, origin)));
  } else {
    response.setHeader('content-type', 'text/html');
    response.end(simpleIndex(releases));
  }
}

const npmDocument = (name: string, releases: readonly Release[], origin: string): unknown => ({
  name,
  'dist-tags': { latest: releases.at(-1)?.version },
  versions: Object.fromEntries(
    releases.map(({ version, archive, filename, claimed }) => {
      const integrity =
        claimed ?? `sha512-${createHash('sha512').update(archive).digest('base64')}`;
      const dist = { tarball: `${origin}/files/${filename}`, integrity };
      return [version, { name, version, dist }];
    }),
  ),
});

const simpleIndex = (releases: readonly Release[]): string => {
  const links = releases.map(({ archive, filename, claimed }) => {
    const sha256 = claimed ?? createHash('sha256').update(archive).digest('hex');
    return `<a href="../../files/${filename}#sha256=${sha256}">${filename}</a>`;
  });
  return `<!DOCTYPE html><html><body>${links.join('')}</body></html>`;
};

export function writeFiles(dir: string, files: Files): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), content);
  }
}

/** An npm package's archive. */
export function tarball(name: string, version: string, files: Files): Release {
  const dir = mkdtempSync(join(tmpdir(), 'dosimeter-pack-'));
  writeFiles(join(dir, 'package'), {
    'package.json': JSON.stringify({
      name,
      version,
      scripts: { preinstall: 'touch ran', prepack: 'touch ran', prepare: 'touch ran' },
    }),
    ...files,
  });
  const filename = `${name.replace(/^@/, '').replace('/', '-')}-${version}.tgz`,
    path = join(dir, filename);
  tar.create({ file: path, cwd: dir, gzip: true, sync: true, portable: true, noMtime: true }, [
    'package',
  ]);
  const archive = readFileSync(path);
  rmSync(dir, { recursive: true });
  return { version, filename, archive };
}

/** A Python package's wheel. */
export function wheel(name: string, version: string, files: Files): Release {
  const info = `${name.replaceAll('-', '_')}-${version}.dist-info`;
  const archive = zip({
    ...files,
    [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`,
    [`${info}/WHEEL`]:
      'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    [`${info}/RECORD`]: '',
  });
  return { version, filename: `${name.replaceAll('-', '_')}-${version}-py3-none-any.whl`, archive };
}

/**
 * Makes a zip file of stored entries.
 * @param modes Unix modes by name. Default: that of a plain file
 */
export function zip(files: Files, modes: { readonly [name: string]: number } = {}): Uint8Array {
  const local: Buffer[] = [],
    central: Buffer[] = [];
  let offset = 0;
  for (const [name, content] of Object.entries(files)) {
    const data = Buffer.from(content),
      title = Buffer.from(name),
      crc = crc32(data);
    const header = Buffer.alloc(30);
    header.writeUInt32LE(0x04034b50, 0);
    header.writeUInt16LE(20, 4);
    header.writeUInt32LE(crc, 14);
    header.writeUInt32LE(data.length, 18);
    header.writeUInt32LE(data.length, 22);
    header.writeUInt16LE(title.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(0x0314, 4);
    entry.writeUInt16LE(20, 6);
    entry.writeUInt32LE(crc, 16);
    entry.writeUInt32LE(data.length, 20);
    entry.writeUInt32LE(data.length, 24);
    entry.writeUInt16LE(title.length, 28);
    entry.writeUInt32LE(((modes[name] ?? 0o100644) << 16) >>> 0, 38);
    entry.writeUInt32LE(offset, 42);
    local.push(header, title, data);
    central.push(entry, title);
    offset += header.length + title.length + data.length;
  }
  const directory = Buffer.concat(central),
    end = Buffer.alloc(22),
    count = Object.keys(files).length;
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(count, 8);
  end.writeUInt16LE(count, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...local, directory, end]);
}

function crc32(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/**
 * The `UserFault` with which the work is rejected. Throws if it is rejected with another error, or
 * not at all.
 */
export async function faultOf(work: Promise<unknown>): Promise<{ message: string; hint: string }> {
  try {
    await work;
  } catch (error) {
    const { name, message, hint = '', stack } = error as Error & { hint?: string };
    if (name !== 'UserFault') throw new Error(`not a user's fault: ${String(stack)}`);
    return { message, hint };
  }
  throw new Error('no fault was raised');
}
