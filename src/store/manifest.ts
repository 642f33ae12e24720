/**
 * `manifest.json`: JSON whose last field is a checksum of the text before it, so that any flipped
 * byte is detected.
 */
import { sha256 } from '../base/sha256.ts';
import type { ActionKey } from '../plan/types.ts';
import type { Manifest } from './types.ts';

export const MANIFEST_FILE = 'manifest.json';
export const MANIFEST_FORMAT = 1;

const CHECKSUM = ',\n  "checksum": "';

export function printManifest(manifest: Manifest): string {
  const body = JSON.stringify(manifest, null, 2).slice(0, -2); // without "\n}"
  return `${body}${CHECKSUM}${sha256(body)}"\n}\n`;
}

/** Returns the manifest of `key`, or why the text is not that manifest. */
export function parseManifest(
  text: string,
  key: ActionKey,
): { readonly manifest: Manifest } | { readonly fault: string } {
  const at = text.lastIndexOf(CHECKSUM);
  if (at < 0 || !text.endsWith('"\n}\n')) return { fault: 'its manifest is cut short' };
  const body = text.slice(0, at),
    checksum = text.slice(at + CHECKSUM.length, -4);
  if (sha256(body) !== checksum) return { fault: 'its manifest was changed' };
  let manifest: Omit<Manifest, 'format'> & { readonly format: unknown };
  try {
    manifest = JSON.parse(`${body}\n}`) as typeof manifest;
  } catch {
    return { fault: 'its manifest is not JSON' }; // anyone can compute the checksum
  }
  if (manifest.format !== MANIFEST_FORMAT)
    return {
      fault:
        `its manifest has the format ${String(manifest.format)}; ` +
        `this version reads ${MANIFEST_FORMAT}`,
    };
  return manifest.key === key
    ? { manifest: { ...manifest, format: MANIFEST_FORMAT } }
    : { fault: 'its manifest is of another entry' };
}
