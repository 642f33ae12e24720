/** Readers that several browsers share: each is opened once, and kept while anyone holds it. */

export interface Held<T> {
  readonly value: T;
  /** Releases the value. A second call does nothing. */
  readonly release: () => void;
}

export interface Shared<T> {
  /** Returns the open value of this name, or opens it. */
  hold(name: string): Held<T>;
  close(): void;
}

/**
 * @param open opens the value of this name
 * @param idleMs how long a value stays open after its last holder has released it, since a page
 *   that
 *   is loaded again comes back for it
 */
export function createShared<T extends { close(): void }>(
  open: (name: string) => T,
  idleMs = 10_000,
): Shared<T> {
  interface Entry {
    readonly value: T;
    holders: number;
    idle: NodeJS.Timeout | null;
  }
  const entries = new Map<string, Entry>();
  const end = (name: string, entry: Entry): void => {
    if (entry.idle !== null) clearTimeout(entry.idle);
    entries.delete(name);
    entry.value.close();
  };
  return {
    hold(name) {
      const entry = entries.get(name) ?? { value: open(name), holders: 0, idle: null };
      entries.set(name, entry);
      entry.holders++;
      if (entry.idle !== null) clearTimeout(entry.idle);
      entry.idle = null;
      let held = true;
      return {
        value: entry.value,
        release() {
          if (!held) return;
          held = false;
          entry.holders--;
          if (entry.holders > 0) return;
          entry.idle = setTimeout(() => end(name, entry), idleMs).unref();
        },
      };
    },
    close() {
      for (const [name, entry] of entries) end(name, entry);
    },
  };
}
