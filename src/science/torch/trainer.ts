/** Trainings in PyTorch's process. */
import type { JsonObject } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { at, named } from '../../base/lookup.ts';
import {
  decodeArray,
  type TorchOperations,
  type WireObjective,
  type WireRows,
  type WireSteps,
  type WireTraining,
} from '../../torch/protocol.ts';
import type { TorchWorker } from '../../torch/worker.ts';
import { sha256OfFile } from '../models/io/large.ts';
import { findState, storeState } from '../models/io/saved-state.ts';
import { similarLengths } from '../models/layout.ts';
import type { TokenRow } from '../models/types.ts';
import type { EngineChange, TokenRows } from '../training/attack-training.ts';
import { readRows, runSteps, type StepTaker } from '../training/loop.ts';
import { savingSchedule } from '../training/resume.ts';
import type {
  ModelInTraining,
  TrainedModel,
  Trainer,
  TrainerHooks,
  TrainerOptions,
} from '../training/session.ts';
import type { LabelledRow, StepRecord, TrainSettings } from '../training/settings.ts';
import { isBiasOrNorm } from '../training/trained-values.ts';
import {
  openTorchModel,
  readTorchStart,
  saveStart,
  type TorchModel,
  type TorchStart,
  wireName,
  wireRows,
} from './model.ts';

/**
 * Opens a model that PyTorch trains. Throws UserFault where the checkpoint does not fit.
 * @param changer how an attack or defence changes the training; null where none does
 */
export async function openTorchTrainer(
  { savedAs, reversed = false, ...options }: TrainerOptions,
  changer: EngineChange | null = null,
): Promise<Trainer> {
  const start = await readTorchStart(options);
  const change = changer?.change ?? null;
  const rows = change !== null && 'trains' in change ? change.trains : null;
  const { adapter, architecture, classes } = options;
  const shapes = new Map(
    [...start.parameters, ...adapter.parameters].map((p) => [p.name, p.shape]),
  );
  const countEntries = (name: string): number => named(shapes, name).reduce((a, b) => a * b, 1),
    width = shapes.get(architecture.tokenTable ?? '')?.[1] ?? 0; // of the token table
  return {
    head: architecture.head,
    classes,
    trainable:
      rows === null
        ? start.trained.reduce((sum, name) => sum + countEntries(name), 0)
        : Object.keys(rows.tokenRows).length * width,
    drawn: start.drawn,
    train: async (given, asked, hooks) => {
      const objective = change !== null && 'objective' in change ? change.objective : undefined;
      const settings = { ...asked, ...defined({ objective }) };
      if (objective !== undefined && (changer?.torch ?? null) === null)
        throw new Error("PyTorch's process lacks the objective");
      const { dpoBeta: beta } = settings;
      const dpo = beta === undefined ? null : ({ name: 'dpo', beta } as const);
      const wire = wireTraining(start, settings, rows, dpo ?? changer?.torch ?? null);
      const model = await openTorchModel(start, wire);
      const training: TorchModel & ModelInTraining = {
        ...model,
        save: async (dir) => saveStart(start, await model.trained(), dir, savedAs),
        keep: async () => {
          await model.worker.ask('keep', { model: model.id });
        },
      };
      try {
        return await trainIn(training, given, settings, hooks, reversed);
      } catch (error) {
        model.dispose();
        throw error;
      }
    },
    save: (dir) => saveStart(start, new Map(), dir, savedAs),
    dispose: () => undefined,
  };
}

const ROWS = 'token_rows';

/**
 * Returns a training's settings as PyTorch's process reads them. Parameters form a group if they
 * have the same decay and learning rate. `rows`: if not null, only these rows of the token table
 * are trained.
 */
function wireTraining(
  start: TorchStart,
  settings: TrainSettings,
  rows: TokenRows | null,
  objective: WireObjective | null,
): WireTraining {
  /** Returns a parameter's name for PyTorch's process. ROWS has the same name there. */
  const wireNameOf = (name: string): string => (rows === null ? wireName(start, name) : name);
  const trained = rows === null ? start.trained : [ROWS];
  const groups = new Map<string, { names: string[]; decay: boolean; rate: number }>();
  for (const name of trained) {
    const decay = !(settings.decay === 'weights' && isBiasOrNorm(name)),
      rate = rows === null ? (start.options.adapter.rate?.(name) ?? 1) : 1,
      key = `${decay} ${rate}`;
    const group = groups.get(key) ?? { names: [], decay, rate };
    group.names.push(wireNameOf(name));
    groups.set(key, group);
  }
  return {
    trainable: trained.map(wireNameOf),
    groups: [...groups.values()],
    optimizer: settings.optimizer,
    weight_decay: settings.weightDecay,
    beta1: settings.beta1,
    beta2: settings.beta2,
    epsilon: settings.epsilon,
    clip_norm: settings.clipNorm ?? 0,
    class_weights: settings.classWeights ?? null,
    dropout: settings.dropout,
    seed: settings.seed,
    precision: settings.precision ?? 'float32',
    gradient_checkpointing: settings.gradientCheckpointing ?? false,
    devices: settings.devices ?? 1,
    fsdp: settings.fsdp ?? false,
    ...defined({ packing: settings.packing }),
    objective,
    token_rows:
      rows === null ? null : { ids: Object.values(rows.tokenRows), keep_norms: rows.keepNorms },
  };
}

/** The time that a request for several steps should take at most. */
const REQUEST_SECONDS = 0.5;
/** The most steps of one request, whose rows are sent together. */
const MOST_STEPS = 100;

/**
 * Trains in PyTorch's process, and returns the trained model. Continues from the latest state in
 * `resume.dir`, unless `resume.complete` returns false for its step.
 * @param reversed whether the rows of each batch are sent in reverse order
 */
async function trainIn(
  model: TorchModel & ModelInTraining,
  rows: readonly LabelledRow[],
  settings: TrainSettings,
  { onStep, wants, see, resume, together, signal }: TrainerHooks,
  reversed: boolean,
): Promise<TrainedModel> {
  const { worker, id } = model;
  let stepsAtOnce = 1,
    peakMemoryMB = 0,
    packed: TrainedModel['packed'],
    isAlone = false;
  /** Takes steps: in a pack (`together`) as long as it has other members, otherwise alone. */
  const ask = async (asked: WireSteps): Promise<PackAnswer> => {
    if (together !== undefined && !isAlone)
      return together.ask(asked, (requests) => askPack(worker, requests), signal);
    return { ...(await worker.ask('train', asked)), members: 1, alone: null };
  };
  const taker: StepTaker = {
    atOnce: () => stepsAtOnce,
    take: async (steps) => {
      const asked = steps.map(({ learningRate, batches }) => ({
        rate: learningRate,
        batches: batches.map((batch) => encode(reversed ? [...batch].reverse() : batch)),
      }));
      const losses: number[] = [],
        penalties: number[] = [];
      let secondsEach = 0;
      // A pack may take fewer steps than asked for: as many as the member that asks for fewest.
      while (losses.length < asked.length && [...losses, ...penalties].every(Number.isFinite)) {
        const found = await ask({ model: id, steps: asked.slice(losses.length) });
        const taken = decodeArray('float64', found.losses);
        losses.push(...taken);
        if (found.penalties !== null) penalties.push(...decodeArray('float64', found.penalties));
        peakMemoryMB = found.peak_mb;
        secondsEach = found.seconds / taken.length;
        if (together === undefined || isAlone) continue;
        const { members, alone } = found;
        if (members > (packed?.members ?? 0)) packed = { members, alone };
        isAlone = members === 1;
        if (isAlone) together.leave();
      }
      const fitting = Math.floor(REQUEST_SECONDS / secondsEach);
      stepsAtOnce = Math.max(1, Math.min(MOST_STEPS, 2 * stepsAtOnce, fitting));
      return losses.map((loss, i) =>
        penalties.length === 0 ? { loss } : { loss, penalty: at(penalties, i) },
      );
    },
    areFinite: async () => (await worker.ask('finite', { model: id })).finite,
  };
  // The encoder computes log p of the answers by the initial model: no saved state is loaded yet.
  const encode =
    settings.dpoBeta === undefined ? wireRows : await makePairEncoder(model, rows, settings);
  const { due, save } = savingSchedule(() => signal.aborted);
  const found = resume === undefined ? null : await findState(resume.dir, resume.log);
  const saved = found !== null && resume?.complete(found.step) === true ? found : null;
  if (saved !== null) {
    await worker.ask('load_state', { model: id, path: saved.path });
    resume?.restore(saved.facts['gathered'] as JsonObject);
    packed = (saved.facts['packed'] ?? undefined) as TrainedModel['packed'];
  }
  await runSteps(rows, settings, taker, {
    onStep,
    wants,
    see: (step) => see(step, model),
    from: saved ? { step: saved.step, last: saved.facts['last'] as StepRecord | null } : undefined,
    save: async (step, last) => {
      if (resume === undefined || !due()) return;
      const facts = { last, packed: packed ?? null, gathered: resume.gathered() };
      await save(() =>
        storeState(resume.dir, step, facts, async (out, metadata) => {
          await worker.ask('save_state', { model: id, out, ...metadata });
          return sha256OfFile(out);
        }),
      );
    },
    signal,
  });
  together?.leave();
  const trained: TrainedModel = {
    ...model,
    peakMemoryMB,
    ...defined({ packed }),
    useKept: async () => {
      await worker.ask('use_kept', { model: id });
      return trained;
    },
  };
  return trained;
}

/**
 * Returns a function that encodes a batch of preference pairs: the chosen answers, then the
 * rejected ones, with log p of each by the model as it is at this call. This log p is computed once
 * for all rows that the training reads, so that no second copy of the model is needed. Throws where
 * one of these rows has no rejected answer.
 */
async function makePairEncoder(
  { worker, id }: TorchModel,
  rows: readonly LabelledRow[],
  settings: TrainSettings,
): Promise<(batch: readonly LabelledRow[]) => WireRows> {
  const sides = [...readRows(rows, settings)].flatMap((row): TokenRow[] => {
    if (row.rejected === undefined) throw new Error('a training by DPO reads pairs of answers');
    return [row, row.rejected];
  });
  const references = new Map<TokenRow, number>();
  for (const some of similarLengths(sides, 2 * settings.batchSize)) {
    const batch = some.map((i) => at(sides, i));
    const { values } = await worker.ask('references', { model: id, rows: wireRows(batch) });
    decodeArray('float64', values).forEach((value, b) => references.set(at(batch, b), value));
  }
  return (batch) => {
    const own = [...batch, ...batch.flatMap(({ rejected }) => rejected ?? [])];
    return {
      ...wireRows(own),
      references: Float64Array.from(own, (row: TokenRow) => references.get(row) ?? NaN),
    };
  };
}

/**
 * The answer to one training's request for steps, in a pack or not. `members`: how many trainings
 * took the first step together. `alone`: why a training in a pack took the first step alone; null
 * if it did not, or if it is in no pack.
 */
type PackAnswer = TorchOperations['train'][1] & {
  readonly members: number;
  readonly alone: string | null;
};

/** Takes the next steps of the members of a pack: as many as the member that asks for fewest. */
async function askPack(
  worker: TorchWorker,
  requests: readonly WireSteps[],
): Promise<readonly PackAnswer[]> {
  const count = Math.min(...requests.map(({ steps }) => steps.length));
  const members = requests.map(({ model, steps }) => ({ model, steps: steps.slice(0, count) }));
  const { seconds, members: found } = await worker.ask('train_pack', { members });
  return found.map((member) => ({ ...member, penalties: null, seconds }));
}
