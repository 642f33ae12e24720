/**
 * Chat templates: Jinja programs that come with a tokenizer and turn messages into one text, as
 * `apply_chat_template` of transformers runs them. A template comes from outside, so its length,
 * its time and the length of its result are bounded.
 */
import { Environment, Interpreter, Template } from '@huggingface/jinja';
import { UserFault } from '../../api.ts';
import { isRecord } from '../../untrusted/json.ts';
import { withinSeconds } from '../../untrusted/time.ts';

/** A message of a conversation; `role` is `system`, `user` or `assistant` in most templates. */
export interface Message {
  readonly role: string;
  readonly content: string;
}

export interface ChatOptions {
  /** Whether the text ends with the beginning of the assistant's answer. */
  readonly generationPrompt: boolean;
}

/** The text of a conversation. */
export type Chat = (messages: readonly Message[], options: ChatOptions) => string;

/** Templates in use have up to 30,000 characters. */
const LONGEST_TEMPLATE = 500_000,
  SECONDS = 10,
  LONGEST_TEXT = 2 ** 24,
  LONGEST_RANGE = 100_000;

/**
 * Python's `range`, of bounded length: without a bound a template could fill the memory before its
 * time is over.
 */
function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  const length = Math.max(0, Math.ceil((to - from) / step));
  if (!(length <= LONGEST_RANGE))
    throw new Error(`range() of ${length} numbers; at most ${LONGEST_RANGE} are made`);
  return Array.from({ length }, (_, i) => from + i * step);
}

/**
 * The globals of a template. `strftime_now` is not among them, because a text that depends on the
 * day could not be reproduced: templates that ask whether it exists take a fixed date without it.
 */
const GLOBALS: readonly (readonly [string, unknown])[] = [
  ['false', false],
  ['true', true],
  ['none', null],
  ['False', false],
  ['True', true],
  ['None', null],
  ['range', range],
  [
    'raise_exception',
    (message: unknown) => {
      throw new Error(String(message));
    },
  ],
];

/**
 * Makes the function that renders a template. Throws UserFault where the template can't be read;
 * the function throws it where the template fails or exceeds a bound.
 * @param specials the special tokens by their names in tokenizer_config.json (`bos_token`, …)
 * @param name the tokenizer's name in error messages
 */
export function chatRenderer(
  template: string,
  specials: Readonly<Record<string, string>>,
  name: string,
): Chat {
  if (template.length > LONGEST_TEMPLATE)
    throw new UserFault(
      `${name}: its chat template has ${template.length} characters; at most ` +
        `${LONGEST_TEMPLATE} are read`,
    );
  const bounded = <T>(what: string, work: () => T): T => {
    try {
      return withinSeconds(
        SECONDS,
        () => `${name}: its chat template takes more than ${SECONDS} s; it may be malicious`,
        work,
      );
    } catch (error) {
      if (error instanceof UserFault) throw error;
      throw new UserFault(
        `${name}: its chat template ${what}: ${(error as Error).message.slice(0, 300)}`,
      );
    }
  };
  const { parsed } = bounded("can't be read", () => new Template(template));
  return (messages, { generationPrompt }) => {
    if (messages.length === 0) throw new UserFault(`${name}: a conversation needs a message`);
    const text = bounded('fails', () => {
      const environment = new Environment();
      for (const [key, value] of GLOBALS) environment.set(key, value);
      const given = {
        ...specials,
        messages: messages.map(({ role, content }) => ({ role, content })),
        tools: null,
        documents: null,
        add_generation_prompt: generationPrompt,
      };
      for (const [key, value] of Object.entries(given)) environment.set(key, value);
      const { value } = new Interpreter(environment).run(parsed);
      return typeof value === 'string' ? value : '';
    });
    if (text.length > LONGEST_TEXT)
      throw new UserFault(
        `${name}: its chat template makes ${text.length} characters of one conversation; at most ` +
          `${LONGEST_TEXT} are read`,
      );
    return text;
  };
}

/**
 * The template that tokenizer_config.json holds: a text, or a list of named texts of which
 * `default` is taken; null where it holds none. Throws UserFault where it is something else.
 */
export function templateOf(value: unknown, name: string): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === 'string') return value;
  const named = Array.isArray(value)
    ? new Map(value.filter(isRecord).map((entry) => [entry['name'], entry['template']]))
    : isRecord(value)
      ? new Map<unknown, unknown>(Object.entries(value))
      : null;
  const template = named?.get('default');
  if (typeof template === 'string') return template;
  throw new UserFault(
    `${name}: its chat_template is neither a text nor a list of named texts with one that is ` +
      'named "default"',
    'Write the template that is meant to a file chat_template.jinja beside tokenizer.json.',
  );
}
