/**
 * A temporary folder with a store, plugin modules that a test writes, and experiments made of plain
 * cells. Stages run in real worker processes.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AnyPlugin, Asset, Cell, Digest, Executor, Job, JsonObject } from '../../src/api.ts';
import type { PluginKind } from '../../src/plan/graph.ts';
import { planExperiment } from '../../src/plan/plan.ts';
import type { Plan, PlannedStage, StageId } from '../../src/plan/types.ts';
import type { AttemptLimits } from '../../src/run/execute/attempt-limits.ts';
import { executePlan } from '../../src/run/execute/execute-plan.ts';
import type { RuntimeRegistry } from '../../src/run/execute/execution.ts';
import type { Locate } from '../../src/run/execute/guard.ts';
import { createPool } from '../../src/run/execute/pool.ts';
import type { Machine } from '../../src/run/execute/resources.ts';
import { survey } from '../../src/run/execute/survey.ts';
import type { Outcome, RunEvent } from '../../src/run/log/events.ts';
import { openRunLog } from '../../src/run/log/run-log.ts';
import { buildDir } from '../../src/run/registry/build.ts';
import type { Experiment, ExperimentCell } from '../../src/spec/types.ts';
import type { LeaseOptions } from '../../src/store/lease.ts';
import { openStore } from '../../src/store/store.ts';
import { standIn } from './stand-in.ts';

/** The worker of the newest build, which starts in a third of the time of its source. */
export const workerModule = path.join(buildDir(), 'worker.js');

/**
 * A cell in which only `seed`, `poisoning` and `adapter` matter; fixtures don't read its other
 * parts.
 */
export function cell(
  seed: number,
  poisoning: JsonObject = { attack: 'none' },
  adapter: JsonObject = { type: 'full' },
): Cell {
  return standIn<Cell>({
    name: 'fixture',
    seed,
    poisoning,
    adapter,
    train: { steps: 1 },
    head: {},
    evaluate: {},
    ntk: {},
    fisher: {},
    model: { source: 'file:/m' },
    data: {},
  });
}

export function experiment(goals: readonly string[], cells: readonly Cell[]): Experiment {
  return {
    name: 'fixture',
    notes: '',
    file: '/fixture.yaml',
    text: 'name: fixture\n',
    commands: [],
    secrets: [],
    warnings: [],
    keep: {},
    goals,
    seeds: [...new Set(cells.map(({ seed }) => seed))],
    resolved: {},
    cells: cells.map((config): ExperimentCell => ({
      config,
      axes: Object.fromEntries(
        ['poisoning', 'adapter'].flatMap((part) =>
          Object.entries(config[part as 'poisoning']).map(([key, value]) => [
            `${part}.${key}`,
            value,
          ]),
        ),
      ),
      label: `seed=${config.seed}`,
      also: [],
      locate: () => ({
        file: '/fixture.yaml',
        line: 1,
        column: 1,
        endColumn: 2,
        text: 'name: fixture',
      }),
    })),
  };
}

export interface Rig {
  readonly dir: string;
  readonly storeDir: string;
  readonly registry: RuntimeRegistry;
  /** Writes a plugin module with this object literal. Writing it again is an edit. */
  plugin(kind: PluginKind, name: string, literal: string): Promise<void>;
  plan(experiment: Experiment): Plan;
  /** Executes the plan of an experiment, on two cores by default. */
  run(experiment: Experiment, options?: RunRig): Promise<RigResult>;
  write(name: string, text: string): string;
  read(name: string): string;
  exists(name: string): boolean;
  clean(): Promise<void>;
}

export interface RunRig {
  readonly jobs?: number;
  /** Memory and GPUs that stages share. */
  readonly machine?: Omit<Machine, 'cores'>;
  readonly failFast?: boolean;
  /**
   * Gives the stages to a scheduler, which performs those that share a job one after another.
   */
  readonly pack?: number;
  readonly attemptLimits?: AttemptLimits;
  /** Called with the stages of each job of the executor. */
  readonly onJob?: (stages: readonly Job[]) => void;
  readonly signal?: AbortSignal;
  readonly assets?: ReadonlyMap<string, Asset>;
  readonly locate?: Locate;
  readonly mayRun?: (stage: PlannedStage) => boolean;
  readonly onEvent?: (event: RunEvent) => void;
  /** How the store keeps leases. */
  readonly leases?: LeaseOptions;
}

export interface RigResult {
  readonly plan: Plan;
  readonly events: readonly RunEvent[];
  /** The outcomes by kind and seed (`train/1`), or by kind alone for a stage without a seed. */
  readonly outcomes: { readonly [name: string]: Outcome };
  /** The number of stages that ran, by kind. */
  readonly ran: { readonly [kind: string]: number };
}

interface PluginModule {
  readonly descriptor: AnyPlugin;
  readonly code: Digest;
  readonly module: string;
}

const registryOf = (plugins: ReadonlyMap<string, PluginModule>): RuntimeRegistry => ({
  get: (kind, name) => plugins.get(`${kind} ${name}`),
  names: (kind) =>
    [...plugins.values()]
      .filter(({ descriptor }) => descriptor.kind === kind)
      .map(({ descriptor }) => descriptor.name),
});

/** Writes the module and loads it. */
async function pluginModule(
  dir: string,
  kind: PluginKind,
  name: string,
  literal: string,
): Promise<PluginModule> {
  const own = `kind: '${kind}', name: '${name}', summary: 'A fixture.'`;
  const text = `export default { ${own}, ...${literal} };\n`;
  const hash = createHash('sha256').update(text).digest('hex');
  const module = path.join(dir, `${kind}-${name}-${hash.slice(0, 8)}.mjs`);
  writeFileSync(module, text);
  const { default: descriptor } = (await import(pathToFileURL(module).href)) as {
    default: AnyPlugin;
  };
  return { descriptor, code: `sha256:${hash}` as Digest, module };
}

/** Performs the jobs of a pack one after another, as a task of a scheduler does. */
const packsOn = (pool: Executor, onJob: RunRig['onJob'] = () => undefined): Executor => ({
  ...pool,
  run: (job, hooks, signal) => {
    onJob([job]);
    return pool.run(job, hooks, signal);
  },
  runPack: (pack) => {
    onJob(pack.map(({ job }) => job));
    let before: Promise<unknown> = Promise.resolve();
    return pack.map(({ job, hooks, signal }) => {
      const result = before.then(() => pool.run(job, hooks, signal));
      before = result;
      return result;
    });
  },
});

/** @param logs the folder of the run's logs */
async function runPlan(
  plan: Plan,
  { registry, storeDir, pool }: Pick<Rig, 'registry' | 'storeDir'> & { readonly pool: Executor },
  logs: string,
  options: RunRig,
): Promise<RigResult> {
  const { jobs = 2, failFast = false, assets = new Map<string, Asset>(), onEvent } = options;
  const { mayRun, locate, attemptLimits, pack } = options,
    machine = pack === undefined ? options.machine : { ...options.machine, gatherMs: 0 };
  const store = openStore(storeDir, options.leases ? { leases: options.leases } : {});
  const log = openRunLog(logs);
  const events: RunEvent[] = [];
  try {
    const outcomes = await executePlan(plan, survey(plan, assets, store), {
      store,
      registry,
      assets,
      executor: packsOn(pool, options.onJob),
      log,
      jobs,
      failFast,
      signal: options.signal ?? new AbortController().signal,
      runId: 'test',
      environment: { fixture: true },
      facts: {},
      onEvent: (event) => {
        events.push(event);
        onEvent?.(event);
      },
      ...(mayRun ? { mayRun } : {}),
      ...(locate ? { locate } : {}),
      ...(attemptLimits ? { attemptLimits } : {}),
      ...(pack === undefined ? {} : { pack }),
      ...(machine ? { machine } : {}),
    });
    await store.flush();
    return { plan, events, ran: ranByKind(events), outcomes: outcomesByName(plan, outcomes) };
  } finally {
    await log.close();
    store.close();
  }
}

function ranByKind(events: readonly RunEvent[]): RigResult['ran'] {
  const ran: { [kind: string]: number } = {};
  for (const event of events)
    if (event.type === 'stage-ended' && event.outcome.state === 'ran')
      ran[event.stage.kind] = (ran[event.stage.kind] ?? 0) + 1;
  return ran;
}

const outcomesByName = (
  plan: Plan,
  outcomes: ReadonlyMap<StageId, Outcome>,
): RigResult['outcomes'] =>
  Object.fromEntries(
    plan.stages.flatMap(({ id, kind, seed }) => {
      const outcome = outcomes.get(id);
      return outcome ? [[seed === null ? kind : `${kind}/${seed}`, outcome] as const] : [];
    }),
  );

export function createRig(): Rig {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
  const storeDir = path.join(dir, 'store');
  const plugins = new Map<string, PluginModule>();
  const registry = registryOf(plugins);
  let runs = 0;
  /** By the number of workers. They stay for the next run, which need not start them. */
  const pools = new Map<number, Executor>();
  const poolOf = (limit: number): Executor => {
    const known = pools.get(limit);
    if (known !== undefined) return known;
    const pool = createPool({ module: workerModule, limit, graceMs: 300 });
    pools.set(limit, pool);
    return pool;
  };
  const rig: Rig = {
    dir,
    storeDir,
    registry,
    async plugin(kind, name, literal) {
      plugins.set(`${kind} ${name}`, await pluginModule(dir, kind, name, literal));
    },
    plan(of) {
      const planned = planExperiment(of, registry, 'cpu');
      if (!planned.ok)
        throw new Error(planned.diagnostics.map(({ message }) => message).join('\n'));
      return planned.value;
    },
    async run(of, options = {}) {
      const pool = poolOf(options.jobs ?? 2);
      return runPlan(rig.plan(of), { ...rig, pool }, path.join(dir, `run-${++runs}`), options);
    },
    write: (name, text) => {
      const file = path.join(dir, name);
      writeFileSync(file, text);
      return file;
    },
    read: (name) => readFileSync(path.join(dir, name), 'utf8'),
    exists: (name) => existsSync(path.join(dir, name)),
    async clean() {
      await Promise.all([...pools.values()].map((pool) => pool.close()));
      rmSync(dir, { recursive: true, force: true });
    },
  };
  return rig;
}
