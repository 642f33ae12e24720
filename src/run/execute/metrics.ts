/**
 * Reads the metrics of cells' goal stages from the store. A stage's `metrics.json` is a flat object
 * of finite numbers.
 */
import path from 'node:path';
import type { Json, JsonObject } from '../../api.ts';
import { sha256 } from '../../base/sha256.ts';
import { isRecord } from '../../base/untrusted/json.ts';
import type { Plan, StageId } from '../../plan/types.ts';
import { type Entry, MANIFEST_FILE } from '../../store/manifest.ts';
import { readRegularOr } from '../../store/regular.ts';
import type { BackendInfo } from '../../tensor/backend.ts';
import type { StageStatus } from './survey.ts';

export const METRICS = 'metrics.json';

export type MetricValues = { readonly [metric: string]: number };

/**
 * Returns the metrics, or the fault as a clause to follow "a metrics.json that". JSON has no form
 * for infinity, but 1e400 is read as infinite.
 */
export function parseMetrics(
  text: string,
): { readonly metrics: MetricValues } | { readonly fault: string } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    return { fault: `is not JSON: ${(error as Error).message}` };
  }
  if (!isRecord(parsed)) return { fault: 'is not an object' };
  let infinite: string | null = null;
  for (const [metric, value] of Object.entries(parsed)) {
    if (typeof value !== 'number') {
      const shown = JSON.stringify(value).slice(0, 60);
      return { fault: `is not a flat object of numbers: ${JSON.stringify(metric)} is ${shown}` };
    }
    if (!Number.isFinite(value)) infinite ??= metric;
  }
  return infinite === null
    ? { metrics: parsed as MetricValues }
    : {
        fault:
          `holds a number that is not finite: ${JSON.stringify(infinite)} ` +
          'is beyond what a double holds',
      };
}

export interface MetricsOfCell {
  readonly cell: JsonObject;
  /** Other axis values that lead to the same cell. */
  readonly also: readonly JsonObject[];
  readonly seed: number;
  readonly metrics: { readonly [stage: string]: MetricValues };
}

export interface Metrics {
  readonly cells: readonly MetricsOfCell[];
  /** How many goal stages of cells are not in the store. */
  readonly missing: number;
  /**
   * The paths of metrics and manifests that are missing or differ from what was stored. Their
   * numbers are left out.
   */
  readonly damaged: readonly string[];
  /**
   * Undamaged files whose content an earlier version of dosimeter accepted and this one refuses.
   * Their numbers are left out. `fault` is a clause to follow the file's name.
   */
  readonly refused: readonly { readonly file: string; readonly fault: string }[];
  /**
   * The backends that computed the entries, each with precision, releases and device. If there are
   * several, each also with its stage kinds.
   */
  readonly computedBy: readonly string[];
}

export type MetricsStatus = Pick<StageStatus, 'stage'> & {
  readonly entry: MetricsEntry | null;
};
export type MetricsEntry = Pick<Entry, 'key' | 'dir'> & {
  readonly manifest: Pick<Entry['manifest'], 'files'>;
};

/**
 * Reads the metrics of each cell's goals. Also reads every entry's manifest, even if the store's
 * index knows the entry, for its facts and to see that the manifest is sound.
 */
export function readMetrics(
  plan: Plan,
  statuses: readonly MetricsStatus[],
  store: ManifestReader,
): Metrics {
  const byId = new Map<StageId, MetricsStatus>(statuses.map((status) => [status.stage.id, status]));
  const { computedBy, unsound } = readManifests(statuses, store);
  const damaged = new Set(unsound.map(({ dir }) => path.join(dir, MANIFEST_FILE)));
  const refused = new Map<string, string>();
  const read = new Map<StageId, MetricValues | null>();
  let missing = 0;

  /** Returns a stage's metrics; null if it has none that can be used. */
  const metricsOf = (id: StageId, entry: MetricsEntry): MetricValues | null => {
    const known = read.get(id);
    if (known !== undefined) return known;
    const found = unsound.includes(entry) ? null : metricsOfEntry(entry);
    const file = path.join(entry.dir, METRICS);
    if (found === 'damaged') damaged.add(file);
    else if (found !== null && 'fault' in found) refused.set(file, found.fault);
    const metrics =
      found !== null && found !== 'damaged' && 'metrics' in found ? found.metrics : null;
    read.set(id, metrics);
    return metrics;
  };

  const cells = plan.cellStages.map(({ cell, stages }): MetricsOfCell => {
    const metrics: { [stage: string]: MetricValues } = {};
    for (const kind of plan.experiment.goals) {
      const status = stages[kind] === undefined ? undefined : byId.get(stages[kind]);
      if (!status || status.stage.descriptor.scope === 'experiment') continue;
      if (!status.entry) {
        missing++;
        continue;
      }
      const numbers = metricsOf(status.stage.id, status.entry);
      if (numbers) metrics[kind] = numbers;
    }
    const also = cell.also.map(({ axes }) => axes);
    return { cell: cell.axes, also, seed: cell.config.seed, metrics };
  });
  return {
    cells,
    missing,
    damaged: [...damaged],
    refused: [...refused].map(([file, fault]) => ({ file, fault })),
    computedBy,
  };
}

/** Reads manifests, of which only the facts are used. A missing or damaged one is null. */
export interface ManifestReader {
  manifest(key: Entry['key']): { readonly facts: JsonObject } | null;
}

/**
 * Returns the backends that computed the entries, and the entries whose manifest is missing or
 * damaged (`unsound`).
 */
function readManifests(
  statuses: readonly MetricsStatus[],
  store: ManifestReader,
): { readonly computedBy: readonly string[]; readonly unsound: readonly MetricsEntry[] } {
  const kindsBy = new Map<string, Set<string>>();
  const unsound: MetricsEntry[] = [];
  for (const { entry, stage } of statuses) {
    if (!entry) continue;
    const manifest = store.manifest(entry.key);
    if (manifest === null) unsound.push(entry);
    else {
      const what = backendText(manifest.facts['computed']);
      if (what !== null) kindsBy.set(what, (kindsBy.get(what) ?? new Set()).add(stage.kind));
    }
  }
  const computedBy = [...kindsBy].map(([what, kinds]) =>
    kindsBy.size === 1 ? what : `${what} (${[...kinds].sort().join(', ')})`,
  );
  return { computedBy: computedBy.sort(), unsound };
}

/**
 * Reads an entry's metrics. Returns `damaged` if the file differs from what was stored, null if the
 * entry has no metrics.
 */
function metricsOfEntry({
  dir,
  manifest,
}: MetricsEntry): ReturnType<typeof parseMetrics> | 'damaged' | null {
  const file = manifest.files.find(({ path: name }) => name === METRICS);
  if (!file) return null;
  const bytes = readRegularOr(path.join(dir, METRICS));
  if (bytes === null || sha256(bytes) !== file.sha256) return 'damaged';
  return parseMetrics(bytes.toString('utf8'));
}

/**
 * Describes the `BackendInfo` in a manifest; null for a stage that did not compute. Threads are
 * left out: they change no more than the last bits.
 */
function backendText(facts: Json | undefined): string | null {
  if (typeof facts !== 'object' || facts === null) return null;
  // A manifest from before the fused operations does not name them.
  const {
    name,
    tensorflow,
    fused = null,
    precision,
    gpu,
    packages,
    deterministic,
  } = facts as unknown as Partial<Pick<BackendInfo, 'fused'>> & Omit<BackendInfo, 'fused'>;
  const releases = Object.entries(packages).map(([id, version]) => `${id} ${version}`);
  return [
    tensorflow === null ? name : `${name} ${tensorflow}`,
    ...(fused === null ? [] : [`fused operations ${fused}`]),
    precision,
    gpu ?? 'on the CPU',
    ...(!deterministic ? ['the order of sums not fixed (TF_DETERMINISTIC_OPS)'] : []),
    ...releases,
  ].join(', ');
}
