/** Plans an experiment. Pure, and linear in the number of cells. */
import type { BackendName, Digest } from '../api.ts';
import { at } from '../base/lookup.ts';
import { memoized, once } from '../base/memoized.ts';
import { emptyRecord } from '../base/record.ts';
import type { Diagnostic, Experiment, ExperimentCell, Result } from '../spec/types.ts';
import type { CellUse } from './cell-use.ts';
import { agreement, cellUse } from './cell-use.ts';
import type { Draft, Node, PlanRegistry } from './graph.ts';
import { Graph } from './graph.ts';
import { codeVersion } from './keys.ts';
import { locateIn } from './locate.ts';
import type { Plan, PlannedStage, StageId } from './types.ts';

/**
 * Returns every stage that the experiment's goals need. Each distinct definition is one stage, and
 * inputs come before the stages that read them. The diagnostics report unknown stage kinds and
 * plugins, circles, and plugins whose `define` throws or returns the wrong shape.
 * @param computedBy the backend as keys name it: with the release of its library, if it has one
 */
export function planExperiment(
  experiment: Experiment,
  registry: PlanRegistry,
  backend: BackendName,
  computedBy: string = backend,
): Result<Plan> {
  const [first] = experiment.cells;
  if (!first) return { ok: false, diagnostics: [EMPTY_GRID] };
  const { graph, goalNodes, joining, diagnostics } = askForGoals(experiment, first, registry);
  if (diagnostics.length > 0) {
    return {
      ok: false,
      diagnostics: diagnostics.map((fault) => ({
        ...fault,
        range: goalRange(experiment, first, fault),
      })),
    };
  }

  const drafts = graph.drafts;
  const goals = new Set<Draft>([...goalNodes.flat(), ...joining].map((node) => node.draft));
  const ids = stageIds(drafts);
  const idOf = ({ index }: Draft): StageId => at(ids, index);
  const use = once(() => cellUse(experiment, graph, goalNodes, joining));
  const membership = membershipBy(experiment, use);
  const versionOf = memoized(codeVersion); // there are far fewer objects than stages
  const stages = drafts.map((draft) => {
    const names = Object.keys(draft.inputs);
    const inputs = emptyRecord<StageId>(names.length);
    for (const name of names) {
      const input = draft.inputs[name];
      if (input !== undefined) inputs[name] = idOf(input);
    }
    const isGoal = goals.has(draft);
    return new Stage(idOf(draft), draft, versionOf(draft.code), inputs, isGoal, membership);
  });
  const cellStages = once(() =>
    experiment.cells.map((cell, index) => {
      const own = use().own(index),
        ofCell: { [label: string]: StageId } = {};
      for (const label in own) ofCell[label] = idOf(own[label]!); // one of its keys
      return { cell, stages: ofCell };
    }),
  );
  return {
    ok: true,
    value: {
      experiment,
      backend,
      computedBy,
      stages,
      get cellStages() {
        return cellStages();
      },
    },
  };
}

const EMPTY_GRID: Diagnostic = {
  code: 'empty-grid',
  message: 'the grid has no cell',
  range: null,
  hint: 'include, exclude, when or --only left out every cell',
};

/**
 * Returns a graph with the nodes of all goals: those of each cell, and those that join the grid.
 */
function askForGoals(
  experiment: Experiment,
  first: ExperimentCell,
  registry: PlanRegistry,
): {
  readonly graph: Graph;
  readonly goalNodes: readonly (readonly Node[])[];
  readonly joining: readonly Node[];
  readonly diagnostics: readonly Diagnostic[];
} {
  const diagnostics: Diagnostic[] = [];
  let asking = first;
  const graph = new Graph(
    experiment.cells.map((cell) => cell.config),
    experiment.goals,
    registry,
    (fault, field) =>
      diagnostics.push(
        field === undefined
          ? fault
          : { ...fault, range: locateIn(asking, field.section, field.path) },
      ),
  );
  const isJoining = (kind: string): boolean => {
    const descriptor = registry.get('stage', kind)?.descriptor;
    return descriptor?.kind === 'stage' && descriptor.scope === 'experiment';
  };
  const isPresent = (node: Node | null): node is Node => node !== null;
  const cellGoals = experiment.goals.filter((kind) => !isJoining(kind));
  const goalNodes = experiment.cells.map((cell) => {
    asking = cell;
    return cellGoals.map((kind) => graph.node(kind, cell.config)).filter(isPresent);
  });
  asking = first;
  const joining = experiment.goals
    .filter(isJoining)
    .map((kind) => graph.node(kind, first.config))
    .filter(isPresent);
  return { graph, goalNodes, joining, diagnostics };
}

/** Which cells a stage belongs to. */
interface Membership {
  cells(draft: Draft): PlannedStage['cells'];
  own(draft: Draft): PlannedStage['own'];
  agreement(draft: Draft): Agreement;
}

type Agreement = Pick<PlannedStage, 'cell' | 'seed'>;

const membershipBy = (experiment: Experiment, use: () => CellUse): Membership => ({
  cells: (draft) => use().users(draft),
  own: (draft) => use().label(draft),
  agreement(draft) {
    const owners = use().owners(draft);
    return agreement(experiment, owners.length > 0 ? owners : use().users(draft));
  },
});

/**
 * A draft with its id. Its cells are computed only when someone asks for them. That happens for
 * stages that run, are printed or are at fault, but not for cached ones, which may be all.
 */
class Stage implements PlannedStage {
  readonly #draft: Draft;
  readonly #membership: Membership;
  #agreed: Agreement | undefined;

  constructor(
    readonly id: StageId,
    draft: Draft,
    readonly codeVersion: Digest,
    readonly inputs: PlannedStage['inputs'],
    readonly goal: boolean,
    membership: Membership,
  ) {
    this.#draft = draft;
    this.#membership = membership;
  }

  get kind(): PlannedStage['kind'] {
    return this.#draft.kind;
  }
  get descriptor(): PlannedStage['descriptor'] {
    return this.#draft.descriptor;
  }
  get definition(): PlannedStage['definition'] {
    return this.#draft.key;
  }
  get code(): PlannedStage['code'] {
    return this.#draft.code;
  }
  get params(): PlannedStage['params'] {
    return this.#draft.params;
  }
  get assets(): PlannedStage['assets'] {
    return this.#draft.assets;
  }
  get uses(): PlannedStage['uses'] {
    return this.#draft.uses;
  }
  get resources(): PlannedStage['resources'] {
    return this.#draft.resources;
  }
  get section(): PlannedStage['section'] {
    return this.#draft.section;
  }
  get with(): PlannedStage['with'] {
    return this.#draft.with;
  }
  get cells(): PlannedStage['cells'] {
    return this.#membership.cells(this.#draft);
  }
  get own(): PlannedStage['own'] {
    return this.#membership.own(this.#draft);
  }
  get cell(): PlannedStage['cell'] {
    return this.#agreement().cell;
  }
  get seed(): PlannedStage['seed'] {
    return this.#agreement().seed;
  }

  #agreement(): Agreement {
    return (this.#agreed ??= this.#membership.agreement(this.#draft));
  }
}

/**
 * Returns an id for each draft, such as `train-3f9c2a1b7d`. The id is longer if the keys of two
 * stages of a kind begin alike.
 */
function stageIds(drafts: readonly Draft[]): StageId[] {
  const taken = new Set<string>();
  return drafts.map(({ kind, key }) => {
    let length = 10,
      id = `${kind}-${key.slice(0, length)}`;
    while (taken.has(id)) {
      length += 10;
      id = `${kind}-${key.slice(0, length)}`;
    }
    taken.add(id);
    return id as StageId;
  });
}

/**
 * Returns the place of a fault. An unknown goal is written in the spec; a stage that a plugin asks
 * for is not.
 */
function goalRange(
  experiment: Experiment,
  first: ExperimentCell,
  fault: Diagnostic,
): Diagnostic['range'] {
  if (fault.code !== 'unknown-stage') return fault.range;
  const index = experiment.goals.findIndex((kind) => fault.message.endsWith(`the stage "${kind}"`));
  return index < 0 ? null : first.locate(['stages', index]);
}
