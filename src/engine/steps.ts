/** `dosimeter results SPEC --steps`: what was measured along each training (`train.evaluate_every`), over the seeds. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { JsonObject } from '../api.ts';
import type { Prepared } from '../engine/prepare.ts';
import type { ResultRow } from '../report/results.ts';
import { fileFault } from '../store/files.ts';
import { paintErr, say } from './terminal.ts';

const CURVES = 'curves.jsonl';

export interface StepRow {
  readonly cell: JsonObject;
  readonly seed: number;
  /** 0: before the first. */
  readonly step: number;
  readonly metric: string;
  readonly value: number;
}

/** In the order of cells, seeds and steps; what is not as it was stored is said and left out. */
export async function stepRows({ plan, statuses, store }: Prepared): Promise<readonly StepRow[]> {
  const byId = new Map(statuses.map((status) => [status.stage.id, status]));
  const rows: StepRow[] = [];
  for (const { cell, stages } of plan.cellStages) {
    const entry = stages['train'] === undefined ? null : byId.get(stages['train'])?.entry;
    const file = entry
      ? store.manifest(entry.key)?.files.find(({ path: name }) => name === CURVES)
      : undefined;
    if (!entry || !file) continue;
    const at = path.join(entry.dir, CURVES);
    if ((await fileFault(entry.dir, file)) !== null) {
      say(paintErr.red(`${at} is not what was stored; left out (dosimeter verify)`));
      continue;
    }
    for (const line of readFileSync(at, 'utf8').split('\n')) {
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
  return rows;
}

/** As results of a stage, with the step for one more axis. */
export const asResults = (rows: readonly StepRow[]): readonly ResultRow[] =>
  rows.map(({ cell, seed, step, metric, value }) => ({
    cell: { ...cell, step },
    seed,
    stage: 'train',
    metric,
    value,
  }));
