/**
 * Finds the version of the code that an entry executes: a digest over its import closure (static
 * and dynamic), taken from esbuild's metafile. Comments, layout and types do not count; the
 * versions of packages do.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, resolve } from 'node:path';

/**
 * Matches the end of a script's file name. One of its two groups is the name of esbuild's loader.
 */
const SCRIPT = /\.(?:[cm]?([jt]s)|([jt]sx))$/;

/** Returns the SHA-256 of a text or of bytes, in hex. */
export const sha256 = (content) => createHash('sha256').update(content).digest('hex');

/**
 * Returns the name of the package in an import's specifier: `@scope/name` for
 * `@scope/name/sub/file.js`.
 */
const packageName = (specifier) =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

/**
 * Returns the folder of the package that a bundled file belongs to; null for a source of ours. If
 * the program is itself installed, the paths of its dependencies from `root` begin with `../`.
 */
export function packageOf(path, root) {
  const from = path.startsWith('../') ? resolve(root, path).replaceAll('\\', '/') : path;
  const at = from.lastIndexOf('node_modules/');
  if (at < 0) return null;
  const below = from.slice(at + 'node_modules/'.length);
  return resolve(root, from.slice(0, at), 'node_modules', packageName(below));
}

/** The namespace, in esbuild's metafile, of packages that a build loads with `require`. */
export const REQUIRING = 'require';

/**
 * Returns the folder of a package as Node finds it from the folder `from`: in the nearest
 * node_modules around it. Null if no such folder has the package.
 */
export function findPackage(name, from) {
  for (let dir = from; ; dir = dirname(dir)) {
    const candidate = join(dir, 'node_modules', name);
    if (existsSync(join(candidate, 'package.json'))) return candidate;
    if (dir === dirname(dir)) return null;
  }
}

/**
 * Returns the distinct words of both texts, which are versions: an entry may reach two releases of
 * one package.
 */
const union = (one, other) =>
  [...new Set([...one.split(' '), ...other.split(' ')])].sort().join(' ');

/**
 * Adds to `parts` the versions of a package and of everything that it depends on. Dependencies that
 * are not installed, and types, are left out.
 */
function addPackage(dir, parts, seen) {
  if (seen.has(dir)) return;
  seen.add(dir);
  const {
    name,
    version,
    dependencies = {},
    optionalDependencies = {},
  } = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'));
  const part = `npm:${name}`;
  parts.set(part, union(parts.get(part) ?? String(version), String(version)));
  for (const dependency of Object.keys({ ...dependencies, ...optionalDependencies })) {
    // Types don't execute, and an installer may choose any release of them.
    if (dependency.startsWith('@types/')) continue;
    const found = findPackage(dependency, dir);
    if (found !== null) addPackage(found, parts, seen);
  }
}

/**
 * Returns, for each entry, the version of the code that it executes (`code`) and its import closure
 * (`closure`). Paths are as in `metafile`, from `root`.
 * @param entries the paths of sources
 * @param transform esbuild's function of this name
 * @param skip returns whether an external import, given its specifier, is left out of the version
 * @param read returns the source that was built, given its absolute path
 */
export async function closureVersions(
  metafile,
  entries,
  { root, transform, skip = () => false, read = (path) => readFileSync(path) },
) {
  const digests = new Map();
  /**
   * Returns the digest of a source: of a script, without its comments and layout; of any other
   * file, as it is.
   */
  const digestOf = async (path) => {
    const content = read(resolve(root, path));
    const [isScript, plain, jsx] = SCRIPT.exec(path) ?? [];
    if (isScript === undefined) return sha256(content);
    const { code } = await transform(content, {
      loader: plain ?? jsx,
      minifyWhitespace: true,
      legalComments: 'none',
      target: 'esnext',
      jsx: 'preserve',
    });
    return sha256(code);
  };
  const result = new Map();
  for (const entry of entries) {
    const packages = new Map();
    const seenPackages = new Set();
    const sources = new Set([entry]);
    for (const path of sources) {
      for (const imported of metafile.inputs[path]?.imports ?? []) {
        const required = imported.path.startsWith(`${REQUIRING}:`);
        if (imported.external || required) {
          const specifier = required ? imported.path.slice(REQUIRING.length + 1) : imported.path;
          if (
            specifier.startsWith('node:') ||
            builtinModules.includes(specifier) ||
            skip(specifier)
          )
            continue;
          const dir = findPackage(packageName(specifier), dirname(resolve(root, path)));
          if (dir !== null) addPackage(dir, packages, seenPackages);
          continue;
        }
        const dir = packageOf(imported.path, root);
        if (dir === null) sources.add(imported.path);
        else addPackage(dir, packages, seenPackages);
      }
    }
    for (const path of sources) if (!digests.has(path)) digests.set(path, digestOf(path));
    const parts = await Promise.all(
      [...sources].map(async (path) => [path, (await digests.get(path)) ?? '']),
    );
    result.set(entry, versionOf([...parts, ...packages]));
  }
  return result;
}

/**
 * Returns a digest over the parts of a closure, each a [name, digest or version], and the closure
 * itself.
 */
function versionOf(parts) {
  const closure = new Map([...parts].sort(([a], [b]) => (a < b ? -1 : 1)));
  return { code: `sha256:${sha256(JSON.stringify(['dosimeter code 1', ...closure]))}`, closure };
}

/** Returns the version of two pieces of code that execute together. */
export function combinedVersion(a, b) {
  const both = new Map(a.closure);
  for (const [part, digest] of b.closure) both.set(part, union(both.get(part) ?? digest, digest));
  return versionOf([...both]);
}
