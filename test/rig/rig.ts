/** A temporary folder with a store, plugin modules that a test writes, and experiments made of plain cells; stages run in real worker processes. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { AnyPlugin, Asset, Cell, Digest, JsonObject } from '../../src/api.ts';
import type { Locate } from '../../src/execute/guard.ts';
import type { PackLimits } from '../../src/execute/packer.ts';
import type { Patience } from '../../src/execute/patience.ts';
import { createPool } from '../../src/execute/pool.ts';
import type { Machine } from '../../src/execute/resources.ts';
import { executePlan } from '../../src/execute/execute-plan.ts';
import { survey } from '../../src/execute/survey.ts';
import type { Outcome, RunEvent, RuntimeRegistry } from '../../src/execute/types.ts';
import type { Experiment, ExperimentCell } from '../../src/experiment/types.ts';
import { openRunLog } from '../../src/log/run-log.ts';
import type { PluginKind } from '../../src/plan/graph.ts';
import { planExperiment } from '../../src/plan/plan.ts';
import type { Plan, PlannedStage } from '../../src/plan/types.ts';
import { openStore } from '../../src/store/store.ts';

export const workerModule = fileURLToPath(new URL('../../src/execute/worker.ts', import.meta.url));

/** A cell of which only `seed`, `poisoning` and `adapter` matter; the rest are parts that fixtures don't read. */
export function cell(
  seed: number,
  poisoning: JsonObject = { attack: 'none' },
  adapter: JsonObject = { type: 'full' },
): Cell {
  return {
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
  } as unknown as Cell;
}

export function experiment(goals: readonly string[], cells: readonly Cell[]): Experiment {
  return {
    name: 'fixture',
    file: '/fixture.yaml',
    text: 'name: fixture\n',
    commands: [],
    secrets: [],
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
  /** Writes a plugin module: the text of an object literal. Writing it again is an edit. */
  plugin(kind: PluginKind, name: string, literal: string): Promise<void>;
  plan(experiment: Experiment): Plan;
  /** Runs a plan to its end with two cores. */
  run(experiment: Experiment, options?: RunRig): Promise<RigResult>;
  write(name: string, text: string): string;
  read(name: string): string;
  exists(name: string): boolean;
  clean(): void;
}

export interface RunRig {
  readonly jobs?: number;
  /** What else of the machine is shared out. */
  readonly machine?: Omit<Machine, 'cores'>;
  readonly failFast?: boolean;
  readonly packing?: PackLimits;
  readonly patience?: Patience;
  readonly signal?: AbortSignal;
  readonly assets?: ReadonlyMap<string, Asset>;
  readonly locate?: Locate;
  readonly mayRun?: (stage: PlannedStage) => boolean;
  readonly onEvent?: (event: RunEvent) => void;
}

export interface RigResult {
  readonly plan: Plan;
  readonly events: readonly RunEvent[];
  /** By kind and seed (`train/1`), or the kind alone where the seed is not agreed on. */
  readonly outcomes: { readonly [name: string]: Outcome };
  /** How many stages ran, by kind. */
  readonly ran: { readonly [kind: string]: number };
}

export function createRig(): Rig {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
  const storeDir = path.join(dir, 'store');
  const plugins = new Map<string, { descriptor: AnyPlugin; code: Digest; module: string }>();
  let runs = 0;
  const registry: RuntimeRegistry = {
    get: (kind, name) => plugins.get(`${kind} ${name}`),
    names: (kind) =>
      [...plugins.values()]
        .filter(({ descriptor }) => descriptor.kind === kind)
        .map(({ descriptor }) => descriptor.name),
  };
  const rig: Rig = {
    dir,
    storeDir,
    registry,
    async plugin(kind, name, literal) {
      const text = `export default { kind: '${kind}', name: '${name}', summary: 'A fixture.', ...${literal} };\n`;
      const hash = createHash('sha256').update(text).digest('hex');
      const module = path.join(dir, `${kind}-${name}-${hash.slice(0, 8)}.mjs`);
      writeFileSync(module, text);
      const { default: descriptor } = (await import(pathToFileURL(module).href)) as {
        default: AnyPlugin;
      };
      plugins.set(`${kind} ${name}`, { descriptor, code: `sha256:${hash}` as Digest, module });
    },
    plan(of) {
      const planned = planExperiment(of, registry, 'cpu');
      if (!planned.ok)
        throw new Error(planned.diagnostics.map(({ message }) => message).join('\n'));
      return planned.value;
    },
    async run(
      of,
      {
        jobs = 2,
        machine,
        failFast = false,
        signal = new AbortController().signal,
        assets = new Map(),
        mayRun,
        locate,
        onEvent,
        patience,
        packing,
      } = {},
    ) {
      const plan = rig.plan(of);
      const store = openStore(storeDir),
        log = openRunLog(path.join(dir, `run-${++runs}`)),
        pool = createPool({ module: workerModule, limit: jobs, graceMs: 300 });
      const events: RunEvent[] = [];
      try {
        const outcomes = await executePlan(plan, survey(plan, assets, store), {
          store,
          registry,
          assets,
          executor: pool,
          log,
          jobs,
          failFast,
          signal,
          runId: 'test',
          environment: { fixture: true },
          facts: {},
          onEvent: (event) => {
            events.push(event);
            onEvent?.(event);
          },
          ...(mayRun ? { mayRun } : {}),
          ...(locate ? { locate } : {}),
          ...(patience ? { patience } : {}),
          ...(packing ? { packing } : {}),
          ...(machine ? { machine } : {}),
        });
        await store.flush();
        const ran: { [kind: string]: number } = {};
        for (const event of events)
          if (event.type === 'stage-ended' && event.outcome.state === 'ran')
            ran[event.stage.kind] = (ran[event.stage.kind] ?? 0) + 1;
        return {
          plan,
          events,
          ran,
          outcomes: Object.fromEntries(
            plan.stages.map((stage) => [
              stage.seed === null ? stage.kind : `${stage.kind}/${stage.seed}`,
              outcomes.get(stage.id)!,
            ]),
          ),
        };
      } finally {
        await pool.close();
        await log.close();
        store.close();
      }
    },
    write: (name, text) => {
      const file = path.join(dir, name);
      writeFileSync(file, text);
      return file;
    },
    read: (name) => readFileSync(path.join(dir, name), 'utf8'),
    exists: (name) => existsSync(path.join(dir, name)),
    clean: () => rmSync(dir, { recursive: true, force: true }),
  };
  return rig;
}
