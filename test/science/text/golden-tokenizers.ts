/**
 * The tiny tokenizers of test/golden/tokenizers, one of each family, with the charsmap of
 * sentencepiece put where their files name it.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import type { Message } from '../../../src/science/text/chat-template.ts';
import { makeTokenizer, type TextTokenizer } from '../../../src/science/text/tokenizer.ts';

const folder = fileURLToPath(new URL('../../golden/tokenizers/', import.meta.url));
const read = (name: string): string => readFileSync(`${folder}${name}`, 'utf8');

/** What transformers makes of the texts. */
export interface Answers {
  readonly ids: readonly (readonly number[])[];
  /** The ids decoded, with and without special tokens. */
  readonly decoded: readonly string[];
  readonly skipped: readonly string[];
  readonly pairs: readonly {
    readonly length: number;
    readonly ids: readonly number[];
    readonly types: readonly number[];
  }[];
  /** The ids of bos, eos, pad and unk. */
  readonly special: readonly (number | null)[];
}

export const golden = JSON.parse(read('golden.json')) as {
  readonly texts: readonly string[];
  readonly tokenizers: Readonly<Record<string, Answers>>;
};

/** The files of a tokenizer, as a checkpoint has them. */
export function tokenizerFiles(name: string): { readonly json: string; readonly config: string } {
  const charsmap = gunzipSync(readFileSync(`${folder}nmt_nfkc.gz`)).toString('base64');
  return {
    json: read(`${name}/tokenizer.json`).replace('"nmt_nfkc"', JSON.stringify(charsmap)),
    config: read(`${name}/tokenizer_config.json`),
  };
}

/**
 * A tokenizer of a family.
 * @param settings more settings of tokenizer_config.json
 */
export function tinyTokenizer(name: string, settings: object = {}): TextTokenizer {
  const { json, config } = tokenizerFiles(name);
  return makeTokenizer(JSON.parse(json), { ...(JSON.parse(config) as object), ...settings }, name);
}

/** A chat template of test/golden/chat. */
export const chatTemplate = (name: string): string => read(`../chat/${name}.jinja`);

/** What transformers makes of conversations (test/golden/chat_templates.py). */
export const goldenChats = JSON.parse(read('../chat/golden.json')) as {
  readonly conversations: readonly (readonly Message[])[];
  /** The messages before a prompt, the prompt, its answer. */
  readonly answers: readonly (readonly [readonly Message[], string, string])[];
  readonly templates: Readonly<
    Record<
      string,
      {
        readonly tokenizer: string;
        readonly texts: readonly (readonly (string | null)[])[];
        /** The ids of the answers. */
        readonly answers: readonly (readonly number[] | null)[];
      }
    >
  >;
};
