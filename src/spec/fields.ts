/**
 * Walks the tree along the schema, to match each node with its field of the schema.
 *
 * `steps: [a, b]` in a variant of `poisoning` is one attack after the other. A spec writes the
 * steps as a list. A cell keys them by the names of their attacks, since a cell's name holds no
 * positions: `{ attack: a+b, steps: { a: { rate: 0.1 }, b: { rate: 0.2 } } }`.
 */
import { JOINT, type Json, type JsonObject, stepsOf } from '../api.ts';
import type { Report } from './faults.ts';
import {
  child,
  type Entry,
  isText,
  itemsOf,
  mapChildren,
  mapEntries,
  type MapNode,
  type Node,
  oneOrMany,
  type TextNode,
  withEntries,
  withValue,
} from './node.ts';
import {
  BASE,
  isVariantSection,
  sections,
  type Shapes,
  type VariantSection,
  variantSections,
  type VariantShape,
} from './schema.ts';
import { declaresFields, fieldSchema, type Schema } from './shape.ts';
import type { ExperimentCell } from './types.ts';

export interface WrittenField {
  /** The full path, such as `train.steps`; of an override in an adapter, `adapter.train.steps`. */
  readonly path: string;
  readonly node: Node;
  readonly schema: Schema;
}

/** A variant of `poisoning`, `defences` or `adapter`, in the form that it has in a cell. */
export interface Variant {
  /** Undefined if the section is left out. */
  readonly node: MapNode | undefined;
  readonly name: string;
  /** Undefined if no plugin has this name. */
  readonly schema: Schema | undefined;
}

/**
 * Returns the variants of a section, or only the default plugin if the section is not written.
 * Skips what is no mapping.
 */
export function listVariants(root: MapNode, section: VariantSection, shapes: Shapes): Variant[] {
  const value = child(root, section),
    shape = shapes.variants[section];
  if (value === undefined)
    return [
      { node: undefined, name: shape.defaultName, schema: shape.byName.get(shape.defaultName) },
    ];
  return oneOrMany(value).flatMap((node): Variant[] => {
    if (node.kind !== 'map') return [];
    const steps = section === 'poisoning' ? composedVariant(node, shape) : null;
    if (steps !== null) return [steps];
    const name = pluginName(node, shape);
    return [{ node, name, schema: shape.byName.get(name) }];
  });
}

/**
 * Returns the name of the plugin that a variant or step names; the default name if it names none.
 */
export function pluginName(variant: Node, { discriminator, defaultName }: VariantShape): string {
  const written = child(variant, discriminator);
  return isText(written) ? written.value : defaultName;
}

/**
 * Returns the written fields at a node: those within it if the schema declares fields of a mapping,
 * otherwise the node itself. Fields that the schema does not declare are left out.
 */
export function fieldsBelow(
  node: Node | undefined,
  schema: Schema | undefined,
  path: string,
): WrittenField[] {
  if (node === undefined || schema === undefined) return [];
  if (!declaresFields(schema)) return [{ path, node, schema }];
  if (node.kind !== 'map') return [];
  return Object.entries(schema.properties).flatMap(([key, field]) =>
    fieldsBelow(child(node, key), field, `${path}.${key}`),
  );
}

/** A spec, or a training of its `base`. */
export interface SubSpec {
  /** What the paths of its fields begin with: '', `base.` or `base.0.`. */
  readonly prefix: string;
  readonly root: MapNode;
}

/**
 * Returns each training of `base`, as a spec with the sections data, poisoning, adapter, train.
 * What is no mapping is left out.
 */
export function basesIn(root: MapNode): SubSpec[] {
  const base = child(root, BASE);
  if (base?.kind === 'map') return [{ prefix: `${BASE}.`, root: base }];
  return itemsOf(base).flatMap((item, i) =>
    item.kind === 'map' ? [{ prefix: `${BASE}.${i}.`, root: item }] : [],
  );
}

export const specsIn = (root: MapNode): SubSpec[] => [{ prefix: '', root }, ...basesIn(root)];

/** Returns the variants of all sections, also of those in `base`. */
export const allVariants = (
  root: MapNode,
  shapes: Shapes,
): (Variant & { readonly section: VariantSection })[] =>
  specsIn(root).flatMap(({ root: spec }) =>
    variantSections.flatMap((section) =>
      listVariants(spec, section, shapes).map((variant) => ({
        ...variant,
        section,
      })),
    ),
  );

/** Returns every written field of the sections of a cell, then those of its bases, in order. */
export function writtenFields(root: MapNode, shapes: Shapes): WrittenField[] {
  return specsIn(root).flatMap(({ prefix, root: spec }) =>
    sections.flatMap((section) => {
      const path = `${prefix}${section}`;
      if (!isVariantSection(section)) {
        const own = fieldsBelow(child(spec, section), shapes.section[section], path);
        return section === 'evaluate' ? [...own, ...pluginFields(spec, shapes)] : own;
      }
      return listVariants(spec, section, shapes).flatMap(({ node, schema }) => [
        ...fieldsBelow(node, schema, path),
        ...(section === 'adapter'
          ? fieldsBelow(node?.entries.get('train')?.value, shapes.section.train, `${path}.train`)
          : []),
      ]);
    }),
  );
}

/**
 * Returns the written fields of `evaluate` that are parameters of scorers, or of the attacks of
 * held-out triggers (`triggers`).
 */
export function pluginFields(spec: MapNode, { scorers, variants }: Shapes): WrittenField[] {
  const evaluate = child(spec, 'evaluate'),
    scorer = child(evaluate, 'scorer');
  const attacks = variants.poisoning.byName;
  return [
    ...(scorer === undefined ? [] : [[scorer, 'scorer', 'scorer', scorers] as const]),
    ...itemsOf(child(evaluate, 'scorers')).map(
      (one) => [one, 'scorers', 'scorer', scorers] as const,
    ),
    ...itemsOf(child(evaluate, 'triggers')).map(
      (one) => [one, 'triggers', 'attack', attacks] as const,
    ),
  ].flatMap(([node, path, kind, schemas]) => {
    if (node.kind !== 'map') return [];
    const name = child(node, kind);
    const { properties = {} } = (isText(name) ? schemas.get(name.value) : undefined) ?? {};
    return Object.entries(properties).flatMap(([key, field]) =>
      fieldsBelow(child(node, key), field, `evaluate.${path}.${key}`),
    );
  });
}

/**
 * Reports held-out triggers of an attack that no cell is under, and triggers that have the attack
 * and the name of an earlier one.
 */
export function checkTriggers(root: MapNode, shapes: Shapes, report: Report): void {
  const names = allVariants(root, shapes)
    .filter(({ section }) => section === 'poisoning')
    .flatMap(({ name }) => name.split(JOINT));
  const seen = new Set<string>();
  for (const item of itemsOf(child(child(root, 'evaluate'), 'triggers'))) {
    const name = child(item, 'name'),
      attack = child(item, 'attack');
    if (!isText(name) || !isText(attack)) continue;
    if (!names.includes(attack.value))
      report(
        'matches-nothing',
        attack.span,
        `no cell of the grid is under the attack "${attack.value}"`,
        'name an attack of "poisoning"',
      );
    const both = JSON.stringify([name.value, attack.value]);
    if (seen.has(both))
      report(
        'duplicate-value',
        name.span,
        `two triggers of "${attack.value}" are called "${name.value}"`,
        'their metrics would have one name: give one of them another',
      );
    seen.add(both);
  }
}

/**
 * Warns of scorers if no cell of the grid writes answers for them to judge.
 * @param whole returns every cell of the grid
 */
export function checkScorers(
  root: MapNode,
  whole: () => readonly ExperimentCell[],
  warn: Report,
): void {
  const evaluate = child(root, 'evaluate');
  for (const field of ['scorer', 'scorers']) {
    const node = child(evaluate, field);
    if (node === undefined) continue;
    if (whole().some(({ config }) => config.head.type === 'causal-lm')) return;
    warn(
      'matches-nothing',
      node.span,
      `no cell of the grid writes answers, so "evaluate.${field}" judges nothing`,
      'a model writes answers under `head: { type: causal-lm }`',
    );
  }
}

/**
 * Returns the tree with each node below the root that is a key of `replacements` replaced by the
 * value under that key.
 */
export const replaceNodes = (root: MapNode, replacements: ReadonlyMap<Node, Node>): MapNode => {
  /**
   * Returns the replacement of a node or, if it has none, the node with replacements made below it.
   */
  const replaced = (node: Node): Node =>
    replacements.get(node) ?? (node.kind === 'scalar' ? node : mapChildren(node, replaced));
  return mapEntries(root, replaced);
};

// ---- the steps of a variant of `poisoning` -----------------------------------------------------

/** Returns the node that names a step's attack; undefined if the step names none. */
export function attackNode(step: Node): TextNode | undefined {
  const named = child(step, 'attack');
  return isText(named) ? named : undefined;
}

/** Returns the position from 0 of the step with this attack, or -1. */
export const stepAt = (steps: Node, attack: string): number =>
  itemsOf(steps).findIndex((step) => attackNode(step)?.value === attack);

/**
 * Returns the schema of a cell's section for the name of a plugin, or for the joint name of several
 * steps, such as `a+b`. Undefined if one of the plugins is not known.
 */
export function schemaNamed(
  { byName, discriminator }: VariantShape,
  name: string,
): Schema | undefined {
  const names = name.split(JOINT);
  if (names.length === 1) return byName.get(name);
  const steps: { [attack: string]: Schema } = {};
  for (const attack of names) {
    const shape = byName.get(attack);
    if (shape === undefined) return undefined;
    const { [discriminator]: _name, ...own } = shape.properties ?? {};
    steps[attack] = { ...shape, properties: own };
  }
  return {
    type: 'object',
    additionalProperties: false,
    properties: {
      [discriminator]: { type: 'string', const: name },
      steps: { type: 'object', additionalProperties: false, properties: steps },
    },
  };
}

/**
 * Returns a variant with a list of `steps` in the form that it has in a cell; null for a variant
 * without such a list. A step that is no mapping or names no attack is left out.
 */
export function composedVariant(variant: MapNode, shape: VariantShape): Variant | null {
  const steps = variant.entries.get('steps');
  if (steps?.value.kind !== 'list') return null;
  const { items } = steps.value;
  const name = items.map((step) => attackNode(step)?.value ?? '').join(JOINT);
  const byAttack = new Map<string, Entry>();
  for (const step of items) {
    const attack = attackNode(step);
    if (step.kind !== 'map' || attack === undefined) continue;
    const value = withEntries(step, [[shape.discriminator, undefined]]);
    byAttack.set(attack.value, { key: attack.span, value });
  }
  const { span } = steps.value;
  const attack: Node = { kind: 'scalar', value: name, span };
  const named = withValue(variant, shape.discriminator, attack, steps.key);
  const node = withValue(named, 'steps', { kind: 'map', entries: byAttack, span });
  return { node, name, schema: schemaNamed(shape, name) };
}

/**
 * Returns one variant for each combination of the forms of a variant's `steps`. A single step
 * becomes a variant without `steps`. Reports steps with the attack `none`, and an attack that two
 * steps have.
 * @param choices returns the forms of one step: one for each attack that it lists
 */
export function expandSteps(
  variant: MapNode,
  steps: Entry,
  choices: (step: MapNode) => readonly Node[],
  report: Report,
): Node[] {
  // Anything but a list of steps is left for validation to report.
  if (steps.value.kind !== 'list' || steps.value.items.length === 0) return [variant];
  const span = steps.value.span;
  const lists = steps.value.items.reduce<readonly (readonly Node[])[]>(
    (before, step) => {
      const after = step.kind === 'map' ? choices(step) : [step];
      return before.flatMap((list) => after.map((one) => [...list, one]));
    },
    [[]],
  );
  return lists.map((items): Node => {
    checkAttacks(items, report);
    const [only] = items;
    // A single step gives the same cell as its attack without `steps`, under the same name.
    if (
      items.length === 1 &&
      only?.kind === 'map' &&
      [...variant.entries.keys()].every((key) => key === 'steps' || key === 'when') &&
      !only.entries.has('steps') &&
      !only.entries.has('when')
    ) {
      return { ...withEntries(variant, [...only.entries, ['steps', undefined]]), span: only.span };
    }
    return withValue(variant, 'steps', { kind: 'list', items, span });
  });
}

function checkAttacks(steps: readonly Node[], report: Report): void {
  const seen = new Set<string>();
  for (const step of steps) {
    const attack = attackNode(step);
    if (attack === undefined) continue;
    if (attack.value === 'none')
      report(
        'unknown-value',
        attack.span,
        '"none" poisons nothing: it is not a step',
        'leave it out; the clean baseline is a variant of its own: { attack: none }',
      );
    if (seen.has(attack.value))
      report(
        'duplicate-value',
        attack.span,
        `"poisoning.steps" has the attack "${attack.value}" twice`,
        'a step is named by its attack: give one of them the whole dose',
      );
    seen.add(attack.value);
  }
}

/** Returns the full paths of the fields of steps, such as `poisoning.steps.badnets.rate`. */
export function stepFields(variants: readonly Variant[]): string[] {
  /** Returns the paths at or below `path` of the fields that have no fields of their own. */
  const leafPaths = (schema: Schema, path: string): string[] =>
    declaresFields(schema)
      ? Object.entries(schema.properties).flatMap(([key, field]) =>
          leafPaths(field, `${path}.${key}`),
        )
      : [path];
  return [
    ...new Set(
      variants.flatMap(({ name, schema }) =>
        name.includes(JOINT) && schema
          ? leafPaths(fieldSchema(schema, 'steps'), 'poisoning.steps')
          : [],
      ),
    ),
  ];
}

/**
 * Returns a cell's `poisoning` in the form that a spec writes, with `steps` as a list; as it is if
 * it has no steps.
 */
export function asWritten(poisoning: JsonObject): Json {
  const { attack, steps, ...rest } = poisoning;
  if (steps === undefined || typeof attack !== 'string') return poisoning;
  return {
    ...rest,
    steps: stepsOf({ ...poisoning, attack }).map(({ attack: name, params }) => ({
      attack: name,
      ...params,
    })),
  };
}
