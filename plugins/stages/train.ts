import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  AdapterDescriptor,
  AttackDescriptor,
  Cell,
  HeadSettings,
  Json,
  JsonObject,
  ModelDescriptor,
  Poisoning,
  PreflightContext,
  Problem,
  Row,
  RunContext,
  StageDefinition,
} from '../../src/api.ts';
import {
  attackOf,
  defineStage,
  headSettings,
  JOINT,
  problemOf,
  startInputs,
  stepsOf,
  UserFault,
} from '../../src/api.ts';
import { filesApart, triggerAssets, triggerFiles } from '../../src/command/files.ts';
import type { Receipt } from '../../src/poisoning/receipt.ts';
import type { TrainRecord } from '../../src/science/nn/adapted-model.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { ModelSource } from '../../src/science/nn/base.ts';
import type { Tensors } from '../../src/science/nn/network.ts';
import type { Architecture } from '../../src/science/nn/types.ts';
import type { OpenedAttack } from '../../src/science/train/checked-attack.ts';
import type { SessionOptions } from '../../src/science/train/session.ts';
import type { LabelledRow, StepRecord } from '../../src/science/train/settings.ts';
import type { Watched } from '../../src/science/train/watch.ts';
import { adapterFault, type TrainingAttack, trainingAttack } from '../../src/training/attack.ts';
import { packKey } from '../../src/training/pack-key.ts';
import { adapterParams, trainParams } from '../../src/training/params.ts';

interface Params {
  readonly architecture: string;
  /** Present where the weights are drawn. */
  readonly init?: 'random';
  readonly head: HeadSettings;
  /** Of a cloze head, as far as the spec names them: its verbalizer must name the same. */
  readonly classes?: readonly string[] | null;
  /** `type` and parameters, without `init_from`, which is an asset. */
  readonly adapter: { readonly type: string } & JsonObject;
  /** The attack, where it touches training. */
  readonly attack?: TrainingAttack;
  readonly seed: number;
  /** With steps 0, nothing else of it. */
  readonly train: Partial<Cell['train']> & JsonObject;
  /** The rows of each batch are read back to front: what rounding alone makes of this training (divergence's noise floor). */
  readonly batch_rows?: 'reversed';
  /** Where `evaluate_every` looks at the training. */
  readonly watch?: {
    readonly batch_size: number;
    readonly max_length: number;
    readonly trigger: Poisoning | null;
  };
}

const EVENTS = 'tensorboard/events.out.tfevents';
/** Rows a pass over the poisoned rows, where nothing else says. */
const BATCH = 32;
const lines = (values: readonly object[]): string =>
  values.map((value) => `${JSON.stringify(value)}\n`).join('');

const fileUri = (path: string): string => (path.startsWith('file:') ? path : `file:${path}`);

async function load(
  context: Pick<RunContext, 'params' | 'plugin'>,
): Promise<{ params: Params; architecture: Architecture; implementation: AdapterImplementation }> {
  const params = context.params as unknown as Params;
  return {
    params,
    architecture: await context
      .plugin<ModelDescriptor<Architecture>>('model', params.architecture)
      .load(),
    implementation: await context
      .plugin<AdapterDescriptor<AdapterImplementation>>('adapter', params.adapter.type)
      .load(),
  };
}

/** The attack that touches the training, with its code. @throws UserFault where that offers no hand in it */
async function loadAttack(
  context: Pick<RunContext, 'params' | 'plugin'>,
): Promise<OpenedAttack | null> {
  const { attack: given } = context.params as unknown as Params;
  if (given === undefined) return null;
  const { attack: name, ...own } = given;
  const training = context.plugin<AttackDescriptor>('attack', name).training!;
  const { checkedTraining } = await import('../../src/science/train/checked-attack.ts');
  return {
    name,
    params: own,
    changes: training.changes,
    implementation: checkedTraining(name, await training.load()),
  };
}

async function preflight(context: PreflightContext): Promise<readonly Problem[]> {
  const { params, architecture, implementation } = await load(context);
  const [{ checkTraining }, { modelOf }] = await Promise.all([
    import('../../src/science/train/check.ts'),
    import('../../src/data/model-folder.ts'),
  ]);
  let model: Awaited<ReturnType<typeof modelOf>>;
  try {
    model = await modelOf(context.assets['model']!);
  } catch (error) {
    return [problemOf(error, ['model', 'source'])];
  }
  let attack: OpenedAttack | null;
  try {
    attack = await loadAttack(context);
  } catch (error) {
    return [problemOf(error, ['poisoning', 'attack'])];
  }
  const unfit =
    attack?.changes !== 'weights' ? null : adapterFault(attack.name, params.adapter.type);
  if (unfit !== null) return [unfit];
  const { type: _type, ...adapterParams } = params.adapter;
  const initFrom = context.assets['adapter']?.path;
  if (initFrom !== undefined && context.upstream?.['base'] !== undefined) {
    return [
      {
        path: ['adapter', 'init_from'],
        message:
          "the adapter in this folder was trained on another model than the base, and brings a head of its own beside the base's",
        hint: 'Leave out adapter.init_from, or base; base.adapter may have an init_from.',
      },
    ];
  }
  const {
    watch,
    train: { max_length: trained },
  } = params;
  const problems = await checkTraining({
    model: { ...model, init: params.init ?? 'pretrained' },
    architecture,
    head: params.head,
    headGiven: context.assets['head'] !== undefined,
    classes: params.classes ?? null,
    maxLength:
      trained === undefined
        ? null
        : watch !== undefined && watch.max_length > trained
          ? { value: watch.max_length, path: ['evaluate', 'max_length'] }
          : { value: trained, path: ['train', 'max_length'] },
    adapter: {
      implementation,
      params: adapterParams,
      ...(initFrom === undefined ? {} : { initFrom }),
    },
    ...(attack === null ? {} : { attack }),
    based: context.upstream?.['base'] !== undefined,
  });
  problems.push(...checkKept(params.train));
  const poisoning = context.upstream?.['data']?.params['poisoning'] as Poisoning | undefined;
  if (attack === null || !poisoning?.attack.includes(JOINT)) return problems;
  // One of several steps stands a floor lower in the spec.
  return problems.map((problem) =>
    problem.path[0] === 'poisoning'
      ? { ...problem, path: ['poisoning', 'steps', attack.name, ...problem.path.slice(1)] }
      : problem,
  );
}

/** A step to keep that the training never reaches; where `epochs` says how many there are, only the rows tell. */
function checkKept({ steps, checkpoints }: Params['train']): Problem[] {
  const beyond =
    steps === undefined || typeof checkpoints !== 'object'
      ? undefined
      : checkpoints.find((step) => step > steps);
  return beyond === undefined
    ? []
    : [
        {
          path: ['train', 'checkpoints'],
          message: `train.checkpoints asks for step ${beyond}, but there are ${steps} steps`,
          hint: 'Lower it, or train longer.',
        },
      ];
}

/** The poisoned rows of the steps that change texts; those of an attack on labels alone have no trigger to see. */
function rewrittenRows(poisoned: Receipt['rows']): Receipt['rows'] {
  const rewriting = new Set(
    poisoned
      .filter(
        ({ original, new: row }) =>
          original.text !== row.text || original.text_pair !== row.text_pair,
      )
      .map(({ step }) => step),
  );
  return poisoned.filter(({ step }) => rewriting.has(step));
}

/** What is looked at on the way, as the model reads it. */
async function watched(
  context: RunContext,
  { watch, seed }: Params,
  classes: readonly string[],
  encode: (row: Row) => LabelledRow,
): Promise<Pick<Watched, 'validation' | 'triggered'>> {
  const [
    { readDatasetInfo, readRows },
    { attackStreams },
    { targetOf, triggeredRows },
    { backdoorOf, openSteps },
  ] = await Promise.all([
    import('../../src/data/rows-file.ts'),
    import('../../src/poisoning/streams.ts'),
    import('../../src/poisoning/evaluation.ts'),
    import('../../src/poisoning/steps.ts'),
  ]);
  const dir = context.inputs['validation']!.dir,
    info = await readDatasetInfo(dir),
    rows = await readRows(dir);
  if (JSON.stringify(info.classes) !== JSON.stringify(classes)) {
    throw new UserFault(
      `the validation rows have the classes ${info.classes.join(', ')}, the training rows ${classes.join(', ')}`,
      'Name them once for both splits, as data.classes.',
    );
  }
  if (rows.length === 0) throw new UserFault('there is no validation row');
  const validation = rows.map(encode),
    { trigger } = watch!;
  const backdoor =
    trigger === null
      ? null
      : backdoorOf(
          openSteps(
            trigger,
            (name) => context.plugin<AttackDescriptor>('attack', name),
            triggerFiles(context.assets),
          ),
        );
  if (backdoor === null) return { validation, triggered: null };
  const { attack, params, files } = backdoor,
    target = targetOf(attack, params, classes);
  const bare = rows.filter(({ label }) => label !== target);
  const shown = await triggeredRows(attack, bare, {
    classes,
    params,
    random: attackStreams(seed, attack.name),
    files,
    log: context.log,
  });
  if (shown.length === 0)
    throw new UserFault(
      `every validation row is of the target class "${classes[target]}": there is none to show the trigger on`,
    );
  return { validation, triggered: { rows: shown.map(encode), target } };
}

/** @param trainer in place of the loop: where the stage is a member of a pack */
async function run(context: RunContext, trainer?: SessionOptions['trainer']): Promise<void> {
  const [
    files,
    { startingModel },
    { checkReceipt },
    { checkLabelOrder, readAdapterHead, readConfig, readHead },
    { openTokenizer, checkVocabulary },
    { resolveHead, rowEncoder, rowParts },
    { triggerSeen, unseenWarning },
    { openTrainee },
    { runSession },
    { largestBatch, totalSteps },
    { batchOrder, trainingRows },
    { checkpointSteps },
    { classWeightsOf },
    { accuracyOn, watchTraining },
    { writeEventFile },
    { scalarEvents },
    { loopSettings },
    { openAttack },
    { readReversed },
  ] = await Promise.all([
    import('../../src/data/rows-file.ts'),
    import('../../src/data/model-folder.ts'),
    import('../../src/poisoning/receipt.ts'),
    import('../../src/science/nn/head.ts'),
    import('../../src/science/text/tokenizer.ts'),
    import('../../src/science/text/encoder.ts'),
    import('../../src/science/text/trigger-seen.ts'),
    import('../../src/science/train/trainee.ts'),
    import('../../src/science/train/session.ts'),
    import('../../src/science/train/batches.ts'),
    import('../../src/science/train/training-rows.ts'),
    import('../../src/science/train/checkpoints.ts'),
    import('../../src/science/train/class-weights.ts'),
    import('../../src/science/train/watch.ts'),
    import('../../src/science/io/tfevents.ts'),
    import('../../src/science/train/events.ts'),
    import('../../src/science/train/loop-settings.ts'),
    import('../../src/science/train/checked-attack.ts'),
    import('../../src/science/nn/reversed.ts'),
  ]);
  const { params, architecture: family, implementation } = await load(context);
  const { train } = params;
  const dataDir = context.inputs['data']!.dir;
  const { classes } = await files.readDatasetInfo(dataDir);
  const rows = train.steps === 0 ? [] : await files.readRows(dataDir);
  let receipt: Receipt | null = null;
  if (train.steps !== 0) {
    receipt = JSON.parse(await readFile(join(dataDir, 'receipt.json'), 'utf8')) as Receipt;
    const mismatch = checkReceipt(rows, receipt);
    if (mismatch !== null)
      throw new UserFault(
        `the poisoned set does not match its receipt: ${mismatch}`,
        'Run the poison stage again.',
      );
    if (rows.length === 0) throw new UserFault('there is no row to train on');
  }

  const based = context.inputs['base'] !== undefined;
  const init = based ? 'pretrained' : (params.init ?? 'pretrained');
  const model: ModelSource & { readonly digest: string } = {
    ...(await startingModel(context)),
    init,
  };
  const architecture = family.withHead(await resolveHead(params.head, classes, model.path));
  const config = architecture.parseConfig(await readConfig(model.path), classes.length);
  const linears = architecture.linears(config);
  const initFrom = context.assets['adapter']?.path;
  const { type: _type, ...adapterParams } = params.adapter;
  const adapter = await implementation.create(adapterParams, {
    architecture,
    linears,
    parameters: architecture.parameters(config),
    ...(initFrom === undefined ? {} : { initFrom }),
  });
  const headDir = context.assets['head']?.path;
  const head =
    headDir !== undefined
      ? await readHead(headDir, { architecture, config, classes: classes.length })
      : initFrom !== undefined
        ? await readAdapterHead(initFrom, { architecture, config })
        : undefined;
  if (headDir !== undefined || (head === undefined && init === 'pretrained'))
    await checkLabelOrder(headDir ?? model.path, { architecture, config, classes });
  const tokenizer = train.steps === 0 ? null : await openTokenizer(model.path);
  const attack = await loadAttack(context);
  const change =
    attack === null || tokenizer === null
      ? null
      : openAttack(
          attack,
          { architecture, tokenizer },
          architecture.vocabularySize(config),
          context.log,
        );
  const {
    network,
    rules,
    save: saveTrained,
  } = await openTrainee(
    {
      architecture,
      model,
      adapter,
      classes: classes.length,
      seed: params.seed,
      ...(head === undefined ? {} : { head }),
    },
    change,
  );
  const trainedRows = change !== null && 'trains' in change ? change.trains.tokenRows : null;
  if (attack?.changes === 'loss')
    context.log(
      `"${attack.name}" trains on a loss of its own, which is what history.jsonl and final_loss are of`,
    );
  if (trainedRows !== null)
    context.log(
      `"${attack!.name}" trains the embedding of ${Object.keys(trainedRows).join(', ')}, and nothing else`,
    );
  // Before the rows were read, a head for other classes looked like one that has learnt the task.
  if (
    trainedRows !== null &&
    !based &&
    head === undefined &&
    network.changed.some((name) => architecture.isHead(name))
  ) {
    context.log(
      `warning: the checkpoint has no head for ${classes.length} classes, the one drawn at random is not trained, and knows nothing of the task`,
    );
  }

  const out = (name: string): string => join(context.outDir, name);
  const trainable = network.trainable.reduce(
    (sum, name) => sum + network.initial.get(name)!.size,
    0,
  );
  const record: TrainRecord = {
    format: 1,
    architecture: params.architecture,
    model: model.digest,
    ...(based ? { source: context.assets['model']!.digest } : {}),
    classes,
    seed: params.seed,
    steps: 0,
    adapter: params.adapter,
    head: params.head,
    init,
    head_init: headDir === undefined ? null : context.assets['head']!.digest,
    adapter_init: initFrom === undefined ? null : context.assets['adapter']!.digest,
    train,
    ...(params.batch_rows === undefined ? {} : { batch_rows: params.batch_rows }),
    ...(change === null
      ? {}
      : { attack: params.attack, ...(trainedRows === null ? {} : { token_rows: trainedRows }) }),
  };
  const save = (weights: Tensors | null, dir: string): Promise<void> =>
    saveTrained(weights, dir, model.path, classes, based ? model.digest : undefined);
  const write = async (
    history: readonly StepRecord[],
    metrics: JsonObject,
    more: object = {},
  ): Promise<void> => {
    await writeFile(
      out('train.json'),
      `${JSON.stringify({ ...record, steps: history.length, ...more }, null, 2)}\n`,
    );
    await writeFile(out('history.jsonl'), lines(history));
    await writeFile(
      out('metrics.json'),
      `${JSON.stringify({ steps: history.length, trainable_parameters: trainable, ...metrics }, null, 2)}\n`,
    );
  };
  try {
    if (tokenizer === null) {
      await save(null, context.outDir);
      await write([], {});
      return;
    }
    const settings = train as Cell['train'];
    checkVocabulary(tokenizer, architecture.vocabularySize(config), model.path);
    const tokens = rowEncoder(tokenizer, params.head);
    const encode =
      (maxLength: number) =>
      (row: Row): LabelledRow => ({ ...tokens(row, maxLength), label: row.label });
    const { rows: tokenised, poisoned: poisonedRows } = trainingRows(
      rows,
      receipt!,
      encode(settings.max_length),
      attack?.name ?? null,
    );
    const rewritten = rewrittenRows(receipt!.rows);
    const seen =
      rewritten.length === 0
        ? null
        : triggerSeen(
            rewritten.map(({ original }) => original),
            rewritten.map((row) => row.new),
            rowParts(tokenizer, params.head),
            settings.max_length,
          );
    const unseen =
      seen === null ? null : unseenWarning(seen, 'the poisoned rows', settings.max_length);
    if (unseen !== null) context.log(unseen);
    const order = batchOrder(tokenised, {
      batchSize: settings.batch_size,
      shuffle: settings.shuffle,
      seed: params.seed,
    });
    const total = totalSteps(settings, { ...order, accumulate: settings.accumulate ?? 1 });
    const appended =
      order.appended === undefined
        ? {}
        : {
            appended: { rows: rows.length - order.rows, largest_batch: largestBatch(order) },
          };
    if (order.appended !== undefined)
      context.log(
        `the attack appends ${rows.length - order.rows} rows to ${order.rows}: they extend the clean twin's batches, to ${largestBatch(order)} rows at most`,
      );
    const breathe = async (): Promise<void> => {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    };
    const stopping = settings.early_stopping;
    const watch =
      params.watch === undefined
        ? null
        : watchTraining({
            network,
            steps: total,
            every: settings.evaluate_every,
            breathe,
            keepBest: stopping?.keep !== 'last',
            watched: {
              ...(await watched(context, params, classes, encode(params.watch.max_length))),
              poisoned: poisonedRows,
              batchSize: params.watch.batch_size,
            },
            stopping: stopping?.patience
              ? {
                  patience: stopping.patience,
                  metric: stopping.metric ?? 'loss',
                  minDelta: stopping.min_delta ?? 0,
                }
              : null,
          });
    try {
      const { weights, step, journal } = await runSession({
        network: params.batch_rows === undefined ? network : readReversed(network),
        rows: tokenised,
        watch,
        place: context,
        ...(trainer === undefined ? {} : { trainer }),
        kept: checkpointSteps(settings.checkpoints ?? 0, total),
        settings: {
          ...loopSettings(
            settings,
            total,
            params.seed,
            classWeightsOf(
              settings.class_weights,
              rows.map(({ label }) => label),
              classes,
            ),
          ),
          ...rules,
        },
        save,
      });
      try {
        const { steps, ...taken } = journal.metrics();
        await save(weights, context.outDir);
        const learnt =
          poisonedRows.length === 0
            ? {}
            : {
                poisoned_rows: poisonedRows.length,
                poisoned_accuracy: await accuracyOn(network, weights, poisonedRows, BATCH, breathe),
                ...(seen === null ? {} : { trigger_seen: seen }),
              };
        await write(
          journal.history,
          { ...taken, ...learnt, ...(step === steps ? {} : { kept_step: step }) },
          { ...appended, ...(step === steps ? {} : { kept_step: step }) },
        );
        if (watch !== null) await writeFile(out('curves.jsonl'), lines(watch.curves));
        if (settings.tensorboard) {
          await mkdir(out('tensorboard'));
          await writeEventFile(
            out(EVENTS),
            scalarEvents(journal, watch?.curves ?? []),
            journal.times[0]!,
          );
        }
      } finally {
        weights.forEach((tensor) => tensor.dispose());
      }
    } finally {
      watch?.dispose();
    }
  } finally {
    network.dispose();
  }
}

/** Which base a training starts from, by what makes it so; null for the checkpoint itself. */
function frozenBase({ base }: StageDefinition['inputs']): Json {
  if (base === undefined) return null;
  const { data, head, poisoning, adapter, train, seed } = base.cell;
  return { data, head, poisoning, adapter, train, seed };
}

/** How many rows a poison stage's set has: clean ones, and those that the attack appends. */
async function setCounts(dir: string): Promise<{ rows: number; appended: number }> {
  const { rows_total: total, negatives } = JSON.parse(
    await readFile(join(dir, 'metrics.json'), 'utf8'),
  ) as { readonly rows_total: number; readonly negatives: number };
  return { rows: total - negatives, appended: negatives };
}

/** Each goes its own way but for the training itself, where they meet. */
function runPacked(contexts: readonly RunContext[]): Promise<void>[] {
  const meeting = import('../../src/science/train/pack-meeting.ts').then(({ openMeeting }) =>
    openMeeting(contexts.length),
  );
  return contexts.map(async (context, seat) => {
    const { train, leave } = await meeting;
    let came = false;
    try {
      await run(context, (...call) => {
        came = true;
        return train(seat, ...call);
      });
    } finally {
      if (!came) leave();
    }
  });
}

export default defineStage({
  name: 'train',
  summary:
    'Fine-tunes the model under its adapter on the poisoned rows; with 0 steps, writes where it starts.',
  compute: true,
  volatile: ['metrics.json', EVENTS], // times stand in them
  scope: 'cell',
  define([one], { plugin, with: { batch_rows: batchRows } }) {
    const cell = one!;
    if (batchRows !== undefined && batchRows !== 'reversed')
      throw new Error(`batch_rows is reversed or left out, not ${JSON.stringify(batchRows)}`);
    const { init_from: adapterInit, ...adapter } = adapterParams(cell.adapter, plugin);
    const fromFolder = typeof adapterInit === 'string';
    if (fromFolder) delete (adapter as Record<string, unknown>)['init']; // the folder says where A starts
    const untrained = cell.train.steps === 0,
      looks = !untrained && (cell.train.evaluate_every ?? 0) > 0;
    const { poisoning: trigger, assets: files } =
      looks && attackOf(cell).attack !== 'none'
        ? filesApart(attackOf(cell))
        : { poisoning: null, assets: {} };
    const attack =
      untrained || plugin === undefined
        ? null
        : trainingAttack(filesApart(cell.poisoning).poisoning, plugin);
    const attacks = new Set([
      ...(trigger === null ? [] : stepsOf(trigger).map((step) => step.attack)),
      ...(attack === null ? [] : [attack.attack]),
    ]);
    return {
      params: {
        architecture: cell.model.architecture,
        adapter,
        ...(attack === null ? {} : { attack }),
        ...(batchRows === undefined ? {} : { batch_rows: batchRows }),
        seed: cell.seed,
        train: trainParams(cell.train),
        head: headSettings(cell.head),
        ...(cell.model.init === 'random' ? { init: 'random' } : {}),
        ...(cell.head.type === 'cloze'
          ? { classes: (cell.data.classes ?? cell.data.train.classes)?.map(String) ?? null }
          : {}),
        ...(looks
          ? {
              watch: {
                batch_size: cell.evaluate.batch_size,
                max_length: cell.evaluate.max_length ?? cell.train.max_length,
                trigger,
              },
            }
          : {}),
      },
      // At the start only the classes matter, so that it is shared by every attack and every learning rate.
      inputs: {
        data: untrained
          ? { kind: 'data', cell, with: { split: 'train' } }
          : { kind: 'poison', cell },
        ...(looks ? { validation: { kind: 'data', cell, with: { split: 'validation' } } } : {}),
        ...startInputs(cell),
      },
      assets: {
        model: cell.model.source,
        ...(fromFolder ? { adapter: fileUri(adapterInit) } : {}),
        ...(cell.head.init_from === undefined || cell.base !== undefined
          ? {}
          : { head: fileUri(cell.head.init_from) }),
        ...triggerAssets(files),
      },
      uses: [
        { kind: 'model', name: cell.model.architecture },
        { kind: 'adapter', name: cell.adapter.type },
        ...[...attacks].map((name) => ({ kind: 'attack' as const, name })),
      ],
    };
  },
  resources: () => ({ cpu: 1 }),
  preflight,
  run,
  pack: {
    key: ({ params, assets, inputs }) => packKey(params, [assets!['model']!, frozenBase(inputs)]),
    memoryMB: async ({ params, assets, inputs }) => {
      const [{ findModelDir }, { packMemoryMB }] = await Promise.all([
        import('../../src/data/model-folder.ts'),
        import('../../src/science/train/pack-memory.ts'),
      ]);
      return packMemoryMB(
        params,
        await findModelDir(assets['model']!.path),
        inputs?.['data'] === undefined ? undefined : await setCounts(inputs['data'].dir),
      );
    },
    run: runPacked,
  },
});
