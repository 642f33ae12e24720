import {
  attackOf,
  type Cell,
  type DefineRequest,
  defineStage,
  hasOrder,
  headSettings,
  type Json,
  orderedLike,
  type StageDefinition,
  startInputs,
  stepsOf,
  UserFault,
  withoutOrder,
} from '../../../src/api.ts';
import { filesApart, triggerAssets } from '../../../src/command/files.ts';
import { fileUri, modelUses, onlyCell } from '../../../src/stages/definition.ts';
import { learntInput } from '../../../src/stages/learnt.ts';
import { packKey } from '../../../src/stages/pack-key.ts';
import { adapterParams, trainParams } from '../../../src/stages/params.ts';
import { type TrainingAttack, trainingAttack } from '../../../src/stages/training-attack.ts';
import type { Params, WatchParams } from './params.ts';

export default defineStage<Params>({
  name: 'train',
  summary:
    'Fine-tunes the model under its adapter on the poisoned rows; with 0 steps, writes where ' +
    'it starts.',
  compute: true,
  volatile: ['metrics.json', 'tensorboard/events.out.tfevents'], // they hold times
  scope: 'cell',
  define(cells, { plugin, with: { batch_rows: batchRows } }) {
    const cell = onlyCell(cells);
    if (batchRows !== undefined && batchRows !== 'reversed')
      throw new Error(`batch_rows is reversed or left out, not ${JSON.stringify(batchRows)}`);
    checkOrder(cell);
    const watch = watchOf(cell);
    const attack = attackIn(cell, plugin);
    const { adapter, initFrom } = adapterOf(cell, plugin);
    const headFolder = cell.base === undefined ? cell.head.init_from : undefined;
    const attacks = new Set([
      ...(watch?.params.trigger ? stepsOf(watch.params.trigger).map((step) => step.attack) : []),
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
        ...(cell.head.type === 'cloze' ? { classes: classesOf(cell) } : {}),
        ...(watch === null ? {} : { watch: watch.params }),
      },
      inputs: {
        data: dataOf(cell),
        ...(watch === null
          ? {}
          : {
              validation: { kind: 'data', cell, with: { split: 'validation' } },
              ...learntInput(cell, watch.params.trigger === null ? null : attackOf(cell), plugin),
            }),
        ...startInputs(cell),
      },
      assets: {
        model: cell.model.source,
        ...(initFrom === null ? {} : { adapter: fileUri(initFrom) }),
        ...(headFolder === undefined ? {} : { head: fileUri(headFolder) }),
        ...triggerAssets(watch?.files ?? {}),
      },
      uses: [
        ...modelUses(cell),
        ...[...attacks].map((name) => ({ kind: 'attack' as const, name })),
      ],
    };
  },
  resources: () => ({ cpu: 1 }),
  preflight: async (context) => (await import('./preflight.ts')).preflight(context),
  run: async (context) => (await import('./run.ts')).run(context),
  pack: {
    key: ({ params, assets, inputs }) =>
      packKey(params, [assets?.['model'] ?? null, frozenBase(inputs)]),
    memoryMB: async (stage) => (await import('./pack-memory.ts')).memoryMB(stage),
    run: (contexts) => {
      const packed = import('./pack.ts').then(({ runPacked }) => runPacked(contexts));
      return contexts.map(async (_context, seat) => (await packed)[seat]);
    },
  },
});

/**
 * Requests the training rows. If nothing is trained, only the classes matter, which all attacks and
 * doses share.
 */
const dataOf = (cell: Cell): StageDefinition['inputs'][string] =>
  cell.train.steps === 0
    ? { kind: 'data', cell, with: { split: 'train' } }
    : { kind: 'poison', cell };

/** Returns the adapter, and the folder that it starts from, which is an asset. */
function adapterOf(
  cell: Cell,
  plugin: DefineRequest['plugin'],
): { readonly adapter: Params['adapter']; readonly initFrom: string | null } {
  const { init_from: initFrom, ...adapter } = adapterParams(cell.adapter, plugin);
  if (typeof initFrom !== 'string') return { adapter, initFrom: null };
  // The folder gives the A that training starts from, so `init` is left out.
  const given = Object.fromEntries(Object.entries(adapter).filter(([name]) => name !== 'init'));
  return { adapter: { ...given, type: adapter.type }, initFrom };
}

/** Throws a UserFault if rows have to stand first or last in batches of similar length. */
function checkOrder({ poisoning, train }: Cell): void {
  if (train.batching === 'bucketed' && hasOrder(orderedLike(poisoning) ?? poisoning))
    throw new UserFault(
      'train.batching is bucketed, which reorders the rows, and the attack has an `order`',
      'Leave out one of the two.',
      ['train', 'batching'],
    );
}

/** Returns the attack that changes the training itself, or null if there is none. */
function attackIn(cell: Cell, plugin: DefineRequest['plugin']): TrainingAttack | null {
  if (cell.train.steps === 0 || plugin === undefined) return null;
  return trainingAttack(filesApart(withoutOrder(cell.poisoning)).poisoning, plugin);
}

interface WatchDefinition {
  readonly params: WatchParams;
  /** The trigger's files, by file name. */
  readonly files: { readonly [name: string]: string };
}

/** Returns what is measured during the training, or null if nothing is. */
function watchOf(cell: Cell): WatchDefinition | null {
  const looks = cell.train.steps !== 0 && cell.train.evaluate_every > 0;
  if (!looks) return null;
  const attack = attackOf(cell);
  const { poisoning: trigger, assets: files } =
    attack.attack === 'none' ? { poisoning: null, assets: {} } : filesApart(withoutOrder(attack));
  return {
    params: {
      batch_size: cell.evaluate.batch_size,
      max_length: cell.evaluate.max_length ?? cell.train.max_length,
      trigger,
    },
    files,
  };
}

const classesOf = ({ data }: Cell): readonly string[] | null =>
  (data.classes ?? data.train.classes)?.map(String) ?? null;

/**
 * Returns what distinguishes one base from another. Null if training starts from the checkpoint.
 */
function frozenBase({ base }: StageDefinition['inputs']): Json {
  if (base === undefined) return null;
  const { data, head, poisoning, adapter, train, seed } = base.cell;
  return { data, head, poisoning, adapter, train, seed };
}
