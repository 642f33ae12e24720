/** Walking the tree along the schema: which field of which section each node is. */
import type { MapNode, Node } from './node.ts';
import type { Shapes, VariantSection, VariantShape } from './schema.ts';
import { BASE, isVariantSection, sections } from './schema.ts';
import type { Schema } from './shape.ts';
import { isRecord } from './shape.ts';
import { composed } from './steps.ts';

export interface WrittenField {
  /** Full path: `adapter.init.variance`, `train.steps`; an adapter's overrides are `adapter.train.steps`. */
  readonly path: string;
  readonly node: Node;
  readonly schema: Schema;
}

/** A variant of `poisoning` or `adapter`, in the form that it has in a cell; `node` is undefined where the section is left out. */
export interface Variant {
  readonly node: MapNode | undefined;
  readonly name: string;
  /** Undefined for a name that no plugin has. */
  readonly schema: Schema | undefined;
}

export function variantsOf(root: MapNode, section: VariantSection, shape: VariantShape): Variant[] {
  const value = root.entries.get(section)?.value;
  if (value === undefined)
    return [
      { node: undefined, name: shape.defaultName, schema: shape.byName.get(shape.defaultName) },
    ];
  return (value.kind === 'list' ? value.items : [value]).flatMap((node): Variant[] => {
    if (node.kind !== 'map') return [];
    const steps = section === 'poisoning' ? composed(node, shape) : null;
    if (steps !== null) return [steps];
    const written = node.entries.get(shape.discriminator)?.value;
    const name =
      written?.kind === 'scalar' && typeof written.value === 'string'
        ? written.value
        : shape.defaultName;
    return [{ node, name, schema: shape.byName.get(name) }];
  });
}

/** The fields below a node that the schema knows, mappings themselves left out. */
export function fieldsBelow(
  node: Node | undefined,
  schema: Schema | undefined,
  path: string,
): WrittenField[] {
  if (node === undefined || schema === undefined) return [];
  if (!isRecord(schema)) return [{ path, node, schema }];
  if (node.kind !== 'map') return [];
  return Object.entries(schema.properties).flatMap(([key, field]) =>
    fieldsBelow(node.entries.get(key)?.value, field, `${path}.${key}`),
  );
}

/** The spec, and its `base` as a spec of its own that has the sections poisoning, adapter and train. */
export function specsIn(root: MapNode): { readonly prefix: string; readonly root: MapNode }[] {
  const base = root.entries.get(BASE)?.value;
  return [
    { prefix: '', root },
    ...(base?.kind === 'map' ? [{ prefix: `${BASE}.`, root: base }] : []),
  ];
}

/** Every written field of a cell's sections, in the schema's order; the base's after them. */
export function writtenFields(root: MapNode, shapes: Shapes): WrittenField[] {
  return specsIn(root).flatMap(({ prefix, root: spec }) =>
    sections.flatMap((section) => {
      const path = `${prefix}${section}`;
      if (!isVariantSection(section))
        return fieldsBelow(spec.entries.get(section)?.value, shapes.section[section], path);
      return variantsOf(spec, section, shapes.variants[section]).flatMap(({ node, schema }) => [
        ...fieldsBelow(node, schema, path),
        ...(section === 'adapter'
          ? fieldsBelow(node?.entries.get('train')?.value, shapes.section.train, `${path}.train`)
          : []),
      ]);
    }),
  );
}

/** The tree with some nodes replaced. */
export function replaceNodes<T extends Node>(node: T, replacements: ReadonlyMap<Node, Node>): T;
export function replaceNodes(node: Node, replacements: ReadonlyMap<Node, Node>): Node {
  const replacement = replacements.get(node);
  if (replacement) return replacement;
  switch (node.kind) {
    case 'scalar':
      return node;
    case 'list':
      return { ...node, items: node.items.map((item) => replaceNodes(item, replacements)) };
    case 'map':
      return {
        ...node,
        entries: new Map(
          [...node.entries].map(([key, entry]) => [
            key,
            { key: entry.key, value: replaceNodes(entry.value, replacements) },
          ]),
        ),
      };
  }
}
