/** Builds the grid: every combination of the sections' values at every seed. */
import type { Cell, JsonObject } from '../api.ts';
import { defined } from '../base/defined.ts';
import { FieldLocator } from './locate.ts';
import type { Names } from './names.ts';
import { namesOf } from './names.ts';
import type { MapNode, Path } from './node.ts';
import { rangeOf } from './node.ts';
import type { Pattern } from './pattern.ts';
import type { Shapes } from './schema.ts';
import type { ExperimentCell, SourceRange } from './types.ts';
import type {
  BaseChoice,
  Choices,
  DefenceChoice,
  PoisoningChoice,
  TuningChoice,
} from './variants.ts';
import { choicesOf } from './variants.ts';

export interface GridOptions {
  readonly root: MapNode;
  readonly shapes: Shapes;
  readonly name: string;
  readonly seeds: readonly number[];
  readonly whenOf: (variant: MapNode | undefined) => Pattern | null;
  readonly include: readonly Pattern[];
  readonly exclude: readonly Pattern[];
  readonly only: readonly Pattern[];
  /**
   * Returns the one form of an adapter that all ways to write it share
   * (`AdapterDescriptor.canonical`).
   */
  readonly canonical: (adapter: JsonObject) => JsonObject;
}

export interface Grid {
  /** Each distinct training once, under its first name. Its other names are in `also`. */
  readonly cells: readonly ExperimentCell[];
  /** Patterns of the spec that match no cell, which are probably mistakes. */
  readonly idle: readonly Pattern[];
}

/**
 * Returns the cells in the order of the spec's lists. Sections vary in the schema's order, later
 * ones faster, and the seed varies fastest of all. Equal sections are one object.
 */
export function buildGrid(options: GridOptions): Grid {
  const { root, shapes, seeds, include, exclude, only } = options;
  const choices = choicesOf(root, shapes, options.whenOf);
  let names: Names | undefined;
  const context: CellContext = {
    locator: new FieldLocator(root, shapes),
    names: () => (names ??= namesOf(root, shapes, choices, seeds)),
  };
  const idle = new Set<Pattern>([...include, ...exclude]);
  const bases = choices.base.filter((choice) => choice !== null);
  const conditions = [
    ...choices.poisoning,
    ...choices.defence,
    ...choices.tuning,
    ...bases.flatMap(({ poisoning, tuning }) => [poisoning, tuning]),
  ];
  for (const { when } of conditions) for (const pattern of when) if (pattern) idle.add(pattern);
  const matching = (pattern: Pattern, cell: Cell): boolean => {
    const hit = pattern.matches(cell);
    if (hit) idle.delete(pattern);
    return hit;
  };
  // Every pattern is tried on every cell, to find the patterns that never match.
  const some = (patterns: readonly (Pattern | null)[], cell: Cell): boolean =>
    patterns.map((pattern) => pattern === null || matching(pattern, cell)).includes(true);

  const cells: GridCell[] = [];
  const first = firstOfItsKind(choices, options.canonical);
  for (const { base, poisoning, defence, tuning, ...plain } of combinations(choices)) {
    const point: Point = { base, poisoning, defence, tuning, context, axes: undefined };
    for (const seed of seeds) {
      // The sections have passed the schema from which the type is generated.
      const config = {
        name: options.name,
        seed,
        ...plain,
        poisoning: poisoning.poisoning,
        adapter: tuning.adapter,
        train: tuning.train,
        ...defined({ defence: defence.defence }),
        ...(base === null ? {} : { base: base.base }),
      } as unknown as Cell;
      const kept = [
        some(poisoning.when, config),
        some(defence.when, config),
        some(tuning.when, config),
        ...(base === null
          ? []
          : [some(base.poisoning.when, config), some(base.tuning.when, config)]),
        include.length === 0 || some(include, config),
        !some(exclude, config),
      ];
      if (kept.includes(false) || !only.every((pattern) => pattern.matches(config))) continue;
      const cell = new GridCell(config, point),
        known = first(cell);
      if (known === cell) cells.push(cell);
      else known.also.push(cell);
    }
  }
  return { cells, idle: [...idle] };
}

/**
 * Returns a function that maps a cell to the first cell with the same training, or to the cell
 * itself if there was none before it. Such cells differ only in how the parameters of the adapter,
 * or of the base's adapter, are written.
 */
function firstOfItsKind(
  { tuning, base }: Pick<Choices, 'tuning' | 'base'>,
  canonical: GridOptions['canonical'],
): (cell: GridCell) => GridCell {
  const forms = new Map<JsonObject, string>();
  const haveTwoNames = (some: readonly TuningChoice[]): boolean => {
    const adapters = new Set(some.map(({ adapter }) => adapter));
    for (const adapter of adapters) forms.set(adapter, JSON.stringify(canonical(adapter)));
    return new Set([...adapters].map((adapter) => forms.get(adapter))).size < adapters.size;
  };
  const ofBase = base.flatMap((choice) => choice?.tuning ?? []);
  // The common case: no adapter is written in two ways, so no cells need to be compared.
  if (![haveTwoNames(tuning), haveTwoNames(ofBase)].includes(true)) return (cell) => cell;
  const numbers = new Map<unknown, number>();
  const numberOf = (part: unknown): number => {
    const known = numbers.get(part) ?? numbers.size;
    numbers.set(part, known);
    return known;
  };
  const known = new Map<string, GridCell>();
  return (cell) => {
    const { name: _name, adapter, base: from, ...rest } = cell.config;
    const own = forms.get(adapter),
      parts = [own, ...Object.values(rest), from?.poisoning, from?.train];
    const key = [...parts, from && forms.get(from.adapter)].map(numberOf).join();
    const found = known.get(key) ?? cell;
    known.set(key, found);
    return found;
  };
}

type Combination = { readonly [section in keyof Choices['plain']]: JsonObject } & Pick<
  Point,
  'base' | 'poisoning' | 'defence' | 'tuning'
>;

function* combinations({
  base: bases,
  poisoning: poisonings,
  defence: defences,
  tuning: tunings,
  plain,
}: Choices): Generator<Combination> {
  for (const model of plain.model)
    for (const data of plain.data)
      for (const base of bases)
        for (const poisoning of poisonings)
          for (const defence of defences)
            for (const tuning of tunings)
              for (const head of plain.head)
                for (const evaluate of plain.evaluate)
                  for (const ntk of plain.ntk)
                    for (const fisher of plain.fisher)
                      for (const theory of plain.theory)
                        yield {
                          model,
                          data,
                          base,
                          poisoning,
                          defence,
                          tuning,
                          head,
                          evaluate,
                          ntk,
                          fisher,
                          theory,
                        };
}

interface CellContext {
  readonly locator: FieldLocator;
  readonly names: () => Names;
}

/** The parts that the replicates of a cell share. */
interface Point {
  readonly base: BaseChoice | null;
  readonly poisoning: PoisoningChoice;
  readonly defence: DefenceChoice;
  readonly tuning: TuningChoice;
  readonly context: CellContext;
  axes: JsonObject | undefined;
}

/**
 * A cell of the grid. Its name and locations are computed on demand, because most cells of a large
 * grid are never looked at.
 */
class GridCell implements ExperimentCell {
  readonly config: Cell;
  readonly also: GridCell[] = [];
  readonly #point: Point;

  constructor(config: Cell, point: Point) {
    this.config = config;
    this.#point = point;
  }

  get axes(): JsonObject {
    return (this.#point.axes ??= this.#point.context.names().axes(this.config));
  }
  get label(): string {
    return this.#point.context.names().label(this.config);
  }

  locate(path: Path): SourceRange {
    return rangeOf(this.#point.context.locator.locate(path, this.config, this.#point));
  }
}
