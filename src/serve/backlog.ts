/** The latest events of a stream, so that a listener that was cut off can catch up. */

export interface StreamEvent {
  readonly id: string;
  readonly name: string;
  /** JSON. */
  readonly data: string;
}

export interface Backlog {
  /** The id of the latest event. */
  readonly latest: () => string;
  add(name: string, value: unknown): StreamEvent;
  /** The event that asks for a new snapshot. */
  reset(): StreamEvent;
  /** Returns the events after the one with this id; null if they are no longer kept. */
  after(id: string | null): readonly StreamEvent[] | null;
}

const MOST_EVENTS = 500,
  MOST_BYTES = 4 * 2 ** 20;

/** @param epoch distinguishes this stream from others of the same run, such as before a restart */
export function createBacklog(epoch: string): Backlog {
  const events: StreamEvent[] = [];
  let count = 0,
    bytes = 0;
  const latest = (): string => `${epoch}.${count}`;
  return {
    latest,
    add(name, value) {
      count++;
      const event = { id: latest(), name, data: JSON.stringify(value) };
      events.push(event);
      bytes += event.data.length;
      while (events.length > MOST_EVENTS || (bytes > MOST_BYTES && events.length > 1))
        bytes -= events.shift()?.data.length ?? 0;
      return event;
    },
    reset: () => ({ id: latest(), name: 'reset', data: '{}' }),
    after(id) {
      const [of, text] = id?.split('.') ?? [];
      const seen = Number(text);
      if (of !== epoch || !Number.isInteger(seen) || seen > count) return null;
      const missed = count - seen;
      if (missed > events.length) return null;
      return missed === 0 ? [] : events.slice(-missed);
    },
  };
}
