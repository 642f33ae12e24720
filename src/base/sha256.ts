import crypto from 'node:crypto';

/**
 * Returns the SHA-256 digest as 64 hex digits. Uses the one-call form where Node has it (from
 * 20.12), because keys and manifests are short and there are many of them.
 */
export const sha256: (data: string | Uint8Array) => string =
  typeof crypto.hash === 'function'
    ? (data) => crypto.hash('sha256', data, 'hex')
    : (data) => crypto.createHash('sha256').update(data).digest('hex');
