import type {
  DefenceContext,
  DefenceDescriptor,
  DefenceHook,
  JsonObject,
  Judge,
  Judgement,
  Row,
  RowsDefence,
  RunContext,
} from '../../../src/api.ts';
import { randomStream } from '../../../src/base/random.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import { callReadOnly, readOnly } from '../../../src/poisoning/read-only.ts';
import { type OpenedModel, openedModel } from '../../../src/science/measures/evaluate/predict.ts';
import {
  inputNorms,
  trainedWeights,
  type WeightsContext,
} from '../../../src/science/measures/weights/edit.ts';
import type { ModelWeights } from '../../../src/science/measures/weights/effective.ts';
import type { TokenRow } from '../../../src/science/models/types.ts';
import { openRowEncoder, type TrainRecord } from '../../../src/science/training/adapted-model.ts';
import { DEFENCE_ASSET, type DefenceParams, type ModelParams } from '../shared/defended.ts';
import { yieldToEventLoop } from '../shared/event-loop.ts';
import { inputDir } from '../shared/files.ts';
import { assetsBelow } from '../shared/program-files.ts';
import { type ModelParts, modelParts, openModel, openWeights } from '../shared/trained-model.ts';

/**
 * Returns what each hook of the defence is handed. There are no `clean` rows if the stage has no
 * input `clean`.
 * @param more what is handed only to hooks that need it
 */
export async function defenceContext(
  context: Pick<
    RunContext,
    'assets' | 'backend' | 'inputs' | 'plugin' | 'log' | 'warn' | 'progress' | 'signal'
  >,
  { defence: { defence: name, ...params }, seed, classes }: OwnParts,
  more: Pick<DefenceContext<JsonObject, OpenedModel>, 'model' | 'poisoned'> = {},
): Promise<DefenceContext<JsonObject, OpenedModel>> {
  const { assets, backend, inputs, log, warn, progress, signal } = context;
  const given = assetsBelow(DEFENCE_ASSET, assets);
  const clean = inputs['clean'];
  return {
    params: { ...params, ...Object.fromEntries(given.map(([field, { uri }]) => [field, uri])) },
    backend,
    classes,
    clean: clean === undefined ? [] : readOnly(await readRows(clean.dir)),
    assets: Object.fromEntries(given),
    plugin: (kind, plugin) => context.plugin(kind, plugin),
    random: (purpose, of = '') => randomStream(seed, `defence.${name}.${purpose}`, of),
    log,
    warn,
    progress,
    signal,
    ...more,
  };
}

type OwnParts = Pick<ModelParams, 'defence' | 'seed'> & Pick<DefenceContext, 'classes'>;

export const defenceDescriptor = (
  context: Pick<RunContext, 'plugin'>,
  { defence }: DefenceParams,
): DefenceDescriptor => context.plugin<DefenceDescriptor>('defence', defence);

/**
 * Lets the defence fit its judge, and returns the judge. The caller closes it. Throws if the
 * defence has no `hook`.
 */
export async function fitJudge(
  hook: DefenceHook<RowsDefence<never, never>> | undefined,
  name: string,
  context: DefenceContext<JsonObject, OpenedModel>,
): Promise<Judge> {
  if (hook === undefined) throw new Error(`the defence "${name}" judges no rows here`);
  const implementation = (await hook.load()) as RowsDefence<JsonObject, OpenedModel>;
  return callReadOnly(name, () => implementation.fit(context), 'defence');
}

/** Asks the judge about rows, which are frozen so that the defence cannot change them. */
export const judgeRows = (name: string, judge: Judge, rows: readonly Row[]): Promise<Judgement> =>
  callReadOnly(name, () => judge.judge(readOnly(rows)), 'defence');

export type DefendedModel = Awaited<ReturnType<typeof openDefended>>;

/**
 * Opens the trained model in `trainDir`. The caller disposes of it. `asked` is the model as a
 * defence is handed it, `encode` encodes a row for it, and `onBatch` lets messages and aborts
 * through between batches.
 */
export async function openDefended(
  { backend, signal }: Pick<RunContext, 'backend' | 'signal'>,
  parts: ModelParts,
  trainDir: string,
  { batch_size: batchSize, max_length: maxLength }: Pick<ModelParams, 'batch_size' | 'max_length'>,
) {
  const encodeRow = await openRowEncoder(trainDir, parts.model);
  const opened = await openModel({ backend }, { ...parts, trainDir });
  const encode = (row: Row): TokenRow => encodeRow(row, maxLength);
  const onBatch = (): Promise<void> => yieldToEventLoop(signal);
  const asked = openedModel({ ...opened, encode, batchSize, onBatch });
  return { ...opened, encode, onBatch, asked };
}

/**
 * Opens the trained model and the model that it started from, calls `use` with what the defence is
 * handed, the trained weights and the training's record, and closes both models.
 */
export async function withWeights(
  context: RunContext<ModelParams>,
  use: (given: WeightsContext, weights: ModelWeights, record: TrainRecord) => Promise<void>,
): Promise<void> {
  const { params } = context;
  const parts = await modelParts(context);
  const opened = await openDefended(context, parts, inputDir(context, 'model'), params);
  const { network, record, torch, weights, encode, onBatch, asked: model } = opened;
  try {
    const start = await openWeights(context, { ...parts, trainDir: inputDir(context, 'start') });
    try {
      const given = {
        ...(await defenceContext(context, { ...params, classes: record.classes }, { model })),
        ...(await trainedWeights(weights, start.weights)),
        inputNorms: async (rows: readonly Row[]) => {
          const asked = [rows.map(encode), params.batch_size, onBatch] as const;
          return torch?.inputNorms(...asked) ?? inputNorms(network!, ...asked);
        },
      };
      await use(given, weights, record);
    } finally {
      start.dispose();
    }
  } finally {
    opened.dispose();
  }
}
