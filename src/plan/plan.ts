/** Plans an experiment. Pure, and linear in the number of cells. */
import { isDeepStrictEqual } from 'node:util';
import type { BackendName } from '../api.ts';
import { defined } from '../base/defined.ts';
import { at } from '../base/lookup.ts';
import { once } from '../base/memoized.ts';
import { emptyRecord } from '../base/record.ts';
import type { Diagnostic, Experiment, ExperimentCell, Result } from '../spec/types.ts';
import { type Draft, Graph, type Node, nodeLabel, type PlanRegistry } from './graph.ts';
import { locateIn } from './label.ts';
import type { Plan, PlannedStage, StageId } from './types.ts';

/**
 * Returns a plan of every stage that the experiment's goals need. Each distinct definition is one
 * stage, and inputs come before the stages that read them. Returns diagnostics instead if there are
 * unknown stage kinds or plugins, circles, or plugins whose functions throw or return the wrong
 * shape.
 * @param computedBy see `Plan.computedBy`
 */
export function planExperiment(
  experiment: Experiment,
  registry: PlanRegistry,
  backend: BackendName,
  computedBy: string = backend,
): Result<Plan> {
  const first = at(experiment.cells, 0); // a spec with an empty grid is not loaded
  const { graph, goalNodes, joining, diagnostics } = askForGoals(experiment, first, registry);
  if (diagnostics.length > 0) return { ok: false, diagnostics };

  const drafts = graph.drafts;
  const goals = new Set<Draft>([...goalNodes.flat(), ...joining].map((node) => node.draft));
  const ids = stageIds(drafts);
  const idOf = ({ index }: Draft): StageId => at(ids, index);
  const use = once(() => cellUse(experiment, graph, goalNodes, joining));
  const stages = drafts.map((draft) => {
    const names = Object.keys(draft.inputs);
    const inputs = emptyRecord<StageId>(names.length);
    for (const name of names) {
      const input = draft.inputs[name];
      if (input !== undefined) inputs[name] = idOf(input);
    }
    const isGoal = goals.has(draft);
    return new Stage(idOf(draft), draft, inputs, isGoal, use);
  });
  const cellStages = once(() =>
    experiment.cells.map((cell, index) => {
      const own = use().own(index),
        ofCell: { [label: string]: StageId } = {};
      for (const label in own) ofCell[label] = idOf(own[label]!);
      return { cell, stages: ofCell };
    }),
  );
  return {
    ok: true,
    value: {
      experiment,
      backend,
      computedBy,
      python: {},
      stages,
      get cellStages() {
        return cellStages();
      },
    },
  };
}

/**
 * Returns a graph with the nodes of all goals, and the faults that were found on the way.
 * `goalNodes` has the nodes of each cell's goals, `joining` those of the goals that join the grid.
 * Nodes that can't be made are left out of both.
 * @param first the first cell, for which the goals that join the grid are asked for
 */
function askForGoals(experiment: Experiment, first: ExperimentCell, registry: PlanRegistry) {
  const diagnostics: Diagnostic[] = [];
  let askingCell = first;
  const graph = new Graph(
    experiment.cells.map((cell) => cell.config),
    { goals: experiment.goals, ...defined({ report: experiment.report }) },
    registry,
    (fault, field) =>
      diagnostics.push(
        field === undefined
          ? fault
          : { ...fault, range: locateIn(askingCell, field.section, field.path) },
      ),
  );
  /** Whether a goal is a stage that joins the grid; false for an unknown stage. */
  const isJoining = (kind: string): boolean => {
    const descriptor = registry.get('stage', kind)?.descriptor;
    return descriptor?.kind === 'stage' && descriptor.scope === 'experiment';
  };
  const isPresent = (node: Node | null): node is Node => node !== null;
  const cellGoals = experiment.goals.filter((kind) => !isJoining(kind));
  const goalNodes = experiment.cells.map((cell) => {
    askingCell = cell;
    return cellGoals.map((kind) => graph.node(kind, cell.config)).filter(isPresent);
  });
  askingCell = first;
  const joining = experiment.goals
    .filter(isJoining)
    .map((kind) => graph.node(kind, first.config))
    .filter(isPresent);
  return { graph, goalNodes, joining, diagnostics };
}

type Agreement = Pick<PlannedStage, 'cell' | 'seed'>;

/**
 * A planned stage: a draft with its id. Its properties are described in `PlannedStage`. Which cells
 * need it is computed on demand, since nobody asks that of most cached stages.
 */
class Stage implements PlannedStage {
  readonly #draft: Draft;
  readonly #use: () => CellUse;
  #agreed: Agreement | undefined;

  constructor(
    readonly id: StageId,
    draft: Draft,
    readonly inputs: PlannedStage['inputs'],
    readonly goal: boolean,
    use: () => CellUse,
  ) {
    this.#draft = draft;
    this.#use = use;
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
  /**
   * The limits of the descriptor, replaced field by field by those of the definition; undefined if
   * neither has any.
   */
  get limits(): PlannedStage['limits'] {
    const { descriptor, limits } = this.#draft;
    return limits === undefined ? descriptor.limits : { ...descriptor.limits, ...limits };
  }
  get work(): PlannedStage['work'] {
    return this.#draft.work;
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
    return this.#use().users(this.#draft);
  }
  get ownLabel(): PlannedStage['ownLabel'] {
    return this.#use().label(this.#draft);
  }
  get cell(): PlannedStage['cell'] {
    return this.#agreement().cell;
  }
  get seed(): PlannedStage['seed'] {
    return this.#agreement().seed;
  }

  #agreement(): Agreement {
    return (this.#agreed ??= this.#use().agreement(this.#draft));
  }
}

/**
 * Returns an id for each draft: the kind and the first ten digits of its key, `train-3f9c2a1b7d`.
 * An id has more digits if an earlier one has the same ten.
 */
function stageIds(drafts: readonly Draft[]): StageId[] {
  const taken = new Set<string>();
  return drafts.map(({ kind, key }) => {
    let length = 10;
    const id = (): string => `${kind}-${key.slice(0, length)}`;
    while (taken.has(id())) length += 10;
    taken.add(id());
    return id() as StageId;
  });
}

// ---- which cells need which stage, and what those cells have in common -------------------------
// Linear in the total number of the cells' stages.

type CellUse = ReturnType<typeof cellUse>;

/**
 * Returns functions that say which cells need a stage, and which of them own it.
 * @param joining the nodes of the goals that join the grid
 */
function cellUse(
  experiment: Experiment,
  graph: Graph,
  goalNodes: readonly (readonly Node[])[],
  joining: readonly Node[],
) {
  const { drafts } = graph;
  const owners = emptyLists(drafts.length);
  const labels = new Array<string | undefined>(drafts.length);
  const rootsOf = findRoots(experiment, graph, goalNodes, joining);

  const joined = joining.map((join) => ({ label: nodeLabel(join), draft: join.draft }));
  type Own = { [label: string]: Draft };
  const seen = new Set<Node>();
  /**
   * Adds to `mine`, by label, the drafts of the node and of all nodes below it that are of the same
   * cell; of several with one label, the first. Notes each draft's label, and the cell as its
   * owner.
   */
  const walkOwn = (node: Node, index: number, fingerprint: string, mine: Own): void => {
    if (node.fingerprint !== fingerprint || seen.has(node)) return;
    seen.add(node);
    const { draft } = node,
      label = nodeLabel(node);
    if (!(label in mine)) {
      mine[label] = draft;
      labels[draft.index] = label;
      addCell(owners, draft, index);
    }
    for (const child of node.children) walkOwn(child, index, fingerprint, mine);
  };
  const own = rootsOf.map((roots, index) => {
    const fingerprint = graph.fingerprint(at(experiment.cells, index).config);
    const mine: Own = {};
    seen.clear();
    for (const root of roots) walkOwn(root, index, fingerprint, mine);
    for (const { label, draft } of joined) {
      mine[label] = draft;
      labels[draft.index] = label;
    }
    return mine;
  });
  const users = once(() => findUsers(drafts, rootsOf));
  const joins = new Set(joining.map(({ draft }) => draft)),
    everyCell = experiment.cells.map((_, index) => index);
  /**
   * Returns the indexes of the cells that need the stage, ascending: all cells for a goal that
   * joins the grid, none for another stage that joins it.
   */
  const usersOfDraft = (draft: Draft): readonly number[] =>
    joins.has(draft) ? everyCell : (users()[draft.index] ?? []);
  return {
    /** See `usersOfDraft`. */
    users: usersOfDraft,
    /**
     * Returns what the cells that own the stage have in common; if none owns it, what the cells
     * that need it have in common. The clean cell owns a clean baseline, though poisoned cells need
     * it too.
     */
    agreement: (draft: Draft): Agreement =>
      agreement(experiment, owners[draft.index] ?? usersOfDraft(draft)),
    /**
     * Returns the label of a stage that a cell owns, or that joins the grid; null for any other.
     */
    label: ({ index }: Draft): string | null => labels[index] ?? null,
    /** Returns a cell's own stages, and all that join the grid, by label. */
    own: (cell: number): { readonly [label: string]: Draft } => at(own, cell),
  };
}

/** A list of cells for each draft, by `Draft.index`; undefined for a draft without cells. */
type Lists = (number[] | undefined)[];
const emptyLists = (length: number): Lists => new Array<number[] | undefined>(length);

/**
 * Adds a cell to the draft's list, unless it is the last item there. A new list is made as
 * `[cell]`, since a push into `[]` would reserve room for 17 items.
 */
function addCell(to: Lists, { index }: Draft, cell: number): void {
  const list = to[index];
  if (list === undefined) to[index] = [cell];
  else if (list[list.length - 1] !== cell) list.push(cell);
}

/**
 * Returns the cells that need each stage, by `Draft.index`; undefined for a stage that joins the
 * grid, or that no cell needs.
 */
function findUsers(drafts: readonly Draft[], rootsOf: readonly (readonly Node[])[]): Lists {
  const users = emptyLists(drafts.length);
  const visited = new Int32Array(drafts.length).fill(-1);
  const walk = (draft: Draft, cell: number): void => {
    if (visited[draft.index] === cell || draft.descriptor.scope === 'experiment') return;
    visited[draft.index] = cell;
    addCell(users, draft, cell);
    for (const name in draft.inputs) walk(draft.inputs[name]!, cell);
  };
  rootsOf.forEach((roots, cell) => {
    for (const root of roots) walk(root.draft, cell);
  });
  return users;
}

/**
 * Returns the nodes from which the stages of each cell are found: its goals, and those of its
 * stages that a goal joining the grid reads.
 */
function findRoots(
  experiment: Experiment,
  graph: Graph,
  goalNodes: readonly (readonly Node[])[],
  joining: readonly Node[],
): readonly (readonly Node[])[] {
  const roots = goalNodes.map((nodes) => [...nodes]);
  const byFingerprint = new Map<string, number[]>();
  experiment.cells.forEach(({ config }, index) => {
    const name = graph.fingerprint(config);
    const twins = byFingerprint.get(name);
    if (twins) twins.push(index);
    else byFingerprint.set(name, [index]);
  });
  for (const { children } of joining)
    for (const child of children)
      for (const cell of byFingerprint.get(child.fingerprint) ?? []) at(roots, cell).push(child);
  return roots;
}

/**
 * Returns the axis values and the seed that are the same in all of these cells; `seed` is null if
 * it differs, or if there are no cells.
 */
function agreement(experiment: Experiment, cells: readonly number[]): Agreement {
  const first = cells[0] === undefined ? undefined : experiment.cells[cells[0]];
  if (!first) return { cell: {}, seed: null };
  if (cells.length === 1) return { cell: first.axes, seed: first.config.seed };
  let paths = Object.keys(first.axes),
    seed: number | null = first.config.seed;
  for (let i = 1; i < cells.length; i++) {
    if (paths.length === 0 && seed === null) break;
    const { axes, config } = at(experiment.cells, at(cells, i));
    for (const path of paths)
      if (!isDeepStrictEqual(first.axes[path], axes[path]))
        paths = paths.filter((one) => one !== path);
    if (config.seed !== seed) seed = null;
  }
  return { cell: Object.fromEntries(paths.map((path) => [path, first.axes[path]!])), seed };
}
