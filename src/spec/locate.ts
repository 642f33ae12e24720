/** Finds where a cell's field was written. */
import type { Cell } from '../api.ts';
import { isAxis } from './expand.ts';
import type { MapNode, Node, Path, Span } from './node.ts';
import { child, descend, withEntries } from './node.ts';
import { fieldOf } from './pattern.ts';
import type { Shapes } from './schema.ts';
import { BASE, cellField, isVariantSection, NO_DEFENCE } from './schema.ts';
import type { Schema } from './shape.ts';
import { isRecord } from './shape.ts';
import { shapeOf } from './steps.ts';
import type { BaseChoice, DefenceChoice, PoisoningChoice, TuningChoice } from './variants.ts';

/** The variants that a cell was made from. */
export interface Chosen {
  readonly base: BaseChoice | null;
  readonly poisoning: PoisoningChoice;
  readonly defence: DefenceChoice;
  readonly tuning: TuningChoice;
}

export class FieldLocator {
  constructor(
    private readonly root: MapNode,
    private readonly shapes: Shapes,
  ) {}

  /**
   * Returns the span of a field's value, or of the nearest enclosing field if it is not written.
   */
  locate(path: Path, cell: Cell, { base, poisoning, defence, tuning }: Chosen): Span {
    const [first, ...rest] = path,
      head = String(first);
    const written: Readonly<Record<string, string>> = { seed: 'seeds', defence: 'defences' };
    const entry = this.root.entries.get(written[head] ?? head);
    // The base is a spec of its own: its sections take the place of the cell's.
    if (
      head === BASE &&
      base !== null &&
      cell.base !== undefined &&
      rest.length > 0 &&
      entry?.value.kind === 'map'
    ) {
      const locator = new FieldLocator(withEntries(entry.value, [['name', entry]]), this.shapes);
      return locator.locate(rest, { ...cell, ...cell.base }, { ...base, defence, base: null });
    }
    switch (head) {
      case 'seed':
        return this.item(entry?.value, cell.seed) ?? entry?.key ?? this.start();
      case 'poisoning':
        return this.field(poisoning.node, rest, path, cell, entry?.key);
      case 'defence':
        return this.field(defence.node, rest, path, cell, entry?.key);
      case 'adapter':
        return this.field(tuning.node, rest, path, cell, entry?.key);
      case 'train':
        return this.field(
          tuning.trainNode,
          rest,
          path,
          cell,
          entry?.key ?? child(tuning.node, 'train')?.span,
        );
      default:
        return this.field(entry?.value, rest, path, cell, entry?.key);
    }
  }

  /**
   * Returns the written value, or its item if the field is an axis. If neither is written, returns
   * the nearest enclosing key.
   */
  private field(
    node: Node | undefined,
    rest: Path,
    path: Path,
    cell: Cell,
    section: Span | undefined,
  ): Span {
    if (node === undefined) return section ?? this.start();
    // A variant of a list has no key of its own.
    const section0 = path[0] === cellField('defences') ? 'defences' : path[0];
    const isListed = isVariantSection(section0) && child(this.root, section0)?.kind === 'list';
    const around = isListed ? node.span : (section ?? node.span);
    const found = descend(node, rest);
    if (found.depth < rest.length) return found.key ?? around;
    const steps = path.map(String),
      schema = this.schemaAt(steps, cell);
    const item =
      schema && isAxis(found.node, schema)
        ? this.item(found.node, fieldOf(cell, steps))
        : undefined;
    return item ?? (rest.length === 0 ? around : found.node.span);
  }

  private item(node: Node | undefined, value: unknown): Span | undefined {
    return node?.kind === 'list'
      ? node.items.find((item) => item.kind === 'scalar' && item.value === value)?.span
      : undefined;
  }

  private schemaAt([section, ...rest]: readonly string[], cell: Cell): Schema | undefined {
    let schema: Schema | undefined;
    if (section === 'poisoning')
      schema = shapeOf(this.shapes.variants.poisoning, cell.poisoning.attack);
    else if (section === cellField('defences'))
      schema = this.shapes.variants.defences.byName.get(cell.defence?.defence ?? NO_DEFENCE);
    else if (section === 'adapter')
      schema = this.shapes.variants.adapter.byName.get(cell.adapter.type);
    else schema = this.shapes.root.properties?.[section ?? ''];
    for (const step of rest)
      schema = schema && isRecord(schema) ? schema.properties[step] : undefined;
    return schema;
  }

  private start(): Span {
    return this.root.entries.get('name')?.key ?? this.root.span;
  }
}
