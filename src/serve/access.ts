/**
 * Decides which requests are answered. Only this machine can reach the server, but that includes
 * every page in a browser on it, and every other user of it. So a request must name the server by a
 * loopback address (which a site whose name was made to point here does not), must not come from
 * another site, and must carry the token for everything that tells something about a run.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

export interface Refusal {
  readonly status: 401 | 403 | 405;
  readonly message: string;
}

/** Returns 256 random bits as text. */
export const newToken = (): string => randomBytes(32).toString('base64url');

export interface Asking {
  readonly method: string | undefined;
  readonly headers: IncomingHttpHeaders;
  /** Whether the answer tells something about a run. */
  readonly isPrivate: boolean;
}

const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]'];

/** Returns a function that returns why a request is refused, or null if it is allowed. */
export function accessRules(token: string, port: number): (asking: Asking) => Refusal | null {
  const hosts = new Set(LOOPBACK.map((name) => `${name}:${port}`));
  if (port === 80) for (const name of LOOPBACK) hosts.add(name); // browsers leave it out
  const wanted = digest(`Bearer ${token}`);
  return ({ method, headers, isPrivate }) => {
    const { host = '', origin, authorization = '' } = headers;
    if (!hosts.has(host.toLowerCase()))
      return {
        status: 403,
        message:
          `This server answers only to the loopback addresses with its own port, ${port}. ` +
          `To reach it over ssh, forward the same port: ssh -L ${port}:127.0.0.1:${port} HOST`,
      };
    if (origin !== undefined && origin !== `http://${host}`)
      return {
        status: 403,
        message: 'This server does not answer requests from pages of other sites.',
      };
    const site = headers['sec-fetch-site'];
    if (site !== undefined && site !== 'same-origin' && site !== 'none')
      return {
        status: 403,
        message:
          'This server does not answer links from other sites. Copy the address that was printed ' +
          'into the address bar.',
      };
    if (method !== 'GET' && method !== 'HEAD')
      return { status: 405, message: 'This server is read-only: it accepts GET and HEAD.' };
    if (isPrivate && !timingSafeEqual(digest(authorization), wanted))
      return { status: 401, message: 'The token is missing or wrong.' };
    return null;
  };
}

/** Digests have equal lengths, as a comparison in constant time requires. */
const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** The headers of every answer. The page may load its own script and style, and nothing else. */
export const SECURITY_HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'cache-control': 'no-store',
} as const;
