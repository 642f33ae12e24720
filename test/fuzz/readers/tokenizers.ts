/** Tokenizers, and templates of cloze questions. */
import { parseJson } from '../../../src/base/untrusted/json.ts';
import { chatRenderer } from '../../../src/science/text/chat-template.ts';
import { parseTemplate } from '../../../src/science/text/cloze.ts';
import { makeTokenizer, openTokenizer } from '../../../src/science/text/tokenizer.ts';
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
  w: 9,
  o: 10,
  tw: 11,
  two: 12,
  '<0x61>': 13,
};
/** A charsmap of one unit and no text. */
const smallCharsmap = Buffer.from([4, 0, 0, 0, 0, 4, 0, 0, 98, 0]).toString('base64');
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
            ['t', 'w'],
            ['tw', 'o'],
          ],
          unk_token: '[UNK]',
          byte_fallback: true,
        },
        {
          ...split,
          decoder: {
            type: 'Sequence',
            decoders: [
              { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
              { type: 'ByteFallback' },
              { type: 'Fuse' },
              { type: 'Strip', content: ' ', start: 1, stop: 0 },
            ],
          },
        },
      ),
      smallTokenizer(
        { type: 'Unigram', unk_id: 1, vocab: Object.keys(vocab).map((token, i) => [token, -i]) },
        {
          normalizer: {
            type: 'Sequence',
            normalizers: [
              { type: 'Precompiled', precompiled_charsmap: smallCharsmap },
              { type: 'Replace', pattern: { Regex: 'a+' }, content: 'b' },
            ],
          },
          pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' },
          decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' },
        },
      ),
      smallTokenizer(wordPiece, {
        post_processor: {
          type: 'TemplateProcessing',
          single: [
            { SpecialToken: { id: '[CLS]', type_id: 0 } },
            { Sequence: { id: 'A', type_id: 0 } },
          ],
          pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
          special_tokens: { '[CLS]': { id: '[CLS]', ids: [2], tokens: ['[CLS]'] } },
        },
      }),
    ),
    read: (input) => {
      const tokenizer = makeTokenizer(
        parseJson(asText(input), 'tokenizer.json'),
        {},
        'tokenizer.json',
      );
      const text = 'One twos, ones aaaaaaaaaaaaaaaaaaaaaaaa!';
      tokenizer.decode(tokenizer.encode(text, 'two \u{20000} one', 16).ids);
    },
  },
  {
    name: 'chat template',
    seeds: texts(
      "{% for m in messages %}{{ '<' + m['role'] + '>' + m.content | trim }}{% endfor %}" +
        '{% if add_generation_prompt %}<assistant>{% endif %}',
      '{%- set ns = namespace(n=0) %}{%- for m in messages[::-1] %}{% set ns.n = ns.n + 1 %}' +
        '{% if m.role == "user" and loop.last %}{{ bos_token ~ m.content.strip("\n") }}' +
        '{% else %}{{ raise_exception("no") }}{% endif %}{%- endfor %}{{ range(3) | tojson }}',
    ),
    read: (input) =>
      chatRenderer(
        asText(input),
        { bos_token: '<s>' },
        'tokenizer.json',
      )([{ role: 'user', content: ' one\n' }], { generationPrompt: true }),
  },
  {
    name: 'tokenizer_config.json',
    seeds: texts(
      json({
        mask_token: { content: '[MASK]' },
        do_lower_case: true,
        additional_special_tokens: ['[X]'],
        clean_up_tokenization_spaces: true,
        eos_token: '[SEP]',
        added_tokens_decoder: { 4: { content: '[MASK]', lstrip: true, special: true } },
        chat_template: [{ name: 'default', template: '{{ messages[0].content }}' }],
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
