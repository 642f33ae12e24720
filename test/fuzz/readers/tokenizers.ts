/** Tokenizers, and templates of cloze questions. */
import { parseTemplate } from '../../../src/science/text/cloze.ts';
import { makeTokenizer, openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { parseJson } from '../../../src/untrusted/json.ts';
import { asText, file, json, type Reader, texts } from '../reader.ts';

const smallTokenizer = (model: object, more: object = {}): string =>
  json({
    version: '1.0',
    added_tokens: [
      { id: 0, content: '[PAD]', special: true },
      { id: 4, content: '[MASK]', special: true },
    ],
    normalizer: {
      type: 'BertNormalizer',
      lowercase: true,
      handle_chinese_chars: true,
      clean_text: true,
      strip_accents: null,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: { type: 'BertProcessing', sep: ['[SEP]', 3], cls: ['[CLS]', 2] },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model,
    ...more,
  });
const vocab = {
  '[PAD]': 0,
  '[UNK]': 1,
  '[CLS]': 2,
  '[SEP]': 3,
  '[MASK]': 4,
  one: 5,
  '##s': 6,
  t: 7,
  wo: 8,
};
const wordPiece = {
  type: 'WordPiece',
  unk_token: '[UNK]',
  continuing_subword_prefix: '##',
  max_input_chars_per_word: 100,
  vocab,
};
const split = {
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Split', pattern: { Regex: '\\s+|\\w+' }, behavior: 'Isolated', invert: false },
    ],
  },
};

export const TOKENIZERS: readonly Reader[] = [
  {
    name: 'template',
    seeds: texts('{text} It was {mask} .', '{text} {mask} {text_pair}'),
    read: (input) => parseTemplate(asText(input)),
  },
  {
    name: 'tokenizer.json',
    seeds: texts(
      smallTokenizer(wordPiece),
      smallTokenizer(wordPiece, split),
      smallTokenizer(
        {
          type: 'BPE',
          vocab,
          merges: [
            ['t', 'wo'],
            ['one', '##s'],
          ],
          unk_token: '[UNK]',
        },
        split,
      ),
      smallTokenizer(
        { type: 'Unigram', unk_id: 1, vocab: Object.keys(vocab).map((token, i) => [token, -i]) },
        { normalizer: { type: 'Replace', pattern: { Regex: 'a+' }, content: 'b' } },
      ),
      smallTokenizer(wordPiece, {
        post_processor: {
          type: 'TemplateProcessing',
          single: [
            { SpecialToken: { id: '[CLS]', type_id: 0 } },
            { Sequence: { id: 'A', type_id: 0 } },
          ],
          pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
          special_tokens: {},
        },
      }),
    ),
    read: (input) => {
      const tokenizer = makeTokenizer(
        parseJson(asText(input), 'tokenizer.json'),
        {},
        'tokenizer.json',
      );
      tokenizer.encode('One twos, ones aaaaaaaaaaaaaaaaaaaaaaaa!', 'two \u{20000} one', 16);
    },
  },
  {
    name: 'tokenizer_config.json',
    seeds: texts(
      json({
        mask_token: { content: '[MASK]' },
        do_lower_case: true,
        additional_special_tokens: ['[X]'],
        clean_up_tokenization_spaces: true,
      }),
    ),
    read: (input) =>
      makeTokenizer(
        JSON.parse(smallTokenizer(wordPiece)),
        parseJson(asText(input), 'tokenizer_config.json'),
        'tokenizer.json',
      ).encode('one', undefined, 8),
  },
  {
    name: 'tokenizer file',
    seeds: texts(smallTokenizer(wordPiece)),
    read: (input, dir) => (file(dir, 'tokenizer.json', input), openTokenizer(dir)),
  },
];
