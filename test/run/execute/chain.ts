/** The fixture of most tests: data → train → evaluate for each cell, and a report of them. */
import path from 'node:path';
import { cell, experiment, type Rig } from '../../rig/rig.ts';
import { addStage, type Body } from './stages.ts';

export interface ChainBodies {
  readonly data?: Body;
  readonly train?: Body;
  readonly evaluate?: Body;
  readonly report?: Body;
  /** Values that the test hands to the bodies. */
  readonly given?: { readonly [name: string]: string };
}

const bodies = {
  data: ({ put }) => put('rows.jsonl', 'rows'),
  train({ ctx, put, get, seed }) {
    const { attack } = ctx.params['poisoning'] as { attack: string };
    put('model.txt', `${get('data', 'rows.jsonl')}${seed}${attack}`);
  },
  evaluate: ({ put, get }) =>
    put('metrics.json', JSON.stringify({ length: get('train', 'model.txt').length })),
  report: ({ ctx, put }) =>
    put('report.html', JSON.stringify({ inputs: Object.keys(ctx.inputs), facts: ctx.experiment })),
} satisfies { readonly [kind: string]: Body };

/** Adds the stages of the chain, or edits them. */
export async function chain(rig: Rig, edited: ChainBodies = {}): Promise<void> {
  const { data, train, evaluate, report } = { ...bodies, ...edited };
  const given = edited.given ?? {};
  await addStage(rig, 'data', { params: [], given, run: data });
  await addStage(rig, 'train', {
    params: ['seed', 'poisoning'],
    inputs: { data: 'data' },
    volatile: ['metrics.json'],
    given,
    run: train,
  });
  await addStage(rig, 'evaluate', {
    params: [],
    inputs: { train: 'train' },
    given,
    run: evaluate,
  });
  await addStage(rig, 'report', {
    joins: true,
    inputs: { evaluate: 'evaluate' },
    given,
    run: report,
  });
}

/** The whole chain of three seeds. */
export const grid = experiment(['train', 'evaluate', 'report'], [cell(1), cell(2), cell(3)]);

/** The trainings alone. */
export const trainings = (...seeds: readonly number[]) =>
  experiment(
    ['train'],
    seeds.map((seed) => cell(seed)),
  );

/**
 * Returns the path of a file that the test can give to a stage, which leaves a mark there or waits
 * for one.
 */
export const fileOf = (rig: Rig, name: string): string => path.join(rig.dir, name);
