/**
 * Asks stages, before anything runs, what faults their input has, and locates these in the spec.
 */
import { isAbsolute } from 'node:path';
import {
  type Asset,
  type AttackTarget,
  type Forecast,
  isAttacked,
  type JsonObject,
  type PreflightContext,
  type ServiceCalls,
  type UpstreamStage,
  type UserFault,
  type Warning,
} from '../../api.ts';
import { canonical } from '../../base/canonical.ts';
import { defined } from '../../base/defined.ts';
import type { PluginKind } from '../../plan/graph.ts';
import { locateIn } from '../../plan/label.ts';
import type { Plan, PlannedStage, StageId } from '../../plan/types.ts';
import type { Diagnostic, ExperimentCell } from '../../spec/types.ts';
import { packageFault } from '../../tensor/backend.ts';
import type { RuntimeRegistry } from './execution.ts';
import { mapToSources, terminalSafe } from './failure.ts';
import type { Assets, StageStatus } from './survey.ts';
import { distinctDiagnostics } from './warnings.ts';

export interface Checked {
  /** Faults and warnings, each message once for each place in the spec. */
  readonly found: readonly Diagnostic[];
  /** The warnings of each stage, to be stored with its output. */
  readonly warnings: ReadonlyMap<StageId, readonly Warning[]>;
}

/**
 * Asks each stage that is to run what is wrong with its input. Cached stages passed their preflight
 * when they ran. A stage that asks for a source that is not fetched yet is skipped, and asked again
 * once the source is there.
 * @param runsHere whether the stages run on this machine, if that is known
 */
export async function preflight(
  planned: Planned,
  toRun: readonly StageStatus[],
  runsHere: boolean | undefined,
): Promise<Checked> {
  const { plan } = planned;
  const surroundings = { ...surroundingsIn(planned), runsHere };
  const diagnostics: Diagnostic[] = [],
    warnings = new Map<StageId, readonly Warning[]>();
  for (const { stage, state } of toRun) {
    const cells = stage.cells.flatMap((i) => plan.experiment.cells[i] ?? []);
    const [cell] = cells;
    if (state === 'cached' || cell === undefined) continue;
    // A stage, such as a clean twin's, may belong to both clean and attacked cells. A fault of
    // `poisoning` is located in an attacked cell.
    const attacked = cells.find(({ config }) => isAttacked(config)) ?? cell;
    const found = await findFaults(stage, cell, attacked, surroundings);
    diagnostics.push(...found.map(({ diagnostic }) => diagnostic));
    const own = found.flatMap(({ warning }) => warning ?? []);
    if (own.length > 0) warnings.set(stage.id, own);
  }
  if (diagnostics.every(({ warning }) => warning))
    diagnostics.push(...(await repeatedConditions(planned)).values());
  return { found: distinctDiagnostics(diagnostics), warnings };
}

/**
 * Returns a warning for each stage that does the same as an earlier stage, with parameters that are
 * written in another way.
 */
export async function repeatedConditions(
  planned: Planned,
): Promise<ReadonlyMap<StageId, Diagnostic>> {
  const { cells } = planned.plan.experiment,
    surroundings = surroundingsIn(planned);
  const first = new Map<string, PlannedStage>(),
    found = new Map<StageId, Diagnostic>();
  for (const { stage } of planned.statuses) {
    const cell = cells[stage.cells[0] ?? 0];
    if (stage.descriptor.resolved === undefined || cell === undefined) continue;
    const resolved = await unlessAtFault(() =>
      stage.descriptor.resolved?.(buildContext(stage, surroundings)),
    );
    if (resolved === null) continue;
    const key = canonical([stage.kind, stage.section, stage.inputs, stage.assets, resolved]),
      other = first.get(key);
    if (other === undefined) first.set(key, stage);
    const own = other === undefined ? null : spellings(stage.cell, other.cell);
    if (own === null) continue;
    found.set(stage.id, {
      code: 'preflight',
      message:
        `${own.here} does on these rows what ${own.there} does: one condition in two spellings, ` +
        'trained and counted twice',
      hint: 'Leave out one of the two.',
      range: locateIn(cell, stage.section, own.path),
      warning: true,
    });
  }
  return found;
}

/**
 * Matches what a path has before `poisoning.`, such as `base.`; for a cell's own poisoning, the
 * empty text.
 */
const POISONING = /^(?:.*\.)?(?=poisoning\.)/;

/**
 * Returns how the cells of two stages spell their poisoning, and the path of the first spelling
 * that differs. Null if all spellings are the same, or if the cells also differ in something else,
 * which makes them two conditions.
 */
function spellings(here: JsonObject, there: JsonObject) {
  const unlike = (a: JsonObject, b: JsonObject): readonly string[] =>
    Object.keys(a).filter((field) => canonical(a[field]) !== canonical(b[field] ?? null));
  const isPoisoning = (field: string): boolean => POISONING.test(field);
  const own = unlike(here, there),
    [first] = own.filter(isPoisoning);
  if (first === undefined || own.some((one) => !isPoisoning(one) && one in there)) return null;
  const text = (cell: JsonObject, fields: readonly string[]): string =>
    fields
      .filter(isPoisoning)
      .map((field) => `${field} ${JSON.stringify(cell[field])}`)
      .join(' ');
  return {
    here: text(here, own),
    there: text(there, unlike(there, here)),
    path: first.replace(POISONING, '').split('.'),
  };
}

/** Returns the answer; null if there is none, or if sources are missing or have a fault. */
async function unlessAtFault<T>(ask: () => Promise<T> | undefined): Promise<T | null> {
  try {
    return (await ask()) ?? null;
  } catch (error) {
    if (!(error instanceof NotFetched) && (error as Error).name !== 'UserFault') throw error;
    return null;
  }
}

interface Surroundings extends Pick<PreflightContext, 'backend'> {
  readonly assets: Assets;
  readonly registry: RuntimeRegistry;
  readonly byId: ReadonlyMap<StageId, StageStatus>;
  readonly runsHere: boolean | undefined;
}

/** A plan with the statuses of all its stages. */
export interface Planned {
  readonly plan: Plan;
  readonly statuses: readonly StageStatus[];
  readonly assets: Assets;
  readonly registry: RuntimeRegistry;
}

const surroundingsIn = ({
  plan: { backend },
  statuses,
  assets,
  registry,
}: Omit<Planned, 'plan'> & { readonly plan: Pick<Plan, 'backend'> }): Surroundings => ({
  assets,
  registry,
  byId: new Map(statuses.map((status) => [status.stage.id, status])),
  backend,
  runsHere: undefined,
});

interface Found {
  readonly diagnostic: Diagnostic;
  /** Set if the diagnostic is a warning: the warning as it is stored with the stage's output. */
  readonly warning?: Warning;
}

const asFound = (diagnostic: Diagnostic): readonly Found[] => [{ diagnostic }];

/**
 * Returns the fault of a stage that does not compute under the backend torch.
 * @param asker the result of `goalThatNeeds`
 */
function torchFault(
  { kind }: PlannedStage,
  asker: PlannedStage | undefined,
  cell: ExperimentCell,
): Diagnostic {
  const what =
    asker === undefined || asker.kind === kind
      ? `the stage "${kind}"`
      : `the stage "${asker.kind}" needs the stage "${kind}", which`;
  return {
    code: 'preflight',
    message: `${what} does not compute under the backend torch`,
    range: cell.locate(['stages']),
    hint: 'Leave it out of `stages`, or run it on another backend: --backend tensorflow.',
  };
}

/**
 * Returns the stage itself if it is a goal of the spec, or else the nearest goal that needs it;
 * undefined if there is none.
 */
function goalThatNeeds(stage: PlannedStage, byId: Surroundings['byId']): PlannedStage | undefined {
  const stages = [...byId.values()].map((status) => status.stage);
  for (let level = [stage]; level.length > 0;) {
    const found = level.find(({ goal }) => goal);
    if (found !== undefined) return found;
    const ids = new Set(level.map(({ id }) => id));
    level = stages.filter(({ inputs }) => Object.values(inputs).some((id) => ids.has(id)));
  }
  return undefined;
}

/**
 * Returns a fault for each model and adapter that a stage uses and that computes only under another
 * backend.
 */
function backendFaults(
  { section, uses }: PlannedStage,
  cell: ExperimentCell,
  { backend, registry }: Surroundings,
): readonly Found[] {
  return uses.flatMap(({ kind, name }) => {
    if (kind !== 'model' && kind !== 'adapter') return [];
    const descriptor = registry.get(kind, name)?.descriptor;
    const only =
      descriptor !== undefined && 'backend' in descriptor ? descriptor.backend : undefined;
    if (only === undefined || only === backend) return [];
    const field = kind === 'model' ? 'architecture' : 'type',
      what = kind === 'model' ? field : kind;
    return asFound({
      code: 'preflight',
      message: `the ${what} "${name}" computes under the backend ${only} alone`,
      range: locateIn(cell, section, [kind, field]),
      hint: `Write --backend ${only}, or choose another.`,
    });
  });
}

/**
 * Returns a fault for the first Python package that a stage needs and this machine lacks; else [].
 */
async function missingPackageFaults(
  { kind, descriptor, params }: PlannedStage,
  cell: ExperimentCell,
): Promise<readonly Found[]> {
  for (const name of descriptor.python?.(params) ?? []) {
    const need = `the stage "${kind}" computes with ${name} in PyTorch's process`;
    const fault = await packageFault(name, need, 'what asks for it');
    if (fault !== null)
      return asFound({ code: 'preflight', ...fault, range: cell.locate(['stages']) });
  }
  return [];
}

/**
 * Makes several checks of a stage, one after another, until one finds something, and returns what
 * it found. The last is the stage's own preflight, which may find warnings too.
 */
async function findFaults(
  stage: PlannedStage,
  cell: ExperimentCell,
  attacked: ExperimentCell,
  surroundings: Surroundings,
): Promise<readonly Found[]> {
  const { compute, torch } = stage.descriptor;
  if (compute && torch !== true && surroundings.backend === 'torch')
    return asFound(torchFault(stage, goalThatNeeds(stage, surroundings.byId), cell));
  const otherBackend = compute ? backendFaults(stage, cell, surroundings) : [];
  if (otherBackend.length > 0) return otherBackend;
  const missing = await missingPackageFaults(stage, cell);
  if (missing.length > 0) return missing;
  if (!stage.descriptor.preflight) return [];
  try {
    const problems = await stage.descriptor.preflight(buildContext(stage, surroundings));
    return problems.map(({ warning, ...problem }) => {
      const { path, ...told } = problem;
      const range = locateIn(cell, stage.section, path);
      return {
        diagnostic: { code: 'preflight', ...told, range, ...(warning ? { warning } : {}) },
        ...(warning ? { warning: problem } : {}),
      };
    });
  } catch (error) {
    if (error instanceof NotFetched) return [];
    const {
      name,
      message,
      hint,
      path,
      stack = '',
    } = error as Error & Partial<Pick<UserFault, 'hint' | 'path'>>;
    if (name === 'UserFault')
      return asFound({
        code: 'preflight',
        message,
        range:
          path === undefined
            ? cell.locate([])
            : locateIn(path[0] === 'poisoning' ? attacked : cell, stage.section, path),
        ...defined({ hint }),
      });
    return asFound({
      code: 'plugin-fault',
      message: `the stage plugin "${stage.kind}" threw before anything ran: ${message}`,
      range: null,
      hint:
        'this is a fault of ' +
        (mapToSources(stack).thrownAt ?? blamedFile(stage, surroundings.registry)) +
        ', not of the spec',
    });
  }
}

type Asked = Pick<StageStatus, 'stage'> & Partial<Pick<StageStatus, 'entry'>>;

/**
 * Asks one stage of each group of stages that differ only in their seeds, and returns its answer
 * for all of the group. Leaves out stages whose sources are missing or have a fault, or whose
 * answer is null.
 * @param settings returns what else must be equal within a group
 */
async function askPerGroup<T>(
  statuses: readonly Asked[],
  surroundings: Surroundings,
  settings: (stage: PlannedStage) => unknown,
  ask: (status: Asked, context: PreflightContext) => Promise<T | null>,
): Promise<ReadonlyMap<PlannedStage, T>> {
  const asked = new Map<string, T | null>(),
    found = new Map<PlannedStage, T>();
  for (const status of statuses) {
    const { stage } = status;
    const { kind, params, assets } = stage;
    const group = JSON.stringify([kind, { ...params, seed: null }, assets, settings(stage)]);
    let own = asked.get(group);
    if (own === undefined) {
      own = await unlessAtFault(() => ask(status, buildContext(stage, surroundings)));
      asked.set(group, own);
    }
    if (own !== null) found.set(stage, own);
  }
  return found;
}

/** Returns the forecasts (steps, memory, operations) of the stages that are to run. */
export const forecasts = (
  plan: Pick<Plan, 'backend'>,
  statuses: readonly Asked[],
  assets: Assets,
  registry: RuntimeRegistry,
): Promise<ReadonlyMap<PlannedStage, Forecast>> =>
  askPerGroup(
    statuses.filter(({ stage }) => stage.descriptor.forecast !== undefined),
    surroundingsIn({ plan, statuses: [], assets, registry }),
    () => null,
    async ({ stage }, context) => (await stage.descriptor.forecast?.(context)) ?? null,
  );

/**
 * Returns, for each service, the most calls that the stages to run make of it, and their cost; null
 * for a number that is unknown.
 */
export async function serviceCalls(
  planned: Planned,
  toRun: readonly StageStatus[],
): Promise<readonly ServiceCalls[]> {
  const found = await askPerGroup(
    toRun.filter(({ stage }) => stage.descriptor.calls !== undefined),
    surroundingsIn(planned),
    ({ inputs }) => inputs['validation'],
    async ({ stage }, context) => (await stage.descriptor.calls?.(context)) ?? null,
  );
  const all = new Map<string, ServiceCalls>();
  for (const { to, calls, cost } of [...found.values()].flat()) {
    const before = all.get(to) ?? { calls: 0, cost: 0 };
    all.set(to, {
      to: terminalSafe(to),
      calls: before.calls === null || calls === null ? null : before.calls + calls,
      cost: before.cost === null || cost === null ? null : before.cost + cost,
    });
  }
  return [...all.values()];
}

/**
 * Returns the target of the attack for each stage that poisons rows, if the stage knows it already.
 * The name of the target class is made safe for a terminal.
 */
export async function attackTargets(
  planned: Planned,
): Promise<ReadonlyMap<PlannedStage, AttackTarget>> {
  const found = await askPerGroup(
    planned.statuses.filter(({ stage }) => stage.descriptor.target !== undefined),
    surroundingsIn(planned),
    ({ inputs }) => inputs,
    async ({ stage, entry }, context) =>
      (await stage.descriptor.target?.(context, entry?.dir ?? null)) ?? null,
  );
  return new Map(
    [...found].map(([stage, target]) => [stage, { ...target, class: terminalSafe(target.class) }]),
  );
}

function buildContext(stage: PlannedStage, surroundings: Surroundings): PreflightContext {
  const { backend, runsHere, registry } = surroundings;
  return {
    backend,
    ...defined({ runsHere }),
    params: stage.params,
    assets: fetchedAssets(stage, surroundings.assets),
    ...defined({ limits: stage.limits }),
    upstream: collectUpstream(stage, surroundings),
    plugin: ((kind: PluginKind, name: string): unknown => {
      const entry = registry.get(kind, name);
      if (!entry) throw new Error(`no ${kind} "${name}"`);
      return entry.descriptor;
    }) as PreflightContext['plugin'],
  };
}

/**
 * Returns the stages that a stage reads, by input name, as far as `byId` has them. Their own
 * upstream stages are found when asked for.
 */
function collectUpstream(
  stage: PlannedStage,
  surroundings: Surroundings,
): NonNullable<PreflightContext['upstream']> {
  return Object.fromEntries(
    Object.entries(stage.inputs).flatMap(([name, id]): [string, UpstreamStage][] => {
      const input = surroundings.byId.get(id);
      if (input === undefined) return [];
      const found = {
        params: input.stage.params,
        assets: fetchedAssets(input.stage, surroundings.assets),
        dir: input.entry?.dir ?? null,
        get upstream() {
          return collectUpstream(input.stage, surroundings);
        },
      };
      return [[name, found]];
    }),
  );
}

class NotFetched extends Error {
  override readonly name = 'NotFetched';
}

/**
 * Returns a stage's sources by name. Reading one that is not fetched throws, so that no preflight
 * takes it for undeclared.
 */
function fetchedAssets(
  { assets: uris }: PlannedStage,
  assets: Assets,
): { readonly [name: string]: Asset } {
  const fetched: { [name: string]: Asset } = {};
  for (const [name, uri] of Object.entries(uris))
    Object.defineProperty(fetched, name, {
      enumerable: true,
      get: () => {
        const asset = assets.get(uri);
        if (!asset) throw new NotFetched(`${uri} is not fetched yet`);
        return asset;
      },
    });
  return fetched;
}

/**
 * Returns the files to look into after a fault, joined by `or`: the files of outside plugins among
 * the stage and the plugins that it uses or, if none is from outside, the stage's own file.
 */
function blamedFile({ kind, uses }: PlannedStage, registry: RuntimeRegistry): string {
  const own = registry.get('stage', kind)?.file ?? `plugins/stages/${kind}.ts`;
  const used = uses.map((use) => registry.get(use.kind as PluginKind, use.name)?.file ?? '');
  const outside = [own, ...used].filter((file) => isAbsolute(file));
  return outside.length === 0 ? own : [...new Set(outside)].join(' or ');
}
