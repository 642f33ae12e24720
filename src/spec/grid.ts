/** Builds the grid: every combination of the sections' values at every seed. */
import { basesOf, type Cell, type JsonObject } from '../api.ts';
import { defined } from '../base/defined.ts';
import { once } from '../base/memoized.ts';
import { valueAt } from '../base/record.ts';
import {
  type BaseChoice,
  type Choices,
  type DefenceChoice,
  isAxis,
  listChoices,
  multiply,
  numbering,
  type PoisoningChoice,
  type TuningChoice,
} from './choices.ts';
import { schemaNamed } from './fields.ts';
import { makeNames, type Names } from './names.ts';
import {
  child,
  descend,
  type MapNode,
  type Node,
  type Path,
  rangeOf,
  type Span,
  withEntries,
} from './node.ts';
import { BASE, cellField, isVariantSection, NO_DEFENCE, type Shapes } from './schema.ts';
import type { Pattern, Selection } from './selection.ts';
import { declaresFields, type Schema } from './shape.ts';
import type { ExperimentCell, SourceRange } from './types.ts';

export interface GridOptions extends Selection {
  readonly root: MapNode;
  readonly shapes: Shapes;
  readonly name: string;
  readonly seeds: readonly number[];
  /**
   * Returns the one form that stands for all ways to write an adapter:
   * `AdapterDescriptor.canonical`.
   */
  readonly canonical: (adapter: JsonObject) => JsonObject;
}

/**
 * Returns the cells in the order of the spec's lists. Sections vary in the schema's order, later
 * ones faster, and the seed varies fastest of all. Equal sections are one object. A cell that the
 * spec writes in several ways is there once, under its first name, with the other names in `also`.
 * `idle` has the spec's patterns that match no cell, which are probably mistakes.
 */
export function buildGrid(options: GridOptions) {
  const { root, shapes, seeds, include, exclude, only } = options;
  const choices = listChoices(root, shapes, options.whenOf);
  const locator = new FieldLocator(root, shapes),
    names = once(() => makeNames(root, shapes, choices, seeds));
  const idle = new Set<Pattern>([...include, ...exclude]);
  const baseChoices = choices.bases.flat();
  const conditions = [
    ...choices.poisoning,
    ...choices.defence,
    ...choices.tuning,
    ...baseChoices.flatMap(({ poisoning, tuning }) => [poisoning, tuning]),
  ];
  for (const { when } of conditions) for (const pattern of when) if (pattern) idle.add(pattern);
  // Returns whether a pattern matches a cell. If it does, the pattern is no longer idle.
  const isMatch = (pattern: Pattern, cell: Cell): boolean => {
    const hit = pattern.matches(cell);
    if (hit) idle.delete(pattern);
    return hit;
  };
  // Returns whether one of the patterns matches a cell; a null always does. Every pattern is tried
  // on every cell, to find the patterns that never match.
  const matchesAny = (patterns: readonly (Pattern | null)[], cell: Cell): boolean =>
    patterns.map((pattern) => pattern === null || isMatch(pattern, cell)).includes(true);

  const cells: GridCell[] = [];
  const firstAlike = firstWithSameTraining(choices, options.canonical);
  const isChain = child(root, BASE)?.kind === 'list';
  for (const { bases, poisoning, defence, tuning, ...plain } of combinations(choices, isChain)) {
    const point = { bases, poisoning, defence, tuning, locator, names, axes: undefined };
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
        ...defined({ base: bases.base }),
      } as unknown as Cell;
      const kept = [
        matchesAny(poisoning.when, config),
        matchesAny(defence.when, config),
        matchesAny(tuning.when, config),
        ...bases.choices.flatMap((base) => [
          matchesAny(base.poisoning.when, config),
          matchesAny(base.tuning.when, config),
        ]),
        include.length === 0 || matchesAny(include, config),
        !matchesAny(exclude, config),
      ];
      if (kept.includes(false) || !only.every((pattern) => pattern.matches(config))) continue;
      const cell = new GridCell(config, point),
        known = firstAlike(cell);
      if (known === cell) cells.push(cell);
      else known.also.push(cell);
    }
  }
  return { cells, idle: [...idle] };
}

/**
 * Returns a function that returns, for a cell, the first cell with the same training, which may be
 * the cell itself. Cells with the same training differ only in how the parameters of their adapters
 * are written.
 */
function firstWithSameTraining(
  { tuning, bases }: Pick<Choices, 'tuning' | 'bases'>,
  canonical: GridOptions['canonical'],
): (cell: GridCell) => GridCell {
  /** The canonical form of each adapter, as JSON. */
  const forms = new Map<JsonObject, string>();
  /** Adds the adapters to `forms`. Returns whether two of them have the same form. */
  const addForms = (choices: readonly TuningChoice[]): boolean => {
    const adapters = new Set(choices.map(({ adapter }) => adapter));
    for (const adapter of adapters) forms.set(adapter, JSON.stringify(canonical(adapter)));
    return new Set([...adapters].map((adapter) => forms.get(adapter))).size < adapters.size;
  };
  const ofBases = bases.map((choices) => choices.map((choice) => choice.tuning));
  // If no adapter is written in two ways, as in most specs, no cells need to be compared.
  if (![tuning, ...ofBases].map(addForms).includes(true)) return (cell) => cell;
  const number = numbering();
  const known = new Map<string, GridCell>();
  return (cell) => {
    const { name: _name, adapter, base: _base, ...rest } = cell.config;
    const baseParts = basesOf(cell.config).flatMap((base) => [
      forms.get(base.adapter),
      base.poisoning,
      base.train,
      base.data,
    ]);
    const key = [forms.get(adapter), ...Object.values(rest), ...baseParts].map(number).join();
    const found = known.get(key) ?? cell;
    known.set(key, found);
    return found;
  };
}

/**
 * The choice for each training of `base`, and the value of `base` that they make: undefined if
 * there is none.
 */
interface ChosenBases {
  readonly choices: readonly BaseChoice[];
  readonly base: Cell['base'];
}

type Combination = { readonly [section in keyof Choices['plain']]: JsonObject } & Chosen;

/**
 * Returns every combination of the sections' choices.
 * @param isChain whether `base` is a list
 */
function combinations(
  { bases, poisoning, defence, tuning, plain }: Choices,
  isChain: boolean,
): Combination[] {
  const { model, data, ...others } = plain;
  const chains = bases
    .reduce<readonly (readonly BaseChoice[])[]>(
      (before, after) => before.flatMap((chain) => after.map((choice) => [...chain, choice])),
      [[]],
    )
    .map((choices): ChosenBases => {
      const trainings = choices.map(({ base }) => base);
      return { choices, base: isChain ? trainings : trainings[0] };
    });
  const columns = { model, data, bases: chains, poisoning, defence, tuning, ...others };
  return multiply<unknown>(Object.entries(columns)) as unknown as Combination[];
}

/** The choices of the sections with variants that a cell was made from. */
interface Chosen {
  readonly bases: ChosenBases;
  readonly poisoning: PoisoningChoice;
  readonly defence: DefenceChoice;
  readonly tuning: TuningChoice;
}

/** What cells that differ only in their seed share. `axes` is filled in when it is asked for. */
interface Point extends Chosen {
  readonly locator: FieldLocator;
  readonly names: () => Names;
  axes: JsonObject | undefined;
}

/** A cell of the grid. Names and places are computed on demand: most cells are never looked at. */
class GridCell implements ExperimentCell {
  readonly also: GridCell[] = [];
  readonly #point: Point;

  constructor(
    readonly config: Cell,
    point: Point,
  ) {
    this.#point = point;
  }

  get axes(): JsonObject {
    return (this.#point.axes ??= this.#point.names().axes(this.config));
  }
  get label(): string {
    return this.#point.names().label(this.config);
  }

  locate(path: Path): SourceRange {
    return rangeOf(this.#point.locator.locate(path, this.config, this.#point));
  }
}

class FieldLocator {
  constructor(
    private readonly root: MapNode,
    private readonly shapes: Shapes,
  ) {}

  /** Returns the span of a field's value; of the nearest field around it if it is not written. */
  locate(path: Path, cell: Cell, { bases, poisoning, defence, tuning }: Chosen): Span {
    const [first, ...rest] = path,
      head = String(first);
    const writtenAs: Readonly<Record<string, string>> = { seed: 'seeds', defence: 'defences' };
    const entry = this.root.entries.get(writtenAs[head] ?? head);
    // A training of `base` is searched like a spec of its own.
    const isChain = head === BASE && entry?.value.kind === 'list';
    const [baseIndex, restBelow] = isChain ? [Number(rest[0]), rest.slice(1)] : [0, rest];
    const baseNode = isChain ? child(entry.value, baseIndex) : entry?.value;
    const base = bases.choices[baseIndex];
    if (
      head === BASE &&
      base !== undefined &&
      entry &&
      restBelow.length > 0 &&
      baseNode?.kind === 'map'
    ) {
      const start = isChain ? { key: baseNode.span, value: baseNode } : entry;
      const locator = new FieldLocator(withEntries(baseNode, [['name', start]]), this.shapes);
      const none = { choices: [], base: undefined };
      return locator.locate(restBelow, { ...cell, ...base.base } as Cell, {
        ...base,
        defence,
        bases: none,
      });
    }
    if (head === 'seed')
      return this.itemSpan(entry?.value, cell.seed) ?? entry?.key ?? this.startSpan();
    const chosen = new Map<string, Node | undefined>([
      ['poisoning', poisoning.node],
      ['defence', defence.node],
      ['adapter', tuning.node],
      ['train', tuning.trainNode],
    ]);
    const node = chosen.has(head) ? chosen.get(head) : entry?.value,
      ownTrain = head === 'train' ? child(tuning.node, 'train')?.span : undefined;
    return this.fieldSpan(node, rest, path, cell, entry?.key ?? ownTrain);
  }

  /**
   * Returns the span of the written value, or of its item if the field is an axis; the nearest
   * enclosing key if the field is not written.
   * @param node the field's section or, of a section with variants, the chosen variant; undefined
   *   if it is not written
   * @param rest the part of `path` below the section
   * @param section the place of the section's key
   */
  private fieldSpan(
    node: Node | undefined,
    rest: Path,
    path: Path,
    cell: Cell,
    section: Span | undefined,
  ): Span {
    if (node === undefined) return section ?? this.startSpan();
    // A variant in a list has no key of its own.
    const written = path[0] === cellField('defences') ? 'defences' : path[0];
    const isListed = isVariantSection(written) && child(this.root, written)?.kind === 'list';
    const around = isListed ? node.span : (section ?? node.span);
    const found = descend(node, rest);
    if (found.depth < rest.length) return found.key ?? around;
    const steps = path.map(String),
      schema = this.schemaAt(steps, cell);
    const item =
      schema && isAxis(found.node, schema)
        ? this.itemSpan(found.node, valueAt(cell, steps))
        : undefined;
    return item ?? (rest.length === 0 ? around : found.node.span);
  }

  /** Returns the span of a list's item with this value; undefined if no item has it. */
  private itemSpan(node: Node | undefined, value: unknown): Span | undefined {
    return node?.kind === 'list'
      ? node.items.find((item) => item.kind === 'scalar' && item.value === value)?.span
      : undefined;
  }

  /** Returns the schema of a cell's field; undefined if no schema declares the field. */
  private schemaAt([section, ...rest]: readonly string[], cell: Cell): Schema | undefined {
    let schema: Schema | undefined;
    if (section === 'poisoning')
      schema = schemaNamed(this.shapes.variants.poisoning, cell.poisoning.attack);
    else if (section === cellField('defences'))
      schema = this.shapes.variants.defences.byName.get(cell.defence?.defence ?? NO_DEFENCE);
    else if (section === 'adapter')
      schema = this.shapes.variants.adapter.byName.get(cell.adapter.type);
    else schema = this.shapes.root.properties?.[section ?? ''];
    for (const step of rest)
      schema = schema && declaresFields(schema) ? schema.properties[step] : undefined;
    return schema;
  }

  /** Returns the place of a field that is written nowhere: the spec's `name`. */
  private startSpan(): Span {
    return this.root.entries.get('name')?.key ?? this.root.span;
  }
}
