/** The other cells that a cell's stages read: its start, its base and its clean twin. */
import type { AttackDescriptor } from './attack.ts';
import type { Cell } from './cell.ts';
import type { Poisoning } from './poisoning.ts';
import { hasOrder, inOrderOf, JOINT } from './poisoning.ts';
import type { DefineRequest, StageRequest } from './stage.ts';

const unpoisoned = { attack: 'none' } as const;

/**
 * Returns the cell whose train stage saves the model that this cell's training starts from. It
 * trains for 0 steps and reads neither attack nor schedule, so cells that differ only in those
 * share it.
 */
export const beforeTraining = (cell: Cell): Cell => ({
  ...cell,
  poisoning: unpoisoned,
  train: { ...cell.train, steps: 0 },
});

/** Returns the cell without its defence. */
export function undefended(cell: Cell): Cell {
  const { defence: _defence, ...rest } = cell;
  return rest;
}

/**
 * Returns, as a cell, the base training that the cell's training starts from. Null if it starts
 * from the checkpoint.
 */
export function baseOf(cell: Cell): Cell | null {
  const { base, defence: _defence, ...rest } = cell; // a defence is against the cell's own training
  return base === undefined ? null : { ...rest, ...base };
}

/**
 * Returns the inputs that a stage needs, beside the asset `model`, to open the model that the
 * cell's training starts from (with `startingModel` in src/data/model-folder.ts): the base's model
 * with its adapter merged. Empty if the training starts from the checkpoint.
 */
export function startInputs(cell: Cell): { readonly base?: StageRequest } {
  const base = baseOf(cell);
  return base === null ? {} : { base: { kind: 'merge', cell: base, section: 'base' } };
}

/**
 * Returns the base's attack if only the base is poisoned and the cell's own training is clean; null
 * otherwise.
 */
function attackOfBase({ poisoning, base }: Cell): Poisoning | null {
  if (poisoning.attack !== 'none' || base === undefined) return null;
  return base.poisoning.attack === 'none' ? null : base.poisoning;
}

/** Whether the cell's own training, on clean rows, starts from a poisoned base. */
export const isOfBase = (cell: Cell): boolean => attackOfBase(cell) !== null;

/** The attack that the cell studies: its own, or its base's if it has none. */
export const attackOf = (cell: Cell): Poisoning => attackOfBase(cell) ?? cell.poisoning;

/** Whether anything that the cell trains on is poisoned. */
export const isAttacked = (cell: Cell): boolean => attackOf(cell).attack !== 'none';

/**
 * Whether the training is itself the attack: its `AttackDescriptor.training` changes weights.
 * Without the attack, this training would not take place.
 */
export const isAttacksOwn = ({ attack }: Poisoning, plugin: DefineRequest['plugin']): boolean =>
  attack
    .split(JOINT)
    .some((name) => plugin?.<AttackDescriptor>('attack', name)?.training?.changes === 'weights');

/**
 * Returns the paired clean run: the cell without its attacks, and without trainings that are
 * themselves attacks (`isAttacksOwn`). With an `order`, the twin's rows stand in that order too. It
 * has the cell's defence, because a defence may by itself change what a trigger does to a model
 * that was never attacked.
 */
export function cleanTwin(cell: Cell, plugin: DefineRequest['plugin']): Cell {
  const clean = ({
    poisoning,
    train,
  }: Pick<Cell, 'poisoning' | 'train'>): Pick<Cell, 'poisoning' | 'train'> => ({
    poisoning: hasOrder(poisoning) ? inOrderOf(poisoning) : unpoisoned,
    train: isAttacksOwn(poisoning, plugin) ? { ...train, steps: 0 } : train,
  });
  return {
    ...cell,
    ...clean(cell),
    ...(cell.base === undefined ? {} : { base: { ...cell.base, ...clean(cell.base) } }),
  };
}
