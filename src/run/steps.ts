/** Reads the measurements along each training (`train.evaluate_every`) from the store. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { JsonObject } from '../api.ts';
import { groupBy } from '../report/groups.ts';
import type { ResultRow } from '../report/results.ts';
import { collectResults } from '../report/results.ts';
import { fileFault } from '../store/files.ts';
import type { Prepared } from './prepare.ts';

const CURVES = 'curves.jsonl';

export interface StepRow {
  readonly cell: JsonObject;
  readonly seed: number;
  /** The training step; 0 is before the first step. */
  readonly step: number;
  readonly metric: string;
  readonly value: number;
}

export interface Steps {
  /** The rows in the order of cells, seeds and steps. */
  readonly rows: readonly StepRow[];
  /** The files that differ from what was stored. Their numbers are left out. */
  readonly damaged: readonly string[];
}

export async function readSteps({
  plan,
  statuses,
  store,
}: Pick<Prepared, 'plan' | 'statuses' | 'store'>): Promise<Steps> {
  const byId = new Map(statuses.map((status) => [status.stage.id, status]));
  const rows: StepRow[] = [];
  const damaged: string[] = [];
  for (const { cell, stages } of plan.cellStages) {
    const entry = stages['train'] === undefined ? null : byId.get(stages['train'])?.entry;
    const stored = entry
      ? store.manifest(entry.key)?.files.find(({ path: name }) => name === CURVES)
      : undefined;
    if (!entry || !stored) continue;
    const file = path.join(entry.dir, CURVES);
    if ((await fileFault(entry.dir, stored)) !== null) {
      damaged.push(file);
      continue;
    }
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      if (line.trim() === '') continue;
      const { step, ...values } = JSON.parse(line) as { readonly [name: string]: unknown };
      for (const [metric, value] of Object.entries(values))
        if (typeof value === 'number' && Number.isFinite(value))
          rows.push({
            cell: cell.axes,
            seed: cell.config.seed,
            step: Number(step),
            metric,
            value,
          });
    }
  }
  return { rows, damaged };
}

/** Returns the rows as results of the stage `train`, with the step as one more axis. */
export const asResults = (rows: readonly StepRow[]): readonly ResultRow[] =>
  collectResults(
    [...groupBy(rows, ({ cell, seed, step }) => JSON.stringify([cell, seed, step])).values()].map(
      (own) => {
        const [{ cell, seed, step }] = own;
        const values = Object.fromEntries(own.map(({ metric, value }) => [metric, value]));
        return { cell: { ...cell, step }, seed, metrics: { train: values } };
      },
    ),
  );
