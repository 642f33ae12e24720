/** HTTP requests whose answers are limited in bytes and in time. */
import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { UserFault } from '../../../src/api.ts';
import {
  inWords,
  type Limit,
  LONGEST_MS,
  readLimit,
  SLOWEST,
} from '../../../src/base/untrusted/limits.ts';

type Env = Readonly<Record<string, string | undefined>>;

export interface Server {
  /** The name with which messages begin: `pypi:name`, `The hub`. */
  readonly name: string;
  readonly env: Env;
  /** What the user can do if the server can't be reached. */
  readonly unreachable: string;
  /** Returns the error for a status other than success. */
  readonly refused: (status: number) => Error;
  /** The token that is sent to every address of `origin`, and to no other address. */
  readonly token?: { readonly origin: string; readonly value: string } | undefined;
}

/** The answer of a server. Its body can be read only once, by `readBody` or `save`. */
export interface Answer {
  readonly headers: Headers;
  readonly body: AsyncIterable<Uint8Array>;
}

const isWeb = (url: URL): boolean => url.protocol === 'http:' || url.protocol === 'https:';

/**
 * Sends a request. Throws `UserFault` if the server can't be reached or answers too late. If it
 * answers with an error status, throws what `refused` returns.
 */
export async function ask(server: Server, address: string, accept: string): Promise<Answer> {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (url === null || !isWeb(url))
    throw new UserFault(
      `${server.name} can't be fetched: ${JSON.stringify(address.slice(0, 120))} is not an ` +
        'HTTP address.',
    );
  const headers: Record<string, string> = { accept };
  if (server.token?.origin === url.origin)
    headers['authorization'] = `Bearer ${server.token.value}`;
  if (url.username !== '') {
    // fetch refuses addresses that contain credentials.
    const credentials = `${decodedOrSame(url.username)}:${decodedOrSame(url.password)}`;
    headers['authorization'] = `Basic ${Buffer.from(credentials).toString('base64')}`;
    url.username = url.password = '';
  }
  const patience = readLimit('seconds', server.env),
    ending = new AbortController();
  const silence = setTimeout(
    () => ending.abort(stalledFault(url, patience)),
    patience.value * 1000,
  );
  let response: Response;
  try {
    response = await fetch(url, { headers, signal: ending.signal });
  } catch (error) {
    if ((error as Error).name === 'UserFault') throw error;
    const { cause } = error as { cause?: unknown };
    const why =
      cause instanceof Error && cause.message !== '' ? cause.message : (error as Error).message;
    throw new UserFault(
      `${server.name} can't be reached at ${url.host} (${why}).`,
      server.unreachable,
    );
  } finally {
    clearTimeout(silence);
  }
  if (!response.ok) {
    ending.abort();
    throw server.refused(response.status);
  }
  return { headers: response.headers, body: limitedBody(response, url, patience, ending) };
}

/** Returns the text with its percent escapes decoded; if they are malformed, the text itself. */
const decodedOrSame = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

const stalledFault = (url: URL, patience: Limit): UserFault =>
  new UserFault(
    `${url.host} has sent nothing, or less than ${inWords(SLOWEST)} a second, for ` +
      `${patience.value} s.`,
    `Try again later, or use a mirror. ${patience.raise}`,
  );

/**
 * Yields the body's bytes. Throws `UserFault` if the server sends nothing or too little in
 * `patience`, or breaks off. Ends the request by `ending` when the reader stops.
 */
async function* limitedBody(
  { body }: Response,
  url: URL,
  patience: Limit,
  ending: AbortController,
): AsyncGenerator<Uint8Array, void> {
  if (body === null) return;
  const reader = (body as ReadableStream<Uint8Array>).getReader();
  let waited = 0,
    received = 0;
  try {
    for (;;) {
      // The next part may take as long as the body's rate so far allows, but at most `patience`.
      const silence = patience.value * 1000,
        allowed = Math.min(silence, silence + (received / SLOWEST) * 1000 - waited);
      const before = performance.now();
      const timer = setTimeout(
        () => ending.abort(stalledFault(url, patience)),
        Math.min(Math.max(1, allowed), LONGEST_MS),
      );
      let part: { readonly done: boolean; readonly value?: Uint8Array | undefined };
      try {
        part = await reader.read();
      } catch (error) {
        if ((error as Error).name === 'UserFault') throw error;
        throw new UserFault(
          `The answer from ${url.host} broke off (${(error as Error).message}).`,
          'Run again to fetch it anew.',
        );
      } finally {
        clearTimeout(timer);
      }
      waited += performance.now() - before;
      if (part.done || part.value === undefined) return;
      received += part.value.length;
      yield part.value;
    }
  } finally {
    ending.abort(); // the reader has stopped and wants no more
  }
}

/**
 * Returns an answer's body as text. Throws `UserFault` if it is longer than `limit`.
 * @param what what messages call the body
 */
export async function readBody(answer: Answer, limit: Limit, what: string): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of answer.body) {
    bytes += part.length;
    if (bytes > limit.value)
      throw new UserFault(
        `${what} is larger than ${inWords(limit.value)}; reading was stopped.`,
        limit.raise,
      );
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/**
 * Writes an answer's body to a new file and returns its number of bytes. Throws `UserFault`, with
 * `excess` as the hint, if it has more than `bytes` bytes.
 * @param what what messages call the body
 * @param passed called with each part of the body
 */
export async function save(
  answer: Answer,
  path: string,
  what: string,
  { bytes, excess }: { readonly bytes: number; readonly excess: string },
  passed: (part: Uint8Array) => void,
): Promise<number> {
  let received = 0;
  /** Yields the parts of the body, and counts their bytes in `received`. */
  async function* counted(): AsyncGenerator<Uint8Array, void> {
    for await (const part of answer.body) {
      received += part.length;
      if (received > bytes)
        throw new UserFault(
          `${what} is larger than ${inWords(bytes)}; the download was stopped.`,
          excess,
        );
      passed(part);
      yield part;
    }
  }
  await pipeline(counted, createWriteStream(path, { flags: 'wx' }));
  return received;
}
