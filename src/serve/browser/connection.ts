/**
 * Talks to the server. The token comes in the fragment of the address, which browsers send to no
 * server, and is then kept for this tab and this origin alone. A cookie would also go to servers of
 * other users on other ports of this machine.
 */
import { readEvents } from './events.ts';

const KEY = 'dosimeter token';

/** Takes the token out of the address, so that it is not shown, or copied with the address. */
export function takeToken(): void {
  const [, token] = /^#token=([\w-]+)$/.exec(location.hash) ?? [];
  if (token === undefined) return;
  sessionStorage.setItem(KEY, token);
  history.replaceState(null, '', '#/');
}

export const hasToken = (): boolean => sessionStorage.getItem(KEY) !== null;

/** The server refused: the token is wrong or outdated, or there is no such run or stage. */
export class Refused extends Error {
  constructor(readonly status: number) {
    super(`the server answered ${status}`);
  }
}

async function ask(path: string, signal: AbortSignal, headers = {}): Promise<Response> {
  const response = await fetch(path, {
    signal,
    headers: { authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ''}`, ...headers },
    credentials: 'omit',
    redirect: 'error',
  });
  if (response.ok) return response;
  await response.body?.cancel();
  throw new Refused(response.status);
}

export async function askJson<T>(path: string, signal: AbortSignal): Promise<T> {
  return (await (await ask(path, signal)).json()) as T;
}

/** `refused`: another attempt would be refused too. */
export type LinkState = 'connecting' | 'live' | 'lost' | 'refused';

export interface StreamHandlers {
  readonly onEvent: (name: string, data: unknown) => void;
  readonly onState: (state: LinkState) => void;
}

/** A connection that is silent for this long is dropped; the server sends something every 15 s. */
const SILENT_MS = 40_000;
const FIRST_WAIT_MS = 500,
  LONGEST_WAIT_MS = 30_000;

/**
 * Follows a stream, and resumes it where it was when the connection was lost. While the page is
 * hidden the connection is closed, since a browser opens few to one server.
 * @param after the id of the last known event; null for none
 * @returns a function that stops following
 */
export function followStream(
  path: string,
  after: string | null,
  { onEvent, onState }: StreamHandlers,
): () => void {
  const end = new AbortController();
  let last = after,
    wait = FIRST_WAIT_MS;
  const once = async (): Promise<void> => {
    const stop = new AbortController();
    const abort = (): void => stop.abort();
    const hide = (): void => {
      if (document.hidden) abort();
    };
    let timer = setTimeout(abort, SILENT_MS);
    end.signal.addEventListener('abort', abort);
    document.addEventListener('visibilitychange', hide);
    try {
      const query = last === null ? '' : `?after=${encodeURIComponent(last)}`;
      const response = await ask(path + query, stop.signal);
      onState('live');
      if (response.body === null) return;
      await readEvents(response.body, ({ id, name, data }) => {
        clearTimeout(timer);
        timer = setTimeout(abort, SILENT_MS);
        wait = FIRST_WAIT_MS;
        if (id !== null) last = id;
        if (data !== null && !end.signal.aborted) onEvent(name, JSON.parse(data));
      });
    } finally {
      clearTimeout(timer);
      end.signal.removeEventListener('abort', abort);
      document.removeEventListener('visibilitychange', hide);
    }
  };
  const isOver = (): boolean => end.signal.aborted;
  const go = async (): Promise<void> => {
    while (!isOver()) {
      try {
        await once();
      } catch (error) {
        if (error instanceof Refused && error.status < 500) {
          if (!isOver()) onState('refused');
          return;
        }
      }
      if (isOver()) return;
      if (document.hidden) await untilVisible(end.signal);
      else {
        onState('lost');
        await sleep(wait * (0.75 + Math.random() / 2), end.signal);
        wait = Math.min(2 * wait, LONGEST_WAIT_MS);
      }
    }
  };
  void go();
  return () => end.abort();
}

const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });

const untilVisible = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener('visibilitychange', done);
      resolve();
    };
    document.addEventListener('visibilitychange', done);
    signal.addEventListener('abort', done);
  });
