/**
 * Prepares a spec: loads the experiment, plans it, and looks up the state of its stages in the
 * store. Most commands begin with this. `checkStages` then finds the faults that stages see in
 * their input before anything runs; `plan` and `run` both ask for them.
 */
import path from 'node:path';
import {
  type BackendName,
  type JsonObject,
  type SourceContext,
  type SourceDescriptor,
  UserFault,
} from '../api.ts';
import { defined } from '../base/defined.ts';
import { cacheFolder } from '../base/untrusted/paths.ts';
import { planExperiment } from '../plan/plan.ts';
import type { Plan, StageId } from '../plan/types.ts';
import { namesInstead } from '../report/metric-lookup.ts';
import { metricName, METRICS, parseMetricName } from '../report/metrics.ts';
import { cacheDir } from '../setup/paths.mjs';
import { defaultFault } from '../spec/check.ts';
import { loadExperiment } from '../spec/load.ts';
import type {
  CommandStage,
  Diagnostic,
  Experiment,
  ExperimentCell,
  SpecRegistry,
} from '../spec/types.ts';
import { onDisk } from '../store/faults.ts';
import { isOnProc } from '../store/folders.ts';
import { openStore, type Store } from '../store/store.ts';
import { chooseBackend, pythonReleases } from '../tensor/backend.ts';
import { findAssets } from './execute/assets.ts';
import type { Checked } from './execute/preflight.ts';
import { type Assets, pythonOf, type StageStatus, survey } from './execute/survey.ts';
import { distinctDiagnostics, storedWarnings, warningText } from './execute/warnings.ts';
import { defaultExecutor } from './executor.ts';
import { loadOutsidePlugins } from './registry/outside.ts';
import { loadRegistry } from './registry/registry.ts';
import type { LoadedPlugin, Registry } from './registry/types.ts';
import { SpecFault } from './types.ts';

export interface Asked {
  readonly store: string;
  /** The compute backend; by default, the best that this machine has. */
  readonly backend?: BackendName | undefined;
  /** One of the spec's profiles; by default, none. */
  readonly profile?: string | undefined;
  /** `path=value` each: overrides of fields of the spec. */
  readonly set: readonly string[];
  /** Tags, or `path=value[,value]`: filters of the cells. */
  readonly only: readonly string[];
}

/** The options that change what a spec says. */
export type Chosen = Pick<Asked, 'profile' | 'set' | 'only'>;

export type Note = (message: string) => void;

export interface Prepared {
  readonly asked: Chosen;
  readonly experiment: Experiment;
  readonly registry: Registry;
  readonly backend: BackendName;
  /** Whether the backend computes on GPUs, if there are any. */
  readonly gpu: boolean;
  readonly plan: Plan;
  readonly store: Store;
  readonly assets: Assets;
  /**
   * The URIs of models that are not on this machine yet, whose family is known only once they are.
   */
  readonly unknownFamilies: readonly string[];
  /** The statuses of all stages, in the plan's order. */
  readonly statuses: readonly StageStatus[];
}

/** Returns what reading a spec needs of the plugins. */
export function specRegistry(registry: Registry): SpecRegistry {
  const shapesOf = (kind: 'attack' | 'defence' | 'scorer') =>
    registry.all(kind).map(({ name, descriptor }) => ({ name, params: descriptor.params }));
  return {
    attacks: shapesOf('attack'),
    defences: shapesOf('defence'),
    adapters: registry.all('adapter').map(({ name, descriptor }) => ({
      name,
      params: descriptor.params,
      canonical: (params) => descriptor.canonical?.(params) ?? params,
    })),
    scorers: shapesOf('scorer'),
    stages: registry.names('stage').filter((name) => name !== COMMAND),
    stageForms: Object.fromEntries(
      registry
        .all('stage')
        .map(({ name, descriptor: { scope, parts } }) => [name, { scope, ...defined({ parts }) }]),
    ),
    models: registry.names('model'),
    datasets: registry.names('dataset'),
    sources: registry.names('source'),
    metrics: METRICS.map(metricName),
    metricsInstead: (name) => namesInstead(parseMetricName(name)),
  };
}

/**
 * Loads plugins from outside the repository. @param modules the absolute paths of their files
 * @throws UserFault as `loadOutsidePlugins`, and if a parameter has a default of a wrong type
 */
export async function outsidePlugins(modules: readonly string[]): Promise<readonly LoadedPlugin[]> {
  const plugins = await onDisk(cacheDir(process.env), () => loadOutsidePlugins(modules), 'cache');
  for (const { kind, descriptor, file } of plugins) {
    const fault = 'params' in descriptor ? await defaultFault(descriptor.params) : null;
    if (fault !== null)
      throw new UserFault(
        `${file}: ${fault}`,
        `a spec that leaves the parameter out hands the default to the ${kind}`,
      );
  }
  return plugins;
}

/**
 * Returns the experiment, and the registry with the spec's own plugins.
 * @throws SpecFault with every fault of the spec
 */
export async function load(
  spec: string,
  options: Chosen,
): Promise<{ readonly experiment: Experiment; readonly registry: Registry }> {
  checkCache(cacheDir(process.env));
  let registry = await loadRegistry();
  const loaded = await loadExperiment(spec, {
    registry: async (modules) => {
      if (modules.length > 0) {
        registry = registry.with(await outsidePlugins(modules));
      }
      return specRegistry(registry);
    },
    profile: options.profile,
    sets: options.set,
    only: options.only,
    env: process.env,
  });
  if (!loaded.ok) throw new SpecFault(loaded.diagnostics);
  const { commands } = loaded.value;
  return {
    experiment: loaded.value,
    registry:
      commands.length === 0
        ? registry
        : registry.with(commands.map((command) => commandStage(registry, command))),
  };
}

/**
 * Refuses a cache that others may have written to, and one on /proc: Node's recursive `mkdir`,
 * which makes its folders, never returns there.
 */
function checkCache(cache: string): void {
  cacheFolder(cache);
  if (isOnProc(cache))
    throw new UserFault(
      `${cache}: no folder can be made there`,
      'give another place with DOSIMETER_CACHE',
    );
}

const MOST_LINES = 5;

/**
 * Returns a line for each cell with several names, but only for the first MOST_LINES of them; if
 * there are more, one more line tells how many. Cells of later seeds are left out: they have the
 * same names.
 */
function aliasLines({ cells, seeds }: Experiment): string[] {
  const withoutSeed = ({ label }: { readonly label: string }): string =>
    label.replace(/ ?seed=\d+$/, '');
  const lines = cells
    .filter(({ also, config }) => also.length > 0 && config.seed === seeds[0])
    .map(
      (cell) =>
        `${withoutSeed(cell)} is also ${cell.also.map(withoutSeed).join(' and ')}: ` +
        'one condition, trained and counted once',
    );
  return lines.length <= MOST_LINES
    ? lines
    : [...lines.slice(0, MOST_LINES), `and ${lines.length - MOST_LINES} more such conditions`];
}

export interface PrepareOptions {
  /** Whether to fetch sources that are not on this machine yet. */
  readonly fetch: boolean;
  /** Called with events such as a download, or a lease that a dead process left. */
  readonly note: Note;
  /** Replaces the spec's goals. */
  readonly goals?: (goals: readonly string[], registry: Registry) => readonly string[];
  /** Replaces the cells of the grid. */
  readonly cells?: (cells: readonly ExperimentCell[]) => readonly ExperimentCell[];
}

/** Loads, plans and surveys a spec. @throws SpecFault with every fault of it or its sources */
export async function prepare(
  spec: string,
  options: Asked,
  { fetch, note, goals, cells = (all) => all }: PrepareOptions,
): Promise<Prepared> {
  const { experiment: loaded, registry } = await load(spec, options);
  const experiment = {
    ...loaded,
    goals: goals?.(loaded.goals, registry) ?? loaded.goals,
    cells: cells(loaded.cells),
  };
  const { name: backend, version, gpu } = await chooseBackend(options.backend);
  const planned = planExperiment(experiment, registry, backend, version);
  if (!planned.ok) throw new SpecFault(planned.diagnostics);
  const plan = planned.value;
  // Python's releases are asked for only if a stage computes with Python: asking starts a process.
  if (backend === 'torch' || plan.stages.some((stage) => pythonOf(stage, backend).length > 0))
    Object.assign(plan, { python: await pythonReleases() });
  aliasLines(experiment).forEach(note);
  experiment.warnings.map(warningText).forEach(note);
  const store = openStore(path.resolve(options.store), {
    spec: path.resolve(experiment.file),
    onTakeover: (key, { pid }) =>
      note(
        `the lease of ${key.slice(0, 10)} was left by process ${pid}, which is gone; ` +
          'it is free again',
      ),
  });
  const context = sourceContext(note);
  const unknownFamilies: string[] = [];
  const { assets, diagnostics } = await findAssets(
    plan,
    registry,
    context,
    fetch,
    async (uri, source) => {
      const faults = await modelFamilyFaults(uri, plan, registry, source, context, fetch);
      if (faults !== 'unknown') return faults;
      unknownFamilies.push(uri);
      return [];
    },
  );
  if (diagnostics.length > 0) throw new SpecFault(diagnostics);
  return {
    asked: options,
    experiment,
    registry,
    backend,
    gpu,
    plan,
    store,
    assets,
    unknownFamilies: fetch ? [] : unknownFamilies,
    statuses: survey(plan, assets, store),
  };
}

/** Returns `model_type` of a source's config.json; null if the file or the field is not at hand. */
async function modelType(
  uri: string,
  source: SourceDescriptor,
  context: SourceContext,
  fetch: boolean,
): Promise<string | null> {
  try {
    const text = (await source.peek?.(uri, 'config.json', context, fetch)) ?? null;
    const type: unknown =
      text === null ? null : (JSON.parse(text) as { model_type?: unknown } | null)?.model_type;
    return typeof type === 'string' ? type : null;
  } catch {
    return null; // a fault of the source is reported when it is fetched
  }
}

/**
 * Checks that the architectures that the spec gives to a model read the model's family.
 * @param fetch whether the source may ask its server for config.json
 * @returns a fault for each architecture of the spec that does not read this model, or `unknown` if
 *   config.json is not at hand; no fault if `uri` is not a model, or its source has no `peek`
 */
async function modelFamilyFaults(
  uri: string,
  plan: Plan,
  registry: Registry,
  source: SourceDescriptor,
  context: SourceContext,
  fetch: boolean,
): Promise<'unknown' | readonly Diagnostic[]> {
  const cells = plan.experiment.cells.filter(({ config }) => config.model.source === uri);
  if (cells.length === 0 || source.peek === undefined) return [];
  const type = await modelType(uri, source, context, fetch);
  if (type === null) return 'unknown';
  /** Returns the families that an architecture reads; undefined if it does not say. */
  const typesOf = (name: string): readonly string[] | undefined =>
    registry.get('model', name)?.descriptor.modelTypes;
  const supported = registry.names('model').flatMap((name) => typesOf(name) ?? []);
  const other = registry.names('model').find((name) => typesOf(name)?.includes(type));
  const architectures = new Map(cells.map((cell) => [cell.config.model.architecture, cell]));
  return [...architectures].flatMap(([name, cell]) => {
    const own = typesOf(name);
    if (own === undefined || own.includes(type)) return [];
    return [
      {
        code: 'model-family',
        message: `${uri} is a "${type}" model, which the architecture "${name}" does not read`,
        range: cell.locate(['model', 'source']),
        hint:
          other === undefined
            ? `the supported families are ${[...new Set(supported)].join(', ')}; ` +
              'a model plugin of your own may add another, and model.architecture: transformers ' +
              'with --backend torch reads any that transformers has'
            : `write model.architecture: ${other}`,
      },
    ];
  });
}

/**
 * Returns what source plugins get.
 * @param log called with what a plugin says
 */
export const sourceContext = (log: (message: string) => void): SourceContext => ({
  cacheDir: cacheDir(process.env),
  env: process.env,
  log,
});

/** The stage plugin that runs programs. It is no goal: a spec's `commands` say what to run. */
export const COMMAND = 'command';

/** Returns the plugin `command` as a stage that runs one program. */
function commandStage(registry: Registry, command: CommandStage): LoadedPlugin {
  const base = registry.get('stage', COMMAND);
  if (!base) throw new Error(`no stage plugin "${COMMAND}"`);
  const { name, scope, cpu, memory_mb, gpu, timeout_seconds, output_mb, ...settings } = command;
  const inputs = settings.inputs.map((input) => ({ ...input }));
  const params: JsonObject = { name, scope, ...settings, inputs };
  return {
    ...base,
    name,
    descriptor: {
      ...base.descriptor,
      name,
      scope,
      summary: `Runs ${settings.run.join(' ')}.`,
      limits: { timeout_seconds, output_mb },
      resources: () => ({
        cpu,
        gpu,
        // A spec may leave out `memory_mb`.
        ...('memory_mb' in command ? { memoryMB: memory_mb } : {}),
      }),
      define: (cells, { goals }) => base.descriptor.define(cells, { goals, with: params }),
    },
  };
}

/** Whether an executor runs its stages on this machine; undefined if none is given. */
export const runsHere = (executor: string | undefined): boolean | undefined =>
  executor === undefined ? undefined : executor === defaultExecutor;

/**
 * Runs the preflight of each lacking stage. Passes on every warning, also those stored with
 * finished stages. A stage is skipped if it asks for a source that is not fetched yet.
 * @param here what `runsHere` returns
 * @returns the warnings to be stored with the lacking stages
 * @throws SpecFault with every fault that was found
 */
export async function checkStages(
  prepared: Prepared,
  lacking: readonly StageStatus[],
  here: boolean | undefined,
  note: Note,
): Promise<Checked['warnings']> {
  // For a large grid whose stages check nothing and have no backend, the checks are not loaded.
  const isChecked = ({ stage: { descriptor } }: StageStatus): boolean =>
    descriptor.preflight !== undefined || descriptor.compute;
  const checks = lacking.some(isChecked) ? await import('./execute/preflight.ts') : null;
  const stored = storedWarnings(prepared.plan, prepared.statuses),
    { found: seen = [], warnings = new Map<StageId, never>() } =
      (await checks?.preflight(prepared, lacking, here)) ?? {},
    found = distinctDiagnostics([...stored, ...seen]);
  const faults = found.filter(({ warning }) => !warning);
  // A warning, such as of a wrong column, may say where a fault comes from.
  if (faults.length > 0) {
    tellWarnings(found, note);
    throw new SpecFault(faults);
  }
  for (const uri of prepared.unknownFamilies)
    note(
      `the family of ${uri} is checked once \`run\` has fetched its config.json; supported are ` +
        familyNames(prepared.registry),
    );
  tellWarnings(found, note);
  return warnings;
}

function tellWarnings(found: readonly Diagnostic[], note: Note): void {
  for (const diagnostic of found) if (diagnostic.warning) note(warningText(diagnostic));
}

/**
 * Returns the model families that can be read, joined by commas. A plugin that names none stands
 * for itself.
 */
const familyNames = (registry: Prepared['registry']): string =>
  registry
    .all('model')
    .flatMap(({ name, descriptor }) => descriptor.modelTypes ?? [name])
    .join(', ');
