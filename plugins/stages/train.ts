import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defineStage, headSettings, problemOf, UserFault } from '../../src/api.ts';
import type { AdapterDescriptor, Cell, HeadSettings, JsonObject, ModelDescriptor, Problem, RunContext } from '../../src/api.ts';
import type { ModelSource } from '../../src/science/nn/base.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { TrainRecord } from '../../src/science/nn/adapted-model.ts';
import type { Receipt } from '../../src/poisoning/receipt.ts';
import type { Architecture } from '../../src/science/nn/types.ts';
import type { Journal } from '../../src/science/train/journal.ts';
import type { TrainHooks } from '../../src/science/train/loop.ts';
import type { Meeting } from '../../src/science/train/pack-meeting.ts';
import type { TrainSettings } from '../../src/science/train/settings.ts';
import type { resumeBySchedule } from '../../src/science/train/resume.ts';

interface Params {
  readonly architecture: string;
  /** Present where the weights are drawn. */
  readonly init?: 'random';
  readonly head: HeadSettings;
  /** Of a cloze head, as far as the spec names them: its verbalizer must name the same. */
  readonly classes?: readonly string[] | null;
  /** `type` and parameters, without `init_from`, which is an asset. */
  readonly adapter: { readonly type: string } & JsonObject;
  readonly seed: number;
  /** With steps 0, nothing else of it. */
  readonly train: Partial<Cell['train']> & JsonObject;
}

const fileUri = (path: string): string => path.startsWith('file:') ? path : `file:${path}`;

/** Features by the value that turns them off. One that is off is in no key: it can't be told from one that isn't there. */
const OFF: { readonly [field in keyof Cell['train']]?: unknown } = {
  accumulate: 1, batching: 'shuffled', clip_norm: 0, decay: 'all', class_weights: 'none', checkpoints: 0,
};

/** What the optimiser and the schedule read, and no more: an unread field must not make another stage. */
function trainParams(train: Cell['train']): JsonObject {
  if (train.steps === 0) return { steps: 0 };
  if (train.batching === 'bucketed' && !train.shuffle) throw new UserFault('train.batching is bucketed, which reorders the rows, and train.shuffle: false keeps them in file order', 'Leave out one of the two.');
  const { steps, epochs, beta1, beta2, epsilon, ...more } = train;
  const rest = Object.fromEntries(Object.entries(more).filter(([field, value]) => value !== OFF[field as keyof typeof OFF])) as JsonObject;
  return {
    ...rest,
    ...(train.optimizer === 'adamw' ? { beta1, beta2, epsilon } : {}),
    ...(steps === undefined ? { epochs: epochs ?? 3 } : { steps }),
  };
}

async function load(context: Pick<RunContext, 'params' | 'plugin'>): Promise<{ params: Params; architecture: Architecture; implementation: AdapterImplementation }> {
  const params = context.params as unknown as Params;
  return {
    params,
    architecture: await context.plugin<ModelDescriptor<Architecture>>('model', params.architecture).load(),
    implementation: await context.plugin<AdapterDescriptor<AdapterImplementation>>('adapter', params.adapter.type).load(),
  };
}

async function preflight(context: Pick<RunContext, 'params' | 'assets' | 'plugin'>): Promise<readonly Problem[]> {
  const { params, architecture, implementation } = await load(context);
  const [{ checkTraining }, { modelOf }] = await Promise.all([import('../../src/science/train/check.ts'), import('../../src/data/model-folder.ts')]);
  let model: Awaited<ReturnType<typeof modelOf>>;
  try { model = await modelOf(context.assets['model']!); } catch (error) { return [problemOf(error, ['model', 'source'])]; }
  const { type: _type, ...adapterParams } = params.adapter;
  const initFrom = context.assets['adapter']?.path;
  return checkTraining({
    model: { ...model, init: params.init ?? 'pretrained' }, architecture, head: params.head, headGiven: context.assets['head'] !== undefined, classes: params.classes ?? null,
    maxLength: params.train.max_length === undefined ? null : { value: params.train.max_length, path: ['train', 'max_length'] },
    adapter: { implementation, params: adapterParams, ...(initFrom === undefined ? {} : { initFrom }) },
  });
}

function loopSettings(train: Cell['train'], total: number, seed: number, classWeights: readonly number[] | undefined): TrainSettings {
  return {
    steps: total, batchSize: train.batch_size, optimizer: train.optimizer, learningRate: train.learning_rate, weightDecay: train.weight_decay,
    beta1: train.beta1 ?? 0, beta2: train.beta2 ?? 0, epsilon: train.epsilon ?? 0, schedule: train.schedule, warmup: train.warmup,
    shuffle: train.shuffle, dropout: train.dropout, seed,
    accumulate: train.accumulate ?? 1, decay: train.decay ?? 'all', batching: train.batching ?? 'shuffled', clipNorm: train.clip_norm ?? 0,
    ...(classWeights === undefined ? {} : { classWeights }),
  };
}

/** @param complete whether all that was kept up to a step is still there */
function resumable(context: RunContext, journal: Journal, complete: (step: number) => boolean, schedule: typeof resumeBySchedule): NonNullable<TrainHooks['resume']> {
  const resume = schedule(context.resumeDir!, { log: context.log, urgent: () => context.signal.aborted });
  return {
    ...resume,
    load: async () => {
      const saved = await resume.load();
      if (saved === null) return null;
      if (!complete(saved.step)) { context.log(`the checkpoints before step ${saved.step} are gone: the training starts anew`); return null; }
      context.log(`goes on after step ${saved.step}`);
      return saved;
    },
    gathered: () => ({ facts: journal.facts(), tensors: new Map() }),
    restore: ({ facts }) => journal.restore(facts),
  };
}

/** @param trainer in place of the loop: where the stage is a member of a pack */
async function run(context: RunContext, trainer?: Meeting['train']): Promise<void> {
  const [files, { modelOf }, { checkReceipt }, { openNetwork }, { readConfig, readHead }, { openTokenizer, checkVocabulary }, { resolveHead, rowEncoder }, { saveTrained }, loop, { totalSteps }, { trainingJournal }, { checkpointFolder, checkpointSteps }, { classWeightsOf }, resume] = await Promise.all([
    import('../../src/data/rows-file.ts'), import('../../src/data/model-folder.ts'), import('../../src/poisoning/receipt.ts'), import('../../src/science/nn/network.ts'), import('../../src/science/nn/head.ts'),
    import('../../src/science/text/tokenizer.ts'), import('../../src/science/text/encoder.ts'), import('../../src/science/train/save.ts'), import('../../src/science/train/loop.ts'), import('../../src/science/train/batches.ts'),
    import('../../src/science/train/journal.ts'), import('../../src/science/train/checkpoints.ts'), import('../../src/science/train/class-weights.ts'), import('../../src/science/train/resume.ts'),
  ]);
  const { params, architecture: family, implementation } = await load(context);
  const { train } = params;
  const dataDir = context.inputs['data']!.dir;
  const { classes } = await files.readDatasetInfo(dataDir);
  const rows = train.steps === 0 ? [] : await files.readRows(dataDir);
  if (train.steps !== 0) {
    const mismatch = checkReceipt(rows, JSON.parse(await readFile(join(dataDir, 'receipt.json'), 'utf8')) as Receipt);
    if (mismatch !== null) throw new UserFault(`the poisoned set does not match its receipt: ${mismatch}`, 'Run the poison stage again.');
    if (rows.length === 0) throw new UserFault('there is no row to train on');
  }

  const init = params.init ?? 'pretrained';
  const model: ModelSource & { readonly digest: string } = { ...await modelOf(context.assets['model']!), init };
  const architecture = family.withHead(await resolveHead(params.head, classes, model.path));
  const config = architecture.parseConfig(await readConfig(model.path), classes.length);
  const linears = architecture.linears(config);
  const initFrom = context.assets['adapter']?.path;
  const { type: _type, ...adapterParams } = params.adapter;
  const adapter = await implementation.create(adapterParams, { architecture, linears, parameters: architecture.parameters(config), ...(initFrom === undefined ? {} : { initFrom }) });
  const headDir = context.assets['head']?.path;
  const head = headDir === undefined ? undefined : await readHead(headDir, { architecture, config, classes: classes.length });
  const network = await openNetwork({ architecture, model, adapter, classes: classes.length, seed: params.seed, ...(head === undefined ? {} : { head }) });

  const journal = trainingJournal();
  const keep = context.resumeDir ?? context.outDir;
  try {
    let trained: Awaited<ReturnType<typeof loop.train>> | null = null;
    if (train.steps !== 0) {
      const settings = train as Cell['train'];
      const tokenizer = await openTokenizer(model.path);
      checkVocabulary(tokenizer, architecture.vocabularySize(config), model.path);
      const encode = rowEncoder(tokenizer, params.head);
      const tokenised = rows.map((row) => ({ ...encode(row, settings.max_length), label: row.label }));
      const total = totalSteps(settings, { rows: rows.length, batchSize: settings.batch_size, accumulate: settings.accumulate ?? 1 });
      const kept = checkpointSteps(settings.checkpoints ?? 0, total), folder = checkpointFolder(keep);
      const every = Math.ceil(total / 100);
      try {
        trained = await (trainer ?? loop.train)(network, tokenised, loopSettings(settings, total, params.seed, classWeightsOf(settings.class_weights, rows.map(({ label }) => label), classes)), {
          onStep: async (record, batch) => {
            journal.add(record, batch);
            if (record.step % every === 0) context.log(`step ${record.step} of ${total}: loss ${record.loss.toPrecision(5)}, learning rate ${record.learning_rate.toPrecision(4)}`);
            context.progress(record.step, total, 'steps');
            await new Promise((resolve) => { setImmediate(resolve); }); // an abort is heard between steps
          },
          onWeights: {
            wants: (step) => kept.includes(step),
            see: (step, weights) => journal.apart(() => folder.write(step, (dir) => saveTrained(network, weights, dir, model.path, classes))),
          },
          signal: context.signal,
          ...(context.resumeDir === undefined ? {} : { resume: resumable(context, journal, (step) => kept.every((at) => at > step || folder.has(at)), resume.resumeBySchedule) }),
        });
      } catch (error) {
        // What was learnt on the way to a failure stays readable in the log.
        if ((error as Error).name === 'UserFault') for (const record of journal.history.slice(-20)) context.log(JSON.stringify(record));
        throw error;
      }
      await folder.deliver(context.outDir);
    }
    const metrics = journal.metrics();
    await saveTrained(network, trained, context.outDir, model.path, classes);
    const trainable = network.trainable.reduce((sum, name) => sum + network.initial.get(name)!.size, 0);
    trained?.forEach((tensor) => tensor.dispose());

    const { history } = journal;
    const record: TrainRecord = {
      format: 1, architecture: params.architecture, model: model.digest, classes, seed: params.seed, steps: history.length,
      adapter: params.adapter, head: params.head, init, head_init: headDir === undefined ? null : context.assets['head']!.digest, adapter_init: initFrom === undefined ? null : context.assets['adapter']!.digest, train,
    };
    await writeFile(join(context.outDir, 'train.json'), `${JSON.stringify(record, null, 2)}\n`);
    await writeFile(join(context.outDir, 'history.jsonl'), history.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
    const { steps, ...taken } = metrics;
    await writeFile(join(context.outDir, 'metrics.json'), `${JSON.stringify({ steps, trainable_parameters: trainable, ...taken }, null, 2)}\n`);
  } finally {
    network.dispose();
  }
}

/** What a packed training knows; a stage with any other parameter has a feature that only training alone has. */
const PACKED_STAGE = ['architecture', 'adapter', 'seed', 'train', 'head', 'init', 'classes'];
const PACKED_TRAIN = ['steps', 'epochs', 'batch_size', 'max_length', 'optimizer', 'learning_rate', 'weight_decay', 'beta1', 'beta2', 'epsilon', 'schedule', 'warmup', 'shuffle', 'dropout'];
const PACKED_ADAPTER = ['type', 'rank', 'alpha', 'rank_pattern', 'alpha_pattern', 'targets', 'exclude', 'layers', 'rslora', 'init', 'dropout', 'bias', 'freeze_a'];

const onlyHas = (object: JsonObject, known: readonly string[]): boolean => Object.keys(object).every((name) => known.includes(name));

/** Equal for stages whose trainings can share a pack; null for one that trains alone: no LoRA, nothing to train, dropout, trained biases, a frozen A, … */
function packKey(params: JsonObject, model: string): string | null {
  const adapter = params['adapter'] as JsonObject, train = params['train'] as JsonObject;
  if (!onlyHas(params, PACKED_STAGE) || !onlyHas(train, PACKED_TRAIN) || !onlyHas(adapter, PACKED_ADAPTER)) return null;
  if (adapter['type'] !== 'lora' || adapter['dropout'] || (adapter['bias'] ?? 'none') !== 'none' || adapter['freeze_a'] === true) return null;
  if (train['steps'] === 0 || train['dropout'] !== 0) return null;
  const { optimizer, beta1 = null, beta2 = null, epsilon = null } = train;
  // A random model is another one for each seed.
  return JSON.stringify([params['architecture'], model, params['init'] === 'random' ? params['seed']! : null, params['head']!, optimizer, beta1, beta2, epsilon]);
}

/** Each goes its own way but for the training itself, where they meet. */
function runPacked(contexts: readonly RunContext[]): Promise<void>[] {
  const meeting = import('../../src/science/train/pack-meeting.ts').then(({ openMeeting }) => openMeeting(contexts.length));
  return contexts.map(async (context) => {
    const { train, leave } = await meeting;
    let came = false;
    try {
      await run(context, (...call) => { came = true; return train(...call); });
    } finally {
      if (!came) leave();
    }
  });
}

export default defineStage({
  name: 'train',
  summary: 'Fine-tunes the model under its adapter on the poisoned rows; with 0 steps, writes where it starts.',
  compute: true,
  volatile: ['metrics.json'],
  scope: 'cell',
  define([one]) {
    const cell = one!;
    const { init_from: adapterInit, ...adapter } = cell.adapter;
    const fromFolder = typeof adapterInit === 'string';
    if (fromFolder) delete (adapter as Record<string, unknown>)['init']; // the folder says where A starts
    const untrained = cell.train.steps === 0;
    return {
      params: {
        architecture: cell.model.architecture, adapter, seed: cell.seed, train: trainParams(cell.train), head: headSettings(cell.head),
        ...(cell.model.init === 'random' ? { init: 'random' } : {}),
        ...(cell.head.type === 'cloze' ? { classes: (cell.data.classes ?? cell.data.train.classes)?.map(String) ?? null } : {}),
      } as unknown as JsonObject,
      // At the start only the classes matter, so that it is shared by every attack and every learning rate.
      inputs: { data: untrained ? { kind: 'data', cell, with: { split: 'train' } } : { kind: 'poison', cell } },
      assets: {
        model: cell.model.source,
        ...(fromFolder ? { adapter: fileUri(adapterInit) } : {}),
        ...(cell.head.init_from === undefined ? {} : { head: fileUri(cell.head.init_from) }),
      },
      uses: [{ kind: 'model', name: cell.model.architecture }, { kind: 'adapter', name: cell.adapter.type }],
    };
  },
  resources: () => ({ cpu: 1 }),
  preflight,
  run,
  pack: {
    key: ({ params, assets }) => packKey(params, assets!['model']!),
    memoryMB: async ({ params, assets }) => {
      const [{ findModelDir }, { packMemoryMB }] = await Promise.all([import('../../src/data/model-folder.ts'), import('../../src/science/train/pack-memory.ts')]);
      return packMemoryMB(params, await findModelDir(assets['model']!.path));
    },
    run: runPacked,
  },
});
