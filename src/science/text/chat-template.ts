/**
 * Chat templates: Jinja programs that come with a tokenizer and turn messages into one text, as
 * `apply_chat_template` of transformers runs them. A template comes from outside, so its length,
 * its time and the length of its result are bounded.
 */
import { Environment, Interpreter, Template } from '@huggingface/jinja';
import { UserFault } from '../../api.ts';
import { isRecord } from '../../base/untrusted/json.ts';
import { withinSeconds } from '../../base/untrusted/limits.ts';

/** A message of a conversation; `role` is `system`, `user` or `assistant` in most templates. */
export interface Message {
  readonly role: string;
  readonly content: string;
}

/**
 * Returns the text of a conversation. With `generationPrompt` it ends with the beginning of the
 * assistant's answer.
 */
export type Chat = (
  messages: readonly Message[],
  options: { readonly generationPrompt: boolean },
) => string;

/**
 * The limits: of a template, of the time to parse or run it, of the text that it makes of a
 * conversation, and of a `range` in it. Templates in use have up to 30,000 characters.
 */
const LONGEST_TEMPLATE = 500_000, // characters
  SECONDS = 3,
  LONGEST_TEXT = 2 ** 24, // characters
  LONGEST_RANGE = 100_000; // numbers

/**
 * Python's `range`, bounded: a template could fill the memory before its time is over. Throws an
 * Error for more than LONGEST_RANGE numbers.
 */
function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  const length = Math.max(0, Math.ceil((to - from) / step));
  if (!(length <= LONGEST_RANGE))
    throw new Error(`range() of ${length} numbers; at most ${LONGEST_RANGE} are made`);
  return Array.from({ length }, (_, i) => from + i * step);
}

/**
 * Returns Python's `strip`, `lstrip` or `rstrip`. The library's functions of these names ignore
 * `characters`, and differ in what they take for white space.
 */
function strip(side: 'both' | 'left' | 'right') {
  return (text: unknown, characters?: unknown): string => {
    if (typeof text !== 'string') throw new Error('strip takes a string');
    const all = Array.from(text);
    const chosen = typeof characters === 'string' ? new Set(Array.from(characters)) : null;
    const isStripped = (character: string | undefined): boolean =>
      character !== undefined &&
      (chosen?.has(character) ?? /[\p{White_Space}\x1c-\x1f]/u.test(character));
    let from = 0,
      to = all.length;
    if (side !== 'right') while (from < to && isStripped(all[from])) from++;
    if (side !== 'left') while (to > from && isStripped(all[to - 1])) to--;
    return all.slice(from, to).join('');
  };
}
/**
 * Python's `==` for strings, numbers, booleans and None. The library uses JavaScript's `==`, by
 * which the empty string equals false.
 */
function equal(a: unknown, b: unknown): boolean {
  const withoutBooleans = (value: unknown): unknown =>
    typeof value === 'boolean' ? Number(value) : value;
  return withoutBooleans(a) === withoutBooleans(b);
}

/** Returns the name that an identifier of a parsed template has; undefined for any other node. */
const nameOf = (node: unknown): unknown =>
  isRecord(node) && node['type'] === 'Identifier' ? node['value'] : undefined;

/**
 * Returns a copy of a node of a parsed template. Its strips, trims and comparisons by `==` and `!=`
 * are replaced by calls of the functions in `GLOBALS`.
 */
function asPython(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(asPython);
  if (node instanceof Map)
    return new Map([...node].map(([key, value]) => [asPython(key), asPython(value)]));
  if (!isRecord(node)) return node;
  const copy: Record<string, unknown> = Object.fromEntries(
    Object.entries(node).map(([key, value]) => [key, asPython(value)]),
  );
  const { type, callee, filter } = copy;
  const call = (name: string, args: readonly unknown[]): object => ({
    type: 'CallExpression',
    callee: { type: 'Identifier', value: `${name}()` },
    args,
  });
  /** Returns the arguments of a call, as nodes; none if `of` is no call. */
  const argsOf = (of: unknown): readonly unknown[] =>
    isRecord(of) && Array.isArray(of['args']) ? of['args'] : [];
  if (type === 'CallExpression' && isRecord(callee) && callee['type'] === 'MemberExpression') {
    const name = callee['computed'] === true ? undefined : nameOf(callee['property']);
    if (name === 'strip' || name === 'lstrip' || name === 'rstrip')
      return call(name, [callee['object'], ...argsOf(copy)]);
  }
  const operator = isRecord(copy['operator']) ? copy['operator']['value'] : undefined;
  if (type === 'BinaryExpression' && (operator === '==' || operator === '!='))
    return call(operator, [copy['left'], copy['right']]);
  const trims = [nameOf(filter), isRecord(filter) ? nameOf(filter['callee']) : undefined];
  if (type === 'FilterExpression' && trims.includes('trim'))
    return call('trim', [copy['operand'], ...argsOf(filter)]);
  return copy;
}

/**
 * The globals of a template. `strftime_now` is not among them, because a text that depends on the
 * day could not be reproduced. Templates that ask whether it exists take a fixed date without it.
 */
const GLOBALS = {
  false: false,
  true: true,
  none: null,
  False: false,
  True: true,
  None: null,
  range,
  raise_exception: (message: unknown) => {
    throw new Error(String(message));
  },
  // Called in place of the library's functions and operators. No variable can have these names.
  'strip()': strip('both'),
  'trim()': strip('both'),
  'lstrip()': strip('left'),
  'rstrip()': strip('right'),
  '==()': equal,
  '!=()': (a: unknown, b: unknown) => !equal(a, b),
};

/**
 * Makes the function that renders a template. Throws UserFault where the template can't be read;
 * the function throws it where the template fails or exceeds a bound.
 * @param specials the special tokens by their names in tokenizer_config.json (`bos_token`, …)
 * @param name the file that has the template, in error messages
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
  /**
   * Runs `work` within SECONDS, and turns its errors into UserFaults. `what` follows `its chat
   * template` in their messages, as `fails` does.
   */
  const runBounded = <T>(what: string, work: () => T): T => {
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
  const parsed = runBounded("can't be read", () => {
    const whole = new Template(template);
    return asPython(whole.parsed) as typeof whole.parsed;
  });
  return (messages, { generationPrompt }) => {
    if (messages.length === 0) throw new UserFault(`${name}: a conversation needs a message`);
    const text = runBounded('fails', () => {
      const environment = new Environment();
      const variables = {
        ...GLOBALS,
        ...specials,
        messages: messages.map(({ role, content }) => ({ role, content })),
        tools: null,
        documents: null,
        add_generation_prompt: generationPrompt,
      };
      for (const [key, value] of Object.entries(variables)) environment.set(key, value);
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
 * Reads `chat_template` of tokenizer_config.json: a text, or the `default` of named texts, in a
 * list or an object; null if it is absent. Throws UserFault for anything else.
 */
export function readTemplate(value: unknown, name: string): string | null {
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
