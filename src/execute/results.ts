/** `metrics.json` of every cell's goal stages, as the store has them now. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import type { Json, JsonObject } from '../api.ts';
import type { BackendInfo } from '../compute/types.ts';
import type { Plan, StageId } from '../plan/types.ts';
import { MANIFEST_FILE } from '../store/manifest.ts';
import { isUnreadable, readRegular } from '../store/regular.ts';
import type { Store } from '../store/store.ts';
import { METRICS, parseMetrics } from './metrics.ts';
import type { StageStatus } from './survey.ts';

export interface MetricsOfCell {
  readonly cell: JsonObject;
  /** Its other names: axis values that come to the same cell. */
  readonly also: readonly JsonObject[];
  readonly seed: number;
  readonly metrics: { readonly [stage: string]: { readonly [metric: string]: number } };
}

export interface Metrics {
  readonly cells: readonly MetricsOfCell[];
  /** Goal stages of cells that are not in the store. */
  readonly missing: number;
  /** Files that are not what was stored. */
  readonly damaged: readonly string[];
  /** Files as they were stored, by a version that let a stage store what is refused now; `fault` goes on from the file's name. */
  readonly refused: readonly { readonly file: string; readonly fault: string }[];
  /** What computed the entries: backend, precision, releases, device; each that differs once. */
  readonly computedBy: readonly string[];
}

/** Reads every manifest, whatever a look-up took on trust. */
export function readMetrics(
  plan: Plan,
  statuses: readonly StageStatus[],
  store: Pick<Store, 'manifest'>,
): Metrics {
  const byId = new Map<StageId, StageStatus>(statuses.map((status) => [status.stage.id, status]));
  const damaged = new Set<string>();
  const refused = new Map<string, string>();
  const computedBy = new Set<string>();
  const unsound = new Set<StageId>();
  for (const { stage, entry } of statuses) {
    if (!entry) continue;
    const manifest = store.manifest(entry.key);
    if (manifest) for (const what of computed(manifest.facts['computed'])) computedBy.add(what);
    else {
      unsound.add(stage.id);
      damaged.add(path.join(entry.dir, MANIFEST_FILE));
    }
  }
  const read = new Map<StageId, { readonly [metric: string]: number }>();
  let missing = 0;

  const metricsOf = ({
    stage,
    entry,
  }: StageStatus): { readonly [metric: string]: number } | null => {
    const known = read.get(stage.id);
    if (known) return known;
    if (unsound.has(stage.id)) return null;
    const file = entry!.manifest.files.find(({ path: name }) => name === METRICS);
    if (!file) return null;
    const bytes = readOr(path.join(entry!.dir, METRICS));
    if (bytes === null || createHash('sha256').update(bytes).digest('hex') !== file.sha256) {
      damaged.add(path.join(entry!.dir, METRICS));
      return null;
    }
    const parsed = parseMetrics(bytes.toString('utf8'));
    if ('fault' in parsed) {
      refused.set(path.join(entry!.dir, METRICS), parsed.fault);
      return null;
    }
    read.set(stage.id, parsed.metrics);
    return parsed.metrics;
  };

  const cells = plan.cellStages.map(({ cell, stages }): MetricsOfCell => {
    const metrics: { [stage: string]: { readonly [metric: string]: number } } = {};
    for (const kind of plan.experiment.goals) {
      const status = stages[kind] === undefined ? undefined : byId.get(stages[kind]);
      if (!status || status.stage.descriptor.scope === 'experiment') continue;
      if (!status.entry) {
        missing++;
        continue;
      }
      const numbers = metricsOf(status);
      if (numbers) metrics[kind] = numbers;
    }
    return {
      cell: cell.axes,
      also: cell.also.map(({ axes }) => axes),
      seed: cell.config.seed,
      metrics,
    };
  });
  return {
    cells,
    missing,
    damaged: [...damaged],
    refused: [...refused].map(([file, fault]) => ({ file, fault })),
    computedBy: [...computedBy].sort(),
  };
}

/** Null: it went away, or the system will not give it. */
function readOr(file: string): Buffer | null {
  try {
    return readRegular(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || isUnreadable(error)) return null;
    throw error;
  }
}

/** A worker's `BackendInfo`, as it stands in the manifest; threads change no more than the last bits, and stand there too. */
function computed(facts: Json | undefined): string[] {
  if (typeof facts !== 'object' || facts === null) return [];
  const { name, tensorflow, precision, gpu, packages, deterministic } =
    facts as unknown as BackendInfo;
  const releases = Object.entries(packages).map(([id, version]) => `${id} ${version}`);
  return [
    [
      tensorflow === null ? name : `${name} ${tensorflow}`,
      precision,
      gpu ?? 'on the CPU',
      ...(!deterministic ? ['the order of sums not fixed (TF_DETERMINISTIC_OPS)'] : []),
      ...releases,
    ].join(', '),
  ];
}
