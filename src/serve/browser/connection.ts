/**
 * Talks to the server. The token comes in the fragment of the address, which browsers send to no
 * server, and is then kept only for this tab and this origin. A cookie would also go to servers of
 * other users on other ports of this machine.
 *
 * The page's view of a run is the server's snapshot with all later changes made in it.
 */
import type { Changes, Group, Snapshot, Stage } from '../wire.ts';

const TOKEN_KEY = 'dosimeter token';

/**
 * Takes the token out of the address, so that it is not shown or copied, and keeps it for this tab.
 * Does nothing if the address has none.
 */
export function takeToken(): void {
  const [, token] = /^#token=([\w-]+)$/.exec(location.hash) ?? [];
  if (token === undefined) return;
  sessionStorage.setItem(TOKEN_KEY, token);
  history.replaceState(null, '', '#/');
}

export const hasToken = (): boolean => sessionStorage.getItem(TOKEN_KEY) !== null;

/**
 * The server answered without success: the token is wrong or outdated, there is no such run or
 * stage, or the server failed (`status` of at least 500).
 */
class Refused extends Error {
  constructor(readonly status: number) {
    super(`the server answered ${status}`);
  }
}

/** Sends a request with the token. Throws `Refused` unless the server answers with success. */
async function ask(path: string, signal: AbortSignal): Promise<Response> {
  const response = await fetch(path, {
    signal,
    headers: { authorization: `Bearer ${sessionStorage.getItem(TOKEN_KEY) ?? ''}` },
    credentials: 'omit',
    redirect: 'error',
  });
  if (response.ok) return response;
  await response.body?.cancel();
  throw new Refused(response.status);
}

/** Returns the JSON that the server answers. Throws `Refused` unless it answers with success. */
export async function askJson<T>(path: string, signal: AbortSignal): Promise<T> {
  return (await (await ask(path, signal)).json()) as T;
}

/** `refused`: another attempt would be refused too. */
export type LinkState = 'connecting' | 'live' | 'lost' | 'refused';

interface StreamHandlers {
  /**
   * If it throws, the connection counts as lost. If it throws `Refused` with a status below 500,
   * the connection counts as refused.
   */
  readonly onEvent: (name: string, data: unknown, id: number) => void | Promise<void>;
  readonly onState: (state: LinkState) => void;
}

/** A connection that is silent for this long is dropped. The server sends something every 15 s. */
const SILENT_MS = 40_000;
const FIRST_WAIT_MS = 500,
  LONGEST_WAIT_MS = 30_000;

/**
 * Follows a stream of events while the page is shown. Connects again after the connection was lost.
 * Returns a function that stops this.
 */
export function followStream(path: string, { onEvent, onState }: StreamHandlers): () => void {
  const end = new AbortController();
  let waitMs = FIRST_WAIT_MS;
  /** Connects once, and passes on events until the connection ends. Throws if it fails. */
  const connect = async (): Promise<void> => {
    const stop = new AbortController();
    const abort = (): void => stop.abort();
    const abortIfHidden = (): void => {
      if (document.hidden) abort();
    };
    let timer = setTimeout(abort, SILENT_MS);
    end.signal.addEventListener('abort', abort);
    document.addEventListener('visibilitychange', abortIfHidden);
    try {
      const response = await ask(path, stop.signal);
      onState('live');
      if (response.body === null) return;
      await readEvents(response.body, async ({ id, name, data }) => {
        clearTimeout(timer);
        timer = setTimeout(abort, SILENT_MS);
        waitMs = FIRST_WAIT_MS;
        if (data !== null && !end.signal.aborted) await onEvent(name, JSON.parse(data), Number(id));
      });
    } finally {
      stop.abort(); // the connection is closed too if it was the page that failed
      clearTimeout(timer);
      end.signal.removeEventListener('abort', abort);
      document.removeEventListener('visibilitychange', abortIfHidden);
    }
  };
  const isOver = (): boolean => end.signal.aborted;
  const keepConnected = async (): Promise<void> => {
    while (!isOver()) {
      try {
        await connect();
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
        await sleep(waitMs * (0.75 + Math.random() / 2), end.signal);
        waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS);
      }
    }
  };
  void keepConnected();
  return () => end.abort();
}

/** Waits for some milliseconds, or until the signal aborts. */
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
    /** Ends the waiting, unless the page is still hidden and the signal has not aborted. */
    const done = (): void => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener('visibilitychange', done);
      resolve();
    };
    document.addEventListener('visibilitychange', done);
    signal.addEventListener('abort', done);
  });

export interface Sent {
  readonly id: string | null;
  readonly name: string;
  /** Null for a comment, which only keeps the connection alive. */
  readonly data: string | null;
}

/**
 * Calls `onEvent` with each server-sent event until the body ends. An event that is cut off by the
 * end is left out.
 */
export async function readEvents(
  body: ReadableStream<Uint8Array>,
  onEvent: (event: Sent) => void | Promise<void>,
): Promise<void> {
  const reader = body.pipeThrough(new TextDecoderStream() as never).getReader();
  // A large event comes in many pieces, which are joined once.
  let pieces: string[] = [];
  for (;;) {
    const { done, value } = (await reader.read()) as { done: boolean; value?: string };
    if (done || value === undefined) return;
    pieces.push(value);
    if (!endsBlock(value, pieces.at(-2))) continue;
    const blocks = pieces.join('').split('\n\n');
    pieces = [blocks.pop() ?? ''];
    for (const block of blocks) await onEvent(parseEvent(block));
  }
}

/** Whether a block may end in this piece. Its two line breaks may be in different pieces. */
const endsBlock = (piece: string, before = ''): boolean =>
  piece.includes('\n\n') || (piece.startsWith('\n') && before.endsWith('\n'));

function parseEvent(block: string): Sent {
  const fields = new Map(
    block.split('\n').map((line): [string, string] => {
      const at = line.indexOf(': ');
      return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 2)];
    }),
  );
  return {
    id: fields.get('id') ?? null,
    name: fields.get('event') ?? '',
    data: fields.get('data') ?? null,
  };
}

export interface RunView extends Omit<Snapshot, 'at'> {
  /** How far this browser's clock is ahead of the server's, in milliseconds. */
  readonly skew: number;
  /** A number that grows whenever something of the run changes. */
  readonly version: number;
}

/** Calls `onView` with a run, and again whenever it changes. Returns a function that stops this. */
export function openRun(
  id: string,
  onView: (view: RunView) => void,
  onState: (state: LinkState) => void,
): () => void {
  const path = `/api/runs/${encodeURIComponent(id)}`;
  const end = new AbortController();
  let known: { readonly at: number; readonly stages: Stage[]; view: RunView } | null = null,
    version = 0;
  const stop = followStream(`${path}/stream`, {
    onState,
    async onEvent(name, data, event) {
      if (name === 'reset') {
        const { at, ...snapshot } = await askJson<Snapshot>(path, end.signal);
        const stages = [...snapshot.stages],
          skew = Date.now() - snapshot.facts.now;
        known = { at, stages, view: { ...snapshot, stages, skew, version: ++version } };
      } else if (known !== null && event > known.at)
        known.view = applyChanges(known.view, known.stages, data as Changes, ++version);
      if (known !== null) onView(known.view);
    },
  });
  return () => {
    end.abort();
    stop();
  };
}

/**
 * Returns the view after the changes, which are also made in `stages`: changed stages are new
 * objects in the same array.
 */
function applyChanges(view: RunView, stages: Stage[], changes: Changes, version: number): RunView {
  const { stages: statuses = [], added = [], ...rest } = changes;
  for (const [index, status] of statuses) {
    const stage = stages[index];
    if (stage !== undefined)
      stages[index] = { id: stage.id, label: stage.label, group: stage.group, ...status };
  }
  stages.push(...added);
  const skew = changes.facts === undefined ? view.skew : Date.now() - changes.facts.now;
  return { ...view, ...rest, skew, version };
}

/** A kind of stage with the number of its stages in each state. */
export interface GroupCounts extends Group {
  readonly index: number;
  readonly counts: { readonly [state: string]: number };
  readonly all: number;
}

/** Returns the run's kinds of stages, in the graph's order, with the states of their stages. */
export function countGroups({ graph, stages }: RunView): readonly GroupCounts[] {
  const counts = graph.groups.map((): { [state: string]: number } => ({}));
  for (const { group, state } of stages) {
    const ofGroup = counts[group];
    if (ofGroup !== undefined) ofGroup[state] = (ofGroup[state] ?? 0) + 1;
  }
  return graph.groups.map((group, index) => {
    const ofGroup = counts[index] ?? {};
    const all = Object.values(ofGroup).reduce((a, b) => a + b, 0);
    return { ...group, index, counts: ofGroup, all };
  });
}
