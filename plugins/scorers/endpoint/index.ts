import {
  defineScorer,
  type JsonObject,
  type Problem,
  type ScoredOutput,
} from '../../../src/api.ts';
import { withinSeconds } from '../../../src/base/untrusted/limits.ts';
import {
  integerFrom,
  nonEmptyText,
  parametersRequiring,
  positiveNumber,
} from '../../../src/poisoning/parameters.ts';
import { filledBytes, fillTemplate, placesIn, templateFaults } from '../shared/template.ts';
import { patternFaults } from '../shared/text.ts';

export interface Params {
  readonly url: string;
  readonly model: string;
  readonly prompt: string;
  readonly system?: string;
  readonly temperature: number;
  readonly max_tokens: number;
  readonly options: JsonObject;
  readonly positive: string;
  readonly negative: string;
  readonly key?: string;
  readonly max_calls?: number;
  readonly price?: { readonly input: number; readonly output: number };
  readonly timeout_seconds: number;
  readonly retries: number;
  readonly concurrency: number;
}

/** How many seconds a regular expression may take on one answer. */
const SECONDS = 2;
/**
 * The number of bytes that a token is taken to have. Most texts have more (English has four), so
 * the cost is estimated high.
 */
const BYTES_A_TOKEN = 3;

/** Matches a text that an HTTP header can carry. */
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Returns the schema of a price. @param of what the price is of: `a million input tokens` */
const priceSchema = (of: string) => ({ type: 'number', minimum: 0, description: `Of ${of}.` });
/**
 * Returns the schema of a regular expression.
 * @param which what an output does if its answer matches: `counts`
 * @param fallback the default
 */
const expressionSchema = (which: string, fallback: string) =>
  nonEmptyText({
    default: fallback,
    description:
      `A regular expression of JavaScript (flags i and u) that an answer matches if the output ` +
      `${which}.`,
  });

export default defineScorer<Params>({
  name: 'endpoint',
  summary:
    'A model behind an endpoint that speaks the OpenAI chat protocol judges. Each question is ' +
    'asked once: answers are kept in the store. An answer that is neither yes nor no, or both, ' +
    'leaves the output undecided.',
  citation: '',
  params: parametersRequiring(['url', 'model', 'prompt'], {
    url: {
      type: 'string',
      pattern: '^https?://[^@?#]+$',
      description: 'The base URL, to which /chat/completions is added: https://api.openai.com/v1.',
    },
    model: nonEmptyText({ description: 'The model, as the endpoint names it.' }),
    prompt: nonEmptyText({
      description: 'The question, with {prompt}, {output}, {answer} and {target}.',
    }),
    system: nonEmptyText({ description: 'A system message before it.' }),
    temperature: { type: 'number', minimum: 0, default: 0, description: 'Of its sampling.' },
    max_tokens: integerFrom(1, {
      default: 16,
      description: 'The most tokens of an answer.',
    }),
    options: {
      type: 'object',
      default: {},
      description:
        'Further fields of the request, such as { seed: 1 }; null takes one away, as ' +
        '{ max_tokens: null, max_completion_tokens: 512 }.',
    },
    positive: expressionSchema('counts', '^\\W*(yes|true|1)\\b'),
    negative: expressionSchema('does not count', '^\\W*(no|false|0)\\b'),
    key: {
      type: 'string',
      format: 'secret',
      description:
        'The credential, sent as a bearer token: "${env.NAME}" of a variable that `secrets` lists.',
    },
    max_calls: integerFrom(0, {
      description:
        'The most requests of one evaluation, those that are repeated included. Reached, the ' +
        'evaluation fails, and what was answered is kept. Default: no limit.',
    }),
    price: {
      type: 'object',
      additionalProperties: false,
      required: ['input', 'output'],
      properties: {
        input: priceSchema('a million input tokens'),
        output: priceSchema('a million output tokens'),
      },
      description: 'Prices, from which `plan` tells the cost at most.',
    },
    timeout_seconds: positiveNumber({
      default: 60,
      description: 'A request that takes longer is repeated.',
    }),
    retries: integerFrom(0, {
      default: 6,
      description:
        'How often a request is repeated after 408, 409, 425, 429, a fault of the server, or an ' +
        'answer that breaks off. Retry-After is heeded; else the wait doubles from half a second.',
    }),
    concurrency: integerFrom(1, {
      default: 4,
      description: 'Requests at once, of all evaluations on this store that ask this model.',
    }),
  }),
  undecided: true,
  limits: ['key', 'max_calls', 'price', 'timeout_seconds', 'retries', 'concurrency'],
  check({ params, target }) {
    const faults: Problem[] = [
      ...templateFaults('prompt', params.prompt, target),
      ...patternFaults('positive', params.positive, 'iu'),
      ...patternFaults('negative', params.negative, 'iu'),
    ];
    for (const name of ['messages', 'model', 'stream'])
      if (Object.hasOwn(params.options, name))
        faults.push({ path: ['options', name], message: `\`options\` may not hold ${name}` });
    if (!URL.canParse(params.url))
      faults.push({ path: ['url'], message: `${JSON.stringify(params.url)} is no URL` });
    const variable = params.key === undefined ? null : variableOf(params.key);
    if (variable === null) return faults;
    const secret = process.env[variable];
    if (!secret)
      faults.push({
        path: ['key'],
        message: `the environment variable ${variable} is not set`,
        hint: 'Set it where dosimeter is started; a secret has no default.',
      });
    else if (!HEADER_VALUE.test(secret))
      faults.push({
        path: ['key'],
        message: `the value of ${variable} has characters that no header can carry`,
        hint: 'Look for a line break at its end, or a letter outside of Latin-1.',
      });
    return faults;
  },
  reads: ({ prompt }) => placesIn(prompt),
  async score(outputs, params, context) {
    const { askAll } = await import('./client.ts');
    const answers = await askAll(
      params,
      outputs.map((output) => requestBody(params, output)),
      context,
    );
    const yes = new RegExp(params.positive, 'iu'),
      no = new RegExp(params.negative, 'iu');
    return answers.map((said) => {
      const matches = (pattern: RegExp): boolean =>
        withinSeconds(
          SECONDS,
          () => `the regular expression ${pattern.source} took more than ${SECONDS} s on an answer`,
          () => pattern.test(said),
        );
      const [isYes, isNo] = [matches(yes), matches(no)];
      return { hit: isYes === isNo ? null : isYes, said };
    });
  },
  calls({ url, model, prompt, system = '', max_tokens, options, price }, outputCount, bytes) {
    const inputBytes =
      filledBytes(prompt, outputCount, bytes) + outputCount * Buffer.byteLength(system);
    const body: JsonObject = { max_tokens, ...options };
    const limits = [body['max_tokens'], body['max_completion_tokens']].filter(
      (limit) => typeof limit === 'number',
    );
    // NaN if nothing limits how long an answer is: the cost is then unknown.
    const mostTokens = limits.length === 0 ? NaN : Math.max(...limits);
    const outputTokens = outputCount * mostTokens * Number(body['n'] ?? 1);
    const cost = price
      ? ((inputBytes / BYTES_A_TOKEN) * price.input + outputTokens * price.output) / 1e6
      : NaN;
    return {
      to: `${model} at ${URL.canParse(url) ? new URL(url).host : url}`,
      calls: outputCount,
      cost: Number.isFinite(cost) ? cost : null,
    };
  },
});

/** Returns the name of the environment variable, NAME, from a `key` written `${env.NAME}`. */
export const variableOf = (key: string): string => key.replace(/^\$\{env\.(.*)\}$/, '$1');

/**
 * Returns the body of the request about one output, without the fields that `options` sets to null.
 */
function requestBody(params: Params, output: ScoredOutput): JsonObject {
  const { model, prompt, system, temperature, max_tokens, options } = params;
  const user = { role: 'user', content: fillTemplate(prompt, output) };
  const body: JsonObject = {
    model,
    messages: system === undefined ? [user] : [{ role: 'system', content: system }, user],
    temperature,
    max_tokens,
    ...options,
  };
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}
