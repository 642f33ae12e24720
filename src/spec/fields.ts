/** Walks the tree along the schema, to match each node with its field of the schema. */
import type { MapNode, Node } from './node.ts';
import { child, isText, mapChildren } from './node.ts';
import type { Shapes, VariantSection, VariantShape } from './schema.ts';
import { BASE, isVariantSection, sections, variantSections } from './schema.ts';
import type { Schema } from './shape.ts';
import { isRecord } from './shape.ts';
import { composed } from './steps.ts';

export interface WrittenField {
  /**
   * The full path, such as `adapter.init.variance` or `train.steps`. An override in an adapter has
   * a path such as `adapter.train.steps`.
   */
  readonly path: string;
  readonly node: Node;
  readonly schema: Schema;
}

/** A variant of `poisoning` or `adapter`, in the form that it has in a cell. */
export interface Variant {
  /** Undefined if the section is left out. */
  readonly node: MapNode | undefined;
  readonly name: string;
  /** Undefined if no plugin has this name. */
  readonly schema: Schema | undefined;
}

/** Returns the variants of a section, or the default plugin alone if the section is left out. */
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
    const name = isText(written) ? written.value : shape.defaultName;
    return [{ node, name, schema: shape.byName.get(name) }];
  });
}

/**
 * Returns the fields at or below a node that the schema declares, without the mappings that hold
 * them.
 */
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

/**
 * Returns the spec, and its `base` as a spec of its own with the sections poisoning, adapter and
 * train.
 */
export function specsIn(root: MapNode): { readonly prefix: string; readonly root: MapNode }[] {
  const base = root.entries.get(BASE)?.value;
  return [
    { prefix: '', root },
    ...(base?.kind === 'map' ? [{ prefix: `${BASE}.`, root: base }] : []),
  ];
}

/** Returns the variants of both sections, those of the cell's training and those of its base's. */
export const allVariants = (
  root: MapNode,
  shapes: Shapes,
): (Variant & { readonly section: VariantSection })[] =>
  specsIn(root).flatMap(({ root: spec }) =>
    variantSections.flatMap((section) =>
      variantsOf(spec, section, shapes.variants[section]).map((variant) => ({
        ...variant,
        section,
      })),
    ),
  );

/**
 * Returns every written field of a cell's sections in the schema's order, followed by those of the
 * base.
 */
export function writtenFields(root: MapNode, shapes: Shapes): WrittenField[] {
  return specsIn(root).flatMap(({ prefix, root: spec }) =>
    sections.flatMap((section) => {
      const path = `${prefix}${section}`;
      if (!isVariantSection(section)) {
        const own = fieldsBelow(spec.entries.get(section)?.value, shapes.section[section], path);
        return section === 'evaluate' ? [...own, ...allScorerFields(spec, shapes)] : own;
      }
      return variantsOf(spec, section, shapes.variants[section]).flatMap(({ node, schema }) => [
        ...fieldsBelow(node, schema, path),
        ...(section === 'adapter'
          ? fieldsBelow(node?.entries.get('train')?.value, shapes.section.train, `${path}.train`)
          : []),
      ]);
    }),
  );
}

/** Returns the written parameters of all scorers. */
function allScorerFields(spec: MapNode, shapes: Shapes): WrittenField[] {
  const evaluate = spec.entries.get('evaluate')?.value,
    further = child(evaluate, 'scorers');
  return [
    ...scorerFields(child(evaluate, 'scorer'), 'evaluate.scorer', shapes),
    ...(further?.kind === 'list' ? further.items : []).flatMap((scorer) =>
      scorerFields(scorer, 'evaluate.scorers', shapes),
    ),
  ];
}

function scorerFields(scorer: Node | undefined, path: string, { scorers }: Shapes): WrittenField[] {
  if (scorer?.kind !== 'map') return [];
  const name = scorer.entries.get('scorer')?.value;
  const { properties = {} } = (isText(name) ? scorers.get(name.value) : undefined) ?? {};
  return Object.entries(properties).flatMap(([key, field]) =>
    fieldsBelow(scorer.entries.get(key)?.value, field, `${path}.${key}`),
  );
}

/** Returns the tree with each node that is a key of the map replaced by its value. */
export function replaceNodes<T extends Node>(node: T, replacements: ReadonlyMap<Node, Node>): T;
export function replaceNodes(node: Node, replacements: ReadonlyMap<Node, Node>): Node {
  const replacement = replacements.get(node);
  if (replacement) return replacement;
  switch (node.kind) {
    case 'scalar':
      return node;
    case 'list':
    case 'map':
      return mapChildren(node, (child) => replaceNodes(child, replacements));
  }
}
