/** Opens a defence in a stage that runs one of its parts. */
import type {
  DefenceContext,
  DefenceDescriptor,
  DefenceHook,
  JsonObject,
  Judge,
  Row,
  RowsDefence,
  RunContext,
} from '../../../src/api.ts';
import { randomStream } from '../../../src/base/random.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import { asking, readOnly } from '../../../src/poisoning/read-only.ts';
import {
  evaluated,
  type OpenedModel,
  openedModel,
} from '../../../src/science/measures/evaluate/predict.ts';
import { trainedWeights, type WeightsContext } from '../../../src/science/measures/weights/edit.ts';
import type { Network } from '../../../src/science/models/network.ts';
import {
  openRowEncoder,
  openTrained,
  type TrainRecord,
} from '../../../src/science/training/adapted-model.ts';
import { DEFENCE_ASSET, type DefenceParams, type ModelParams } from '../shared/defended.ts';
import { yieldToEventLoop } from '../shared/event-loop.ts';
import { inputDir } from '../shared/files.ts';
import { type ModelParts, modelParts } from '../shared/trained-model.ts';

interface Defending {
  readonly defence: DefenceParams;
  /** The seed of the defence's streams. */
  readonly seed: number;
  readonly classes: readonly string[];
}

/**
 * Returns what a part of the defence is handed.
 * @param more the model and the poisoned rows, where the part needs them
 */
export async function defenceContext(
  context: Pick<
    RunContext,
    'assets' | 'inputs' | 'plugin' | 'log' | 'warn' | 'progress' | 'signal'
  >,
  { defence, seed, classes }: Defending,
  more: Pick<DefenceContext<JsonObject, OpenedModel>, 'model' | 'poisoned'> = {},
): Promise<DefenceContext<JsonObject, OpenedModel>> {
  const { assets, inputs, log, warn, progress, signal } = context;
  const { defence: name, ...params } = defence;
  const own = Object.entries(assets)
    .filter(([asset]) => asset.startsWith(DEFENCE_ASSET))
    .map(([asset, value]) => [asset.slice(DEFENCE_ASSET.length), value] as const);
  const clean = inputs['clean'];
  return {
    params: { ...params, ...Object.fromEntries(own.map(([field, { uri }]) => [field, uri])) },
    classes,
    clean: clean === undefined ? [] : readOnly(await readRows(clean.dir)),
    assets: Object.fromEntries(own),
    plugin: (kind, plugin) => context.plugin(kind, plugin),
    random: (purpose, of = '') => randomStream(seed, `defence.${name}.${purpose}`, of),
    log,
    warn,
    progress,
    signal,
    ...more,
  };
}

export const openedDefence = (
  context: Pick<RunContext, 'plugin'>,
  { defence }: Defending['defence'],
): DefenceDescriptor => context.plugin<DefenceDescriptor>('defence', defence);

export async function fittedJudge(
  hook: DefenceHook<RowsDefence<never, never>> | undefined,
  name: string,
  context: DefenceContext<JsonObject, OpenedModel>,
): Promise<Judge> {
  if (hook === undefined) throw new Error(`the defence "${name}" judges no rows here`);
  const implementation = (await hook.load()) as RowsDefence<JsonObject, OpenedModel>;
  return asking(name, () => implementation.fit(context), 'defence');
}

/** Asks the judge about rows, which are frozen from here on. */
export const judged = (
  name: string,
  judge: Judge,
  rows: readonly Row[],
): Promise<Awaited<ReturnType<Judge['judge']>>> =>
  asking(name, () => judge.judge(readOnly(rows)), 'defence');

interface OpenedWeights {
  readonly given: WeightsContext;
  readonly network: Network;
  readonly record: TrainRecord;
  readonly model: ModelParts['model'];
}

/** Calls `use` with the opened models, and closes them. */
export async function withWeights<T>(
  context: RunContext<ModelParams>,
  use: (opened: OpenedWeights) => Promise<T>,
): Promise<T> {
  const { params, signal } = context;
  const parts = await modelParts(context);
  const trainDir = inputDir(context, 'model');
  const { network, record } = await openTrained({ ...parts, trainDir });
  try {
    const start = await openTrained({ ...parts, trainDir: inputDir(context, 'start') });
    try {
      const encode = await openRowEncoder(trainDir, parts.model);
      const onBatch = (): Promise<void> => yieldToEventLoop(signal);
      const model = openedModel({
        model: evaluated(network),
        network,
        encode: (row) => encode(row, params.max_length),
        batchSize: params.batch_size,
        onBatch,
      });
      const given = {
        ...(await defenceContext(context, { ...params, classes: record.classes }, { model })),
        ...(await trainedWeights(model, start.network, onBatch)),
      };
      return await use({ given, network, record, model: parts.model });
    } finally {
      start.network.dispose();
    }
  } finally {
    network.dispose();
  }
}
