/** Phase 2: Experiment → Plan. Pure, linear in the number of cells. */
import type { BackendName } from '../api.ts';
import type { Diagnostic, Experiment, Result } from '../spec/types.ts';
import { agreement, cellUse } from './cells.ts';
import { createGraph } from './graph.ts';
import type { Draft, Node, PlanRegistry } from './graph.ts';
import { codeVersion } from './keys.ts';
import type { Plan, PlannedStage, StageId } from './types.ts';

/**
 * Every stage the experiment's goals need, each distinct definition once, inputs before what reads them.
 * Faults: unknown stage kinds and plugins, circles, plugins whose `define` throws or returns the wrong shape.
 */
export function planExperiment(experiment: Experiment, registry: PlanRegistry, backend: BackendName): Result<Plan> {
  const diagnostics: Diagnostic[] = [];
  const configs = experiment.cells.map((cell) => cell.config);
  const first = experiment.cells[0];
  if (!first) {
    return { ok: false, diagnostics: [{ code: 'empty-grid', message: 'the grid has no cell', range: null, hint: 'include, exclude, when or --only left nothing over' }] };
  }
  const graph = createGraph(configs, experiment.goals, registry, (fault) => diagnostics.push(fault));
  const isJoining = (kind: string): boolean => {
    const descriptor = registry.get('stage', kind)?.descriptor;
    return descriptor?.kind === 'stage' && descriptor.scope === 'experiment';
  };
  const present = (node: Node | null): node is Node => node !== null;
  const cellGoals = experiment.goals.filter((kind) => !isJoining(kind));
  const goalNodes = configs.map((config) => cellGoals.map((kind) => graph.node(kind, config)).filter(present));
  const joining = experiment.goals.filter(isJoining).map((kind) => graph.node(kind, first.config)).filter(present);
  if (diagnostics.length > 0) {
    return { ok: false, diagnostics: diagnostics.map((fault) => ({ ...fault, range: goalRange(experiment, fault) })) };
  }

  const drafts = graph.drafts;
  const use = cellUse(experiment, graph, goalNodes, joining);
  const goals = new Set<Draft>([...goalNodes.flat(), ...joining].map((node) => node.draft));
  const ids = stageIds(drafts);
  const stages = drafts.map((draft): PlannedStage => {
    const users = use.users[draft.index]!, owners = use.owners[draft.index]!;
    return {
      id: ids[draft.index]!,
      kind: draft.kind,
      descriptor: draft.descriptor,
      definition: draft.key,
      codeVersion: codeVersion(draft.code),
      code: draft.code,
      params: draft.definition.params,
      inputs: Object.fromEntries(Object.entries(draft.inputs).map(([name, input]) => [name, ids[input.index]!])),
      assets: draft.definition.assets ?? {},
      uses: draft.definition.uses ?? [],
      resources: draft.resources,
      pack: draft.pack,
      cells: users,
      ...agreement(experiment, owners.length > 0 ? owners : users),
      goal: goals.has(draft),
    };
  });
  const cellStages = experiment.cells.map((cell, index) => ({
    cell,
    stages: Object.fromEntries(Object.entries(use.own[index]!).map(([label, draft]) => [label, ids[draft.index]!])),
  }));
  return { ok: true, value: { experiment, backend, stages, cellStages } };
}

/** `train-3f9c2a1b7d`; longer where two keys of a kind begin alike. */
function stageIds(drafts: readonly Draft[]): StageId[] {
  const taken = new Set<string>();
  return drafts.map(({ kind, key }) => {
    let length = 10;
    while (taken.has(`${kind}-${key.slice(0, length)}`)) length += 10;
    const id = `${kind}-${key.slice(0, length)}`;
    taken.add(id);
    return id as StageId;
  });
}

/** An unknown goal has its place in the spec; what a plugin asks for has none. */
function goalRange(experiment: Experiment, fault: Diagnostic): Diagnostic['range'] {
  if (fault.code !== 'unknown-stage') return fault.range;
  const index = experiment.goals.findIndex((kind) => fault.message.endsWith(`the stage "${kind}"`));
  return index < 0 ? null : experiment.cells[0]!.locate(['stages', index]);
}
