/**
 * What the definitions of several stages share. Planning loads this file, so it must not import
 * numerics.
 */
import { type Cell, type StageDefinition, UserFault } from '../../../src/api.ts';

/** Returns the cell of a stage of scope `cell`. Throws unless there is exactly one. */
export function onlyCell(cells: readonly Cell[]): Cell {
  const [cell, ...others] = cells;
  if (cell === undefined || others.length > 0)
    throw new Error(`a stage of scope cell is defined over one cell, not over ${cells.length}`);
  return cell;
}

/** The names of the plugins that open a cell's model, as parameters of a stage that opens it. */
export type ModelNames = { readonly architecture: string; readonly adapter: string };

export const modelNames = ({ model, adapter }: Cell): ModelNames => ({
  architecture: model.architecture,
  adapter: adapter.type,
});

/** Returns the same plugins as a stage's `uses`. @param adapters by default, the cell's own */
export const modelUses = (
  { model, adapter }: Cell,
  adapters: readonly string[] = [adapter.type],
): NonNullable<StageDefinition['uses']> => [
  { kind: 'model', name: model.architecture },
  ...[...new Set(adapters)].map((name) => ({ kind: 'adapter' as const, name })),
];

/** A folder that a spec names by its path alone (`init_from`), as a source URI. */
export const fileUri = (path: string): string => (path.startsWith('file:') ? path : `file:${path}`);

/**
 * Throws a `UserFault` if the cell has a regression head, of whose one number a stage measures
 * nothing.
 */
export function refuseRegression({ head }: Cell, stage: string): void {
  if (head.type !== 'regression') return;
  throw new UserFault(
    `${stage} measures class logits or the log probability of answers, and head.type is regression`,
    `Leave ${stage} out of stages.`,
    ['stages'],
  );
}
