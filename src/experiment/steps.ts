/**
 * `steps: [a, b]` in a variant of `poisoning`: one attack after the other. They are written as a list, and stand in a cell
 * by the names of their attacks, since cells are named by paths and values and never by position:
 * `{ attack: a+b, steps: { a: { rate: 0.1 }, b: { rate: 0.2 } } }`.
 */
import type { Json, JsonObject } from '../api.ts';
import { JOINT, stepsOf } from '../api.ts';
import type { Report } from './faults.ts';
import type { Variant } from './fields.ts';
import type { Entry, MapNode, Node, ScalarNode } from './node.ts';
import { child, withEntries } from './node.ts';
import type { VariantShape } from './schema.ts';
import type { Schema } from './shape.ts';
import { isRecord } from './shape.ts';

/** The attack that a step names; null where it names none. */
export function attackOf(step: Node): (ScalarNode & { readonly value: string }) | null {
  const named = child(step, 'attack');
  return named?.kind === 'scalar' && typeof named.value === 'string'
    ? { ...named, value: named.value }
    : null;
}

/** Which of the steps is that attack's; -1: none. */
export const stepAt = (steps: Node, attack: string): number =>
  steps.kind === 'list' ? steps.items.findIndex((step) => attackOf(step)?.value === attack) : -1;

/** The schema of an attack in a cell, of one of several steps as well; undefined where one of them is no plugin's. */
export function shapeOf({ byName, discriminator }: VariantShape, name: string): Schema | undefined {
  const names = name.split(JOINT);
  if (names.length === 1) return byName.get(name);
  const steps: { [attack: string]: Schema } = {};
  for (const attack of names) {
    const shape = byName.get(attack);
    if (shape === undefined) return undefined;
    const { [discriminator]: _name, ...own } = shape.properties!;
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

/** A variant of several steps as it stands in a cell; null for one that has none. Each node keeps the place where it was written. */
export function composed(variant: MapNode, shape: VariantShape): Variant | null {
  const steps = variant.entries.get('steps');
  if (steps?.value.kind !== 'list') return null;
  const named = steps.value.items.map((step) => ({ step, attack: attackOf(step) }));
  const name = named.map(({ attack }) => attack?.value ?? '').join(JOINT);
  const byAttack = new Map(
    named.flatMap(({ step, attack }): [string, Entry][] =>
      step.kind === 'map' && attack !== null
        ? [
            [
              attack.value,
              { key: attack.span, value: withEntries(step, [[shape.discriminator, undefined]]) },
            ],
          ]
        : [],
    ),
  );
  const node = withEntries(variant, [
    [
      shape.discriminator,
      {
        key: steps.key,
        value: { kind: 'scalar', value: name, quoted: false, span: steps.value.span },
      },
    ],
    [
      'steps',
      { key: steps.key, value: { kind: 'map', entries: byAttack, span: steps.value.span } },
    ],
  ]);
  return { node, name, schema: shapeOf(shape, name) };
}

/** A variant with its steps' own forms expanded: one variant for each choice of attacks, a single step in the place of its variant. */
export function expandSteps(
  variant: MapNode,
  steps: Entry,
  choices: (step: MapNode) => readonly Node[],
  report: Report,
): Node[] {
  if (steps.value.kind !== 'list' || steps.value.items.length === 0) return [variant]; // validation's to report
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
    // One step is that attack alone: the same cell, by the same name.
    if (
      items.length === 1 &&
      only?.kind === 'map' &&
      isAlone(variant, ['steps', 'when']) &&
      !only.entries.has('steps') &&
      !only.entries.has('when')
    ) {
      return { ...withEntries(variant, [...only.entries, ['steps', undefined]]), span: only.span };
    }
    return withEntries(variant, [
      ['steps', { key: steps.key, value: { kind: 'list', items, span } }],
    ]);
  });
}

const isAlone = ({ entries }: MapNode, known: readonly string[]): boolean =>
  [...entries.keys()].every((key) => known.includes(key));

function checkAttacks(steps: readonly Node[], report: Report): void {
  const seen = new Set<string>();
  for (const step of steps) {
    const attack = attackOf(step);
    if (attack === null) continue;
    if (attack.value === 'none')
      report(
        'unknown-value',
        attack.span,
        '"none" poisons nothing: it is no step',
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

/** The fields of steps, as patterns and programs name them: `poisoning.steps.badnets.rate`. */
export function stepFields(variants: readonly Variant[]): string[] {
  const below = (schema: Schema, path: string): string[] =>
    isRecord(schema)
      ? Object.entries(schema.properties).flatMap(([key, field]) => below(field, `${path}.${key}`))
      : [path];
  return [
    ...new Set(
      variants.flatMap(({ name, schema }) =>
        name.includes(JOINT) && schema
          ? below(schema.properties!['steps']!, 'poisoning.steps')
          : [],
      ),
    ),
  ];
}

/** As a spec writes it again. */
export function written(poisoning: JsonObject): Json {
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
