/** Concludes an attempt: stores what its job left, or removes it and describes the failure. */
import { rmSync } from 'node:fs';
import type { JobResult, JsonObject, Precision } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { withoutNumbers } from '../../base/fault.ts';
import { WARNINGS } from '../../plan/keys.ts';
import { locateIn } from '../../plan/label.ts';
import type { PlannedStage } from '../../plan/types.ts';
import { bytesOf, type Entry } from '../../store/manifest.ts';
import type { Publication } from '../../store/store.ts';
import type { Failed, Outcome } from '../log/events.ts';
import type { StageLog } from '../log/run-log.ts';
import type { AttemptRequest, AttemptResult } from './attempt.ts';
import { type Execution, tellNote } from './execution.ts';
import { changeFailure, failure, overtimeFailure, resultFailure } from './failure.ts';
import { precisionOf } from './survey.ts';
import { readWarnings, warningText } from './warnings.ts';

/** An attempt whose job has ended. */
export interface Answered {
  readonly request: AttemptRequest;
  readonly result: JobResult;
  readonly outDir: string;
  readonly resumeDir: string;
  readonly log: StageLog;
  /** How many stages shared the job. */
  readonly packed: number;
  /**
   * The stage's time limit in seconds, if it has one and the stage was stopped, for whatever
   * reason; else null.
   */
  readonly overtime: number | null;
}

/**
 * Stores what a job wrote if it succeeded and its inputs did not change meanwhile; else removes it.
 * Returns the stage's outcome: `abandoned` if a job that was stopped with the run did not succeed,
 * `busy` if another run has taken over the lease.
 */
export async function conclude(execution: Execution, answered: Answered): Promise<AttemptResult> {
  const { request, result, resumeDir } = answered;
  const outDir = outputFolder(answered);
  const { executor, signal } = execution.options;
  const isLost = (): boolean => !signal.aborted && !request.lease.stands();
  if (isLost()) return lostLeaseResult(execution, answered);
  const change = await request.reads.fault();
  // Checked again, since another run may have taken the lease over while inputs were checked.
  if (isLost()) return lostLeaseResult(execution, answered);
  if (change !== null) {
    executor.forget?.();
    removeFolder(resumeDir);
  }
  if (result.type === 'done' && change === null) return publish(execution, answered, result);
  removeFolder(outDir);
  if (signal.aborted) {
    answered.log.line('stopped before its end');
    return { state: 'abandoned' };
  }
  return failedOutcome(answered, change);
}

/**
 * Returns the folder with a job's files, which an executor may have put elsewhere than into
 * `outDir`.
 */
const outputFolder = ({ result, outDir }: Answered): string =>
  result.type === 'done' ? (result.outDir ?? outDir) : outDir;

function lostLeaseResult(execution: Execution, answered: Answered): AttemptResult {
  const { request, log, outDir } = answered;
  removeFolder(outDir); // an executor's own folder is left to the run that has taken over
  const lost =
    'another run took over its lease while this one was suspended: its output here is discarded';
  log.line(lost);
  tellNote(execution, `${request.stage.id}: ${lost}`);
  return { state: 'busy' };
}

/**
 * Logs and returns the failure of an attempt. Removes the saved state after a user's fault that
 * would only come again.
 * @param change what changed in the stage's inputs; null if nothing
 */
function failedOutcome(
  { result, resumeDir, log, overtime }: Answered,
  change: string | null,
): Failed {
  const failed =
    overtime !== null
      ? overtimeFailure(overtime, log.file)
      : result.type === 'done'
        ? changeFailure(change ?? '', log.file)
        : resultFailure(result, log.file);
  // After a user's fault, an attempt that resumed would fail in the same place, so the saved state
  // is removed. An attempt that was only cut off keeps it.
  if (result.type === 'fault' && result.cutOff !== true && overtime === null)
    removeFolder(resumeDir);
  if (change !== null && result.type !== 'done') log.line(change);
  log.line(`failed: ${failed.error}`);
  if (failed.hint !== undefined) log.line(failed.hint);
  if (result.type === 'error') log.output(`${result.stack}\n`);
  return failed;
}

/**
 * Tells the user of the warnings that are stored with an entry, except those that the preflight of
 * this run has told. Of warnings that differ only in numbers, a run tells the first.
 */
export function tellWarnings(
  execution: Execution,
  stage: PlannedStage,
  { dir }: { readonly dir: string },
): void {
  const cell = execution.plan.experiment.cells[stage.cells[0] ?? 0],
    before = execution.options.warnings?.get(stage.id)?.map(({ message }) => message);
  for (const { path: field, ...warning } of readWarnings(dir)) {
    if (before?.includes(warning.message)) continue;
    const range = cell && field.length > 0 ? locateIn(cell, stage.section, field) : null;
    const text = warningText({ ...warning, range });
    const kind = withoutNumbers(text);
    if (!execution.told.has(kind)) tellNote(execution, text);
    execution.told.add(kind);
  }
}

/**
 * Stores what a job wrote. If the stage ran again for files that were let go, puts these back into
 * its entry.
 */
async function publish(
  execution: Execution,
  answered: Answered,
  { files, seconds, computed, peakMemoryMB }: Extract<JobResult, { type: 'done' }>,
): Promise<Outcome> {
  const { plan, options, entries } = execution;
  const { request, log, packed } = answered;
  const { stage, key, components, gpus } = request;
  const outDir = outputFolder(answered);
  const volatile = stage.descriptor.volatile ?? [];
  if (request.whole === true && options.store.lookUp(key).state === 'hit')
    return restoreFiles(execution, answered, { files, volatile, seconds });
  const entry = await options.store.publish(outDir, {
    key,
    kind: stage.kind,
    components,
    files,
    volatile,
    seconds,
    backend: stage.descriptor.compute ? plan.backend : null,
    facts: {
      ...options.facts,
      run: options.runId,
      stage: stage.id,
      cell: stage.cell,
      seed: stage.seed,
      cpu: stage.resources.cpu,
      ...defined({
        gpus,
        packed: packed === 1 ? undefined : packed,
        computed: computed && backendRecord(computed, precisionOf(stage)),
      }),
      peak_memory_mb: Math.round(peakMemoryMB),
    },
  });
  entries.set(key, entry);
  if (files.some(({ path }) => path === WARNINGS)) tellWarnings(execution, stage, entry);
  log.detail(`done in ${seconds.toFixed(2)} s`);
  return ranOutcome(entry, seconds);
}

/** Returns the outcome of a stage that ran for `seconds` and has this entry. */
const ranOutcome = (
  { key, dir, manifest: { content, files, backend } }: Entry,
  seconds: number,
): Outcome => ({ state: 'ran', key, dir, content, seconds, backend, bytes: bytesOf(files) });

/**
 * Puts files that were let go back into their entry. If the files computed now differ from the
 * files let go, removes the new ones and returns a failure.
 */
async function restoreFiles(
  execution: Execution,
  answered: Answered,
  { seconds, ...made }: Pick<Publication, 'files' | 'volatile' | 'seconds'>,
): Promise<Outcome> {
  const { store } = execution.options;
  const { request, log } = answered;
  const { key } = request;
  const outDir = outputFolder(answered);
  const restored = await store.restore(outDir, key, made);
  if ('differs' in restored) {
    removeFolder(outDir);
    const error =
      `computed again, its ${restored.differs} differs from the one that was let go: another ` +
      'machine, other libraries or another `--pack` round otherwise';
    log.line(`failed: ${error}`);
    return failure(error, log.file, {
      hint:
        `run it where it was made, or remove ${store.entryDir(key)}: then this stage, and what ` +
        'reads it, has new results',
    });
  }
  const { entry } = restored;
  execution.entries.set(key, entry);
  log.detail(`let-go files computed again in ${seconds.toFixed(2)} s`);
  return ranOutcome(entry, seconds);
}

const WEIGHTS: { readonly [name in Precision]?: string } = {
  'bf16 weights': 'frozen weights in bf16',
  nf4: 'frozen weights in 4 bits (nf4)',
  int8: 'frozen weights in 8 bits (int8)',
};

/**
 * Returns what the manifest records of a backend: its facts without `bf16Products`. If the stage
 * asks for precisions other than float32, the record describes them in words.
 */
function backendRecord(
  { bf16Products, ...info }: JsonObject,
  precisions: readonly Precision[],
): JsonObject {
  if (precisions.length === 0) return { ...info };
  const rounded = bf16Products === 'bf16' ? ', rounded to bf16' : '';
  const parts = precisions.map((one) => WEIGHTS[one] ?? `products in bf16${rounded}`);
  return { ...info, precision: `float32 with ${parts.join(', ')}` };
}

function removeFolder(dir: string): void {
  rmSync(dir, { recursive: true, force: true });
}
