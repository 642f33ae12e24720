import {
  attackOf,
  type Cell,
  type DefineRequest,
  defineStage,
  hasOrder,
  headSettings,
  heldWeights,
  orderedLike,
  type StageDefinition,
  type StageDescriptor,
  startInputs,
  UserFault,
  withoutOrder,
  type Work,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import {
  cleanRows,
  defenceOf,
  defenceParts,
  judgedModel,
  trainingSet,
  unwatched,
} from '../shared/defended.ts';
import {
  attackUses,
  fileUri,
  modelUses,
  onlyCell,
  refuseUnshown,
  workOf,
} from '../shared/definition.ts';
import { withKnownRows } from '../shared/known-rows.ts';
import { filesApart, learntInput, triggerAssets } from '../shared/program-files.ts';
import {
  adapterParams,
  type Params,
  precisionOf,
  type TrainingAttack,
  trainingAttack,
  trainingOf,
  trainParams,
  type WatchParams,
} from './params.ts';

export default defineStage<Params>({
  name: 'train',
  summary:
    'Fine-tunes the model under its adapter on the poisoned rows; with 0 steps, writes where ' +
    'it starts.',
  compute: true,
  torch: true,
  volatile: ['metrics.json', 'tensorboard/events.out.tfevents'], // they hold times
  scope: 'cell',
  define(cells, { plugin, with: { batch_rows: batchRows, on } }) {
    const ownCell = onlyCell(cells);
    const onClean = on === 'clean';
    const cell = onClean ? retrainedCell(ownCell, plugin) : ownCell;
    if (batchRows !== undefined && batchRows !== 'reversed')
      throw new Error(`batch_rows is reversed or left out, not ${JSON.stringify(batchRows)}`);
    checkOrder(cell);
    checkLoss(cell);
    if (cell.train.steps !== 0) refuseUnshown(cell, cell.poisoning);
    const watch = watchDefinition(cell);
    const attack = attackOnTraining(cell, plugin);
    const defence = lossOfDefence(cell, onClean, attack, plugin);
    const { adapter, initFrom } = adapterAndFolder(cell, plugin);
    const start = onClean ? judgedModel(ownCell, plugin).start : startInputs(cell);
    const headFolder = start.base === undefined ? cell.head.init_from : undefined;
    // The attack whose trigger a watched training shows includes the attack on the training itself.
    const shownAttack = watch === null ? attack : watch.params.trigger;
    return {
      params: {
        architecture: cell.model.architecture,
        adapter,
        ...(attack && { attack }),
        ...(defence && { defence: defence.params }),
        ...defined({ batch_rows: batchRows }),
        seed: cell.seed,
        train: trainParams(cell.train),
        head: headSettings(cell.head),
        ...(cell.model.init === 'random' && { init: 'random' }),
        ...heldWeights(cell.model),
        ...(cell.head.type === 'cloze' && { classes: statedClasses(cell, plugin) }),
        ...(watch && { watch: watch.params }),
      },
      inputs: {
        data: onClean ? cleanRows(ownCell) : trainingRows(cell, plugin),
        ...(watch && { validation: { kind: 'data', cell, with: { split: 'validation' } } }),
        ...(watch?.params.trigger && learntInput(cell, attackOf(cell), plugin)),
        ...start,
      },
      assets: {
        model: cell.model.source,
        ...(initFrom && { adapter: fileUri(initFrom) }),
        ...(headFolder && { head: fileUri(headFolder) }),
        ...triggerAssets(watch?.files ?? {}),
        ...defence?.assets,
      },
      uses: [
        ...modelUses(cell),
        ...(shownAttack === null ? [] : attackUses(shownAttack)),
        ...(defence?.uses ?? []),
      ],
      work: trainingWork(cell, onClean),
    };
  },
  precision: precisionOf,
  resources: (params) => {
    const devices = trainingOf(params)?.devices ?? 1;
    return devices === 1 ? { cpu: 1 } : { cpu: devices, devices };
  },
  preflight: async (context) => (await import('./preflight.ts')).preflight(context),
  forecast: async (context) => (await import('./forecast.ts')).forecast(context),
  run: async (context) => (await import('./run.ts')).run(context),
  pack: {
    together: packName,
    memoryMB: async (stage) => (await import('./forecast.ts')).memoryMB(stage),
  },
});

/**
 * Returns the work of a training: the rows that its steps see or, without `steps`, its epochs. With
 * 0 steps it is a fixed amount.
 */
function trainingWork({ model, data, train }: Cell, onClean: boolean): Work {
  const { steps, epochs = 3, batch_size: batch, accumulate, max_length: length, loss } = train;
  if (steps === 0) return workOf(1, 'start', model);
  if (steps === undefined)
    return workOf(epochs, 'epochs', model, onClean ? data : data.train, length, loss);
  return workOf(steps * batch * accumulate, 'rows', model, data.train.source, length, loss);
}

type Planned = Parameters<NonNullable<NonNullable<StageDescriptor<Params>['pack']>['together']>>[0];

/**
 * Returns a name that is the same for trainings whose steps PyTorch's process may take together:
 * LoRA's trainings over the same weights, with the same layers and head. Null for a training that
 * must be run alone. The process may still refuse to take steps together.
 */
function packName({ params, assets, inputs }: Planned): string | null {
  const training = trainingOf(params);
  const { architecture, adapter, head, init, weights, attack, defence } = params;
  const { use_dora: dora, dropout = 0, bias = 'none', targets, exclude, layers } = adapter;
  const isPlain = adapter.type === 'lora' && dora !== true && dropout === 0 && bias === 'none';
  if (training === null || !isPlain || training.dropout !== 0 || training.packing) return null;
  if ([training.devices, training.loss, init, attack, defence].some((own) => own !== undefined))
    return null;
  const under = { architecture, head, base: inputs['base'], model: assets['model'], weights };
  const { precision, gradient_checkpointing: recomputes, loss_on: lossOn } = training;
  return JSON.stringify([under, { targets, exclude, layers }, precision, recomputes, lossOn]);
}

/** Requests the training rows; for 0 steps, the clean ones, of which only the classes are read. */
const trainingRows = (
  cell: Cell,
  plugin: DefineRequest['plugin'],
): StageDefinition['inputs'][string] =>
  cell.train.steps === 0
    ? { kind: 'data', cell, with: { split: 'train' } }
    : trainingSet(cell, plugin);

/**
 * Returns the cell whose training, on the defender's clean rows, follows the cell's own. Throws if
 * the cell has no defence with such a training.
 */
function retrainedCell(cell: Cell, plugin: DefineRequest['plugin']): Cell {
  const defence = defenceOf(cell, plugin);
  const changes = defence?.descriptor.model?.retrain?.(defence.params);
  if (changes === undefined) throw new Error('the cell has no defence that trains on clean rows');
  const { steps, epochs, ...train } = unwatched(cell.train);
  const length = 'steps' in changes || 'epochs' in changes ? {} : { steps, epochs };
  const { init_from: _from, ...adapter } = cell.adapter;
  return {
    ...cell,
    poisoning: { attack: 'none' },
    adapter: { ...adapter, type: cell.adapter.type },
    train: { ...train, ...length, loss: 'supervised', packing: false, ...changes } as Cell['train'],
  };
}

/**
 * Returns the parts of the defence whose loss the training minimises; null if there is no such
 * defence. Throws UserFault if `train.loss` is dpo, or if an attack changes the training too.
 */
function lossOfDefence(
  cell: Cell,
  onClean: boolean,
  attack: TrainingAttack | null,
  plugin: DefineRequest['plugin'],
): ReturnType<typeof defenceParts> | null {
  const defence = defenceOf(cell, plugin);
  if (defence?.descriptor.training?.load === undefined || cell.train.steps === 0) return null;
  if (!onClean && !defence.acts.has('training')) return null;
  if (cell.train.loss === 'dpo')
    throw new UserFault(
      `the defence "${defence.name}" has a loss of its own, and train.loss is dpo`,
      'Leave out one of the two.',
      ['defence', 'defence'],
    );
  if (attack !== null)
    throw new UserFault(
      `the attack "${attack.attack}" and the defence "${defence.name}" both change the training, ` +
        'each in its own way',
      'Poison the base (base.poisoning), and defend the training that starts from it.',
      ['defence', 'defence'],
    );
  return defenceParts(defence);
}

/**
 * Returns the adapter and, apart from it, the folder that it starts from (`initFrom`), which is
 * null if it starts from none.
 */
function adapterAndFolder(
  cell: Cell,
  plugin: DefineRequest['plugin'],
): { readonly adapter: Params['adapter']; readonly initFrom: string | null } {
  const { init_from: initFrom, ...adapter } = adapterParams(adapterOfDefence(cell, plugin), plugin);
  if (typeof initFrom !== 'string') return { adapter, initFrom: null };
  // The folder gives the A that training starts from, so `init` is left out.
  const { init: _init, ...given } = adapter;
  return { adapter: { ...given, type: adapter.type }, initFrom };
}

/** Throws UserFault if other settings contradict the order or packing that the spec asks for. */
function checkOrder({ head, poisoning, train }: Cell): void {
  const { batching, loss, packing, steps } = train,
    isBucketed = batching === 'bucketed',
    isOrdered = hasOrder(orderedLike(poisoning) ?? poisoning);
  if (isBucketed && isOrdered)
    throw new UserFault(
      'train.batching is bucketed, which reorders the rows, and the attack has an `order`',
      'Leave out one of the two.',
      ['train', 'batching'],
    );
  if (!packing || steps === 0) return;
  const why = [
    head.type !== 'causal-lm' && `of which the head ${head.type} reads one`,
    loss === 'dpo' && 'and train.loss: dpo compares pairs of them',
    isBucketed && 'and train.batching is bucketed, by the lengths of rows',
    isOrdered && 'so that their lengths decide on the steps, and the attack has an `order`',
  ].find((fault) => fault !== false);
  if (why !== undefined)
    throw new UserFault(
      `train.packing puts several rows into a sequence, ${why}`,
      'Leave out train.packing.',
      ['train', 'packing'],
    );
}

/**
 * Throws a UserFault if the loss needs what the rows or the head do not have, or if it contradicts
 * another setting.
 */
function checkLoss({ data, head, train }: Cell): void {
  if (train.steps === 0) return;
  const { loss, loss_on: lossOn, early_stopping: stopping } = train;
  const fault = (field: string, message: string, hint: string): UserFault =>
    new UserFault(message, hint, ['train', field]);
  if (lossOn !== 'answer' && head.type !== 'causal-lm')
    throw fault(
      'loss_on',
      `train.loss_on is ${lossOn}, and the head ${head.type} predicts no tokens of a text`,
      'Leave out train.loss_on.',
    );
  if (lossOn === 'assistant' && 'template' in head && head.template !== 'chat')
    throw fault(
      'loss_on',
      'train.loss_on is assistant, which needs the turns of a conversation, ' +
        'and head.template is not chat',
      'Write head.template: chat, or leave out train.loss_on.',
    );
  if (loss !== 'dpo') return;
  if (data.train.columns.rejected === undefined)
    throw fault(
      'loss',
      'train.loss is dpo, which learns from pairs of answers, and data.train has no such pairs',
      'Name their columns: columns: { prompt: …, chosen: …, rejected: … }. For a base alone, ' +
        'write base: { train: { loss: supervised } }.',
    );
  if (lossOn !== 'answer')
    throw fault(
      'loss_on',
      `train.loss_on is ${lossOn}, and train.loss: dpo compares answers`,
      'Leave out train.loss_on.',
    );
  if ((stopping.patience ?? 0) > 0)
    throw fault(
      'early_stopping',
      'train.early_stopping is judged by how likely answers are, ' +
        'which train.loss: dpo does not raise',
      'Leave out train.early_stopping.',
    );
}

/**
 * Returns the cell's adapter, changed by a defence that acts on training if it changes adapters.
 */
function adapterOfDefence(cell: Cell, plugin: DefineRequest['plugin']): Cell['adapter'] {
  const defence = defenceOf(cell, plugin);
  return defence?.acts.has('training') === true
    ? (defence.descriptor.training?.adapter?.(cell.adapter, defence.params) ?? cell.adapter)
    : cell.adapter;
}

/**
 * Returns the attack that changes the training itself, not only its rows; null if none does, or for
 * 0 steps.
 */
function attackOnTraining(cell: Cell, plugin: DefineRequest['plugin']): TrainingAttack | null {
  if (cell.train.steps === 0 || plugin === undefined) return null;
  return trainingAttack(filesApart(withoutOrder(cell.poisoning)).poisoning, plugin);
}

/** Returns what is evaluated during the training, and the trigger's files; null if nothing is. */
function watchDefinition(cell: Cell) {
  if (cell.train.steps === 0 || cell.train.evaluate_every === 0) return null;
  const attack = attackOf(cell);
  const { poisoning: trigger, assets: files } =
    attack.attack === 'none' ? { poisoning: null, assets: {} } : filesApart(withoutOrder(attack));
  const { batch_size, max_length = cell.train.max_length } = cell.evaluate;
  return { params: { batch_size, max_length, trigger } satisfies WatchParams, files };
}

/** Returns the class names that the spec or its named data set states; null if neither does. */
function statedClasses(cell: Cell, plugin: DefineRequest['plugin']): readonly string[] | null {
  const { data } = withKnownRows(cell, plugin);
  return (data.classes ?? data.train.classes)?.map(String) ?? null;
}
