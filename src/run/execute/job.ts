/** Builds the job that an executor gets for a stage, and checks the executor's answer. */
import type { Demand, ExperimentFacts, Job, JobResult, StageInput, Warning } from '../../api.ts';
import type { PluginModule } from '../../api/executor.ts';
import { defined } from '../../base/defined.ts';
import { mapValues } from '../../base/record.ts';
import type { PluginKind } from '../../plan/graph.ts';
import type { Plan, PlannedStage } from '../../plan/types.ts';
import type { ExecuteOptions } from './execution.ts';
import { pythonOf } from './survey.ts';

/** What a job gets that the stage's definition does not say. */
export interface JobInputs {
  readonly inputs: { readonly [name: string]: StageInput };
  /** See `Job.gpus`. */
  readonly gpus?: readonly string[];
  readonly experiment?: ExperimentFacts;
  readonly demand?: Demand;
  readonly warnings?: readonly Warning[];
}

export interface JobPlace extends Pick<ExecuteOptions, 'registry' | 'assets' | 'jobs'> {
  readonly plan: Pick<Plan, 'backend' | 'computedBy' | 'python'>;
  readonly outDir: string;
  readonly resumeDir?: string;
  readonly answersDir?: string;
  /** See `Job.key`. */
  readonly key?: string;
}

/**
 * Builds a stage's job. Throws if a plugin or source is missing that was there when the stage was
 * planned.
 */
export function buildJob(
  stage: PlannedStage,
  { inputs, experiment, gpus, demand, warnings = [] }: JobInputs,
  place: JobPlace,
): Job {
  /** Returns how a worker finds a plugin. Throws if the plugin is gone. */
  const plugin = (kind: PluginKind, name: string): PluginModule => {
    const entry = place.registry.get(kind, name);
    if (!entry) throw new Error(`the ${kind} "${name}" is no longer in the registry`);
    return { kind, name, module: entry.module };
  };
  /** Returns a source. Throws if it is not on this machine. */
  const asset = (uri: string) => {
    const found = place.assets.get(uri);
    if (!found) throw new Error(`${uri} is not on this machine`);
    return found;
  };
  const { limits } = stage,
    { resumeDir, answersDir, key } = place,
    { backend, computedBy, python } = place.plan;
  const asksTorch = backend !== 'torch' && pythonOf(stage, backend).length > 0;
  return {
    id: stage.id,
    stage: plugin('stage', stage.kind),
    uses: stage.uses.map(({ kind, name }) => plugin(kind as PluginKind, name)),
    params: stage.params,
    inputs,
    assets: mapValues(stage.assets, asset),
    outDir: place.outDir,
    backend,
    computedBy,
    ...defined({ torch: asksTorch ? (python.torch ?? undefined) : undefined }),
    compute: stage.descriptor.compute,
    cpu: Math.min(place.jobs, Math.max(1, stage.resources.cpu)),
    ...(warnings.length === 0 ? {} : { warnings }),
    ...defined({ gpus, resumeDir, answersDir, limits, experiment, demand, key }),
  };
}

/** The types of results, as a record so that the compiler asks for every type. */
const RESULT_TYPES: Readonly<Record<JobResult['type'], true>> = {
  done: true,
  fault: true,
  error: true,
  exit: true,
};

/** Throws if an executor, which may be an outside plugin, answers with anything but a result. */
export function checkResult(answer: unknown): asserts answer is JobResult {
  const type = (answer as Partial<JobResult> | null | undefined)?.type;
  if (type === undefined || !Object.hasOwn(RESULT_TYPES, type))
    throw new TypeError(
      `the executor answered ${JSON.stringify(answer)}, which is not the result of a job`,
    );
}

/** Removes secrets from the texts of a failure: a program that fails may quote them. */
export function redacted(
  result: JobResult,
  redact: ((text: string) => string) | undefined,
): JobResult {
  if (redact === undefined) return result;
  switch (result.type) {
    case 'fault':
      return {
        ...result,
        message: redact(result.message),
        ...defined({ hint: result.hint && redact(result.hint) }),
      };
    case 'error':
      return { ...result, message: redact(result.message), stack: redact(result.stack) };
    case 'done':
    case 'exit':
      return result;
  }
}
