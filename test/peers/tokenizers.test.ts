/**
 * The tokenizers of all families have the ids and texts of transformers' fast tokenizers, over
 * 2,500 generated texts of many scripts for each (10,000 with `--full`).
 */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../src/api.ts';
import { at, named } from '../../src/base/lookup.ts';
import { present } from '../rig/present.ts';
import { times } from '../rig/times.ts';
import {
  chatTemplate,
  golden,
  tinyTokenizer,
  tokenizerFiles,
} from '../science/text/golden-tokenizers.ts';
import { peer } from './peer.ts';

const test = suite('peers/tokenizers');

/** Texts for each of the 13 tokenizers. */
const TEXTS = times(2500, 10_000);

/**
 * Characters of which JavaScript's engine and Python's tokenizers think differently, because one
 * knows a newer Unicode.
 */
async function disputed(): Promise<ReadonlySet<number>> {
  const found = new Set<number>();
  for (const [name, points] of Object.entries(
    await peer<Readonly<Record<string, number[]>>>('tokenizers_peer.classes', {}),
  )) {
    const theirs = new Set(points),
      ours = new RegExp(`^\\p{${name}}$`, 'u');
    for (let point = 0; point < 0x110000; point++)
      if (
        (point < 0xd800 || point > 0xdfff) &&
        theirs.has(point) !== ours.test(String.fromCodePoint(point))
      )
        found.add(point);
  }
  return found;
}

/** Words, signs and blanks that tokenizers treat alike in plain text, and unlike side by side. */
const PIECES = [
  ...[' ', '  ', '\n', '\n\n', '\t', '\r\n', '\u00a0', '\u3000', '\u2028', '\u0085', '\u200b'],
  ...['\ufeff', '\u00ad', '\u200d', '\ufe0f', '\u0301', '\u0307', '\u0323', '\u3099', '\u0e48'],
  ...['<s>', '</s>', '<unk>', '<pad>', '<mask>', '[MASK]', '[SEP]', '[CLS]', '[UNK]', '<tool>'],
  ...['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|eot_id|>', 'tool', 'TOOL', '<0x41>', '▁'],
  ..."'s 'LL 'ſ 'K n’t the The film ΟΔΟΣ İ ß ﬁ ½ １２ ｶﾞ".split(' '),
  ...'123 1 . ... !? —— $ # @ _ 👩‍🚀 🇫🇷 각 각 中文 ไทย क्षि'.split(' '),
];

/** Scripts whose characters fit together. */
const BLOCKS: readonly (readonly [number, number])[] = [
  [0x20, 0x7e],
  [0x00, 0xff],
  [0x100, 0x24f],
  [0x300, 0x3ff],
  [0x400, 0x52f],
  [0x590, 0x6ff],
  [0x900, 0x97f],
  [0xe00, 0xeff],
  [0x1100, 0x11ff],
  [0x1e00, 0x1fff],
  [0x2000, 0x20ff],
  [0x2100, 0x2bff],
  [0x3000, 0x30ff],
  [0x4e00, 0x9fff],
  [0xac00, 0xd7a3],
  [0xf900, 0xfaff],
  [0xfb00, 0xffff],
  [0x1d400, 0x1d7ff],
  [0x1f000, 0x1faff],
  [0x20000, 0x2fa1f],
];

function texts(seed: number, without: ReadonlySet<number>): string[] {
  const agreed = (text: string): boolean =>
    Array.from(text).every((character) => !without.has(character.codePointAt(0) ?? 0));
  const blockOf = fc.constantFrom(...BLOCKS).chain(([min, max]) =>
    fc.string({
      unit: fc.integer({ min, max }).map((point) => String.fromCodePoint(point)),
      minLength: 1,
      maxLength: 12,
    }),
  );
  const text = fc
    .array(
      fc.oneof(
        { weight: 4, arbitrary: fc.constantFrom(...PIECES) },
        { weight: 3, arbitrary: blockOf },
        { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 8 }) },
        { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 8 }) },
        { weight: 1, arbitrary: fc.constantFrom(...golden.texts) },
      ),
      { maxLength: 8 },
    )
    .map((parts) => parts.join(''))
    .filter((made) => agreed(made) && !/\p{Surrogate}/u.test(made));
  return fc.sample(text, { seed, numRuns: TEXTS });
}

type Answer = readonly [readonly number[], string, string];

const without = await disputed();
const names = Object.keys(golden.tokenizers);
const made = new Map(names.map((name, i) => [name, texts(i + 1, without)]));
const encoded = await peer<Readonly<Record<string, Answer[]>>>('tokenizers_peer.encode', {
  jobs: Object.fromEntries(
    names.map((name) => [name, { ...tokenizerFiles(name), texts: made.get(name) }]),
  ),
});

for (const name of names)
  test(`${name}: ids and decoded texts`, () => {
    const tokenizer = tinyTokenizer(name),
      answers = present(encoded[name]);
    assert.is(answers.length, TEXTS);
    for (const [k, text] of named(made, name).entries()) {
      const [ids, decoded, skipped] = at(answers, k),
        shown = JSON.stringify(text);
      assert.equal([...tokenizer.encode(text, undefined, 1e6).ids], ids, shown);
      assert.is(tokenizer.decode(ids), decoded, shown);
      assert.is(tokenizer.decode(ids, { skipSpecial: true }), skipped, shown);
    }
  });

const CHATS = {
  llama2: 'llama2',
  llama3: 'llama3',
  chatml: 'qwen2',
  qwen3: 'qwen2',
  zephyr: 'llama2',
  gemma: 'gemma',
  mistral: 'mistral',
} as const;

const contents = texts(99, without);
const role = fc.constantFrom('system', 'user', 'user', 'user', 'assistant', 'assistant');
const conversation = fc.array(fc.record({ role, content: fc.constantFrom(...contents) }), {
  minLength: 1,
  maxLength: 5,
});
const conversations = fc.sample(conversation, { seed: 7, numRuns: TEXTS / 5 });
const rendered = await peer<Readonly<Record<string, (string | null)[][]>>>('tokenizers_peer.chat', {
  jobs: Object.fromEntries(
    Object.entries(CHATS).map(([template, name]) => [
      template,
      { ...tokenizerFiles(name), template: chatTemplate(template) },
    ]),
  ),
  conversations,
});

for (const [template, name] of Object.entries(CHATS))
  test(`chat template ${template}: generated conversations`, () => {
    const answers = present(rendered[template]);
    const { chat } = tinyTokenizer(name, { chat_template: chatTemplate(template) });
    for (const [i, messages] of conversations.entries())
      for (const generationPrompt of [false, true]) {
        const expected = at(at(answers, i), Number(generationPrompt));
        const ours = (): string => chat(messages, { generationPrompt });
        if (expected === null) assert.throws(ours, (error: unknown) => error instanceof UserFault);
        else assert.is(ours(), expected, JSON.stringify(messages));
      }
  });

test.run();
