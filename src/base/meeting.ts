/** A meeting: what the members of a group ask for is done for all of them at once. */
import { at } from './lookup.ts';

interface Waiting {
  readonly request: unknown;
  readonly act: (requests: readonly never[]) => Promise<readonly unknown[]>;
  readonly resolve: (answer: never) => void;
  readonly reject: (error: unknown) => void;
}

/** Who asks waits until every member has asked that has not left. */
export class Meeting {
  #present: number;
  #waiting: Waiting[] = [];

  constructor(members: number) {
    this.#present = members;
  }

  /**
   * Returns the answer to a request. Each member asks for the same kind of thing.
   * @param act answers the requests of all, in the order in which they came; its error is everyone's
   * @param signal when aborted, the request is answered without waiting for others
   */
  ask<Request, Answer>(
    request: Request,
    act: (requests: readonly Request[]) => Promise<readonly Answer[]>,
    signal?: AbortSignal,
  ): Promise<Answer> {
    const waits = new Promise<Answer>((resolve, reject) => {
      this.#waiting.push({ request, act, resolve, reject });
    });
    const own = at(this.#waiting, this.#waiting.length - 1);
    const onAbort = (): void => {
      if (!this.#waiting.includes(own)) return;
      this.#waiting = this.#waiting.filter((one) => one !== own);
      void answer([own]);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) onAbort();
    this.#actIfAll();
    return waits.finally(() => signal?.removeEventListener('abort', onAbort));
  }

  /** A member asks for nothing more. */
  leave(): void {
    this.#present--;
    this.#actIfAll();
  }

  #actIfAll(): void {
    if (this.#waiting.length === 0 || this.#waiting.length < this.#present) return;
    void answer(this.#waiting.splice(0));
  }
}

async function answer(waiting: readonly Waiting[]): Promise<void> {
  try {
    const answers = await waiting[0]?.act(waiting.map(({ request }) => request as never));
    waiting.forEach(({ resolve }, i) => resolve(answers?.[i] as never));
  } catch (error) {
    for (const { reject } of waiting) reject(error);
  }
}
