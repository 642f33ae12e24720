/** What an attack has learnt from the training rows, which showing its trigger takes. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  AttackDescriptor,
  Cell,
  DefineRequest,
  Json,
  Poisoning,
  RunContext,
  StageRequest,
} from '../../../src/api.ts';
import { stepsOf } from '../../../src/api.ts';
import { inputDir } from './files.ts';

/** What each attack has learnt, by its name. */
export type Learnt = { readonly [attack: string]: Json };

/** The file of the poison stage. */
export const LEARNT = 'learnt.json';

/**
 * Requests the poison stage in which the trigger was learnt. Empty if no attack learns its trigger.
 * @param poisoning the attacks whose trigger is shown; null if none is
 */
export function learntInput(
  cell: Cell,
  poisoning: Poisoning | null,
  plugin: DefineRequest['plugin'],
): { readonly learnt?: StageRequest } {
  const learns =
    poisoning !== null &&
    stepsOf(poisoning).some(
      ({ attack }) => plugin?.<AttackDescriptor>('attack', attack)?.learns === true,
    );
  return learns ? { learnt: { kind: 'poison', cell: { ...cell, poisoning } } } : {};
}

/** Returns what the attacks have learnt, or nothing if none learns. */
export async function readLearnt(context: Pick<RunContext, 'inputs'>): Promise<Learnt> {
  if (context.inputs['learnt'] === undefined) return {};
  return JSON.parse(await readFile(join(inputDir(context, 'learnt'), LEARNT), 'utf8')) as Learnt;
}
