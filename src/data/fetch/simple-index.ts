/**
 * A Python package index as every index serves it (PEP 503, PEP 691), for machines without Python: finds one wheel and
 * downloads it, checked against the index's hash.
 */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';

type Env = Readonly<Record<string, string | undefined>>;

const PUBLIC_INDEX = 'https://pypi.org/simple';

interface Wheel {
  readonly filename: string;
  readonly version: string;
  readonly url: string;
  readonly sha256: string;
  readonly yanked: boolean;
}

/** Downloads the wheel into a folder and returns its file name. @param version '' for the newest release. */
export async function downloadWheel(
  name: string,
  version: string,
  into: string,
  env: Env,
): Promise<string> {
  const index = await indexUrl(env);
  const wheels = await listWheels(index, name);
  const wheel = choose(wheels, version);
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
  const bytes = new Uint8Array(await (await get(wheel.url, '*/*', name)).arrayBuffer());
  const actual = createHash('sha256').update(bytes).digest('hex');
  if (actual !== wheel.sha256)
    throw new UserFault(
      `${wheel.filename} arrived damaged: its sha256 is not the index's.`,
      'Run again to fetch it anew.',
    );
  await writeFile(join(into, wheel.filename), bytes);
  return wheel.filename;
}

/** As pip finds it: PIP_INDEX_URL, then pip's own files, then the public index. */
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
    const text = await readFile(file, 'utf8').catch(() => ''); // most machines have none of them
    const line = /^\s*index-url\s*[=:]\s*(\S+)/m.exec(text);
    if (line !== null) return line[1]!;
  }
  return PUBLIC_INDEX;
}

async function get(url: string, accept: string, name: string): Promise<Response> {
  const target = new URL(url),
    headers: Record<string, string> = { accept };
  if (target.username !== '') {
    // fetch refuses addresses with credentials in them
    headers['authorization'] =
      `Basic ${Buffer.from(`${decodeURIComponent(target.username)}:${decodeURIComponent(target.password)}`).toString('base64')}`;
    target.username = target.password = '';
  }
  let response: Response;
  try {
    response = await fetch(target, { headers });
  } catch (error) {
    const cause = (error as Error).cause;
    throw new UserFault(
      `pypi:${name} can't be fetched: ${target.host} can't be reached (${cause instanceof Error ? cause.message : (error as Error).message}).`,
      'Connect to the network, or name a mirror in PIP_INDEX_URL. What is in the download cache already needs none.',
    );
  }
  if (response.status === 404)
    throw new UserFault(`The Python index has no package ${name}.`, 'Is the name spelt right?');
  if (!response.ok)
    throw new UserFault(
      `pypi:${name} can't be fetched: ${target.host} answers ${response.status}.`,
    );
  return response;
}

async function listWheels(index: string, name: string): Promise<Wheel[]> {
  const page = `${index.replace(/\/+$/, '')}/${name}/`;
  const response = await get(page, 'application/vnd.pypi.simple.v1+json, text/html;q=0.5', name);
  const files = /json/.test(response.headers.get('content-type') ?? '')
    ? (
        (await response.json()) as {
          files: {
            filename: string;
            url: string;
            hashes: { sha256?: string };
            yanked?: boolean | string;
          }[];
        }
      ).files.map((file) => ({
        filename: file.filename,
        href: file.url,
        sha256: file.hashes.sha256,
        yanked: Boolean(file.yanked),
      }))
    : [...(await response.text()).matchAll(/<a\b([^>]*)>/gi)].map(([, attributes]) => {
        const href =
          /href\s*=\s*["']([^"']+)["']/i.exec(attributes!)?.[1]?.replaceAll('&amp;', '&') ?? '';
        return {
          filename: decodeURIComponent(href.split('#')[0]!.split('/').at(-1)!),
          href: href.split('#')[0]!,
          sha256: /sha256=([0-9a-f]{64})/.exec(href)?.[1],
          yanked: /data-yanked/i.test(attributes!),
        };
      });
  return files.flatMap(({ filename, href, sha256, yanked }) => {
    const version = wheelVersion(filename);
    return version === null || sha256 === undefined
      ? []
      : [{ filename, version, url: new URL(href, page).href, sha256, yanked }];
  });
}

/** `name-version-python-abi-platform.whl`, maybe with a build number before the tags. */
export function wheelVersion(filename: string): string | null {
  return /^[^-]+-([^-]+)(-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl$/.exec(filename)?.[1] ?? null;
}

/** The newest release, or the version asked for. A wheel for any platform comes first: only its data is read. */
function choose(wheels: readonly Wheel[], version: string): Wheel | null {
  const wanted =
    version === ''
      ? wheels.filter((wheel) => /^[\d.]+(\.post\d+)?$/.test(wheel.version) && !wheel.yanked)
      : wheels.filter((wheel) => wheel.version === version);
  const newest = wanted.reduce<string | null>(
    (best, wheel) =>
      best === null || compareReleases(wheel.version, best) > 0 ? wheel.version : best,
    null,
  );
  const same = wanted.filter((wheel) => wheel.version === newest);
  return same.find((wheel) => wheel.filename.endsWith('-any.whl')) ?? same[0] ?? null;
}

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
