import crypto from 'node:crypto';

/**
 * 64 hex digits of SHA-256. In one call where Node has one (from 20.12): keys and manifests are
 * short, and there are many of them.
 */
export const sha256: (data: string | Uint8Array) => string =
  typeof crypto.hash === 'function'
    ? (data) => crypto.hash('sha256', data, 'hex')
    : (data) => crypto.createHash('sha256').update(data).digest('hex');
