import { readFile, writeFile } from 'node:fs/promises';
import { memoryUsage } from 'node:process';
import { join } from 'node:path';
import { defineStage, problemOf, UserFault } from '../../src/api.ts';
import type { AdapterDescriptor, Cell, JsonObject, ModelDescriptor, Problem, RunContext } from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { TrainRecord } from '../../src/science/nn/adapted-model.ts';
import type { Receipt } from '../../src/poisoning/receipt.ts';
import type { Architecture } from '../../src/science/nn/types.ts';
import type { StepRecord } from '../../src/science/train/loop.ts';

interface Params {
  readonly architecture: string;
  /** `type` and parameters, without `init_from`, which is an asset. */
  readonly adapter: { readonly type: string } & JsonObject;
  readonly seed: number;
  /** With steps 0, nothing else of it. */
  readonly train: Partial<Cell['train']> & JsonObject;
}

const fileUri = (path: string): string => path.startsWith('file:') ? path : `file:${path}`;

/** What the optimiser and the schedule read, and no more: an unread field must not make another stage. */
function trainParams(train: Cell['train']): JsonObject {
  if (train.steps === 0) return { steps: 0 };
  const { steps, epochs, beta1, beta2, epsilon, ...rest } = train;
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
    model, architecture,
    maxLength: params.train.max_length === undefined ? null : { value: params.train.max_length, path: ['train', 'max_length'] },
    adapter: { implementation, params: adapterParams, ...(initFrom === undefined ? {} : { initFrom }) },
  });
}

async function run(context: RunContext): Promise<void> {
  const [files, { modelOf }, { checkReceipt }, { openNetwork }, { readConfig, readHead }, { openTokenizer, checkVocabulary }, { saveTrained }, loop, { totalSteps }] = await Promise.all([
    import('../../src/data/rows-file.ts'), import('../../src/data/model-folder.ts'), import('../../src/poisoning/receipt.ts'), import('../../src/science/nn/network.ts'), import('../../src/science/nn/head.ts'),
    import('../../src/science/text/tokenizer.ts'), import('../../src/science/train/save.ts'), import('../../src/science/train/loop.ts'), import('../../src/science/train/batches.ts'),
  ]);
  const { params, architecture, implementation } = await load(context);
  const { train } = params;
  const dataDir = context.inputs['data']!.dir;
  const { classes } = await files.readDatasetInfo(dataDir);
  const rows = train.steps === 0 ? [] : await files.readRows(dataDir);
  if (train.steps !== 0) {
    const mismatch = checkReceipt(rows, JSON.parse(await readFile(join(dataDir, 'receipt.json'), 'utf8')) as Receipt);
    if (mismatch !== null) throw new UserFault(`the poisoned set does not match its receipt: ${mismatch}`, 'Run the poison stage again.');
    if (rows.length === 0) throw new UserFault('there is no row to train on');
  }

  const model = await modelOf(context.assets['model']!);
  const config = architecture.parseConfig(await readConfig(model.path), classes.length);
  const linears = architecture.linears(config);
  const initFrom = context.assets['adapter']?.path;
  const { type: _type, ...adapterParams } = params.adapter;
  const adapter = await implementation.create(adapterParams, { architecture, linears, ...(initFrom === undefined ? {} : { initFrom }) });
  const headDir = context.assets['head']?.path;
  const head = headDir === undefined ? undefined : await readHead(headDir, { architecture, config, classes: classes.length });
  const network = await openNetwork({ architecture, model, adapter, classes: classes.length, seed: params.seed, ...(head === undefined ? {} : { head }) });

  const history: StepRecord[] = [];
  let steps = 0, examples = 0, tokens = 0, peak = 0, seconds = 0;
  try {
    let trained: Awaited<ReturnType<typeof loop.train>> | null = null;
    if (train.steps !== 0) {
      const settings = train as Cell['train'];
      const tokenizer = await openTokenizer(model.path);
      checkVocabulary(tokenizer, architecture.vocabularySize(config), model.path);
      const tokenised = rows.map((row) => ({ ...tokenizer.encode(row.text, row.text_pair, settings.max_length), label: row.label }));
      const total = totalSteps(settings, { rows: rows.length, batchSize: settings.batch_size });
      const every = Math.ceil(total / 100);
      const started = performance.now();
      try {
        trained = await loop.train(network, tokenised, {
          steps: total, batchSize: settings.batch_size, optimizer: settings.optimizer, learningRate: settings.learning_rate, weightDecay: settings.weight_decay,
          beta1: settings.beta1 ?? 0, beta2: settings.beta2 ?? 0, epsilon: settings.epsilon ?? 0, schedule: settings.schedule, warmup: settings.warmup,
          shuffle: settings.shuffle, dropout: settings.dropout, seed: params.seed,
        }, {
          onStep: async (record, batch) => {
            history.push(record);
            steps = record.step;
            examples += batch.rows;
            tokens += batch.tokens;
            peak = Math.max(peak, memoryUsage.rss());
            if (record.step % every === 0) context.log(`step ${record.step} of ${total}: loss ${record.loss.toPrecision(5)}, learning rate ${record.learning_rate.toPrecision(4)}`);
            context.progress(record.step, total, 'steps');
            await new Promise((resolve) => { setImmediate(resolve); }); // an abort is heard between steps
            context.signal.throwIfAborted();
          },
        });
      } catch (error) {
        // What was learnt on the way to a failure stays readable in the log.
        if ((error as Error).name === 'UserFault') for (const record of history.slice(-20)) context.log(JSON.stringify(record));
        throw error;
      }
      seconds = (performance.now() - started) / 1000;
    }
    await saveTrained(network, trained, context.outDir, model.path, classes);
    const trainable = network.trainable.reduce((sum, name) => sum + network.initial.get(name)!.size, 0);
    trained?.forEach((tensor) => tensor.dispose());

    const record: TrainRecord = {
      format: 1, architecture: params.architecture, model: model.digest, classes, seed: params.seed, steps,
      adapter: params.adapter, head: headDir === undefined ? null : context.assets['head']!.digest, adapter_init: initFrom === undefined ? null : context.assets['adapter']!.digest, train,
    };
    await writeFile(join(context.outDir, 'train.json'), `${JSON.stringify(record, null, 2)}\n`);
    await writeFile(join(context.outDir, 'history.jsonl'), history.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
    await writeFile(join(context.outDir, 'metrics.json'), `${JSON.stringify({
      steps, trainable_parameters: trainable,
      ...(steps === 0 ? {} : {
        examples, tokens, seconds, examples_per_second: examples / seconds, tokens_per_second: tokens / seconds,
        final_loss: history[steps - 1]!.loss, peak_memory_mb: peak / 2 ** 20,
      }),
    }, null, 2)}\n`);
  } finally {
    network.dispose();
  }
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
      params: { architecture: cell.model.architecture, adapter, seed: cell.seed, train: trainParams(cell.train) } as unknown as JsonObject,
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
});
