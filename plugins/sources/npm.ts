import { join } from 'node:path';
import { defineSource, type Digest, type SourceContext, UserFault } from '../../src/api.ts';
import { parseUri } from '../../src/data/format.ts';
import { type NamedPackage, packageSource } from './shared/package-source.ts';
import type { Fetched } from './shared/package-store.ts';

/** Returns the package that a URI names. Throws `UserFault` if it names none. */
function parsePackage(uri: string): NamedPackage {
  const { rest, fragment } = parseUri(uri);
  const match =
    /^((?:@[a-z0-9~][a-z0-9._~-]*\/)?[a-z0-9~][a-z0-9._~-]*)(?:@([A-Za-z0-9.^~*+_-]+))?$/i.exec(
      rest,
    );
  const [, name, asked = ''] = match ?? [];
  if (name === undefined)
    throw new UserFault(
      `${uri} does not name an npm package.`,
      'It is written npm:NAME, npm:@SCOPE/NAME or npm:NAME@VERSION, with #PATH for a file in it.',
    );
  return { name, asked, fragment };
}

const isExact = (version: string): boolean =>
  /^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/.test(version);

export default defineSource({
  name: 'npm',
  summary:
    'An npm package, fetched alone by npm pack (no dependencies, no scripts): ' +
    'npm:NAME@VERSION#PATH.',
  ...packageSource({
    registry: 'npm',
    title: 'the npm registry',
    separator: '@',
    parse: parsePackage,
    versionOf: (asked, remembered) => (isExact(asked) ? Promise.resolve(asked) : remembered()),
    download: packAndUnpack,
  }),
});

/**
 * Downloads a package with `npm pack`, checks its archive against the registry's digest (as npm
 * itself has already done), and unpacks it. Throws `UserFault` if one of these fails.
 */
async function packAndUnpack(
  { name, version }: { readonly name: string; readonly version: string },
  download: string,
  files: string,
  { env }: SourceContext,
): Promise<Fetched> {
  const [{ readdir, stat }, { digestOfFile, sha256OfFile }, { runClient }, { untar }] =
    await Promise.all([
      import('node:fs/promises'),
      import('./shared/digest.ts'),
      import('./shared/client.ts'),
      import('./shared/archive.ts'),
    ]);
  const spec = version === '' ? name : `${name}@${version}`;
  const result = await runClient(
    'npm',
    ['pack', spec, '--ignore-scripts', '--json', '--pack-destination', download],
    { what: `npm:${spec}`, cwd: download, env },
  );
  if (result === null)
    throw new UserFault(
      `npm:${spec} can't be fetched: there is no npm on this machine's PATH.`,
      'Install npm (it comes with Node), or give the files as a `file:` source.',
    );
  if (result.code !== 0) throw await packFault(spec, `${result.stdout}\n${result.stderr}`);

  const archives = (await readdir(download)).filter((file) => file.endsWith('.tgz'));
  const about = parsePackOutput(result.stdout);
  const [file] = archives;
  if (file === undefined || archives.length !== 1 || about === null)
    throw new UserFault(
      `npm:${spec} can't be fetched: npm left ${archives.length} archives, and its answer is ` +
        'not understood.',
      `It said: ${result.stdout.slice(0, 300)}`,
    );
  const path = join(download, file);
  const [, algorithm, expected] = /^(sha512|sha384|sha256|sha1)-(\S+)/.exec(about.integrity) ?? [];
  if (algorithm === undefined)
    throw new UserFault(
      `npm:${spec} can't be checked: the registry gives no digest that can be checked here.`,
      'Ask whoever runs the registry.',
    );
  if (!isExact(about.version))
    throw new UserFault(
      `The npm registry gives ${spec} the version ` +
        `${JSON.stringify(about.version.slice(0, 80))}, which is not a version.`,
      'Ask whoever runs the registry.',
    );
  if ((await digestOfFile(path, algorithm)).toString('base64') !== expected)
    throw new UserFault(
      `npm:${spec} arrived damaged: its ${algorithm} is not the registry's.`,
      'Run again to fetch it anew.',
    );

  await untar(path, files, env);
  const archive = `sha256:${await sha256OfFile(path)}` as Digest;
  return {
    version: about.version,
    archive,
    facts: {
      kind: 'npm',
      package: name,
      version: about.version,
      integrity: about.integrity,
      archive,
      bytes: (await stat(path)).size,
    },
  };
}

/**
 * Reads what `npm pack` prints: a list of packages or, since npm 12, an object of packages by name.
 * Returns the version and the digest of the first package; null if they are not there.
 */
function parsePackOutput(stdout: string): { version: string; integrity: string } | null {
  let value: unknown;
  try {
    value = JSON.parse(stdout);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
  if (typeof value !== 'object' || value === null) return null;
  const first: unknown = Object.values(value)[0];
  const { version, integrity } = (first ?? {}) as { version?: unknown; integrity?: unknown };
  return typeof version === 'string' && typeof integrity === 'string'
    ? { version, integrity }
    : null;
}

/** Returns why `npm pack` failed. @param said all that it printed */
async function packFault(spec: string, said: string): Promise<UserFault> {
  const { lastLines, speaksOfNetwork } = await import('./shared/client.ts');
  if (/E404/.test(said))
    return new UserFault(
      `The npm registry has no package ${spec}.`,
      'Is the name spelt right, scope included?',
    );
  if (/ETARGET|ENOVERSIONS/.test(said))
    return new UserFault(
      `The npm registry has no such version: ${spec}.`,
      `\`npm view ${spec.replace(/(?<=.)@[^@/]*$/, '')} versions\` lists those that there are.`,
    );
  if (/EINTEGRITY/.test(said))
    return new UserFault(
      `npm:${spec} is not what the registry says it is: its integrity does not match.`,
      'It may have been tampered with on the way. Run again; if it stays so, ask whoever runs ' +
        'the registry.',
    );
  if (speaksOfNetwork(said))
    return new UserFault(
      `npm:${spec} can't be fetched: the npm registry can't be reached.`,
      'Connect to the network, or set up a mirror with `npm config set registry`. What is in ' +
        'the download cache needs no network.',
    );
  return new UserFault(`npm:${spec} can't be fetched. npm says: ${lastLines(said)}`);
}
