/**
 * Models of transformers that are no family here: what they compute equals plain PyTorch and PEFT
 * (plain.py), and what cannot be is refused.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { peft } from '../../plugins/adapters/peft/peft.ts';
import model from '../../plugins/models/transformers.ts';
import type { JsonObject } from '../../src/api.ts';
import { at } from '../../src/base/lookup.ts';
import type { AdapterImplementation } from '../../src/science/models/adapter.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { readConfig, readHead } from '../../src/science/models/head.ts';
import { moduleName } from '../../src/science/models/modules.ts';
import type { NetworkOptions } from '../../src/science/models/network.ts';
import type { Head } from '../../src/science/models/types.ts';
import { openTorchKernels } from '../../src/science/torch/kernels.ts';
import { readTorchStart } from '../../src/science/torch/model.ts';
import { openTorchTrainer } from '../../src/science/torch/trainer.ts';
import type { TrainedModel, Trainer } from '../../src/science/training/session.ts';
import type { LabelledRow, TrainSettings } from '../../src/science/training/settings.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { createProject, outputText, type Project } from '../rig/project.ts';
import { rejects } from '../rig/rejects.ts';
import { relative } from '../science/measures/ntk/fixture/compare.ts';
import { plainTraining } from '../science/plain-training.ts';
import { checkpoint as tinyBert, farthest } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { real, recordingInto } from './rig.ts';

const test = suite('torch/any-model');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-any-'));
const PLAIN = fileURLToPath(new URL('plain.py', import.meta.url));
const plain = (...args: readonly string[]): string =>
  execFileSync(real, [PLAIN, ...args], { encoding: 'utf8', maxBuffer: 1 << 28 });
test.before(() => {
  plain('make', dir);
});
test.after(async () => {
  await (await torchWorker()).end();
});

const STEPS = 20,
  RATE = 1e-3,
  DECAY = 0.01,
  BATCH = 3;

/** Rows of several lengths, so that batches have padding. */
function rowsOf({ type }: Head): LabelledRow[] {
  return [7, 4, 9, 5, 12, 6].map((length, r) => {
    const ids = Int32Array.from({ length }, (_, t) => 3 + ((r * 31 + t * 17) % 480));
    return {
      ids,
      typeIds: Int32Array.from(ids, (_, t) => (type === 'classifier' && t > 2 ? 1 : 0)),
      label: r % (type === 'cloze' ? 2 : 3),
      ...(type === 'cloze' ? { mask: 1 + (r % 3) } : {}),
      ...(type === 'causal-lm' ? { answer: length - 1 - (r % 2) } : {}),
    };
  });
}

async function optionsOf(
  name: string,
  head: Head,
  implementation: AdapterImplementation,
  params: object,
): Promise<NetworkOptions> {
  const path = join(dir, name);
  const architecture = (await model.load(path)).withHead(head),
    classes = head.type === 'causal-lm' ? 0 : head.type === 'cloze' ? 2 : 3;
  const config = architecture.parseConfig(await readConfig(path), classes);
  const adapter = await implementation.create(
    { ...params },
    {
      architecture,
      linears: architecture.linears(config),
      parameters: architecture.parameters(config),
      modelDir: path,
    },
  );
  return { architecture, adapter, classes, seed: 1, model: { path, digest: name } };
}

interface Case {
  readonly name: string;
  readonly head: Head;
  readonly implementation: AdapterImplementation;
  readonly params: object;
}
const RANK = { rank: 2, alpha: 4, targets: 'all-linear' };
const CASES: Case[] = (
  [
    ['phi', { type: 'causal-lm' }],
    ['phi-classifier', { type: 'classifier' }],
    ['olmo', { type: 'causal-lm' }],
    ['falcon', { type: 'causal-lm' }],
    ['mamba', { type: 'causal-lm' }],
    ['electra', { type: 'classifier' }],
    ['mpnet', { type: 'cloze', tokens: [17, 40] }],
    ['fnet', { type: 'classifier' }],
  ] as const
).flatMap(([name, head]) => [
  { name, head, implementation: full, params: {} },
  { name, head, implementation: lora, params: RANK },
]);

/** Configs of PEFT by peft_type, with whether its change is added to the weight. */
const CONFIGS: Readonly<Record<string, readonly [config: JsonObject, adds: boolean]>> = {
  LORA: [{ r: 3, lora_alpha: 5, use_rslora: true, init_lora_weights: 'gaussian' }, true],
  IA3: [{ feedforward_modules: ['fc2'] }, false],
  LOHA: [{ r: 2 }, true],
  LOKR: [{ r: 2 }, true],
  OFT: [{ r: 0, oft_block_size: 4 }, false],
  BOFT: [{ boft_block_size: 4 }, false],
  HRA: [{ r: 2 }, false],
  FOURIERFT: [{ n_frequency: 20 }, true],
  HIRA: [{ r: 2 }, false],
  GRALORA: [{ r: 4 }, true],
  C3A: [{ block_size: 4 }, true],
  MISS: [{ r: 4 }, true],
  ROAD: [{ group_size: 8 }, false],
};
for (const [type, [own]] of Object.entries(CONFIGS))
  for (const [name, head] of [
    ['phi-classifier', { type: 'classifier' }],
    ['phi', { type: 'causal-lm' }],
  ] as const) {
    if (head.type === 'causal-lm' && !['LORA', 'IA3'].includes(type)) continue;
    const config = { peft_type: type, target_modules: ['q_proj', 'fc2'], ...own };
    CASES.push({ name, head, implementation: peft, params: { config } });
  }

/** What plain PyTorch makes of a case. */
interface Plain {
  readonly losses: number[];
  readonly outputs: number[][];
  readonly texts: number[][];
  readonly kernel: number[];
}

/** Whether the gradient by the effective weight is that by the model's own. */
const adds = ({ config }: { readonly config?: { readonly peft_type: string } }): boolean =>
  config !== undefined && CONFIGS[config.peft_type]?.[1] === true;

interface Prepared {
  readonly options: NetworkOptions;
  readonly trainer: Trainer;
  readonly rows: readonly LabelledRow[];
  readonly prompts: readonly Int32Array[];
  /** What is asked of plain.py. */
  readonly asked: object;
}

async function prepared({ name, head, implementation, params }: Case): Promise<Prepared> {
  const options = await optionsOf(name, head, implementation, params);
  const { adapter, architecture, model: own } = options;
  const rows = rowsOf(head);
  const prompts = head.type === 'causal-lm' ? rows.slice(0, 4).map(({ ids }) => ids) : [];
  const savedAs = { modelDir: own.path, classes: ['a', 'b', 'c'] };
  const trainer = await openTorchTrainer({ ...options, savedAs });
  const start = mkdtempSync(join(dir, 'start-'));
  await trainer.save(start);
  const asked = {
    class: architecture.transformersName,
    checkpoint: own.path,
    adapter: implementation === full ? null : join(start, 'adapter'),
    tokens: head.type === 'cloze' ? head.tokens : null,
    rows: rows.map(({ ids, typeIds, ...row }) => ({ ids: [...ids], types: [...typeIds], ...row })),
    ...{ steps: STEPS, rate: RATE, decay: DECAY, batch: BATCH, new: 5 },
    prompts: prompts.map((ids) => [...ids]),
    drawn: implementation === peft,
    own: implementation === lora,
    weights:
      implementation === full || adds(params)
        ? adapter.targets.map((layer) => `${moduleName(architecture, layer)}.weight`)
        : [],
  };
  return { options, trainer, rows, prompts, asked };
}

const near = (found: ArrayLike<number>, wanted: ArrayLike<number>, bound: number, what: string) => {
  assert.is(found.length, wanted.length, what);
  const off = farthest(found, wanted);
  assert.ok(off <= bound, `${what}: off by ${off}`);
};

/** Asserts that a training, what it predicts and its kernel are those of plain PyTorch. */
async function same(own: Case, { options, trainer, rows, prompts }: Prepared, expected: Plain) {
  const train = async (more: Partial<TrainSettings> = {}): Promise<TrainedModel> => {
    const losses: number[] = [];
    const settings = {
      ...plainTraining,
      ...{ steps: STEPS, learningRate: RATE, weightDecay: DECAY, batchSize: BATCH, ...more },
    };
    const trained = await trainer.train(rows, settings, recordingInto(losses));
    near(losses, expected.losses, tolerance.engines.loss, 'losses');
    return trained;
  };
  if (own.head.type === 'causal-lm') {
    // Each batch is one sequence.
    const packed = train({ batchSize: 1, packing: 23 });
    if (own.name === 'mamba') await rejects(packed, /MambaForCausalLM does not keep rows apart/);
    else (await packed).dispose();
  }
  const trained = await train();
  const { logits: bound } = tolerance.engines;
  if (own.head.type === 'causal-lm') {
    const found = (await trained.answers(rows, 4)).map(({ loss }) => -loss);
    near(found, expected.outputs.flat(), bound, 'answers');
    const texts = await trained.generate(
      prompts.map((ids) => ({ ids, typeIds: new Int32Array(ids.length) })),
      { maxNewTokens: 5, stops: [2], batchSize: 4 },
    );
    assert.equal(
      texts.map(({ ids }) => [...ids]),
      expected.texts.map((ids) => ids.filter((id) => id !== 2)),
    );
  } else near(await trained.logits(rows, 4), expected.outputs.flat(), bound, 'logits');
  const end = mkdtempSync(join(dir, 'end-'));
  await trained.save(end);
  trained.dispose();

  // What was saved is the model that was trained.
  const again = await reopened(options, end, own);
  const kernels = await openTorchKernels(await readTorchStart({ ...again, evaluation: true }));
  const found = await kernels.kernels(rows);
  const kernel = own.implementation === lora ? found.lora : found.full;
  const off = expected.kernel.length === 0 ? 0 : relative(kernel?.data ?? [], expected.kernel);
  assert.ok(off <= tolerance.family.kernel, `kernel: ${off}`);
  kernels.dispose();
}

async function reopened(
  options: NetworkOptions,
  end: string,
  { implementation, params }: Case,
): Promise<NetworkOptions> {
  if (implementation === full)
    return { ...options, model: { path: join(end, 'model'), digest: null } };
  const { architecture, classes } = options;
  const config = architecture.parseConfig(await readConfig(options.model.path), classes);
  const shape = {
    architecture,
    linears: architecture.linears(config),
    parameters: architecture.parameters(config),
    modelDir: options.model.path,
  };
  const initFrom = join(end, 'adapter');
  const adapter = await implementation.create({ ...params }, { ...shape, initFrom });
  return { ...options, adapter, head: await readHead(initFrom, { architecture, config, classes }) };
}

let ready: readonly (readonly [Prepared, Plain])[] = [];
test('they are prepared, and plain PyTorch trains them', async () => {
  const all: Prepared[] = [];
  for (const own of CASES) all.push(await prepared(own));
  const file = join(dir, 'requests.json');
  writeFileSync(file, JSON.stringify(all.map(({ asked }) => asked)));
  const found = JSON.parse(plain('train', file)) as Plain[];
  ready = all.map((own, i) => [own, at(found, i)] as const);
});
for (const [i, own] of CASES.entries()) {
  const { params } = own as { readonly params: { readonly config?: { peft_type: string } } };
  const what = own.implementation === full ? 'full' : (params.config?.peft_type ?? 'lora');
  test(`${own.name}, ${what}: training, outputs and kernel are those of plain PyTorch`, () =>
    same(own, ...at(ready, i)));
}

const words = ['good', 'bad', 'fine', 'poor', 'great'];
const tsv = (name: string, n: number): string =>
  [
    'text\tlabel',
    ...Array.from(
      { length: n },
      (_, i) => `${name} ${i} the film was ${words[i % 5] ?? ''}\t${i % 2 === 0 ? 'yes' : 'no'}`,
    ),
  ].join('\n');

/** A project whose model is a checkpoint of plain.py, with the tokenizer of the tiny BERT. */
function projectOf(name: string, config: object = {}): Project {
  const project = createProject();
  const folder = join(project.dir, 'checkpoint');
  cpSync(join(dir, name), folder, { recursive: true });
  cpSync(join(tinyBert, 'tokenizer.json'), join(folder, 'tokenizer.json'));
  const file = join(folder, 'config.json');
  // As text, since transformers tells 1.0 from 1.
  const own = readFileSync(file, 'utf8').replace(/^\s*"model_type".*\n/m, (line) =>
    'model_type' in config ? '' : line,
  );
  const more = JSON.stringify(config).slice(1, -1);
  writeFileSync(file, more === '' ? own : own.replace('{', `{ ${more},`));
  project.write('train.tsv', tsv('train', 24));
  project.write('test.tsv', tsv('test', 12));
  project.write(
    'spec.yaml',
    `name: any
seeds: [1]
model: { source: "file:checkpoint", architecture: transformers }
data: { train: { source: "file:train.tsv" }, validation: { source: "file:test.tsv" } }
poisoning: { attack: badnets, rate: 0.2, target: "yes" }
adapter: [{ type: full }, { type: lora, rank: 2 }, { type: ln-tuning }, { type: bitfit }]
train: { steps: 4, batch_size: 4, max_length: 16, learning_rate: 1e-2, evaluate_every: 2 }
ntk: { rows: 4 }
stages: [train, evaluate, ntk, report]
`,
  );
  return project;
}

test('an experiment runs with a classifier that the checkpoint lacks', async () => {
  // A language model, whose classifier is drawn; its rows are padded.
  const project = projectOf('phi');
  await project.succeeds('run', 'spec.yaml', '--backend', 'torch');
  const stages = await project.stages('spec.yaml', '--backend', 'torch');
  const trained = stages.filter(({ kind }) => kind === 'train');
  assert.ok(trained.length >= 4);
  for (const stage of trained)
    assert.match(outputText(stage, 'train.json'), '"class": "PhiForSequenceClassification"');
});

test('what does not fit is refused before anything runs, with a way out', async () => {
  const refused = async (
    project: Project,
    message: RegExp,
    ...more: readonly string[]
  ): Promise<void> => {
    const { code, stderr } = await project.dosimeter(
      ...['run', 'spec.yaml', '--backend', 'torch', ...more],
    );
    assert.is(code, 2, stderr);
    assert.match(stderr, message, stderr);
  };
  const mamba = projectOf('mamba'),
    phi = projectOf('phi');
  await refused(mamba, /mamba has no classifier head: transformers \S+ has no sequence classifier/);
  await refused(
    phi,
    /phi has no cloze head/,
    '--set',
    'head={type: cloze, verbalizer: {no: bad, yes: good}}',
  );
  await refused(
    phi,
    /how the weights of a PhiForSequenceClassification are drawn is not known/,
    '--set',
    'model.init=random',
  );
  await refused(phi, /rows of 80 tokens do not fit the model/, '--set', 'train.max_length=80');
  await refused(
    projectOf('phi', { model_type: 'of-tomorrow', auto_map: { AutoModel: 'model.Own' } }),
    /transformers \S+ has no model_type "of-tomorrow", and code from a model's folder is never run/,
  );
  await refused(projectOf('phi', { model_type: 't5' }), /an encoder with a decoder/);
  await refused(
    projectOf('electra', { layerdrop: 0.1 }),
    /layerdrop 0.1 drops whole layers in training/,
  );
  // ESM's token_dropout is no rate: it stays what config.json says.
  await refused(
    projectOf('electra', { model_type: 'esm', token_dropout: true }),
    /a "esm" model is made of several models/,
  );
  await refused(
    phi,
    /weights are quantised, and the adapter is a method of PEFT by its own config/,
    ...['--set', 'model.quantize=int8', '--set'],
    'adapter={type: peft, config: {peft_type: HRA, r: 2, target_modules: [q_proj]}}',
  );
  const fields = { peft_type: 'IA3', target_modules: ['q_proj', 'fc2'] };
  for (const [more, message, place] of [
    [{ target_modules: ['other'] }, /PEFT \S+: No modules were targeted/, 'target_modules'],
    [{ rank: 3 }, /PEFT \S+ has no field "rank" for IA3/, 'rank'],
    [{ peft_type: 'ADALORA' }, /"ADALORA" is not run: its ranks change/, 'peft_type'],
    [{ peft_type: 'PREFIX_TUNING' }, /it changes what the model reads/, 'peft_type'],
    [
      { peft_type: 'LORA', init_lora_weights: 'eva' },
      /"eva" needs the weights/,
      'init_lora_weights',
    ],
    [{ modules_to_save: ['fc1'] }, /modules_to_save is not set here/, 'modules_to_save'],
  ] as const) {
    const config = JSON.stringify({ ...fields, ...more });
    phi.write(
      'peft.yaml',
      phi.read('spec.yaml').replace(/^adapter:.*$/m, `adapter: { type: peft, config: ${config} }`),
    );
    const { code, stderr } = await phi.dosimeter('run', 'peft.yaml', '--backend', 'torch');
    assert.is(code, 2, stderr);
    assert.match(stderr, message, stderr);
    // The caret is at the field's value.
    const column = Number(/ --> peft\.yaml:6:(\d+)/.exec(stderr)?.[1]) - 1;
    const line = phi.read('peft.yaml').split('\n')[5] ?? '';
    assert.ok(line.slice(0, column).endsWith(`"${place}":`), stderr);
  }
  const first = await phi.dosimeter('run', 'spec.yaml', '--backend', 'wasm');
  assert.is(first.code, 2);
  assert.match(
    first.stderr,
    'the architecture "transformers" computes under the backend torch alone',
  );
  assert.match(first.stderr, /spec\.yaml:3:\d+/);
  const checked = await phi.dosimeter('crosscheck', 'spec.yaml', '--backend', 'wasm');
  assert.is(checked.code, 2);
  assert.match(
    checked.stderr,
    /crosscheck compares two engines, and "transformers" computes under/,
  );
  const named = await phi.dosimeter('plan', 'spec.yaml', '--set', 'model.architecture=bert');
  assert.match(named.stderr, /With --backend torch, `model.architecture: transformers` reads any/);
});

test.run();
