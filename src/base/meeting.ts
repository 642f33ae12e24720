/** A meeting batches requests: once each member has made one, a single call answers all. */

export interface Seat {
  /**
   * Returns the answer to a request, once every member that has not left has made one. Requests
   * that are answered together must be of one kind, because one member's `act` answers all.
   * @param act returns the answers to all requests, in their order; if it throws, every member gets
   *   the error
   * @param signal once aborted, the request is answered without waiting for other members
   */
  ask<Request, Answer>(
    request: Request,
    act: (requests: readonly Request[]) => Promise<readonly Answer[]>,
    signal?: AbortSignal,
  ): Promise<Answer>;
  /** Says that the member asks for nothing more, so that the others no longer wait for it. */
  leave(): void;
}

interface Waiting {
  readonly member: number;
  readonly request: unknown;
  readonly act: (requests: readonly never[]) => Promise<readonly unknown[]>;
  readonly resolve: (answer: never) => void;
  readonly reject: (error: unknown) => void;
}

/** Opens a meeting. Returns one seat for each member. */
export function meeting(members: number): readonly Seat[] {
  const present = new Set(Array.from({ length: members }, (_, i) => i));
  let waiting: Waiting[] = [];
  const answerIfComplete = (): void => {
    if (waiting.length === 0 || waiting.length < present.size) return;
    const all = waiting.sort((a, b) => a.member - b.member);
    waiting = [];
    void answerAll(all);
  };
  return Array.from(present, (member) => ({
    ask: <Request, Answer>(
      request: Request,
      act: (requests: readonly Request[]) => Promise<readonly Answer[]>,
      signal?: AbortSignal,
    ) => {
      const asked = new Promise<Answer>((resolve, reject) => {
        waiting.push({ member, request, act, resolve, reject });
      });
      const onAbort = (): void => {
        const own = waiting.filter((one) => one.member === member);
        waiting = waiting.filter((one) => one.member !== member);
        void answerAll(own);
      };
      signal?.addEventListener('abort', onAbort);
      if (signal?.aborted) onAbort();
      else answerIfComplete();
      return asked.finally(() => signal?.removeEventListener('abort', onAbort));
    },
    leave: () => {
      if (present.delete(member)) answerIfComplete();
    },
  }));
}

/** Answers the requests with one call of the first one's `act`. Rejects all if that throws. */
async function answerAll(waiting: readonly Waiting[]): Promise<void> {
  try {
    const [first] = waiting;
    if (first === undefined) return;
    const answers = await first.act(waiting.map(({ request }) => request as never));
    waiting.forEach(({ resolve }, i) => resolve(answers[i] as never));
  } catch (error) {
    for (const { reject } of waiting) reject(error);
  }
}
