/**
 * Checks a manifest from a remote, before any of its paths is made and any of its files is fetched.
 * Anyone can compute its checksum, so every field that is read anywhere is checked.
 */
import type { Digest } from '../../api.ts';
import { UserFault } from '../../api.ts';
import { isRecord, parseJson, shown } from '../../base/untrusted/json.ts';
import { inWords, limitOf } from '../../base/untrusted/limits.ts';
import { nameFault } from '../../base/untrusted/paths.ts';
import { actionKey, contentDigest } from '../../plan/keys.ts';
import type { ActionKey, KeyComponents } from '../../plan/types.ts';
import type { Manifest } from '../manifest.ts';
import { MANIFEST_FILE, parseManifest } from '../manifest.ts';

export type Checked = { readonly manifest: Manifest } | { readonly fault: string };

/**
 * Returns the manifest of `key`, or why the text is refused.
 * @param volatile the stage's volatile files; null if the stage is not known
 * @throws UserFault if a limit in the environment is malformed
 */
export function checkedManifest(
  text: string,
  key: ActionKey,
  volatile: readonly string[] | null,
): Checked {
  try {
    parseJson(text, 'its manifest'); // bounds the depth
  } catch (error) {
    if (!(error instanceof UserFault)) throw error;
    return { fault: error.message.replace(/\.$/, '') };
  }
  const parsed = parseManifest(text, key);
  if ('fault' in parsed) return parsed;
  const { manifest } = parsed;
  const fault =
    componentsFault(manifest, key) ?? filesFault(manifest.files) ?? factsFault(manifest);
  if (fault !== null) return { fault };
  return volatile !== null && contentDigest(manifest.files, volatile) !== manifest.content
    ? { fault: "its manifest's digest of the content is not that of its files" }
    : { manifest };
}

const isDigest = (value: unknown): value is Digest =>
  typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value);
const areDigests = (value: unknown): boolean =>
  isRecord(value) && Object.values(value).every(isDigest);
/** Whether a value is a text that can be shown as it is. */
const isPlain = (value: unknown): value is string =>
  typeof value === 'string' && value.length <= 500 && !/[\u0000-\u001f\u007f-\u009f]/.test(value);

/** The key is computed from the components, so this detects a manifest under another's key. */
function componentsFault({ components, kind }: Manifest, key: ActionKey): string | null {
  const given: unknown = components;
  const isWhole =
    isRecord(given) &&
    isPlain(kind) &&
    given['kind'] === kind &&
    areDigests(given['code']) &&
    isRecord(given['params']) &&
    areDigests(given['inputs']) &&
    areDigests(given['assets']) &&
    (given['backend'] === null || isPlain(given['backend']));
  if (!isWhole) return 'its manifest has malformed components';
  return keyOf(components) === key ? null : 'its manifest has the components of another entry';
}

function keyOf(components: KeyComponents): ActionKey | null {
  try {
    return actionKey(components);
  } catch {
    return null; // a text that has no canonical form
  }
}

function filesFault(files: unknown): string | null {
  if (!Array.isArray(files) || files.length === 0) return 'its manifest has no list of files';
  const { value: most } = limitOf('files'),
    { value: mostBytes } = limitOf('source');
  if (files.length > most) return `it has ${files.length} files, more than ${most}`;
  const names = new Set<string>();
  let bytes = 0;
  for (const file of files as readonly unknown[]) {
    if (!isRecord(file)) return 'its manifest has a malformed file';
    const { path: name, size, sha256 } = file;
    const why = nameFault(name);
    if (why !== null) return `its manifest names the file ${shown(name)}, which ${why}`;
    if (!Number.isSafeInteger(size) || (size as number) < 0)
      return `its manifest gives ${String(name)} an invalid size`;
    if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256))
      return `its manifest gives ${String(name)} an invalid digest`;
    if (names.has(name as string) || name === MANIFEST_FILE)
      return `its manifest names ${String(name)} twice`;
    names.add(name as string);
    bytes += size as number;
  }
  if (bytes > mostBytes) return `it has ${inWords(bytes)}, more than ${inWords(mostBytes)}`;
  const inFile = [...names].find((name) => foldersOf(name).some((folder) => names.has(folder)));
  return inFile === undefined ? null : `its manifest names ${inFile}, whose folder is also a file`;
}

/** Returns the folders of a path: `a` and `a/b` for `a/b/c`. */
export function foldersOf(name: string): string[] {
  const parts = name.split('/');
  return parts.slice(1).map((_, n) => parts.slice(0, n + 1).join('/'));
}

function factsFault({ content, seconds, created, backend, facts }: Manifest): string | null {
  const given: unknown = facts;
  if (!isDigest(content)) return 'its manifest has no digest of its content';
  if (!Number.isFinite(seconds) || seconds < 0) return 'its manifest has no duration';
  if (
    typeof created !== 'string' ||
    !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(created) ||
    Number.isNaN(Date.parse(created))
  )
    return 'its manifest has no date';
  if (![null, 'tensorflow', 'wasm', 'cpu'].includes(backend))
    return 'its manifest has an unknown backend';
  if (!isRecord(given) || !isComputed(given['computed']))
    return 'its manifest has a malformed record of where it ran';
  return null;
}

/** Whether a value is a `BackendInfo`, which `results` and `diff` show, or absent. */
function isComputed(value: unknown): boolean {
  if (value === undefined) return true;
  if (!isRecord(value)) return false;
  // Manifests from before the fused operations do not name them.
  const { name, precision, tensorflow, fused = null, gpu, packages, deterministic } = value;
  return (
    [name, precision].every(isPlain) &&
    [tensorflow, fused, gpu].every((text) => text === null || isPlain(text)) &&
    isRecord(packages) &&
    Object.entries(packages).every((pair) => pair.every(isPlain)) &&
    typeof deterministic === 'boolean'
  );
}
