import type { ServerResponse } from 'node:http';

export interface StreamEvent {
  /** The event's number, which grows. Only the events of a run have one. */
  readonly id?: number;
  readonly name: string;
  readonly data: string;
}

export interface Stream {
  readonly send: (event: StreamEvent) => void;
  /** Calls `end` once the listener is gone. */
  onEnd(end: () => void): void;
}

/** The longest time between two messages, so that both sides notice a broken connection. */
const BEAT_MS = 15_000;
/**
 * How many bytes may wait for a slow listener, besides the event that is being sent, and for how
 * long they may wait. A slower listener is dropped. It then connects again and begins anew.
 */
const MOST_WAITING = 8 * 2 ** 20,
  SLOW_MS = 30_000;

/**
 * Begins the stream and sends the head of the response. Any other headers must be set before the
 * call.
 */
export function openStream(response: ServerResponse): Stream {
  let slowSince: number | null = null;
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  response.on('drain', () => {
    slowSince = null;
  });
  /** Sends a text, unless the connection has ended. Drops a listener that is too slow. */
  const write = (text: string): void => {
    if (response.destroyed || response.writableEnded) return;
    const now = performance.now();
    if (
      response.writableLength > MOST_WAITING ||
      (slowSince !== null && now - slowSince > SLOW_MS)
    ) {
      response.destroy();
      return;
    }
    if (!response.write(text)) slowSince ??= now;
  };
  const beat = setInterval(() => write(':\n\n'), BEAT_MS).unref();
  response.on('close', () => clearInterval(beat));
  write(':\n\n');
  return {
    send({ id, name, data }) {
      write(`${id === undefined ? '' : `id: ${id}\n`}event: ${name}\ndata: ${data}\n\n`);
    },
    onEnd(end) {
      if (response.destroyed) end();
      else response.on('close', end);
    },
  };
}
