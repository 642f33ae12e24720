import crypto from 'node:crypto';

/** The digest in 64 hex digits, by Node's one call (from 20.12), which is faster for short data. */
export const sha256: (data: string | Uint8Array) => string =
  typeof crypto.hash === 'function'
    ? (data) => crypto.hash('sha256', data, 'hex')
    : (data) => crypto.createHash('sha256').update(data).digest('hex');
