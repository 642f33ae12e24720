import {
  type PreflightContext,
  type Problem,
  problemOf,
  type RunContext,
  taskOf,
  UserFault,
} from '../../../src/api.ts';
import { splitCounts } from '../../../src/data/known-counts.ts';
import { loadSplit } from '../../../src/data/load-split.ts';
import { firstNames } from '../../../src/data/names.ts';
import { writeDataset } from '../../../src/data/rows-file.ts';
import { type DataParams, splitPath, splitRequest } from '../../../src/data/split-request.ts';
import { splitWarnings } from '../../../src/data/split-warnings.ts';

/** Reads the split, and writes its rows with what is known about them. */
export async function run(context: RunContext<DataParams>): Promise<void> {
  const { params, assets, outDir, log, warn } = context;
  const { name, split, disagreement } = params;
  if (disagreement !== null)
    throw new UserFault(disagreement, 'Give them once, as `data.classes`.');
  const request = splitRequest(params, assets, (kind, plugin) => context.plugin(kind, plugin));
  if (request === null) throw new Error(`the asset of ${name} was not handed over`);
  const loaded = await loadSplit(request);
  const { rows, classes, facts } = loaded;
  const { provenance: source, digest, uri } = request.asset;
  const provenance = { split: name, source, digest, format: split.format, ...facts };
  const { counts } = await writeDataset(outDir, rows, classes, provenance);
  const byClass = firstNames(classes.map((label, id) => `${counts[id] ?? 0} ${label}`));
  const completion = rows[0]?.document === true ? 'documents' : 'prompts with answers';
  const kinds = { classes: byClass, regression: 'numbers', completion };
  const read = JSON.stringify(facts['rows_in_source']);
  log(`${name}: ${rows.length} rows (${kinds[taskOf(classes)]}) of ${read} from ${uri}`);
  if (facts['header'] !== undefined) {
    const line = JSON.stringify(facts['header']);
    log(`${name}: the first line, ${line}, names the columns and is not a row (header: true)`);
  }
  splitWarnings(request, loaded).forEach(warn);
}

/**
 * Reads the split, and returns what is wrong with it. Does not read it if the file is not here yet,
 * or if reading takes long.
 */
export async function preflight(
  context: PreflightContext<DataParams>,
): Promise<readonly Problem[]> {
  const { params, assets } = context;
  const { name, disagreement } = params;
  if (disagreement !== null)
    return [{ path: ['data'], message: disagreement, hint: 'Give them once, as `data.classes`.' }];
  const request = splitRequest(params, assets, (kind, plugin) => context.plugin(kind, plugin));
  // A corpus from a package is skipped: reading it takes seconds, and its labels are known.
  if (request === null || request.dataset.unordered || request.train?.dataset.unordered === true)
    return [];
  try {
    const { warnings } = await splitCounts(request);
    return warnings.map((warning) => ({ ...warning, warning: true }));
  } catch (error) {
    const { path = ['source'], split = name } = error as SplitError;
    return [problemOf(error, [...splitPath(split), ...path])];
  }
}

type SplitError = Error & { path?: readonly string[]; split?: DataParams['name'] };
