import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  AdapterDescriptor,
  AttackDescriptor,
  Cell,
  DefineRequest,
  ModelDescriptor,
  Poisoning,
  RunContext,
  StageRequest,
} from '../../src/api.ts';
import {
  attackOf,
  baseOf,
  cleanTwin,
  defineStage,
  isAttacked,
  isOfBase,
  startInputs,
  stepsOf,
  UserFault,
} from '../../src/api.ts';
import { filesApart, triggerAssets, triggerFiles } from '../../src/command/files.ts';
import { familyOfSteps, openSteps } from '../../src/poisoning/steps.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { Architecture } from '../../src/science/nn/types.ts';

interface Params {
  readonly architecture: string;
  readonly adapter: string;
  readonly batch_size: number;
  readonly max_length: number;
  /** Whether that is `train.max_length`, whose faults the train stage reports. */
  readonly inherited: boolean;
  /** The attack under whose trigger rows are shown as well: `attack` and its parameters. */
  readonly trigger: Poisoning | null;
  /** Of the trigger's streams; null without one. */
  readonly seed: number | null;
}

/** The attack with its parameters, where it has a trigger: no other is evaluated under one. */
function triggerOf(cell: Cell, plugin: DefineRequest['plugin']): Poisoning | null {
  if (!isAttacked(cell)) return null;
  const poisoning = attackOf(cell);
  const descriptors = stepsOf(poisoning).map(({ attack }) =>
    plugin?.<AttackDescriptor>('attack', attack),
  );
  // An attack that isn't there is the planner's to tell.
  if (!descriptors.every((descriptor) => descriptor !== undefined)) return poisoning;
  const family = familyOfSteps(
    openSteps(poisoning, (name) => descriptors.find((descriptor) => descriptor.name === name)!),
  );
  return family === 'backdoor' ? poisoning : null;
}

/** The cell's clean twin, under the same trigger where there is one: else it is the clean cell's own evaluation. */
function twinOf(cell: Cell, plugin: DefineRequest['plugin']): StageRequest {
  const trigger = triggerOf(cell, plugin);
  return {
    kind: 'evaluate',
    cell: cleanTwin(cell, plugin),
    ...(trigger === null ? {} : { with: { trigger } }),
  };
}

/** The base's own evaluation, where the attack is the base's: what it had done before the cell's training. */
function beforeOf(cell: Cell): { readonly before?: StageRequest } {
  return isOfBase(cell)
    ? { before: { kind: 'evaluate', cell: baseOf(cell)!, section: 'base' } }
    : {};
}

async function run(context: RunContext): Promise<void> {
  const [
    files,
    { startingModel },
    { attackStreams },
    { falselyTriggeredRows, targetOf, triggeredRows },
    { backdoorOf, openSteps },
    { openRowEncoder, openRowParts, openTrained },
    { predict },
    { argmax, classificationMetrics },
    { predictionsCsv },
    { againstMajority, againstUntriggered },
    { triggerSeen, unseenWarning },
  ] = await Promise.all([
    import('../../src/data/rows-file.ts'),
    import('../../src/data/model-folder.ts'),
    import('../../src/poisoning/streams.ts'),
    import('../../src/poisoning/evaluation.ts'),
    import('../../src/poisoning/steps.ts'),
    import('../../src/science/nn/adapted-model.ts'),
    import('../../src/science/evaluate/predict.ts'),
    import('../../src/science/evaluate/metrics.ts'),
    import('../../src/science/evaluate/predictions.ts'),
    import('../../src/science/evaluate/baselines.ts'),
    import('../../src/science/text/trigger-seen.ts'),
  ]);
  const params = context.params as unknown as Params;
  const dataDir = context.inputs['validation']!.dir;
  const { classes } = await files.readDatasetInfo(dataDir);
  const rows = await files.readRows(dataDir);
  if (rows.length === 0) throw new UserFault('there is no validation row');
  const model = await startingModel(context);
  const { network, record } = await openTrained({
    trainDir: context.inputs['model']!.dir,
    model,
    architecture: await context
      .plugin<ModelDescriptor<Architecture>>('model', params.architecture)
      .load(),
    adapter: await context
      .plugin<AdapterDescriptor<AdapterImplementation>>('adapter', params.adapter)
      .load(),
  });
  try {
    if (JSON.stringify(record.classes) !== JSON.stringify(classes)) {
      throw new UserFault(
        `the validation rows have the classes ${classes.join(', ')}, the training rows ${record.classes.join(', ')}`,
        'Name them once for both splits, as data.classes.',
      );
    }
    const count = classes.length;
    const encodeRow = await openRowEncoder(context.inputs['model']!.dir, model);
    const encode = (some: typeof rows) => some.map((row) => encodeRow(row, params.max_length));
    const backdoor =
      params.trigger === null
        ? null
        : backdoorOf(
            openSteps(
              params.trigger,
              (name) => context.plugin<AttackDescriptor>('attack', name),
              triggerFiles(context.assets),
            ),
          );
    const target = backdoor === null ? null : targetOf(backdoor.attack, backdoor.params, classes);
    const bare = target === null ? [] : rows.filter(({ label }) => label !== target);
    if (target !== null && bare.length === 0)
      throw new UserFault(
        `every validation row is of the target class "${classes[target]}": there is none to show the trigger on`,
      );

    const given =
      backdoor === null
        ? null
        : {
            classes,
            params: backdoor.params,
            random: attackStreams(params.seed!, backdoor.attack.name),
            files: backdoor.files,
            log: context.log,
          };
    const shown = given === null ? [] : await triggeredRows(backdoor!.attack, bare, given);
    const partly = given === null ? [] : await falselyTriggeredRows(backdoor!.attack, bare, given);
    const total = rows.length + shown.length + partly.length;
    const breathe =
      (before: number) =>
      async (done: number): Promise<void> => {
        context.progress(before + done, total, 'rows');
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
        context.signal.throwIfAborted();
      };
    const labels = rows.map(({ label }) => label);
    const logits = await predict(network, encode(rows), params.batch_size, breathe(0));
    const untriggered = argmax(logits, count);
    const metrics: Record<string, number> = {
      ...classificationMetrics(logits, labels, count),
      ...againstMajority(labels, untriggered, count),
    };
    const sets = [{ ids: rows.map(({ id }) => id), labels, logits, triggered: false }];

    const { twin, before } = context.inputs;
    const metricsIn = async (dir: string) =>
      JSON.parse(await readFile(join(dir, 'metrics.json'), 'utf8')) as Record<string, number>;
    const clean = twin === undefined ? null : await metricsIn(twin.dir);
    if (clean !== null) {
      metrics['accuracy_drop'] = clean['accuracy']! - metrics['accuracy']!;
      metrics['predicted_share_clean'] = clean['predicted_share']!;
      metrics['majority_p_clean'] = clean['majority_p']!;
    }
    const base = before === undefined ? null : await metricsIn(before.dir);
    if (base !== null) metrics['accuracy_drop_before'] = base['accuracy_drop']!;

    if (target !== null) {
      const triggered = await predict(
        network,
        encode(shown),
        params.batch_size,
        breathe(rows.length),
      );
      const predictions = argmax(triggered, count);
      const share = (hit: (prediction: number, i: number) => boolean): number =>
        predictions.filter(hit).length / predictions.length;
      const rate = share((prediction) => prediction === target);
      metrics['triggered_rows'] = bare.length;
      metrics['robust_accuracy'] = share((prediction, i) => prediction === bare[i]!.label);
      if (clean === null)
        metrics['trigger_rate'] = rate; // of a model that no attack touched
      else {
        metrics['asr'] = rate;
        metrics['asr_clean'] = clean['trigger_rate']!;
        metrics['asr_minus_clean'] = rate - clean['trigger_rate']!;
        if (base !== null) metrics['asr_before'] = base['asr']!;
        Object.assign(
          metrics,
          againstUntriggered(
            untriggered.filter((_, i) => labels[i] !== target),
            predictions,
            target,
          ),
        );
      }
      const seen = triggerSeen(
        bare,
        shown,
        await openRowParts(context.inputs['model']!.dir, model),
        params.max_length,
      );
      metrics['trigger_seen'] = seen;
      const unseen = unseenWarning(seen, 'the triggered validation rows', params.max_length);
      if (unseen !== null) context.log(unseen);
      if (partly.length > 0) {
        const wrong =
          argmax(
            await predict(
              network,
              encode(partly),
              params.batch_size,
              breathe(rows.length + shown.length),
            ),
            count,
          ).filter((prediction) => prediction === target).length / partly.length;
        metrics['false_trigger_rows'] = partly.length;
        metrics['false_trigger_rate'] = wrong;
        if (clean !== null) metrics['false_trigger_rate_clean'] = clean['false_trigger_rate']!;
      }
      sets.push({
        ids: bare.map(({ id }) => id),
        labels: bare.map(({ label }) => label),
        logits: triggered,
        triggered: true,
      });
    }
    await writeFile(join(context.outDir, 'metrics.json'), `${JSON.stringify(metrics, null, 2)}\n`);
    await writeFile(join(context.outDir, 'predictions.csv'), predictionsCsv(sets, count));
    context.log(
      Object.entries(metrics)
        .map(([name, value]) => `${name} ${Number.isInteger(value) ? value : value.toFixed(4)}`)
        .join(', '),
    );
  } finally {
    network.dispose();
  }
}

export default defineStage({
  name: 'evaluate',
  summary:
    'Scores the trained model on the validation rows, and under the trigger of a backdoor on the rows of other classes.',
  compute: true,
  scope: 'cell',
  define([one], { with: narrowed, plugin }) {
    const cell = one!;
    const poisoned = isAttacked(cell);
    const written = (narrowed['trigger'] ?? triggerOf(cell, plugin)) as Params['trigger'];
    const { poisoning: trigger, assets: files } =
      written === null ? { poisoning: null, assets: {} } : filesApart(written);
    return {
      params: {
        architecture: cell.model.architecture,
        adapter: cell.adapter.type,
        batch_size: cell.evaluate.batch_size,
        max_length: cell.evaluate.max_length ?? cell.train.max_length,
        inherited: cell.evaluate.max_length === undefined,
        trigger,
        seed: trigger === null ? null : cell.seed,
      },
      inputs: {
        model: { kind: 'train', cell },
        validation: { kind: 'data', cell, with: { split: 'validation' } },
        ...(poisoned ? { twin: twinOf(cell, plugin), ...beforeOf(cell) } : {}),
        ...startInputs(cell),
      },
      assets: { model: cell.model.source, ...triggerAssets(files) },
      uses: [
        { kind: 'model', name: cell.model.architecture },
        { kind: 'adapter', name: cell.adapter.type },
        ...(trigger === null
          ? []
          : stepsOf(trigger).map(({ attack }) => ({ kind: 'attack' as const, name: attack }))),
      ],
    };
  },
  resources: () => ({ cpu: 1 }),
  async preflight({ params, assets, plugin }) {
    const { architecture: name, max_length: maxLength, inherited } = params as unknown as Params;
    if (inherited) return [];
    const [{ checkRows }, { modelOf }] = await Promise.all([
      import('../../src/science/train/check.ts'),
      import('../../src/data/model-folder.ts'),
    ]);
    const architecture = await plugin<ModelDescriptor<Architecture>>('model', name).load();
    try {
      return await checkRows((await modelOf(assets['model']!)).path, architecture, {
        value: maxLength,
        path: ['evaluate', 'max_length'],
      });
    } catch (error) {
      if ((error as Error).name === 'UserFault') return []; // the train stage's to report
      throw error;
    }
  },
  run,
});
