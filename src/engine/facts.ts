/** What a prepared plan says, in the shapes that `plan --json` and `results --json` print. */
import path from 'node:path';
import type { JsonObject } from '../api.ts';
import { readMetrics } from '../execute/results.ts';
import type { StageStatus } from '../execute/survey.ts';
import { collectResults } from '../report/results.ts';
import type { ResultRow } from '../report/results.ts';
import type { Prepared } from './prepare.ts';

export interface StageInPlan {
  readonly id: string;
  readonly kind: string;
  readonly cell: JsonObject;
  readonly seed: number | null;
  /** The action key; null while an input's content is unknown. */
  readonly key: string | null;
  readonly state: StageStatus['state'];
  readonly reason: string;
  /** The absolute folder of its files. */
  readonly outputs: string | null;
  /** Ids by name. */
  readonly inputs: { readonly [name: string]: string };
}

export const plannedStage = ({ stage, state, key, reason, entry }: StageStatus): StageInPlan => ({
  id: stage.id, kind: stage.kind, cell: stage.cell, seed: stage.seed, key, state, reason,
  outputs: entry ? path.resolve(entry.dir) : null,
  inputs: stage.inputs,
});

export interface Results {
  readonly rows: readonly ResultRow[];
  /** How many goal stages of cells have no result yet. */
  readonly missing: number;
  /** Files that are not what was stored; their numbers are left out. */
  readonly damaged: readonly string[];
}

export function resultsOf({ plan, statuses }: Prepared): Results {
  const { cells, missing, damaged } = readMetrics(plan, statuses);
  return { rows: collectResults(cells), missing, damaged };
}
