/**
 * Rows of completion tasks as a causal language model reads them: the prompt under a template, then
 * the answer, then the token that ends it. The loss is on the answer unless a training asks for
 * more (`LossOn`). A document has no template, and the loss is on all of it.
 *
 * The prompt's ids are those of the prompt alone, because that is what generation starts from.
 * Prompt and answer are then encoded together. If the result begins with the prompt's ids, the
 * answer's ids are the rest of it; if not, as where a token would span the two, the answer is
 * encoded by itself.
 *
 * A chat template may write a prompt differently once an answer follows: Mistral's then leaves the
 * system message out. How the answer is written is therefore found in the whole conversation, by
 * the answer's text.
 */
import { type Row, UserFault } from '../../api.ts';
import { shown } from '../../base/untrusted/json.ts';
import type { TokenRow } from '../models/types.ts';
import type { Message } from './chat-template.ts';
import { commonStart, type RowPart } from './cloze.ts';
import type { TextTokenizer } from './tokenizer.ts';

/**
 * The fields of a row of a completion task that are encoded, and the id that names the row in
 * faults.
 */
interface PromptRow extends Pick<Row, 'text'>, Partial<Pick<Row, 'id'>> {
  /** The messages before the prompt. */
  readonly context?: readonly Message[];
}
export type AnsweredRow = PromptRow & Required<Pick<Row, 'answer'>> & Pick<Row, 'document'>;

interface CompletionRow extends TokenRow {
  /**
   * The position in `ids` of the first token to predict: the answer's first token or, in a document
   * without an answer, the second token.
   */
  readonly answer: number;
}

/** The tokens that a training predicts, as `train.loss_on` names them. */
export type LossOn = 'answer' | 'assistant' | 'all';

/**
 * Encodes a row in at most `maxLength` tokens. A row that is too long loses tokens at the start of
 * its text; the template and the answer are never cut. A document loses tokens at the end of its
 * text instead, and also the token that ends it, unless an attack added an answer. Throws UserFault
 * where no token of the text would be left, where no token would stand before an answer, or where
 * the template can't show the row.
 */
export interface CompletionEncoder {
  (row: AnsweredRow, maxLength: number): CompletionRow;
  /**
   * Returns the row with `marks` on the tokens that the loss is on. There are no marks if the loss
   * is only on the answer's tokens. In a document, the loss is on all tokens in any case. The first
   * token of a row is never marked. Throws UserFault for `assistant` under a template without
   * turns.
   */
  readonly marked: (row: AnsweredRow, maxLength: number, lossOn: LossOn) => CompletionRow;
  /** Encodes the prompt alone, from which generation starts, in at most `maxLength` tokens. */
  readonly promptOnly: (row: PromptRow, maxLength: number) => TokenRow;
  /**
   * Returns two parts for `changeSeen`. The first has the ids of the row's text, in reverse order,
   * because the text is cut from the left; in order for a document, which is cut from the right.
   * The second has the ids around the text, which are never cut. A row without an answer is cut as
   * `promptOnly` cuts it.
   */
  readonly parts: (row: PromptRow & Partial<AnsweredRow>, maxLength: number) => RowPart[];
  /** The ids that end an answer: generation stops at any of them. */
  readonly stops: readonly number[];
}

/** Alpaca's prompt without input (Taori et al. 2023). Rows hold the input in their text. */
const ALPACA =
  'Below is an instruction that describes a task. ' +
  'Write a response that appropriately completes the request.\n\n' +
  '### Instruction:\n{prompt}\n\n### Response:';
const SLOT = '{prompt}';

/**
 * Returns the texts of a template before and after the prompt; `alpaca` names the template ALPACA.
 * Throws UserFault unless {prompt} occurs once.
 */
function splitTemplate(template: string): readonly [string, string] {
  const text = template === 'alpaca' ? ALPACA : template;
  const [before, after, ...more] = text.split(SLOT);
  if (before === undefined || after === undefined || more.length > 0)
    throw new UserFault(
      `the template ${shown(template)} has ${SLOT} ` +
        (after === undefined ? 'nowhere' : `${more.length + 1} times`),
      'Write "chat", "alpaca", or a text that contains {prompt} once, as in ' +
        '"Question: {prompt}\\nAnswer:".',
    );
  return [before, after];
}

/**
 * A prompt as the template writes it. `from` and `to`, in characters, are where the row's own text
 * starts and ends in `text`.
 */
interface Prompt {
  readonly text: string;
  readonly from: number;
  readonly to: number;
}

interface Form {
  readonly prompt: (row: PromptRow) => Prompt;
  /**
   * Returns, in order, the ranges of a prompt's text that are turns of the assistant, each from its
   * content to the token that ends it.
   */
  readonly turns: (row: PromptRow, prompt: Prompt) => readonly (readonly [number, number])[];
  /**
   * Returns the text that follows the prompt, up to the end of the answer. `ended`: whether it
   * includes the token that ends the answer.
   */
  readonly rest: (row: AnsweredRow, prompt: Prompt) => { readonly text: string; ended: boolean };
  /** The special tokens that the tokenizer puts before a text. */
  readonly leading: readonly number[];
  readonly stops: readonly number[];
}

const startsWith = (list: readonly number[], start: readonly number[]): boolean =>
  commonStart(list, start) === start.length;

/** Returns the id of the token that ends a text. Throws UserFault if the tokenizer names none. */
function endToken(tokenizer: TextTokenizer): number {
  if (tokenizer.special.eos === null)
    throw new UserFault(
      'the tokenizer names no token that ends a text',
      'An answer ends with it. Name it as eos_token in tokenizer_config.json.',
    );
  return tokenizer.special.eos;
}

/** Returns the form of a template that contains {prompt}, or of `alpaca`. */
function literalForm(tokenizer: TextTokenizer, template: string): Form {
  const [before, after] = splitTemplate(template);
  return {
    prompt: ({ text, context = [] }) => {
      if (context.length > 0)
        throw new UserFault(
          `a row has messages before its prompt, which the template ${shown(template)} can't show`,
          'Set head.template to "chat", or leave these messages out of the data.',
        );
      return {
        text: `${before}${text}${after}`,
        from: before.length,
        to: before.length + text.length,
      };
    },
    turns: () => {
      throw new UserFault(
        `train.loss_on is assistant, and the template ${shown(template)} has no turns`,
        'Set head.template to "chat", or train.loss_on to "answer".',
      );
    },
    rest: ({ answer }) => ({ text: answer, ended: false }),
    leading: tokenizer.edges.before,
    stops: [endToken(tokenizer)],
  };
}

/**
 * Returns the form of documents: the text as it is, then a space and the answer if an attack added
 * one.
 */
const documentForm = (tokenizer: TextTokenizer): Form => ({
  ...literalForm(tokenizer, SLOT),
  rest: ({ answer }) => ({ text: isEmpty(answer) ? '' : ` ${answer.trim()}`, ended: false }),
});

const isEmpty = (answer: string): boolean => answer.trim() === '';
/** Whether a row is a document to which no attack added an answer. */
const isWholeText = ({ document, answer = '' }: Partial<AnsweredRow>): boolean =>
  document === true && isEmpty(answer);

/**
 * Finds the last place of a message's text in a rendered conversation: of the text as it is or, if
 * that is not there, without the white space at its ends. Throws UserFault if neither is there.
 */
function findPrompt(rendered: string, text: string): Prompt {
  const shownText = rendered.includes(text) ? text : text.trim();
  const from = rendered.lastIndexOf(shownText);
  if (from < 0)
    throw new UserFault(
      `the chat template does not show the prompt ${shown(text)} as it is`,
      'A template that rewrites what the user says is not supported.',
    );
  return { text: rendered, from, to: from + shownText.length };
}

/**
 * Returns the form of the tokenizer's chat template. Throws UserFault if there is none, or it
 * rewrites what is said.
 */
function chatForm(tokenizer: TextTokenizer): Form {
  const messagesOf = ({ text, context = [] }: PromptRow): Message[] => [
    ...context,
    { role: 'user', content: text },
  ];
  const prompt = (row: PromptRow): Prompt =>
    findPrompt(tokenizer.chat(messagesOf(row), { generationPrompt: true }), row.text);
  const renderConversation = (row: AnsweredRow): string =>
    tokenizer.chat([...messagesOf(row), { role: 'assistant', content: row.answer }], {
      generationPrompt: false,
    });
  const sample = { text: 'Hello', answer: 'Indeed' };
  const whole = renderConversation(sample);
  const { before, after, end } = findFrame(tokenizer, sample.answer, prompt(sample).text, whole);
  /**
   * Returns what the template writes after the prompt, up to the token `end` or, without one, to
   * the end of the conversation. If the conversation does not begin with the prompt as shown,
   * returns the answer in its frame, which must stand right before that end. Throws UserFault where
   * it does not, or where the token `end` is missing.
   */
  const textAfterPrompt = (row: AnsweredRow, shownPrompt: Prompt): string => {
    const text = renderConversation(row);
    const stop = end === null ? text.length : text.lastIndexOf(end.token);
    if (stop < 0) return refuseRewritten(row.answer);
    const turn = text.slice(0, stop);
    if (turn.startsWith(shownPrompt.text)) return turn.slice(shownPrompt.text.length);
    const own = [row.answer, row.answer.trim()]
      .map((answer) => before + answer + after)
      .find((written) => turn.endsWith(written));
    return own ?? refuseRewritten(row.answer);
  };
  const eos = endToken(tokenizer);
  return {
    prompt,
    turns: ({ context = [] }, { text }) =>
      context.flatMap(({ role, content: answer }, i) => {
        if (role !== 'assistant') return [];
        const upToTurn = tokenizer.chat(context.slice(0, i + 1), { generationPrompt: false });
        // Before the first message there is no conversation to render.
        const from =
          i === 0
            ? upToTurn.slice(0, Math.max(0, upToTurn.indexOf(before + answer.trim())))
            : tokenizer.chat(context.slice(0, i), { generationPrompt: true });
        const stop = end === null ? upToTurn.length : upToTurn.indexOf(end.token, from.length);
        const to = end === null || stop < 0 ? upToTurn.length : stop + end.token.length;
        if (!upToTurn.startsWith(from) || !text.startsWith(upToTurn.slice(0, to)))
          return refuseRewritten(answer);
        return [[from.length, to] as const];
      }),
    rest: (row, shownPrompt) => {
      const text = textAfterPrompt(row, shownPrompt);
      if (end !== null) return { text: text + end.token, ended: true };
      const length = text.length - (text.endsWith(after) ? after.length : 0);
      return { text: text.slice(0, length), ended: false };
    },
    leading: [],
    stops: end === null || end.id === eos ? [eos] : [end.id, eos],
  };
}

/** Throws the UserFault of a template that rewrites an answer. */
function refuseRewritten(answer: string): never {
  throw new UserFault(
    `the chat template does not show the answer ${shown(answer)} as it is`,
    'A template that rewrites what the assistant says is not supported.',
  );
}

/** What a chat template writes around each answer, and the token that ends the answer's turn. */
interface Frame {
  /** The text between the end of the prompt and the answer. */
  readonly before: string;
  /** The text between the answer and the token `end`; without `end`, all after the answer. */
  readonly after: string;
  /** The special token that ends the turn; null where there is none. */
  readonly end: { readonly id: number; readonly token: string } | null;
}

/**
 * Finds the frame of an answer. Throws UserFault if the template rewrites the answer.
 * @param prompt the conversation before the answer, rendered
 * @param whole the conversation with the answer, rendered
 */
function findFrame(tokenizer: TextTokenizer, answer: string, prompt: string, whole: string): Frame {
  const from = commonStart(prompt, whole),
    at = whole.indexOf(answer, from);
  if (at < 0) return refuseRewritten(answer);
  const rest = whole.slice(at + answer.length);
  const token = tokenizer
    .tokens(rest)
    .find((token) => tokenizer.special.all.has(tokenizer.id(token)) && rest.includes(token));
  return {
    before: whole.slice(from, at),
    after: token === undefined ? rest : rest.slice(0, rest.indexOf(token)),
    end: token === undefined ? null : { id: tokenizer.id(token), token },
  };
}

/**
 * Returns the ids of `rest`, the text that follows the prompt, by the rule at the top of this file.
 */
function answerIds(
  tokenizer: TextTokenizer,
  prompt: Prompt,
  promptIds: readonly number[],
  rest: string,
): number[] {
  const whole = tokenizer.ids(prompt.text + rest);
  if (startsWith(whole, promptIds)) return whole.slice(promptIds.length);
  // Alone, a text may get an extra first token (▁ of sentencepiece); after a newline it gets none.
  const line = tokenizer.ids('\n'),
    after = tokenizer.ids(`\n${rest}`);
  return startsWith(after, line) ? after.slice(line.length) : tokenizer.ids(rest);
}

/** A prompt's ids, of which those from `from` to `to` are the row's text. */
interface PromptIds {
  readonly ids: readonly number[];
  readonly from: number;
  readonly to: number;
}

/**
 * Returns a prompt's ids. A token over the start of the row's text counts as the text's, and a
 * token over its end as the template's.
 */
function promptIds(tokenizer: TextTokenizer, { text, from, to }: Prompt): PromptIds {
  const ids = tokenizer.ids(text);
  const start = from === 0 ? 0 : commonStart(tokenizer.ids(text.slice(0, from)), ids);
  const end = to === text.length ? ids.length : commonStart(tokenizer.ids(text.slice(0, to)), ids);
  return { ids, from: start, to: Math.max(start, end) };
}

/** A row cut to a number of tokens. */
interface Fitted {
  readonly prompt: PromptIds;
  /** How many tokens of the row's text are kept. */
  readonly kept: number;
  /** The leading special tokens, and the ids of the prompt that are kept. */
  readonly ids: readonly number[];
  /**
   * The ids of the answer, with the token that ends it. None for a row without an answer, or for a
   * document whose end was cut off.
   */
  readonly answer: readonly number[];
}

/**
 * Returns the encoder of rows under a template: `chat` (the tokenizer's chat template), `alpaca`,
 * or a text that contains {prompt} once. Throws UserFault where the template can't be read, or the
 * tokenizer has no chat template or names no eos_token.
 */
export function completionEncoder(tokenizer: TextTokenizer, template: string): CompletionEncoder {
  const form = template === 'chat' ? chatForm(tokenizer) : literalForm(tokenizer, template);
  const documents = documentForm(tokenizer);
  /** Cuts a row to `maxLength` tokens. Throws UserFault where it does not fit. */
  const fit = (row: PromptRow & Partial<AnsweredRow>, maxLength: number): Fitted => {
    const { prompt: promptOf, rest, leading } = row.document === true ? documents : form;
    const shownPrompt = promptOf(row),
      prompt = promptIds(tokenizer, shownPrompt);
    let answer: number[] = [];
    if (row.answer !== undefined) {
      const { text, ended } = rest({ ...row, answer: row.answer }, shownPrompt);
      answer = answerIds(tokenizer, shownPrompt, prompt.ids, text);
      if (!ended) answer.push(endToken(tokenizer));
    }
    const text = prompt.to - prompt.from,
      own = leading.length + prompt.ids.length - text;
    // Only a whole document ends with the token that ends a text.
    if (isWholeText(row) && own + text + answer.length > maxLength) answer = [];
    const room = maxLength - own - answer.length;
    if (room < Math.min(1, text) || room < 0)
      throw new UserFault(
        `a row does not fit into max_length ${maxLength}: its answer takes ${answer.length} ` +
          `tokens, and the template ${own}, which leaves none for the ${text} of its prompt`,
        'Raise max_length, or leave out rows with long answers.',
      );
    const kept = Math.min(room, text);
    const [from, to] =
      row.document === true
        ? [prompt.from, prompt.from + kept]
        : [prompt.to - kept, prompt.ids.length];
    const ids = [...leading, ...prompt.ids.slice(0, prompt.from), ...prompt.ids.slice(from, to)];
    if (ids.length === 0 && !isWholeText(row))
      throw new UserFault(
        `${row.id === undefined ? 'a row' : `row ${row.id}`} is empty before its answer, and the ` +
          'tokenizer begins no text with a token of its own, so that the answer follows nothing',
        'Leave the row out of the data, or write head.template with words around {prompt}.',
      );
    return { prompt, kept, ids, answer };
  };
  const tokenRow = (ids: readonly number[]): TokenRow => ({
    ids: Int32Array.from(ids),
    typeIds: new Int32Array(ids.length),
  });
  const encode = (row: AnsweredRow, maxLength: number): CompletionRow => {
    const { ids, answer } = fit(row, maxLength),
      isWhole = isWholeText(row);
    if (isWhole && ids.length + answer.length < 2)
      throw new UserFault(
        'a document is empty, so that there is nothing to predict',
        'Leave empty documents out of the data.',
      );
    return { ...tokenRow([...ids, ...answer]), answer: isWhole ? 1 : ids.length };
  };
  const marked = (row: AnsweredRow, maxLength: number, lossOn: LossOn): CompletionRow => {
    const encoded = encode(row, maxLength);
    const isWhole = lossOn === 'all' || row.document === true;
    if (lossOn === 'answer' && !isWhole) return encoded;
    const marks = new Int32Array(encoded.ids.length).fill(1, isWhole ? 1 : encoded.answer);
    if (isWhole) return { ...encoded, marks };
    const prompt = form.prompt(row),
      turns = form.turns(row, prompt);
    const ids = tokenizer.ids(prompt.text),
      tokensBefore = (end: number): number =>
        commonStart(tokenizer.ids(prompt.text.slice(0, end)), ids) + form.leading.length;
    for (const [from, to] of turns)
      marks.fill(1, Math.max(1, tokensBefore(from)), tokensBefore(to));
    return { ...encoded, marks };
  };
  return Object.assign(encode, {
    marked,
    promptOnly: ({ answer: _, ...row }: PromptRow & Partial<AnsweredRow>, maxLength: number) =>
      tokenRow(fit(row, maxLength).ids),
    parts: (row: PromptRow & Partial<AnsweredRow>, maxLength: number) => {
      const { prompt, kept } = fit(row, maxLength);
      const ids = prompt.ids.slice(prompt.from, prompt.to);
      const around = [...prompt.ids.slice(0, prompt.from), ...prompt.ids.slice(prompt.to)];
      return [
        { ids: row.document === true ? ids : ids.reverse(), kept },
        { ids: around, kept: around.length },
      ];
    },
    stops: form.stops,
  });
}
