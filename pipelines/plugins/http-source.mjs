import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { defineSource, UserFault } from 'dosimeter';

const sha256 = (content) => createHash('sha256').update(content).digest('hex');
const placeOf = (uri, { cacheDir }) =>
  join(cacheDir, 'http', sha256(uri).slice(0, 16), basename(new URL(uri).pathname));

function asset(uri, path) {
  const digest = `sha256:${sha256(readFileSync(path))}`;
  return { uri, path, digest, provenance: { kind: 'http', url: uri, digest } };
}

/**
 * `source: "http://…/train.txt"`. Fetched once, before anything runs; the content's digest is in
 * the key, not the address.
 */
export default defineSource({
  name: 'http',
  summary: 'One file of a web server, over plain HTTP.',
  async locate(uri, context) {
    const path = placeOf(uri, context);
    return existsSync(path) ? asset(uri, path) : null;
  },
  async fetch(uri, context) {
    const path = placeOf(uri, context),
      response = await fetch(uri);
    if (!response.ok)
      throw new UserFault(`${uri} answered ${response.status} ${response.statusText}`);
    mkdirSync(dirname(path), { recursive: true });
    // Whole or not at all: a download that is cut short must not be taken for the file.
    writeFileSync(`${path}.part`, Buffer.from(await response.arrayBuffer()));
    renameSync(`${path}.part`, path);
    context.log(`fetched ${uri}`);
    return asset(uri, path);
  },
});
