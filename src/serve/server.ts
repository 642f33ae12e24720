/**
 * The server of `dosimeter serve`: it shows runs to browsers on this machine, read-only. No other
 * machine can reach it, but every user of this machine can, and every page in a browser here. So a
 * request must name the server by a loopback address, which a site that made its own name point to
 * this machine can't do. The request must not come from another site. If the answer tells something
 * about a run, the request must carry the token.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { UserFault } from '../api.ts';
import { browserScript } from '../report/browser-script.ts';
import { RunViews, type RunViewsOptions } from './run-views.ts';
import { openStream, type Stream } from './stream.ts';
import { style } from './style.ts';

interface ServeOptions extends RunViewsOptions {
  /** By default, any free port. */
  readonly port?: number;
  readonly ipv6?: boolean;
}

export interface Serving {
  readonly port: number;
  /** The address with the token in its fragment, which browsers send to no server. */
  readonly url: string;
  close(): Promise<void>;
}

/** The most connections that have shown the token, and the most that have not (strangers). */
const MOST_CONNECTIONS = 128;
const MOST_STRANGERS = 64;

/** Starts the server. Throws UserFault if the port can't be listened on. */
export async function serve(options: ServeOptions): Promise<Serving> {
  const { port = 0, ipv6 = false, onFault } = options;
  const token = randomBytes(32).toString('base64url');
  const script = await pageScript();
  const views = new RunViews(options);
  const server = createServer({
    maxHeaderSize: 8192,
    headersTimeout: 10_000,
    requestTimeout: 10_000,
    keepAliveTimeout: 5000,
    connectionsCheckingInterval: 1000, // by default, timeouts are checked only every 30 s
  });
  server.maxConnections = MOST_CONNECTIONS + MOST_STRANGERS;
  const admit = limitUnauthenticated(server);
  const host = ipv6 ? '::1' : '127.0.0.1';
  try {
    await listen(server, port, host);
  } catch (error) {
    views.close();
    throw error;
  }
  const bound = (server.address() as AddressInfo).port;
  const findRefusal = accessRules(token, bound);
  const files = new Map<string, readonly [type: string, body: string]>([
    ['/', ['text/html; charset=utf-8', document]],
    ['/page.js', ['text/javascript; charset=utf-8', script]],
    ['/page.css', ['text/css; charset=utf-8', style]],
  ]);

  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    request.resume(); // a body is not read
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value);
    const [path = ''] = (request.url ?? '').split('?');
    const known = files.get(path);
    const refusal = findRefusal(request, known === undefined);
    if (refusal !== null) {
      const [status, message] = refusal;
      if (status === 405) response.setHeader('allow', 'GET, HEAD');
      response.setHeader('connection', 'close');
      answer(response, status, TEXT, message);
    } else if (known !== undefined) answer(response, 200, ...known);
    else {
      admit(request.socket);
      void route(views, path, request, response).catch((error: unknown) => {
        onFault(error);
        if (response.headersSent) response.destroy();
        else answer(response, 500, TEXT, 'The server failed; the terminal shows why.');
      });
    }
  });
  const shown = ipv6 ? '[::1]' : host;
  return {
    port: bound,
    url: `http://${shown}:${bound}/#token=${token}`,
    async close() {
      views.close();
      const closed = promisify(server.close.bind(server))();
      server.closeAllConnections();
      await closed;
    },
  };
}

/**
 * Whenever more than MOST_STRANGERS connections have not shown the token, ends the oldest of them:
 * they would keep users out. Returns a function that exempts a connection, to be called once the
 * connection has shown the token.
 */
function limitUnauthenticated(server: Server): (socket: Socket) => void {
  const strangers = new Set<Socket>(); // the oldest first
  server.on('connection', (socket: Socket) => {
    strangers.add(socket);
    socket.once('close', () => strangers.delete(socket));
    const [oldest] = strangers;
    if (oldest === undefined || strangers.size <= MOST_STRANGERS) return;
    strangers.delete(oldest);
    oldest.destroy();
  });
  return (socket) => strangers.delete(socket);
}

const TEXT = 'text/plain; charset=utf-8',
  JSON_TYPE = 'application/json; charset=utf-8';

/** Resolves when the server listens. @throws UserFault if it can't listen on the port */
async function listen(server: Server, port: number, host: string): Promise<void> {
  try {
    server.listen({ port, host, exclusive: true });
    await once(server, 'listening');
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (!['EADDRINUSE', 'EACCES', 'EADDRNOTAVAIL', 'EAFNOSUPPORT'].includes(code)) throw error;
    throw new UserFault(
      `port ${port} of ${host} can't be listened on (${code})`,
      'give another one with --port, or leave it out for any that is free',
    );
  }
}

function answer(
  response: ServerResponse,
  status: number,
  type: string,
  body: string | Buffer,
): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

const zipped = promisify(gzip);
/** The number of characters up to which an answer is sent without compression. */
const WORTH_ZIPPING = 16 * 1024;

/** Sends a value as JSON, compressed if it is long and the browser allows that. */
async function answerJson(
  request: IncomingMessage,
  response: ServerResponse,
  value: unknown,
): Promise<void> {
  const text = JSON.stringify(value);
  const zips =
    text.length > WORTH_ZIPPING && /\bgzip\b/.test(String(request.headers['accept-encoding']));
  if (zips) response.setHeader('content-encoding', 'gzip');
  const body = zips ? await zipped(text, { level: 1 }) : text;
  answer(response, 200, JSON_TYPE, body);
}

/** Returns the parts of a path, decoded; an empty list if one of them is not well encoded. */
function decodedParts(path: string): string[] {
  try {
    return path.split('/').slice(1).map(decodeURIComponent);
  } catch {
    return [];
  }
}

/** Answers `/api/runs/stream` and `/api/runs/RUN[/WHAT[/NAME]]`; anything else is not found. */
async function route(
  views: RunViews,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const [api, runs, run = '', what, name = ''] = decodedParts(path);
  const notFound = (): void => answer(response, 404, TEXT, 'There is no such page.');
  /**
   * Opens a stream and calls `begin` with it. For HEAD, answers with the head alone and calls
   * `release` in place of `begin`.
   */
  const stream = (begin: (stream: Stream) => void, release = (): void => undefined): void => {
    if (request.method === 'HEAD') {
      answer(response, 200, 'text/event-stream', '');
      release();
    } else begin(openStream(response));
  };
  if (api !== 'api' || runs !== 'runs') {
    notFound();
    return;
  }
  if (run === 'stream' && what === undefined) {
    stream((to) => views.list(to));
    return;
  }
  const held = await views.open(run);
  if (held === null) {
    notFound();
    return;
  }
  const { value: view, release } = held;
  if (
    what === 'stream' ||
    what === 'log' ||
    (what === 'stages' && view.follower.record.indexOf(name) !== undefined)
  )
    stream((to) => {
      to.onEnd(release);
      if (what === 'stream') view.follow(to);
      else view.watch(to, what === 'log' ? null : name);
    }, release);
  else
    try {
      if (what === undefined) await answerJson(request, response, view.follower.snapshot());
      else if (what === 'results') await answerJson(request, response, await view.results(name));
      else if (what === 'outputs') {
        const outputs = await view.outputs();
        if (outputs === null) notFound();
        else {
          response.setHeader('content-encoding', 'gzip');
          answer(response, 200, JSON_TYPE, outputs);
        }
      } else notFound();
    } finally {
      release();
    }
}

/** The page's document. It contains nothing about runs: its script asks for runs with the token. */
export const document = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dosimeter</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css">
<script src="/page.js" defer></script>
</head>
<body>
<div id="page"><noscript><p class="wrap">This page needs JavaScript.</p></noscript></div>
</body>
</html>
`;

/** Returns the page's script. Throws esbuild's BuildFailure if its sources are at fault. */
export const pageScript = (): Promise<string> =>
  browserScript('src/serve/browser', "import './main.tsx';");

const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]'];

type Refusal = readonly [status: 401 | 403 | 405, message: string];

/**
 * Returns a function that returns why a request is refused, or null if it is allowed. The parameter
 * `isPrivate` of that function says whether the answer tells something about a run.
 */
function accessRules(token: string, port: number) {
  const hosts = new Set(LOOPBACK.map((name) => `${name}:${port}`));
  if (port === 80) for (const name of LOOPBACK) hosts.add(name); // browsers leave this port out
  const wanted = digest(`Bearer ${token}`);
  return ({ method, headers }: IncomingMessage, isPrivate: boolean): Refusal | null => {
    const { host = '', origin, authorization = '' } = headers;
    if (!hosts.has(host.toLowerCase()))
      return [
        403,
        `This server answers only to the loopback addresses with its own port, ${port}. ` +
          `To reach it over ssh, forward the same port: ssh -L ${port}:127.0.0.1:${port} HOST`,
      ];
    if (origin !== undefined && origin !== `http://${host}`)
      return [403, 'This server does not answer requests from pages of other sites.'];
    const site = headers['sec-fetch-site'];
    if (site !== undefined && site !== 'same-origin' && site !== 'none')
      return [
        403,
        'This server does not answer links from other sites. Copy the address that was printed ' +
          'into the address bar.',
      ];
    if (method !== 'GET' && method !== 'HEAD')
      return [405, 'This server is read-only: it accepts GET and HEAD.'];
    return isPrivate && !timingSafeEqual(digest(authorization), wanted)
      ? [401, 'The token is missing or wrong.']
      : null;
  };
}

/** Returns a text's digest: a comparison in constant time requires equal lengths. */
const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** The page may load its own script and style, and nothing else. */
const SECURITY_HEADERS = {
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
