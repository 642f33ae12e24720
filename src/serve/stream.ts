/**
 * Server-sent events to one listener, and the latest events of a stream, so that a listener that
 * was cut off can catch up.
 */
import type { ServerResponse } from 'node:http';

export interface StreamEvent {
  readonly id: string;
  readonly name: string;
  /** JSON. */
  readonly data: string;
}

const MOST_EVENTS = 500,
  MOST_BYTES = 4 * 2 ** 20;

/** The latest events of a stream. */
export class Backlog {
  readonly #events: StreamEvent[] = [];
  #count = 0;
  #bytes = 0;

  /** @param epoch tells the stream from the run's past ones */
  constructor(readonly epoch: string) {}

  /** Returns the id of the latest event. */
  latest(): string {
    return `${this.epoch}.${this.#count}`;
  }

  add(name: string, value: unknown): StreamEvent {
    this.#count++;
    const event = { id: this.latest(), name, data: JSON.stringify(value) };
    const events = this.#events;
    events.push(event);
    this.#bytes += event.data.length;
    while (events.length > MOST_EVENTS || (this.#bytes > MOST_BYTES && events.length > 1))
      this.#bytes -= events.shift()?.data.length ?? 0;
    return event;
  }

  /** Returns the event that asks for a new snapshot. */
  reset(): StreamEvent {
    return { id: this.latest(), name: 'reset', data: '{}' };
  }

  /** Returns the events after the one with this id or, if they are no longer kept, `reset`. */
  after(id: string | null): readonly StreamEvent[] {
    const [epoch, number] = id?.split('.') ?? [];
    const missed = this.#count - Number(number);
    const isKept = Number.isInteger(missed) && missed >= 0 && missed <= this.#events.length;
    if (epoch !== this.epoch || !isKept) return [this.reset()];
    return missed === 0 ? [] : this.#events.slice(-missed);
  }
}

export interface Stream {
  readonly send: (event: Omit<StreamEvent, 'id'> & { readonly id?: string }) => void;
  /** Calls `end` once the listener is gone. */
  onEnd(end: () => void): void;
}

/** The longest time between two messages, so that both sides notice a broken connection. */
const BEAT_MS = 15_000;
/**
 * How many bytes may wait for a slow listener, besides the event that is being sent, and for how
 * long. A listener that is dropped reconnects and resumes where it was.
 */
const MOST_WAITING = 8 * 2 ** 20,
  SLOW_MS = 30_000;

/** Begins the stream. The headers must have been set. */
export function openStream(response: ServerResponse): Stream {
  let slowSince: number | null = null;
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  response.on('drain', () => {
    slowSince = null;
  });
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
