import { isDeepStrictEqual } from 'node:util';
import { type Message, type RawRow, UserFault } from '../api.ts';
import { isRecord, shown } from '../base/untrusted/json.ts';

const ROLES: ReadonlySet<unknown> = new Set(['system', 'user', 'assistant']);
const HINT =
  'A conversation is a list such as [{"role": "user", "content": "…"}, ' +
  '{"role": "assistant", "content": "…"}].';

/**
 * Returns the row of a conversation: the last message, of the assistant, is the answer; the user's
 * message before it is the prompt; those before both are its context. Throws `UserFault` if the
 * value is not such a conversation.
 */
export function rowOfMessages(value: unknown, place: string): RawRow {
  if (!Array.isArray(value))
    throw new UserFault(`${place}: the messages are ${shown(value)}, which is not a list.`, HINT);
  const messages = value.map((message, i) => readMessage(message, `${place}: message ${i + 1}`));
  const [prompt, answer] = messages.slice(-2);
  if (prompt?.role !== 'user' || answer?.role !== 'assistant') {
    const roles = messages.slice(-2).map(({ role }) => role);
    throw new UserFault(
      `${place}: the conversation ends with ${roles.join(', ') || 'no message'}; ` +
        "its last two messages must be the user's and the assistant's.",
      HINT,
    );
  }
  const context = messages.slice(0, -2);
  return {
    text: prompt.content,
    answer: answer.content,
    ...(context.length === 0 ? {} : { context }),
    place,
  };
}

/**
 * Returns the preference pair of two conversations that differ in their last message alone. Throws
 * `UserFault` if they differ elsewhere, or are no conversations.
 */
export function rowOfPair(chosen: unknown, rejected: unknown, place: string): RawRow {
  const { answer: other = '', ...asked } = rowOfMessages(rejected, `${place}: rejected`);
  const { answer = '', ...row } = rowOfMessages(chosen, `${place}: chosen`);
  if (!isDeepStrictEqual({ ...asked, place }, { ...row, place }))
    throw new UserFault(
      `${place}: the conversations of chosen and rejected differ before their last message.`,
      'A preference pair is two answers to one prompt.',
    );
  return { ...row, answer, rejected: other, place };
}

/** Returns a message of a conversation. Throws `UserFault` if the value is none. */
function readMessage(value: unknown, place: string): Message {
  if (!isRecord(value))
    throw new UserFault(`${place} is ${shown(value)}, which is not an object.`, HINT);
  const { role, content } = value;
  if (!ROLES.has(role))
    throw new UserFault(
      `${place} has the role ${shown(role)}; the roles are system, user and assistant.`,
      HINT,
    );
  if (typeof content !== 'string')
    throw new UserFault(`${place} has a content that is not text: ${shown(content)}.`, HINT);
  return { role: role as Message['role'], content };
}

/** Whether a value is a row's `context`. */
export const isContext = (value: unknown): value is readonly Message[] =>
  Array.isArray(value) &&
  value.every(
    (message) =>
      isRecord(message) && ROLES.has(message['role']) && typeof message['content'] === 'string',
  );
