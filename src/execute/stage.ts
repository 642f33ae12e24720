/** One stage, or a pack of them, once: from inputs to an entry in the store, or to the words for what went wrong. */
import { rmSync } from 'node:fs';
import type { BackendName, ExperimentFacts, StageInput } from '../api.ts';
import type { PluginKind } from '../plan/graph.ts';
import type { ActionKey, KeyComponents, PlannedStage, StageId } from '../plan/types.ts';
import type { Entry } from '../store/types.ts';
import type { Reads } from './guard.ts';
import { inTurn, runInline } from './inline.ts';
import { forKind } from './patience.ts';
import type { Job, JobResult, PackedJob, PluginModule } from './protocol.ts';
import type { RunOptions } from './run.ts';
import type { Failed, Outcome } from './types.ts';

export interface Reading {
  readonly key: ActionKey;
  readonly components: KeyComponents;
  readonly inputs: { readonly [name: string]: StageInput };
  readonly reads: Reads;
  /** Told of what it has made. */
  readonly onStored: (entry: Entry) => void;
  /** `Job.gpus`. */
  readonly gpus?: readonly string[];
  readonly experiment?: ExperimentFacts;
  /** Whether this run still has the lease. */
  readonly leaseStands: () => boolean;
}

/** An executor may be other people's code. */
const RESULTS: ReadonlySet<unknown> = new Set<JobResult['type']>([
  'done',
  'fault',
  'error',
  'exit',
]);

/** Everything that running the stage needs. */
export function jobOf(
  stage: PlannedStage,
  { inputs, experiment, gpus }: Pick<Reading, 'inputs' | 'experiment' | 'gpus'>,
  place: Pick<RunOptions, 'registry' | 'assets' | 'jobs'> & {
    readonly backend: BackendName;
    readonly outDir: string;
    readonly resumeDir?: string;
  },
): Job {
  const plugin = (kind: PluginKind, name: string): PluginModule => {
    const entry = place.registry.get(kind, name);
    if (!entry) throw new Error(`the ${kind} "${name}" has left the registry`);
    return { kind, name, module: entry.module };
  };
  const { limits } = stage.descriptor;
  return {
    id: stage.id,
    stage: plugin('stage', stage.kind),
    uses: stage.uses.map(({ kind, name }) => plugin(kind as PluginKind, name)),
    params: stage.params,
    inputs,
    assets: Object.fromEntries(
      Object.entries(stage.assets).map(([name, uri]) => [name, place.assets.get(uri)!]),
    ),
    outDir: place.outDir,
    backend: place.backend,
    compute: stage.descriptor.compute,
    cpu: Math.min(place.jobs, Math.max(1, stage.resources.cpu)),
    ...(gpus ? { gpus } : {}),
    ...(place.resumeDir === undefined ? {} : { resumeDir: place.resumeDir }),
    ...(limits ? { limits } : {}),
    ...(experiment ? { experiment } : {}),
  };
}

export function runStage(
  stage: PlannedStage,
  reading: Reading,
  backend: BackendName,
  options: RunOptions,
): Promise<Outcome | 'busy'> {
  const once = async (): Promise<Outcome | 'busy'> => {
    const { work, conclude } = begin(stage, reading, backend, options);
    return conclude(
      stage.descriptor.inline === true
        ? runInline(work.job, stage.descriptor, options.registry, work.hooks, work.signal)
        : options.executor.run(work.job, work.hooks, work.signal),
    );
  };
  return stage.descriptor.inline === true ? inTurn(once) : once();
}

/**
 * Several stages as one job, each with an outcome of its own. `lost`: their process went without a word, and which of them
 * is to blame is not known.
 */
export function runPack(
  members: readonly { readonly stage: PlannedStage; readonly reading: Reading }[],
  backend: BackendName,
  options: RunOptions,
): readonly Promise<Outcome | 'busy' | 'lost'>[] {
  const pack = members.map(({ stage }) => stage.id);
  const tries = members.map(({ stage, reading }) => begin(stage, reading, backend, options, pack));
  const results = options.executor.runPack!(tries.map(({ work }) => work));
  return tries.map(async ({ work, conclude }, i) => {
    const outcome = await conclude(results[i]!);
    return (await results[i]!).type === 'exit' && !work.signal.aborted ? 'lost' : outcome;
  });
}

/** One try at a stage: what the executor is handed, and what becomes of its answer. */
interface Try {
  readonly work: PackedJob;
  /** `busy`: another run has taken the lease over. */
  conclude(answer: Promise<JobResult>): Promise<Outcome | 'busy'>;
}

function begin(
  stage: PlannedStage,
  { key, components, inputs, reads, onStored, experiment, gpus, leaseStands }: Reading,
  backend: BackendName,
  options: RunOptions,
  pack?: readonly StageId[],
): Try {
  const packed = pack?.length ?? 1;
  const { store, signal, onEvent } = options;
  const resumeDir = store.resumeDir(key, reads.state);
  const outDir = store.scratch(stage.id);
  const log = options.log.stage(stage.id);
  onEvent({ type: 'stage-started', stage, log: log.file, ...(pack ? { pack } : {}) });
  log.aside(`${stage.id} key ${key}${packed === 1 ? '' : `, packed with ${packed - 1} more`}`);
  const seconds = forKind(options.patience?.timeout, stage.kind);
  const computedOn = stage.descriptor.compute ? backend : null;
  const stop = new AbortController();
  const abort = (): void => stop.abort();
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  const timer = seconds === null ? undefined : setTimeout(abort, seconds * 1000);

  const settle = async (answered: JobResult): Promise<Outcome | 'busy'> => {
    const result = redacted(answered, options.redact);
    if (!RESULTS.has((result as Partial<JobResult> | undefined)?.type))
      throw new TypeError(
        `the executor answered ${JSON.stringify(result)}, which is no result of a job`,
      );
    if (!leaseStands() && !signal.aborted) {
      rmSync(outDir, { recursive: true, force: true });
      const lost =
        'another run took its lease over while this one was stopped: what it made here is discarded';
      log.line(lost);
      onEvent({ type: 'note', message: `${stage.id}: ${lost}` });
      return 'busy';
    }
    const change = await reads.fault();
    if (change !== null) {
      options.executor.forget?.();
      rmSync(resumeDir, { recursive: true, force: true });
    }
    if (result.type !== 'done' || change !== null) {
      rmSync(outDir, { recursive: true, force: true });
      if (signal.aborted) {
        log.line('stopped before its end');
        return { state: 'abandoned' };
      }
      // It was asked to stop and then ended somehow: the time is why.
      const failed: Failed = stop.signal.aborted
        ? {
            state: 'failed',
            error: `it ran for more than ${seconds} s and was ended`,
            hint: '--timeout sets how long a stage may run',
            internal: false,
            log: log.file,
          }
        : failure(result, change, log.file);
      // A user's fault comes again from wherever it is gone on; of what was merely cut off, nothing is lost.
      if (result.type === 'fault' && !stop.signal.aborted)
        rmSync(resumeDir, { recursive: true, force: true });
      if (change !== null && result.type !== 'done') log.line(change);
      log.line(`failed: ${failed.error}`);
      if (failed.hint !== undefined) log.line(failed.hint);
      if (result.type === 'error') log.output(`${result.stack}\n`);
      return failed;
    }
    const entry = await store.publish(outDir, {
      key,
      kind: stage.kind,
      components,
      files: result.files,
      volatile: stage.descriptor.volatile ?? [],
      seconds: result.seconds,
      backend: computedOn,
      facts: {
        ...options.facts,
        run: options.runId,
        stage: stage.id,
        cell: stage.cell,
        seed: stage.seed,
        cpu: stage.resources.cpu,
        ...(gpus ? { gpus } : {}),
        ...(packed === 1 ? {} : { packed }),
        ...(result.computed ? { computed: result.computed } : {}),
        peak_memory_mb: Math.round(result.peakMemoryMB),
      },
    });
    log.aside(`done in ${result.seconds.toFixed(2)} s`);
    onStored(entry);
    return {
      state: 'ran',
      key,
      dir: entry.dir,
      content: entry.manifest.content,
      seconds: result.seconds,
      backend: computedOn,
    };
  };

  return {
    work: {
      job: jobOf(
        stage,
        { inputs, ...(gpus ? { gpus } : {}), ...(experiment ? { experiment } : {}) },
        { ...options, backend, outDir, resumeDir },
      ),
      hooks: {
        onOutput: (text) => log.output(text),
        onLog: (message) => log.said(message),
        onProgress: (done, total, unit) =>
          onEvent({ type: 'stage-progress', stage, done, total, unit }),
      },
      signal: stop.signal,
    },
    async conclude(answer) {
      try {
        return await settle(await answer);
      } finally {
        clearTimeout(timer);
        signal.removeEventListener('abort', abort);
        await log.close();
      }
    },
  };
}

/** A program may tell of its failure by what it was given. */
export function redacted(result: JobResult, redact: RunOptions['redact']): JobResult {
  if (redact === undefined) return result;
  if (result?.type === 'fault')
    return {
      ...result,
      message: redact(result.message),
      ...(result.hint === undefined ? {} : { hint: redact(result.hint) }),
    };
  if (result?.type === 'error')
    return { ...result, message: redact(result.message), stack: redact(result.stack) };
  return result;
}

/** A message may quote a data set's text: no control characters of it reach a terminal, and no page-long line. */
function plain(message: string): string {
  const text = message.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, '\ufffd');
  return text.length > 1000 ? `${text.slice(0, 1000)}…` : text;
}

const READ_ONLY =
  'what a stage reads is to stay as it is until the stage ends: copy what you want to change, and run again; nothing was kept';

/** @param change what of the stage's reads did not stay as it was, if anything */
function failure(result: JobResult, change: string | null, log: string): Failed {
  switch (result.type) {
    case 'done':
      return {
        state: 'failed',
        error: plain(change!),
        hint: READ_ONLY,
        internal: false,
        log,
      };
    case 'fault':
      return {
        state: 'failed',
        error: plain(result.message),
        internal: false,
        log,
        ...(result.hint === undefined ? {} : { hint: plain(result.hint) }),
      };
    case 'error':
      return {
        state: 'failed',
        error: `internal error: ${plain(result.message)}`,
        internal: true,
        log,
      };
    case 'exit': {
      const how =
        result.signal !== null ? `ended by ${result.signal}` : `exit code ${String(result.code)}`;
      return {
        state: 'failed',
        error: `its process went without a word (${how})`,
        internal: true,
        log,
        ...(result.signal === 'SIGKILL'
          ? {
              hint: 'the system kills a process when memory runs out; try --jobs 1, or a smaller batch',
            }
          : {}),
      };
    }
  }
}
