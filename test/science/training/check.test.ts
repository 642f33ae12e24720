/** Faults of models, tokenizers and heads that are found before anything runs. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { HeadSettings } from '../../../src/api.ts';
import { checkTraining } from '../../../src/science/training/check.ts';
import { present } from '../../rig/present.ts';
import { changedCheckpoint, letters } from '../changed-checkpoint.ts';
import { openCase } from '../family-cases.ts';

const test = suite('checks before a training');

const CLASSIFIER: HeadSettings = { type: 'classifier' };
const causal = (template = '{prompt}'): HeadSettings => ({ type: 'causal-lm', template });

interface Asked {
  readonly head: HeadSettings;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly tokenizer?: { readonly tokenizer: unknown; readonly config: unknown };
  readonly maxLength?: number;
  readonly headGiven?: boolean;
}

/** The problems of a case's checkpoint with these changes. */
async function foundIn(
  name: string,
  { head, maxLength = 16, headGiven = false, ...changes }: Asked,
) {
  const path = await changedCheckpoint(name, changes);
  return checkTraining({
    model: { path, digest: path },
    architecture: (await openCase(name)).architecture,
    maxLength: { value: maxLength, path: ['train', 'max_length'] },
    head,
    headGiven,
  });
}

/** As `foundIn`, each as `path: message`. */
async function problemsOf(name: string, asked: Asked): Promise<string[]> {
  const problems = await foundIn(name, asked);
  return problems.map((problem) => `${problem.path.join('.')}: ${problem.message}`);
}

const assertOne = (problems: readonly string[], expected: RegExp): void => {
  assert.ok(
    problems.some((problem) => expected.test(problem)),
    problems.join('\n'),
  );
};

test('a checkpoint whose config.json says that it is quantised is refused', async () => {
  const config = { quantization_config: { quant_method: 'bitsandbytes', load_in_8bit: true } };
  assert.equal(await problemsOf('llama-causal', { head: causal(), config }), [
    'model.source: config.json says that the weights are quantised: ' +
      'quantization_config has quant_method "bitsandbytes"',
  ]);
  assert.equal(
    await problemsOf('llama-causal', { head: causal(), config: { quantization_config: null } }),
    [],
  );
});

test('a checkpoint whose config.json and shapes disagree is refused by tensor and shapes', async () => {
  const cases: readonly [name: string, head: HeadSettings, config: object, message: RegExp][] = [
    [
      'llama-causal',
      causal(),
      { num_key_value_heads: 4 },
      /k_proj\.weight" has shape \[8, 16\], config\.json asks for \[16, 16\]$/,
    ],
    [
      'qwen3-causal',
      causal(),
      { head_dim: 4 },
      /q_(proj|norm)\.weight" has shape \[[\d, ]+\], config\.json asks for/,
    ],
    [
      'gpt2-causal',
      causal(),
      { n_inner: 40 },
      // as the file has it, (in, out)
      /mlp\.c_fc\.weight" has shape \[16, 64\], config\.json asks for \[16, 40\]$/,
    ],
    [
      'gpt-neox-causal',
      causal(),
      { hidden_size: 32 },
      /embed_in\.weight" has shape \[67, 16\], config\.json asks for \[67, 32\]$/,
    ],
    [
      'modernbert-classifier-cls',
      CLASSIFIER,
      { intermediate_size: 24 },
      /mlp\.Wi\.weight" has shape \[46, 16\], config\.json asks for \[48, 16\]$/,
    ],
    [
      'roberta-classifier',
      CLASSIFIER,
      { max_position_embeddings: 30 },
      /position_embeddings\.weight" has shape \[31, 16\], config\.json asks for \[30, 16\]$/,
    ],
  ];
  for (const [name, head, config, message] of cases) {
    const [first = '', ...others] = await problemsOf(name, { head, config: { ...config } });
    assert.match(first, /^model\.source: /);
    assert.match(first, message);
    assert.equal(others, []);
  }
});

test('a tokenizer of another vocabulary is refused', async () => {
  const file = new URL('../../golden/tokenizers/gpt2/tokenizer.json', import.meta.url);
  const other = {
    tokenizer: JSON.parse(await readFile(fileURLToPath(file), 'utf8')) as unknown,
    config: {},
  };
  assertOne(
    await problemsOf('gpt2-classifier', { head: CLASSIFIER, tokenizer: other }),
    /^model\.source: .*tokenizer\.json has ids up to 40\d, but config\.json's vocab_size is 67/,
  );
});

test('a rope scaling that is not implemented is refused', async () => {
  for (const field of ['rope_scaling', 'rope_parameters'])
    assertOne(
      await problemsOf('llama-causal', {
        head: causal(),
        config: { rope_parameters: null, [field]: { rope_type: 'longrope', factor: 4 } },
      }),
      /^model\.source: config\.json: rope scaling of type "longrope" is not implemented/,
    );
});

test('a family without the head that is asked for names the heads that it has', async () => {
  assertOne(
    await problemsOf('bert-classifier', { head: causal() }),
    /^head\.type: bert has no causal-lm head here/,
  );
  const [missing] = await foundIn('bert-classifier', { head: causal() });
  assert.match(present(missing).hint ?? '', 'name that as model.architecture (default: bert).');
  assertOne(
    await problemsOf('llama-causal', {
      head: { type: 'cloze', template: '{text} {mask}', verbalizer: { a: 'x', b: 'y' } },
    }),
    /^head\.type: llama has no cloze head here/,
  );
});

test('a chat template that is missing, or that fails, is a fault of head.template', async () => {
  assertOne(
    await problemsOf('llama-causal', { head: causal('chat') }),
    /^head\.template: .*the tokenizer has no chat template/,
  );
  const broken = { ...letters.config, chat_template: '{{ raise_exception("no") }}' };
  assertOne(
    await problemsOf('llama-causal', {
      head: causal('chat'),
      tokenizer: { ...letters, config: broken },
    }),
    /^head\.template: .*its chat template fails/,
  );
  assertOne(
    await problemsOf('llama-causal', { head: causal('no slot') }),
    /^head\.template: the template "no slot" has \{prompt\} nowhere/,
  );
  assertOne(
    await problemsOf('llama-causal', {
      head: causal(),
      tokenizer: { ...letters, config: {} },
    }),
    /^head\.template: the tokenizer names no token that ends a text/,
  );
});

test('rows that are longer than the context are refused, as the family counts it', async () => {
  assertOne(
    await problemsOf('llama-causal', { head: causal(), maxLength: 65 }),
    /^train\.max_length: rows of 65 tokens do not fit the model, which has 64 positions/,
  );
  // RoBERTa's positions start behind the padding id: 31 rows of the table hold 29.
  assertOne(
    await problemsOf('roberta-classifier', { head: CLASSIFIER, maxLength: 30 }),
    /^train\.max_length: rows of 30 tokens do not fit the model, which has 29 positions/,
  );
  const fitting = await problemsOf('roberta-classifier', { head: CLASSIFIER, maxLength: 29 });
  assert.equal(fitting, []);
});

test('a template that leaves no room for a prompt and its answer is refused', async () => {
  const template = 'answer: {prompt}.'; // 8 and 1 tokens
  assertOne(
    await problemsOf('llama-causal', { head: causal(template), maxLength: 11 }),
    /^head\.template: the template takes 9 tokens by itself, and max_length is 11/,
  );
  const fitting = await problemsOf('llama-causal', { head: causal(template), maxLength: 12 });
  assert.not.match(fitting.join('\n'), 'head.template');
});

test('a head that is part of the checkpoint cannot come from another folder', async () => {
  assertOne(
    await problemsOf('llama-causal', { head: causal(), headGiven: true }),
    /^head\.init_from: a causal-lm head is part of the checkpoint/,
  );
});

test.run();
