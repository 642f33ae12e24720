/** Phase 2: Experiment → Plan. Pure, linear in the number of cells. */
import type { BackendName, Digest } from '../api.ts';
import type { Diagnostic, Experiment, Result } from '../experiment/types.ts';
import { agreement, cellUse } from './cells.ts';
import type { Draft, Node, PlanRegistry } from './graph.ts';
import { createGraph } from './graph.ts';
import { codeVersion } from './keys.ts';
import { locateIn } from './places.ts';
import type { Plan, PlannedStage, StageId } from './types.ts';

/**
 * Every stage the experiment's goals need, each distinct definition once, inputs before what reads them.
 * @param computedBy the backend as keys name it: with the release of its library, where it has one of its own
 * Faults: unknown stage kinds and plugins, circles, plugins whose `define` throws or returns the wrong shape.
 */
export function planExperiment(
  experiment: Experiment,
  registry: PlanRegistry,
  backend: BackendName,
  computedBy: string = backend,
): Result<Plan> {
  const diagnostics: Diagnostic[] = [];
  const configs = experiment.cells.map((cell) => cell.config);
  const first = experiment.cells[0];
  if (!first) {
    return {
      ok: false,
      diagnostics: [
        {
          code: 'empty-grid',
          message: 'the grid has no cell',
          range: null,
          hint: 'include, exclude, when or --only left nothing over',
        },
      ],
    };
  }
  let asking = first;
  const graph = createGraph(configs, experiment.goals, registry, (fault, field) =>
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
  const present = (node: Node | null): node is Node => node !== null;
  const cellGoals = experiment.goals.filter((kind) => !isJoining(kind));
  const goalNodes = experiment.cells.map((cell) => {
    asking = cell;
    return cellGoals.map((kind) => graph.node(kind, cell.config)).filter(present);
  });
  asking = first;
  const joining = experiment.goals
    .filter(isJoining)
    .map((kind) => graph.node(kind, first.config))
    .filter(present);
  if (diagnostics.length > 0) {
    return {
      ok: false,
      diagnostics: diagnostics.map((fault) => ({ ...fault, range: goalRange(experiment, fault) })),
    };
  }

  const drafts = graph.drafts;
  const goals = new Set<Draft>([...goalNodes.flat(), ...joining].map((node) => node.draft));
  const ids = stageIds(drafts);
  const use = once(() => cellUse(experiment, graph, goalNodes, joining));
  const whose: Whose = {
    cells: ({ index }) => use().users[index]!,
    agreement({ index }) {
      const { users, owners } = use();
      return agreement(experiment, owners[index]!.length > 0 ? owners[index]! : users[index]!);
    },
  };
  const versions = new Map<Draft['code'], Digest>();
  const versionOf = (code: Draft['code']): Digest => {
    const version = versions.get(code) ?? codeVersion(code);
    versions.set(code, version);
    return version;
  };
  const stages = drafts.map((draft) => {
    const inputs: { [name: string]: StageId } = {};
    for (const name in draft.inputs) inputs[name] = ids[draft.inputs[name]!.index]!;
    return new Stage(
      ids[draft.index]!,
      draft,
      versionOf(draft.code),
      inputs,
      goals.has(draft),
      whose,
    );
  });
  const cellStages = once(() =>
    experiment.cells.map((cell, index) => ({
      cell,
      stages: Object.fromEntries(
        Object.entries(use().own[index]!).map(([label, draft]) => [label, ids[draft.index]!]),
      ),
    })),
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

type Agreement = Pick<PlannedStage, 'cell' | 'seed'>;

interface Whose {
  cells(draft: Draft): PlannedStage['cells'];
  agreement(draft: Draft): Agreement;
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/**
 * A draft by its id. Which cells it belongs to is asked of stages that run, are printed or are at fault: not of those that
 * are cached, which may be all.
 */
class Stage implements PlannedStage {
  readonly #draft: Draft;
  readonly #whose: Whose;
  #agreed: Agreement | undefined;

  constructor(
    readonly id: StageId,
    draft: Draft,
    readonly codeVersion: Digest,
    readonly inputs: PlannedStage['inputs'],
    readonly goal: boolean,
    whose: Whose,
  ) {
    this.#draft = draft;
    this.#whose = whose;
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
  get pack(): PlannedStage['pack'] {
    return this.#draft.pack;
  }
  get section(): PlannedStage['section'] {
    return this.#draft.section;
  }
  get with(): PlannedStage['with'] {
    return this.#draft.with;
  }
  get cells(): PlannedStage['cells'] {
    return this.#whose.cells(this.#draft);
  }
  get cell(): PlannedStage['cell'] {
    return (this.#agreed ??= this.#whose.agreement(this.#draft)).cell;
  }
  get seed(): PlannedStage['seed'] {
    return (this.#agreed ??= this.#whose.agreement(this.#draft)).seed;
  }
}

/** `train-3f9c2a1b7d`; longer where two keys of a kind begin alike. */
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

/** An unknown goal has its place in the spec; what a plugin asks for has none. */
function goalRange(experiment: Experiment, fault: Diagnostic): Diagnostic['range'] {
  if (fault.code !== 'unknown-stage') return fault.range;
  const index = experiment.goals.findIndex((kind) => fault.message.endsWith(`the stage "${kind}"`));
  return index < 0 ? null : experiment.cells[0]!.locate(['stages', index]);
}
