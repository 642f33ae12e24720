/**
 * Asks an endpoint that speaks the OpenAI chat protocol. The store keeps each answer under the
 * digest of the address and the request. So each request is answered once, even if the process is
 * killed and run again, or if several processes make the same request.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type JsonObject, type ScorerContext, UserFault } from '../../../src/api.ts';
import { type Redact, redactor } from '../../../src/base/secret.ts';
import { sha256 } from '../../../src/base/sha256.ts';
import { isRecord, parseJson, shown } from '../../../src/base/untrusted/json.ts';
import { inWords, MB } from '../../../src/base/untrusted/limits.ts';
import { type Params, variableOf } from './index.ts';

/** The largest answer that is read, in bytes. */
const MOST_BYTES = 4 * MB;
/**
 * The wait before the first repetition of a request, and the longest wait before any repetition.
 */
const FIRST_WAIT_MS = 500,
  LONGEST_WAIT_MS = 120_000;
const RETRIED_STATUSES = new Set([408, 409, 425, 429]);

/** An endpoint's answer, as the store keeps it. */
type Answer = {
  readonly text: string;
  /** The model that answered, as the endpoint says. */
  readonly model: string;
  readonly tokens: readonly [input: number, output: number];
};

/**
 * Asks for an answer to each of the requests with these bodies, and returns the texts of the
 * answers, in the order of `bodies`. Equal requests are made once.
 * @throws UserFault if the endpoint refuses, gives no answer, or more calls are needed than
 * `max_calls` allows
 */
export async function askAll(
  params: Params,
  bodies: readonly JsonObject[],
  context: ScorerContext,
): Promise<readonly string[]> {
  const address = `${params.url.replace(/\/+$/, '')}/chat/completions`;
  const digests = bodies.map((body) => sha256(JSON.stringify([address, body])));
  const found = new Map<string, Answer>();
  const { answers, log, signal } = context;
  /**
   * Adds the answers that the store keeps to `found`. Returns the bodies of the requests that have
   * no answer yet, by digest.
   */
  const lookUpMissing = (): Map<string, JsonObject> => {
    const missing = new Map<string, JsonObject>();
    for (const [i, digest] of digests.entries()) {
      if (found.has(digest) || missing.has(digest)) continue;
      const kept = answers?.get(digest) ?? null;
      if (kept === null) missing.set(digest, bodies[i] ?? {});
      else found.set(digest, kept as Answer);
    }
    return missing;
  };
  const used: Used = { calls: 0, tokens: [0, 0] };
  /**
   * Makes the requests that have no answer yet, and keeps their answers in `found` and in the
   * store. Throws the first fault, or `UserFault` if more calls are needed than `max_calls`.
   */
  const ask = async (): Promise<void> => {
    const left = [...lookUpMissing()];
    if (left.length > (params.max_calls ?? Infinity))
      throw new UserFault(
        `the scorer needs ${left.length} calls that are not answered yet, and max_calls is ` +
          String(params.max_calls),
        'Raise max_calls, or evaluate fewer rows.',
      );
    const faults: unknown[] = [];
    /**
     * Makes one request after another of those `left`. After a fault no further request is made,
     * but the answers to the requests under way are kept.
     */
    const askRemaining = async (): Promise<void> => {
      for (let one = left.shift(); one !== undefined && faults.length === 0; one = left.shift())
        try {
          const [digest, body] = one;
          const answer = await askUntilAnswered(address, params, body, used, signal);
          found.set(digest, answer);
          answer.tokens.forEach((count, i) => (used.tokens[i] = (used.tokens[i] ?? 0) + count));
          answers?.keep(digest, answer);
        } catch (error) {
          faults.push(error);
        }
    };
    await Promise.all(Array.from({ length: params.concurrency }, askRemaining));
    if (faults.length > 0) throw faults[0];
  };
  // Only one stage at a time asks this model: the next stage finds its answers in the store, and
  // `concurrency` limits all stages together.
  if (lookUpMissing().size > 0) await (answers?.alone(address + params.model, ask) ?? ask());
  const given = digests.map((digest) => found.get(digest)!);
  const models = [...new Set(given.map(({ model }) => model))].join(', ');
  log(
    `${given.length} outputs, ${found.size} answers of ${models}, for which ${used.calls} ` +
      `requests were made now, with ${used.tokens.join(' + ')} tokens`,
  );
  return given.map(({ text }) => text);
}

/**
 * What was used: the number of requests, with their repetitions, and the tokens of the requests and
 * of the answers.
 */
interface Used {
  calls: number;
  readonly tokens: number[];
}

/**
 * Returns the answer to one request, which is repeated up to `retries` times. Throws `UserFault` if
 * there is still no answer, if `max_calls` requests have been made, or if the endpoint asks for a
 * wait longer than `LONGEST_WAIT_MS`.
 */
async function askUntilAnswered(
  address: string,
  params: Params,
  body: JsonObject,
  used: Used,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  const { host } = new URL(address);
  let lastFault = '';
  for (let attempt = 0; attempt <= params.retries; attempt++) {
    signal?.throwIfAborted();
    if (used.calls >= (params.max_calls ?? Infinity))
      throw new UserFault(
        `${host} was asked ${used.calls} times, which is max_calls, since requests had to be ` +
          `repeated (${lastFault})`,
        'Run again later: what was answered is kept.',
      );
    used.calls++;
    const outcome = await sendRequest(address, params, body, signal);
    if ('answer' in outcome) return outcome.answer;
    lastFault = outcome.fault;
    if (attempt === params.retries) break;
    const waitMs = outcome.waitMs ?? Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
    if (waitMs > LONGEST_WAIT_MS)
      throw new UserFault(
        `${host} asks to wait for ${Math.round(waitMs / 1000)} s (${lastFault})`,
        'Run again after that: what was answered is kept.',
      );
    await sleep(waitMs, undefined, signal === undefined ? {} : { signal });
  }
  throw new UserFault(
    `${host} gave no answer to ${params.retries + 1} requests in turn, lastly: ${lastFault}`,
    'Run again later: what was answered is kept. `retries` and `timeout_seconds` allow more.',
  );
}

type Outcome =
  | { readonly answer: Answer }
  /** A fault that may pass, so that the request is repeated; `waitMs` if the endpoint says when. */
  | { readonly fault: string; readonly waitMs?: number | undefined };

/**
 * Makes one request. Returns its answer, or a fault after which it may be repeated. Throws
 * `UserFault` for any other fault: another status, an answer that is too large, or one that is not
 * of the protocol. If `signal` is aborted, throws its reason.
 */
async function sendRequest(
  address: string,
  { key, timeout_seconds: seconds, model }: Params,
  body: JsonObject,
  signal: AbortSignal | undefined,
): Promise<Outcome> {
  const variable = key === undefined ? null : variableOf(key);
  const redact = redactor(variable === null ? [] : [variable], process.env);
  const timeout = AbortSignal.timeout(Math.ceil(seconds * 1000));
  let status: number, headers: Headers, text: string;
  try {
    const response = await fetch(address, {
      method: 'POST',
      redirect: 'manual',
      headers: {
        'content-type': 'application/json',
        ...(variable === null ? {} : { authorization: `Bearer ${process.env[variable] ?? ''}` }),
      },
      body: JSON.stringify(body),
      signal: signal === undefined ? timeout : AbortSignal.any([timeout, signal]),
    });
    ({ status, headers } = response);
    // Hide the credential: the endpoint may send back what it was sent.
    text = redact(await bodyText(response));
  } catch (error) {
    signal?.throwIfAborted();
    if ((error as Error).name === 'UserFault') throw error;
    if (timeout.aborted) return { fault: `no answer within ${seconds} s` };
    const { cause } = error as { cause?: unknown };
    const why = cause instanceof Error && cause.message !== '' ? cause : (error as Error);
    return { fault: shown(redact(why.message)) };
  }
  const { host } = new URL(address);
  if (RETRIED_STATUSES.has(status) || status >= 500)
    return { fault: `status ${status}, ${shown(text)}`, waitMs: retryAfter(headers) };
  if (status !== 200)
    throw new UserFault(
      `${host} refuses with status ${status}: ${shown(text)}`,
      status === 401 || status === 403
        ? 'Check the variable that `key` names, and what its credential allows.'
        : 'Check `url`, `model` and `options`.',
    );
  let value: unknown;
  try {
    value = parseJson(text, 'the answer');
  } catch (error) {
    return { fault: `${(error as Error).message}: ${shown(text)}` };
  }
  const answer = parseAnswer(value, model, redact);
  if (answer === null)
    throw new UserFault(
      `${host} answered without choices[0].message: ${shown(text)}`,
      'Is `url` the base of an endpoint that speaks the OpenAI chat protocol?',
    );
  return { answer };
}

/**
 * Returns the text of an endpoint's response. Throws `UserFault` if it is larger than `MOST_BYTES`.
 */
async function bodyText({ body }: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of (body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += part.length;
    if (bytes > MOST_BYTES)
      throw new UserFault(`the endpoint's answer is larger than ${inWords(MOST_BYTES)}`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/**
 * Returns how many ms the endpoint asks to wait, which its header gives as seconds or as a date; 0
 * for a date that is over. Undefined if it does not say, or says it in another form.
 */
function retryAfter(headers: Headers): number | undefined {
  const given = headers.get('retry-after');
  if (given === null) return undefined;
  const wait = /^\d+(\.\d+)?$/.test(given) ? Number(given) * 1000 : Date.parse(given) - Date.now();
  return Number.isFinite(wait) ? Math.max(0, wait) : undefined;
}

/**
 * Reads an answer: the text is the message's content or, without one, its refusal; '' if it has
 * neither. Token numbers that are not given are 0. Returns null if the value has no
 * choices[0].message, so that it is not of the protocol.
 * @param asked the model that was asked, for an answer that does not say which model gave it
 */
function parseAnswer(value: unknown, asked: string, redact: Redact): Answer | null {
  /** Returns a field of a value; undefined if the value is no object, or lacks it. */
  const field = (of: unknown, name: string): unknown => (isRecord(of) ? of[name] : undefined);
  const choices = field(value, 'choices');
  const message: unknown = Array.isArray(choices) ? field(choices[0], 'message') : undefined;
  if (!isRecord(message)) return null;
  const { content, refusal } = message;
  const text = typeof content === 'string' ? content : typeof refusal === 'string' ? refusal : '';
  const model = field(value, 'model'),
    usage = field(value, 'usage');
  /** Returns a number of tokens that the endpoint states; 0 if it does not. */
  const tokens = (name: string): number => {
    const count = field(usage, name);
    return typeof count === 'number' && Number.isFinite(count) ? count : 0;
  };
  return {
    // Hide the credential again: JSON may have spelled it with escapes.
    text: redact(text),
    model: typeof model === 'string' ? shown(redact(model)).slice(1, -1) : asked,
    tokens: [tokens('prompt_tokens'), tokens('completion_tokens')],
  };
}
