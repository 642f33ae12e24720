import { join } from 'node:path';
import { defineSource, type Digest, type SourceContext, UserFault } from '../../../src/api.ts';
import { parseUri } from '../../../src/data/format.ts';
import { type NamedPackage, packageSource } from '../shared/package-source.ts';
import type { Fetched } from '../shared/package-store.ts';

/**
 * Returns the package that a URI names, in the normal form of PEP 503: lower case, with single
 * hyphens. Throws `UserFault` if it names none.
 */
function parsePackage(uri: string): NamedPackage {
  const { rest, fragment } = parseUri(uri);
  const match = /^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:==([A-Za-z0-9.!+_-]+))?$/.exec(
    rest,
  );
  const [, name, asked = ''] = match ?? [];
  if (name === undefined)
    throw new UserFault(
      `${uri} does not name a Python package.`,
      'It is written pypi:NAME or pypi:NAME==VERSION, with #PATH for a file in it.',
    );
  return { name: name.toLowerCase().replace(/[-_.]+/g, '-'), asked, fragment };
}

export default defineSource({
  name: 'pypi',
  summary:
    'A Python package, its wheel fetched alone by pip (no dependencies, nothing of it is run): ' +
    'pypi:NAME==VERSION#PATH.',
  ...packageSource({
    registry: 'pypi',
    title: 'the Python package index',
    separator: '==',
    parse: parsePackage,
    // A wheel may write its version differently from the spec (1.0 for 1.0.0), so the version that
    // the request resolved to is looked up first.
    versionOf: async (asked, remembered) => (await remembered()) ?? (asked === '' ? null : asked),
    download: downloadAndUnpack,
  }),
});

/**
 * Downloads a wheel, and unpacks it. Uses pip or, if there is no Python with pip, asks the index
 * directly. Throws `UserFault` unless the download is exactly one wheel.
 */
async function downloadAndUnpack(
  { name, version }: { readonly name: string; readonly version: string },
  download: string,
  files: string,
  context: SourceContext,
): Promise<Fetched> {
  const [{ readdir, stat }, { sha256OfFile }, { unzip }, { downloadWheel, wheelVersion }] =
    await Promise.all([
      import('node:fs/promises'),
      import('../shared/digest.ts'),
      import('../shared/archive.ts'),
      import('./simple-index.ts'),
    ]);
  let client = 'pip';
  if (!(await pipDownload(name, version, download, context))) {
    client = 'index';
    context.log(
      `there is no Python with pip here; ${name} is read from the package index directly`,
    );
    await downloadWheel(name, version, download, context.env);
  }
  const wheels = (await readdir(download)).filter((file) => file.endsWith('.whl'));
  const [file] = wheels;
  const found = file !== undefined && wheels.length === 1 ? wheelVersion(file) : null;
  if (file === undefined || found === null) {
    const left =
      wheels.length === 1 ? 'a file whose name is not that of a wheel' : `${wheels.length} wheels`;
    const names = wheels.map((wheelName) => JSON.stringify(wheelName.slice(0, 120)));
    throw new UserFault(
      `pypi:${name} can't be fetched: ${client} left ${left}.`,
      names.length === 0 ? undefined : `It left ${names.join(', ')}.`,
    );
  }
  const path = join(download, file);
  const archive = `sha256:${await sha256OfFile(path)}` as Digest;
  await unzip(path, files, context.env);
  return {
    version: found,
    archive,
    facts: {
      kind: 'pypi',
      package: name,
      version: found,
      wheel: file,
      archive,
      bytes: (await stat(path)).size,
    },
  };
}

/**
 * Downloads a wheel with pip, which checks the wheel's hash. Returns false if there is no pip.
 * Throws `UserFault` if pip fails.
 */
async function pipDownload(
  name: string,
  version: string,
  download: string,
  { env }: SourceContext,
): Promise<boolean> {
  const { runClient } = await import('../shared/client.ts');
  const requirement = version === '' ? name : `${name}==${version}`;
  const args = [
    '-m',
    'pip',
    'download',
    requirement,
    '--no-deps',
    '--only-binary=:all:',
    '--dest',
    download,
    '--no-input',
    '--disable-pip-version-check',
    '--progress-bar',
    'off',
    '--quiet',
  ];
  for (const python of ['python3', 'python']) {
    const result = await runClient(python, args, {
      what: `pypi:${name}`,
      cwd: download,
      env: { PIP_RETRIES: '2', ...env },
    });
    if (result === null || /No module named '?pip/.test(result.stderr)) continue;
    if (result.code !== 0) throw await pipFault(name, requirement, result.stderr);
    return true;
  }
  return false;
}

/** Returns why pip failed. @param said what it printed on stderr */
async function pipFault(name: string, requirement: string, said: string): Promise<UserFault> {
  const { lastLines, speaksOfNetwork } = await import('../shared/client.ts');
  if (speaksOfNetwork(said))
    return new UserFault(
      `pypi:${requirement} can't be fetched: the Python package index can't be reached.`,
      'Connect to the network, or name a mirror in PIP_INDEX_URL. What is in the ' +
        'download cache needs no network.',
    );
  const versions = /from versions: ([^)]*)\)/.exec(said)?.[1];
  if (versions === 'none')
    return new UserFault(
      `The Python package index has no wheel of a package ${name}.`,
      'Is the name spelt right, and does the index answer? A package that comes as sources ' +
        'only is not used: its set-up would run code.',
    );
  if (versions !== undefined)
    return new UserFault(
      `The Python package index has no wheel of ${requirement}.`,
      `It has ${versions.split(', ').slice(-8).join(', ')}.`,
    );
  if (/HASH|do not match the hashes/i.test(said))
    return new UserFault(
      `pypi:${requirement} is not what the index says it is: its hash does not match.`,
      'Run again; if it stays so, ask whoever runs the index.',
    );
  return new UserFault(`pypi:${requirement} can't be fetched. pip says: ${lastLines(said)}`);
}
