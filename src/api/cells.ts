/** What follows from a cell: the other cells that its stages read. */
import type {
  AttackDescriptor,
  Cell,
  DefineRequest,
  JsonObject,
  Poisoning,
  StageRequest,
} from '../api.ts';
import { JOINT } from '../api.ts';

const unpoisoned = { attack: 'none' } as const;

/** Where a cell's training starts: a train stage of 0 steps reads neither attack nor schedule, so one serves every cell that differs in those. */
export const beforeTraining = (cell: Cell): Cell => ({
  ...cell,
  poisoning: unpoisoned,
  train: { ...cell.train, steps: 0 },
});

/** The training that a cell's own starts from, as a cell of its own; null where that is the checkpoint. */
export function baseOf(cell: Cell): Cell | null {
  const { base, ...rest } = cell;
  return base === undefined ? null : { ...rest, ...base };
}

/**
 * What a stage reads, beside the asset `model`, to open the model that a cell's training starts from (`startingModel` of
 * src/data/model-folder.ts): its base's, with the adapter merged. Nothing where that is the checkpoint.
 */
export function startInputs(cell: Cell): { readonly base?: StageRequest } {
  const base = baseOf(cell);
  return base === null ? {} : { base: { kind: 'merge', cell: base, section: 'base' } };
}

/** Whether a cell's own training, on clean rows, starts from a poisoned base. */
export const isOfBase = (cell: Cell): boolean =>
  cell.poisoning.attack === 'none' && (cell.base?.poisoning.attack ?? 'none') !== 'none';

/** The attack that a cell is about: its own, or where it has none its base's. */
export const attackOf = (cell: Cell): { readonly attack: string } & JsonObject =>
  isOfBase(cell) ? cell.base!.poisoning : cell.poisoning;

/** Whether anything that a cell trains on is poisoned. */
export const isAttacked = (cell: Cell): boolean => attackOf(cell).attack !== 'none';

/** Whether the training is an attack's own (`AttackDescriptor.training` changes weights): without the attack there is none. */
export const isAttacksOwn = ({ attack }: Poisoning, plugin: DefineRequest['plugin']): boolean =>
  attack
    .split(JOINT)
    .some((name) => plugin?.<AttackDescriptor>('attack', name)?.training?.changes === 'weights');

/** The cell without any attack, and without the trainings that are an attack's own: what its paired clean run is. */
export function cleanTwin(cell: Cell, plugin: DefineRequest['plugin']): Cell {
  const clean = ({
    poisoning,
    train,
  }: Pick<Cell, 'poisoning' | 'train'>): Pick<Cell, 'poisoning' | 'train'> => ({
    poisoning: unpoisoned,
    train: isAttacksOwn(poisoning, plugin) ? { ...train, steps: 0 } : train,
  });
  return {
    ...cell,
    ...clean(cell),
    ...(cell.base === undefined ? {} : { base: { ...cell.base, ...clean(cell.base) } }),
  };
}
