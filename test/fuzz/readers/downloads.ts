/** What hubs and package indexes send. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tar from 'tar';
import { readFileList } from '../../../plugins/sources/hf/hub-client.ts';
import { readIndex } from '../../../plugins/sources/pypi/simple-index.ts';
import { untar, unzip } from '../../../plugins/sources/shared/archive.ts';
import { findPackage } from '../../../plugins/sources/shared/package-store.ts';
import { parseJson } from '../../../src/base/untrusted/json.ts';
import { zip } from '../../plugins/sources/registry.ts';
import { asText, file, json, type Reader, texts } from '../reader.ts';

/** Headers with valid checksums, so that their content is read. */
function resealed(archive: Uint8Array): Uint8Array {
  const out = Buffer.from(archive);
  for (let at = 0; at + 512 <= out.length;) {
    out.fill(' ', at + 148, at + 156);
    let sum = 0;
    for (let i = at; i < at + 512; i++) sum += out[i]!;
    out.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
    const size = parseInt(out.toString('latin1', at + 124, at + 136), 8);
    at += 512 + (Number.isFinite(size) && size >= 0 ? Math.ceil(size / 512) * 512 : 0);
  }
  return out;
}
function tarOf(files: { readonly [name: string]: string }): Uint8Array {
  const blocks = Object.entries(files).flatMap(([path, content]) => {
    const header = new tar.Header({
      path,
      size: content.length,
      type: 'File',
      mode: 0o644,
      mtime: new Date(0),
    });
    header.encode();
    return [
      header.block!,
      Buffer.from(content.padEnd(Math.ceil(content.length / 512) * 512, '\0')),
    ];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

/** Unpacks each archive into its own folder; a file beside that folder afterwards has escaped. */
async function unpacked(
  dir: string,
  name: string,
  input: Uint8Array,
  unpack: (archive: string, into: string) => Promise<void>,
): Promise<void> {
  const archive = file(dir, name, input),
    into = join(dir, 'into');
  // After a refusal, a file whose writing had begun may still appear.
  rmSync(into, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
  mkdirSync(into);
  await unpack(archive, into);
}

const fileList = [
  { type: 'directory', path: 'data', size: 0, oid: '0'.repeat(40) },
  { type: 'file', path: 'config.json', size: 21, oid: 'a'.repeat(40) },
  {
    type: 'file',
    path: 'sub/model.safetensors',
    size: 7,
    oid: 'b'.repeat(40),
    lfs: { oid: 'c'.repeat(64), size: 9, pointerSize: 130 },
  },
];
const wheelName = 'tiny-1.0.0-py3-none-any.whl';

export const DOWNLOADS: readonly Reader[] = [
  {
    name: 'hub list',
    seeds: texts(json(fileList)),
    read: (input) => readFileList(parseJson(asText(input), 'The hub'), 'lab/tiny'),
  },
  {
    name: 'index JSON',
    seeds: texts(
      json({
        meta: { 'api-version': '1.0' },
        name: 'tiny',
        files: [
          {
            filename: wheelName,
            url: `../../files/${wheelName}`,
            hashes: { sha256: 'a'.repeat(64) },
            yanked: false,
          },
        ],
      }),
    ),
    read: (input) =>
      readIndex(
        asText(input),
        'application/vnd.pypi.simple.v1+json',
        'http://127.0.0.1/simple/tiny/',
        'The index',
      ),
  },
  {
    name: 'index HTML',
    seeds: texts(
      '<!DOCTYPE html><html><body><a ' +
        `href="../../files/${wheelName}#sha256=${'a'.repeat(64)}" ` +
        `data-yanked="">${wheelName}</a></body></html>`,
    ),
    read: (input) =>
      readIndex(asText(input), 'text/html', 'http://127.0.0.1/simple/tiny/', 'The index'),
  },
  {
    name: 'wheel',
    seeds: [
      zip({
        'tiny/model/config.json': '{}',
        'tiny/__init__.py': '',
        'tiny-1.0.0.dist-info/RECORD': '',
      }),
    ],
    read: (input, dir) => unpacked(dir, wheelName, input, unzip),
  },
  {
    name: 'npm archive',
    seeds: [tarOf({ 'package/package.json': '{}', 'package/data/a.txt': 'x'.repeat(600) })],
    read: (input, dir) => unpacked(dir, 'x.tgz', input, untar),
  },
  {
    name: 'npm archive, checksums right',
    seeds: [tarOf({ 'package/package.json': '{}', 'package/data/a.txt': 'x'.repeat(600) })],
    read: (input, dir) => unpacked(dir, 'x.tgz', resealed(input), untar),
  },
  {
    name: 'package entry',
    seeds: texts(
      json({
        format: 1,
        folder: 'files-0a',
        archive: 'sha256:a',
        facts: { kind: 'npm' },
        files: [['a.txt', 1, 0, 0, 'b']],
      }),
    ),
    read: (input, dir) => {
      const entry = join(dir, 'into/npm/tiny/1.0.0');
      mkdirSync(join(entry, 'files-0a'), { recursive: true });
      writeFileSync(join(entry, 'files-0a/a.txt'), 'x');
      file(entry, 'entry.json', input);
      return findPackage(
        { cacheDir: join(dir, 'into'), registry: 'npm', name: 'tiny', version: '1.0.0' },
        () => undefined,
      );
    },
  },
];
