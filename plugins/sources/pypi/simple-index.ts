/**
 * Reads a Python package index in the standard form (PEP 503, PEP 691), for machines without
 * Python: finds one wheel, downloads it, and checks it against the index's hash.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { UserFault } from '../../../src/api.ts';
import { isRecord, parseJson } from '../../../src/base/untrusted/json.ts';
import { readLimit } from '../../../src/base/untrusted/limits.ts';
import { fileInside, nameFault } from '../../../src/base/untrusted/paths.ts';
import { type Answer, ask, readBody, save } from '../shared/http.ts';

type Env = Readonly<Record<string, string | undefined>>;

const PUBLIC_INDEX = 'https://pypi.org/simple';

interface Wheel {
  readonly filename: string;
  readonly version: string;
  readonly url: string;
  readonly sha256: string;
  readonly yanked: boolean;
}

/**
 * Downloads a wheel into a folder. Throws `UserFault` if there is none, or if it is not what the
 * index's hash says.
 * @param version '' for the newest release
 */
export async function downloadWheel(
  name: string,
  version: string,
  into: string,
  env: Env,
): Promise<void> {
  const index = await indexUrl(env);
  const wheels = await listWheels(index, name, env);
  const wheel = chooseWheel(wheels, version);
  if (wheel === null) {
    const versions = [...new Set(wheels.map((one) => one.version))];
    throw versions.length === 0
      ? new UserFault(
          `pypi:${name} has no wheel, only sources, whose set-up would run code.`,
          'Choose a package that comes as a wheel.',
        )
      : new UserFault(
          `The Python index has no wheel of ${name}==${version}.`,
          `It has ${versions.slice(-8).join(', ')}.`,
        );
  }
  const path = fileInside(into, wheel.filename, `A wheel of ${name}`),
    limit = readLimit('archive', env),
    hash = createHash('sha256');
  await save(
    await get(wheel.url, '*/*', name, env),
    path,
    wheel.filename,
    { bytes: limit.value, excess: limit.raise },
    (part) => hash.update(part),
  );
  if (hash.digest('hex') !== wheel.sha256)
    throw new UserFault(
      `${wheel.filename} arrived damaged: its sha256 is not the index's.`,
      'Run again to fetch it anew.',
    );
}

/**
 * Returns the address of the index that pip would use: from the environment, else from the first of
 * pip's settings files that has one, else that of the public index.
 */
async function indexUrl(env: Env): Promise<string> {
  const { PIP_INDEX_URL, PIP_CONFIG_FILE, XDG_CONFIG_HOME } = env;
  if (PIP_INDEX_URL) return PIP_INDEX_URL;
  const home = env['HOME'] ?? homedir();
  const files = [
    PIP_CONFIG_FILE,
    join(XDG_CONFIG_HOME ?? join(home, '.config'), 'pip', 'pip.conf'),
    join(home, '.pip', 'pip.conf'),
    '/etc/pip.conf',
  ];
  for (const file of files) {
    if (file === undefined) continue;
    // Most machines have none of these files.
    const text = await readFile(file, 'utf8').catch(() => '');
    const url = /^\s*index-url\s*[=:]\s*(\S+)/m.exec(text)?.[1];
    if (url !== undefined) return url;
  }
  return PUBLIC_INDEX;
}

/** Sends a request about a package. Throws `UserFault` unless the server answers with success. */
const get = (url: string, accept: string, name: string, env: Env): Promise<Answer> =>
  ask(
    {
      name: `pypi:${name}`,
      env,
      unreachable:
        'Connect to the network, or name a mirror in PIP_INDEX_URL. What is in the ' +
        'download cache needs no network.',
      refused: (status) =>
        status === 404
          ? new UserFault(`The Python index has no package ${name}.`, 'Is the name spelt right?')
          : new UserFault(`pypi:${name} can't be fetched: its index answers ${status}.`),
    },
    url,
    accept,
  );

/** A file as a page of the index lists it, not checked yet. */
interface Listed {
  readonly filename: unknown;
  readonly href: unknown;
  readonly sha256: unknown;
  readonly yanked: boolean;
}

/** Returns the wheels of a package. Throws `UserFault` if the index lists too many. */
async function listWheels(index: string, name: string, env: Env): Promise<Wheel[]> {
  const page = `${index.replace(/\/+$/, '')}/${name}/`;
  const answer = await get(page, 'application/vnd.pypi.simple.v1+json, text/html;q=0.5', name, env);
  const what = `The Python index's list of ${name}`;
  const text = await readBody(answer, readLimit('list', env), what);
  const wheels = readIndex(text, answer.headers.get('content-type') ?? '', page, what);
  const most = readLimit('files', env);
  if (wheels.length > most.value)
    throw new UserFault(`${what} has more than ${most.value} wheels.`, most.raise);
  return wheels;
}

/**
 * Returns the wheels that a page lists with a sha256; other files are left out. Throws `UserFault`
 * if the page is JSON without a list of files.
 * @param what what messages call the page
 */
export function readIndex(text: string, contentType: string, page: string, what: string): Wheel[] {
  const listed = /json/.test(contentType) ? listedInJson(text, what) : listedInHtml(text);
  return listed.flatMap(({ filename, href, sha256, yanked }) => {
    if (typeof filename !== 'string' || nameFault(filename) !== null || typeof href !== 'string')
      return [];
    const version = wheelVersion(filename);
    return version === null ||
      typeof sha256 !== 'string' ||
      !/^[0-9a-f]{64}$/.test(sha256) ||
      !URL.canParse(href, page)
      ? []
      : [{ filename, version, url: new URL(href, page).href, sha256, yanked }];
  });
}

/** Returns the files that a page in JSON lists. Throws `UserFault` if it has no list of files. */
function listedInJson(text: string, what: string): Listed[] {
  const value = parseJson(text, what);
  const files = isRecord(value) ? value['files'] : undefined;
  if (!Array.isArray(files))
    throw new UserFault(
      `${what} is not understood: it has no files.`,
      'Is PIP_INDEX_URL an index?',
    );
  return files.filter(isRecord).map(({ filename, url, hashes, yanked }) => ({
    filename,
    href: url,
    sha256: isRecord(hashes) ? hashes['sha256'] : undefined,
    yanked: Boolean(yanked),
  }));
}

/**
 * Matches `<a href="…">`. Its attributes may have 16384 characters, more than any real link has.
 * Without a limit, an endless link would be searched again from each `<a` in it.
 */
const LINK = /<a\b([^<>]{0,16384})>/gi;

function listedInHtml(text: string): Listed[] {
  return [...text.matchAll(LINK)].map(([, attributes = '']) => {
    const href =
      /\shref\s{0,9}=\s{0,9}["']([^"']+)["']/i.exec(attributes)?.[1]?.replaceAll('&amp;', '&') ??
      '';
    const address = href.replace(/#.*/s, '');
    return {
      filename: decodedOrNull(address.slice(address.lastIndexOf('/') + 1)),
      href: address,
      sha256: /sha256=([0-9a-f]{64})/.exec(href)?.[1],
      yanked: /data-yanked/i.test(attributes),
    };
  });
}

/** Returns the text with its percent escapes decoded, or null if they are malformed. */
function decodedOrNull(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/**
 * Returns the version in `name-version-python-abi-platform.whl` (PEP 427), where a build number may
 * follow the version; null if the name has another form, or a version with characters that PEP 440
 * does not allow.
 */
export function wheelVersion(filename: string): string | null {
  if (filename.length > 255) return null;
  const version = /^[^-]+-([^-]+)(-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl$/.exec(filename)?.[1] ?? null;
  return version !== null && /^[A-Za-z0-9][A-Za-z0-9.!+_]*$/.test(version) ? version : null;
}

/**
 * Returns a wheel of the version or, if that is empty, of the newest final release that is not
 * yanked; null if there is none. A wheel for any platform is preferred: only its data are read.
 */
function chooseWheel(wheels: readonly Wheel[], version: string): Wheel | null {
  const wanted =
    version === ''
      ? wheels.filter((wheel) => /^[\d.]+(\.post\d+)?$/.test(wheel.version) && !wheel.yanked)
      : wheels.filter((wheel) => wheel.version === version);
  const [newest] = wanted.map((wheel) => wheel.version).sort((a, b) => compareReleases(b, a));
  const same = wanted.filter((wheel) => wheel.version === newest);
  return same.find((wheel) => wheel.filename.endsWith('-any.whl')) ?? same[0] ?? null;
}

/**
 * Returns a number above 0 if the release `a` is newer than `b`, below 0 if it is older. Their
 * numbers are compared one by one, and a missing number counts as 0.
 */
function compareReleases(a: string, b: string): number {
  const [left, right] = [a, b].map((version) =>
    version.split(/\D+/).filter(Boolean).map(Number),
  ) as [number[], number[]];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
