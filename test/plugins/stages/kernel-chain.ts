/** train → kernel → ntk → fisher on the tiny BERT, for the tests of those stages. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import fisher from '../../../plugins/stages/fisher/index.ts';
import kernel from '../../../plugins/stages/kernel/index.ts';
import ntk from '../../../plugins/stages/ntk/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import {
  type Cell,
  type JsonObject,
  type KernelPoint,
  pointName,
  type StageDescriptor,
} from '../../../src/api.ts';
import { present } from '../../rig/present.ts';
import { contextOf, poisonedFolder, type Ran, runStage, spokenRows } from './rig.ts';

/** 23 rows of 4 to 8 tokens. */
export const rows = spokenRows(23);

export interface Chain {
  /** A rows folder, as a data or poison stage leaves it. */
  readonly data: string;
  run(
    stage: StageDescriptor,
    cell: Cell,
    inputs: { readonly [name: string]: string },
    request?: JsonObject,
  ): Promise<Ran>;
  train(cell: Cell, request?: JsonObject): Promise<Ran>;
  /** Trains where the stage's definition says, then computes. */
  kernel(cell: Cell, at: KernelPoint): Promise<Ran>;
  ntk(cell: Cell): Promise<Ran>;
  fisher(cell: Cell): Promise<Ran>;
}

export async function openChain(): Promise<Chain> {
  const data = await poisonedFolder(rows);
  const run: Chain['run'] = (stage, cell, inputs, request = {}) =>
    runStage(stage, cell, inputs, request);
  const chain: Chain = {
    data,
    run,
    train: (cell, request = {}) => run(train, cell, { data }, request),
    kernel: async (cell, at) => {
      const asked = present(kernel.define([cell], { with: { at }, goals: [] }).inputs['model']);
      return run(kernel, cell, { model: (await chain.train(asked.cell)).dir, rows: data }, { at });
    },
    ntk: async (cell) => {
      const inputs: Record<string, string> = {};
      for (const at of cell.ntk.at) inputs[pointName(at)] = (await chain.kernel(cell, at)).dir;
      return run(ntk, cell, inputs);
    },
    fisher: async (cell) => run(fisher, cell, { ntk: (await chain.ntk(cell)).dir }),
  };
  return chain;
}

/** Runs fisher over a folder that a test wrote. */
export async function fisherOf(cell: Cell, ntkDir: string, outDir: string): Promise<void> {
  await mkdir(outDir, { recursive: true });
  const definition = fisher.define([cell], { with: {}, goals: [] });
  await fisher.run({ ...contextOf(definition, { inputs: { ntk: ntkDir } }), outDir });
}

export const file = (ran: Ran, ...parts: string[]): string => join(ran.dir, ...parts);
