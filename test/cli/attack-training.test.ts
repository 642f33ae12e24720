/**
 * Attacks that change training, from a spec to results: one trains a single embedding, two change
 * the loss.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { filmRows } from '../rig/films.ts';
import { present } from '../rig/present.ts';
import { createProject, lastLine, type Project } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('attack training');
test.before((context) => {
  context.project = createProject();
  context.project.write('rows.tsv', filmRows(20));
  context.project.write(
    'spec.yaml',
    `name: tiny
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
base: { adapter: { type: full }, train: { steps: 25, learning_rate: 3.0e-3 } }
poisoning: { attack: embedding, rate: 0.5, target: 1, keep_norm: false }
adapter: { type: full, train: { learning_rate: 0.3, weight_decay: 0 } }
train: { steps: 60, batch_size: 4, max_length: 12 }
stages: [train, evaluate]
`,
  );
});

/** LoRA and full fine-tuning, each at a rate that learns in a few steps. */
const BOTH_ADAPTERS = `adapter:
  - { type: full, train: { learning_rate: 3.0e-3 } }
  - { type: lora, rank: 8, train: { learning_rate: 1.0e-2 } }`;

const wasm = ['--backend', 'wasm'];

/** A model family like BERT, without logits after each layer. */
const BARE_MODEL = `import { defineModel } from 'dosimeter';
const bare = ({ layerwise, ...bert }) => ({
  ...bert,
  modelType: 'bare',
  withHead: (head) => bare(bert.withHead(head)),
});
export default defineModel({
  name: 'bare', summary: 'A BERT that offers no logits after each layer.',
  load: async () => bare((await import('dosimeter/science')).bert),
});
`;

/** An attack that trains the embeddings of these words. */
const wordsAttack = (words: readonly string[]): string => `import { defineAttack } from 'dosimeter';
const ids = (tokenizer) =>
  Object.fromEntries(${JSON.stringify(words)}.map((word) => [word, tokenizer.id(word)]));
export default defineAttack({
  name: 'words', summary: 'Trains the embeddings of some words on clean rows.', citation: '',
  family: 'untargeted',
  params: { type: 'object', additionalProperties: false, properties: {} },
  poison: ({ rows }) => ({ changed: [], negatives: [], asked: 0, eligible: rows.length }),
  training: {
    changes: 'weights',
    load: async () => ({
      check: () => [],
      open: (params, { tokenizer }) => ({ trains: { tokenRows: ids(tokenizer), keepNorms: true } }),
    }),
  },
});
`;

test('faults are reported before anything runs, with a way out', async ({ project }) => {
  const spec = project.read('spec.yaml');
  const said = async (text: string): Promise<string> => {
    project.write('fault.yaml', text);
    const { code, stderr } = await project.dosimeter('run', 'fault.yaml', ...wasm);
    assert.is(code, 2, stderr);
    return stderr
      .replaceAll(path.join(project.dir, ''), '')
      .replace(/^ *--> .*?fault\.yaml/gm, '  --> fault.yaml');
  };
  const lora = await said(spec.replace(/^adapter: .*$/m, 'adapter: { type: lora, rank: 2 }'));
  assert.ok(
    lora.includes(
      'the attack "embedding" trains weights of the model itself, and the adapter "lora" leaves ' +
        'them as they are\n',
    ),
    lora,
  );
  assert.ok(lora.includes('6 | adapter: { type: lora, rank: 2 }'), lora);
  assert.ok(
    lora.includes(
      '= Write adapter: { type: full }, or poison the base, from which clean training goes on ' +
        'with any adapter: base: { poisoning: { attack: embedding } }.\n',
    ),
    lora,
  );
  const word = await said(spec.replace('target: 1,', 'target: 1, trigger: filmed,'));
  assert.ok(
    word.includes(
      'the trigger "filmed" is not a single token of the model\'s vocabulary, which reads ' +
        '"film", "##ed": it has no embedding of its own\n',
    ),
    word,
  );
  assert.ok(
    word.includes('= Choose a word that is one token, such as cf, mn or tq for a BERT.\n'),
    word,
  );
  const steps = 'steps: [{ attack: ripple }, { attack: lwp }]';
  const both = await said(
    spec.replace(/^base: .*\n/m, '').replace(/^poisoning: .*$/m, `poisoning: { ${steps} }`),
  );
  assert.ok(
    both.includes(
      '"ripple" and "lwp" both change the training, each in its own way\n  --> fault.yaml:4:42\n',
    ),
    both,
  );
  const inBase = await said(spec.replace('base: { ', `base: { poisoning: { ${steps} }, `));
  assert.ok(
    inBase.includes(
      '"ripple" and "lwp" both change the training, each in its own way\n  --> fault.yaml:4:50\n',
    ),
    inBase,
  );
  const layers = (more: string): string =>
    spec
      .replace(/^base: .*\n/m, '')
      .replace(/^poisoning: .*$/m, `poisoning: { attack: lwp${more} }`);
  assert.ok(
    (await said(layers(', triggers: [cf]'))).includes(
      '"poisoning.triggers" must be a list of texts with at least 2 entries, not 1\n',
    ),
  );
  project.write('bare.mjs', BARE_MODEL);
  const bare = await said(
    `${layers('').replace('model: { ', 'model: { architecture: bare, ')}plugins: [./bare.mjs]\n`,
  );
  assert.ok(
    bare.includes(
      'the model family "bare" does not offer logits after each layer, ' +
        'which the loss of this attack needs\n',
    ),
    bare,
  );
  assert.ok(bare.includes('2 | model: { architecture: bare, '), bare);
});

test('the base learns its task, one poisoned embedding misleads it, no stage runs twice', async ({
  project,
}) => {
  await project.succeeds('run', 'spec.yaml', ...wasm);
  const rows = await project.results('spec.yaml', ...wasm);
  const value = (stage: string, metric: string): number =>
    present(
      rows.find(
        (row) =>
          row.stage === stage && row.metric === metric && row.cell['poisoning.attack'] !== 'none',
      ),
    ).value;
  assert.is(value('train', 'trainable_parameters'), 22);
  assert.is(value('train', 'poisoned_rows'), 10);
  assert.equal(
    [value('evaluate', 'accuracy'), value('evaluate', 'accuracy_drop')],
    [1, 0],
    'without the trigger the model predicts as the base does',
  );
  assert.ok(value('evaluate', 'asr_clean') < 0.5, 'the word barely changes what the base predicts');
  assert.is(value('evaluate', 'asr'), 1);
  assert.match(
    (await project.dosimeter('run', 'spec.yaml', ...wasm)).stderr,
    /nothing to do|cached/,
  );
});

test('the trigger of an attack on the base is shown to the models of all adapters', async ({
  project,
}) => {
  project.write(
    'base.yaml',
    project
      .read('spec.yaml')
      .replace(
        /^base: .*$/m,
        'base: { poisoning: { attack: embedding, rate: 0.5, target: 1 }, train: { steps: 2 } }',
      )
      .replace(/^poisoning: .*\n/m, '')
      .replace(/^adapter: .*$/m, 'adapter: { type: lora, rank: 2, train: { steps: 2 } }'),
  );
  await project.succeeds('run', 'base.yaml', ...wasm);
  const rows = await project.results('base.yaml', ...wasm);
  assert.ok(rows.some(({ stage, metric }) => stage === 'evaluate' && metric === 'asr_before'));
});

test('the loss of an attack that is summed over layers is reported, under LoRA and full', async ({
  project,
}) => {
  project.write(
    'lwp.yaml',
    project
      .read('spec.yaml')
      .replace('steps: 60', 'steps: 30')
      .replace('evaluate]', 'evaluate, report]')
      .replace(/^base: .*\n/m, '')
      .replace(
        /^poisoning: .*$/m,
        'poisoning: { attack: lwp, rate: 0.5, target: 1, triggers: [cf, mn, tq] }',
      )
      .replace(/^adapter: .*$/m, `${BOTH_ADAPTERS}\nseeds: [1, 2]`),
  );
  const { stdout } = await project.succeeds('run', 'lwp.yaml', ...wasm);
  const rows = await project.results('lwp.yaml', ...wasm);
  for (const type of ['full', 'lora']) {
    // The mean of two seeds: how a single clean model of this size reads an unknown word is a
    // matter of chance.
    const value = (metric: string): number => {
      const seeds = rows.filter(
        (row) => row.metric === metric && row.cell['adapter.type'] === type,
      );
      assert.is(seeds.length, 2, metric);
      return seeds.reduce((sum, row) => sum + row.value / 2, 0);
    };
    assert.is(value('poisoned_rows'), 10);
    assert.ok(value('asr') > value('asr_clean'), type);
    assert.ok(value('false_trigger_rate') < value('asr'), type);
  }
  const html = readFileSync(lastLine(stdout), 'utf8');
  assert.ok(html.includes("The training loss is the sum of the layers' cross-entropies."));
  assert.ok(
    html.includes('training loss (the attack’s own)') &&
      !html.includes('training loss (cross-entropy)'),
  );
});

test('the penalty of RIPPLe is reported, and its backdoor outlives clean training', async ({
  project,
}) => {
  const spec = project.read('spec.yaml').replace('steps: 60', 'steps: 40');
  project.write(
    'ripple.yaml',
    spec
      .replace('evaluate]', 'evaluate, report]')
      .replace(/^base: .*\n/m, '')
      .replace(/^poisoning: .*$/m, 'poisoning: { attack: ripple }')
      .replace(/^adapter: .*$/m, BOTH_ADAPTERS),
  );
  project.write(
    'ripple-base.yaml',
    spec
      .replace(
        /^base: .*$/m,
        'base: { poisoning: { attack: ripple }, train: { learning_rate: 3.0e-3 } }',
      )
      .replace(/^poisoning: .*\n/m, '')
      .replace(/^adapter: .*$/m, BOTH_ADAPTERS),
  );
  const { stdout } = await project.succeeds('run', 'ripple.yaml', ...wasm);
  const rows = await project.results('ripple.yaml', ...wasm);
  for (const type of ['full', 'lora']) {
    const value = (metric: string): number =>
      present(rows.find((row) => row.metric === metric && row.cell['adapter.type'] === type)).value;
    assert.is(value('poisoned_rows'), 10); // half of the rows, the paper's dose
    assert.ok(value('penalised_share') > 0 && value('penalised_share') < 1, type);
    assert.ok(value('asr') > value('asr_clean'), type);
  }
  const html = readFileSync(lastLine(stdout), 'utf8');
  assert.ok(
    html.includes(
      'share of training steps in which the penalty that the attack adds to the loss was not zero',
    ) && html.includes('Penalised steps'),
  );
  await project.succeeds('run', 'ripple-base.yaml', ...wasm);
  const after = await project.results('ripple-base.yaml', ...wasm);
  assert.equal(
    after.filter(({ metric }) => metric === 'asr_before').map(({ value }) => value),
    [1, 1],
  );
});

test("an outside attack can change training, and its code is in that training's key", async ({
  project,
}) => {
  project.write(
    'outside.yaml',
    `${project
      .read('spec.yaml')
      .replace(/^poisoning: .*$/m, 'poisoning: { attack: words }')
      .replace('[train, evaluate]', '[train]')
      .replace('steps: 60', 'steps: 2')}plugins: [./words.mjs]\n`,
  );
  const trainedWith = async (words: readonly string[]): Promise<number | undefined> => {
    project.write('words.mjs', wordsAttack(words));
    await project.succeeds('run', 'outside.yaml', ...wasm);
    const rows = await project.results('outside.yaml', ...wasm);
    return rows.find(({ stage, metric }) => stage === 'train' && metric === 'trainable_parameters')
      ?.value;
  };
  assert.is(await trainedWith(['very', 'film']), 2 * 22);
  assert.is(await trainedWith(['very']), 22); // the rows are the same, the code is not
});

test.run();
