/**
 * Lists the values of each section, which a grid combines, with the variants that they came from.
 */
import type { Json, JsonObject } from '../api.ts';
import type { BaseTraining } from '../api/cell.ts';
import { defined } from '../base/defined.ts';
import { memoized } from '../base/memoized.ts';
import { isRecord } from '../base/untrusted/json.ts';
import { basesIn, fieldsBelow, listVariants, type SubSpec, type Variant } from './fields.ts';
import { child, mapEntries, type MapNode, merge, type Node, toJson, withValue } from './node.ts';
import { isVariantSection, NO_DEFENCE, type Section, sections, type Shapes } from './schema.ts';
import type { Pattern, Selection } from './selection.ts';
import { declaresFields, fieldSchema, isScalar, type RecordSchema, type Schema } from './shape.ts';

interface Choice {
  /** The first variant with this value; undefined if the section is left out. */
  readonly node: MapNode | undefined;
  /**
   * The `when` of each variant with this value; null for a variant without one, which every cell
   * matches. A cell is kept if it matches any of them.
   */
  readonly when: readonly (Pattern | null)[];
}

export interface PoisoningChoice extends Choice {
  readonly poisoning: JsonObject;
}

export interface DefenceChoice extends Choice {
  /** Undefined if there is no defence (`none`). */
  readonly defence: JsonObject | undefined;
}

/** A value of `adapter`, and a value of `train` with the adapter's own `train` merged over it. */
export interface TuningChoice extends Choice {
  readonly adapter: JsonObject;
  readonly train: JsonObject;
  /** The merged `train` before its axes are expanded; undefined if no `train` is written. */
  readonly trainNode: Node | undefined;
}

/** The sections without variants. `train` is not among them, because it depends on the adapter. */
export type PlainSection = Exclude<Section, 'poisoning' | 'defences' | 'adapter' | 'train'>;
export const plainSections = sections.filter(
  (section): section is PlainSection => !isVariantSection(section) && section !== 'train',
);

/** A value of one training of `base`, and the choices that the value is made of. */
export interface BaseChoice {
  readonly base: BaseTraining;
  readonly poisoning: PoisoningChoice;
  readonly tuning: TuningChoice;
}

export interface Choices {
  /** The choices for each training of `base`, in the order of the trainings. */
  readonly bases: readonly (readonly BaseChoice[])[];
  readonly poisoning: readonly PoisoningChoice[];
  readonly tuning: readonly TuningChoice[];
  readonly defence: readonly DefenceChoice[];
  readonly plain: Readonly<Record<PlainSection, readonly JsonObject[]>>;
}

/** Returns `own` merged over `train`; if only one of them is a mapping, that one; else `train`. */
const mergeTrain = (train: Node | undefined, own: Node | undefined): Node | undefined =>
  own?.kind === 'map' ? (train?.kind === 'map' ? merge(train, own, 'train') : own) : train;

/**
 * Returns the variants of `adapter`. `trainNode` is the spec's `train` with the variant's own
 * `train` merged over it.
 */
export const listTunings = (root: MapNode, shapes: Shapes) =>
  listVariants(root, 'adapter', shapes).map((variant) => ({
    ...variant,
    trainNode: mergeTrain(child(root, 'train'), child(variant.node, 'train')),
  }));

/**
 * Returns each training of `base` as a spec. Its `train` is merged over the `train` of the whole
 * spec.
 */
export function baseSpecs(root: MapNode): SubSpec[] {
  const train = root.entries.get('train');
  return basesIn(root).map(({ prefix, root: base }) => {
    if (train?.value.kind !== 'map') return { prefix, root: base };
    const merged = mergeTrain(train.value, child(base, 'train')) ?? train.value;
    const key = base.entries.get('train')?.key ?? train.key;
    return { prefix, root: withValue(base, 'train', merged, key) };
  });
}

/**
 * Returns the axes of the spec's `train` that a training of `base` inherits, each with the prefix
 * of that training. They are faults: each value of the axis would give another base.
 */
export function inheritedAxes(
  root: MapNode,
  shapes: Shapes,
): { readonly path: string; readonly prefix: string; readonly span: Node['span'] }[] {
  const schema = shapes.section.train;
  const axes = new Set(
    fieldsBelow(child(root, 'train'), schema, 'train')
      .filter((field) => isAxis(field.node, field.schema))
      .map(({ node }) => node),
  );
  const found = baseSpecs(root).flatMap(({ prefix, root: base }) =>
    listTunings(base, shapes)
      .flatMap(({ trainNode }) => fieldsBelow(trainNode, schema, 'train'))
      .filter(({ node }) => axes.has(node))
      .map(({ path, node }) => ({ path, prefix, span: node.span })),
  );
  return [...new Map(found.map((axis) => [axis.prefix + axis.path, axis])).values()];
}

/** Returns a variant's mapping without `train` and `when`; undefined for undefined. */
const withoutTrainAndWhen = (node: MapNode | undefined): MapNode | undefined =>
  node && mapEntries(node, (value, key) => (key === 'train' || key === 'when' ? undefined : value));

/** Returns the schema of a variant. Throws if no plugin has its name. */
const requireSchema = ({ name, schema }: Variant): Schema => {
  if (!schema) throw new Error(`no plugin "${name}" to expand`); // registries have the default plugins
  return schema;
};

/** Returns the number of cells per seed, before `include`, `exclude` and `when` remove any. */
export function countCells(root: MapNode, shapes: Shapes): number {
  const plain = plainSections.reduce(
    (count, section) => count * expand(child(root, section), shapes.section[section]).count,
    1,
  );
  return baseSpecs(root).reduce(
    (count, { root: base }) =>
      count * countTrainings(base, shapes) * expand(...trainRowsIn(base, shapes)).count,
    plain * countValues(root, 'defences', shapes) * countTrainings(root, shapes),
  );
}

/** Returns the number of values of a section. Values that are equal in two variants count twice. */
const countValues = (root: MapNode, section: 'poisoning' | 'defences', shapes: Shapes): number =>
  listVariants(root, section, shapes).reduce(
    (sum, variant) => sum + expandVariant(variant).count,
    0,
  );

/** Returns the number of combinations of values of `poisoning`, `adapter` and `train`. */
function countTrainings(root: MapNode, shapes: Shapes): number {
  const tuning = listTunings(root, shapes).reduce(
    (sum, variant) =>
      sum + expandVariant(variant).count * expand(variant.trainNode, shapes.section.train).count,
    0,
  );
  return countValues(root, 'poisoning', shapes) * tuning;
}

/** A function that returns the pattern of a variant's `when`; null if it has none. */
type WhenOf = Selection['whenOf'];

export function listChoices(root: MapNode, shapes: Shapes, whenOf: WhenOf): Choices {
  const plain = plainSections.map((section) => [
    section,
    asObjects(expand(child(root, section), shapes.section[section]).list()),
  ]);
  return {
    bases: baseSpecs(root).map(({ root: base }) => baseChoices(base, shapes, whenOf)),
    ...trainingChoices(root, shapes, whenOf),
    defence: defenceChoices(root, shapes, whenOf),
    plain: Object.fromEntries(plain) as Choices['plain'],
  };
}

/** Returns the node and the schema of `data.train` in a training of `base`. */
const trainRowsIn = (base: MapNode, { section }: Shapes) =>
  [child(child(base, 'data'), 'train'), fieldSchema(section.data, 'train')] as const;

/**
 * Returns the choices for one training of `base`: every combination of its values of `data.train`,
 * `poisoning` and `adapter` with `train`.
 */
function baseChoices(base: MapNode, shapes: Shapes, whenOf: WhenOf): BaseChoice[] {
  const { poisoning: poisonings, tuning: tunings } = trainingChoices(base, shapes, whenOf);
  const name = child(base, 'name');
  const rows = expand(...trainRowsIn(base, shapes))
    .list()
    .map((train) => train && { train });
  return rows.flatMap((data) =>
    poisonings.flatMap((poisoning) =>
      tunings.map((tuning) => ({
        // The sections have passed the schema from which the type is generated.
        base: {
          ...defined({ name: name && toJson(name), data }),
          poisoning: poisoning.poisoning,
          adapter: tuning.adapter,
          train: tuning.train,
        } as unknown as BaseTraining,
        poisoning,
        tuning,
      })),
    ),
  );
}

/** Returns the choices of `poisoning`, and those of `adapter` with `train`. */
function trainingChoices(
  root: MapNode,
  shapes: Shapes,
  whenOf: WhenOf,
): Pick<Choices, 'poisoning' | 'tuning'> {
  const intern = interning();
  const poisoning = listVariants(root, 'poisoning', shapes).flatMap((variant) => {
    const from = { node: variant.node, when: [whenOf(variant.node)] };
    return variantObjects(variant).map((value) => ({ ...from, poisoning: intern(value) }));
  });
  const tuning = listTunings(root, shapes).flatMap((variant) => {
    const { node, trainNode } = variant,
      from = { node, trainNode, when: [whenOf(node)] };
    const trains = asObjects(expand(trainNode, shapes.section.train).list()).map(intern);
    return variantObjects(variant).flatMap((value) => {
      const adapter = intern(value);
      return trains.map((train) => ({ ...from, adapter, train }));
    });
  });
  return {
    poisoning: distinctChoices(poisoning, (choice) => [choice.poisoning]),
    tuning: distinctChoices(tuning, ({ adapter, train }) => [adapter, train]),
  };
}

function defenceChoices(root: MapNode, shapes: Shapes, whenOf: WhenOf): DefenceChoice[] {
  const intern = interning();
  const defences = listVariants(root, 'defences', shapes).flatMap((variant) => {
    const from = { node: variant.node, when: [whenOf(variant.node)] };
    return variantObjects(variant).map((value) => ({
      ...from,
      defence: value['defence'] === NO_DEFENCE ? undefined : intern(value),
    }));
  });
  return distinctChoices(defences, ({ defence }) => [defence]);
}

/** Returns the values of a variant, without its `train` and `when`. */
const expandVariant = (variant: Variant): Values =>
  expand(withoutTrainAndWhen(variant.node), requireSchema(variant), {});
/** Returns the list of the values that `expandVariant` returns, as objects. */
const variantObjects = (variant: Variant): JsonObject[] => asObjects(expandVariant(variant).list());

/** Returns values of a section as objects; the value of a section that is left out becomes {}. */
const asObjects = (values: readonly (Json | undefined)[]): JsonObject[] =>
  values.map((value) => (value ?? {}) as JsonObject);

/**
 * Returns a function that returns the same object for all equal values, so that `===` compares
 * them.
 */
function interning(): (value: JsonObject) => JsonObject {
  const known = new Map<string, JsonObject>();
  return (value) => {
    const text = JSON.stringify(value);
    const found = known.get(text) ?? value;
    known.set(text, found);
    return found;
  };
}

/**
 * Returns the distinct choices. Of equal ones, the first is kept, with the `when` of all of them.
 * @param valuesOf returns a choice's objects; choices are equal if these are identical
 */
function distinctChoices<T extends Choice>(
  choices: readonly T[],
  valuesOf: (choice: T) => readonly (JsonObject | undefined)[],
): T[] {
  const number = numbering();
  const known = new Map<string, T>();
  for (const choice of choices) {
    const key = valuesOf(choice).map(number).join();
    const first = known.get(key);
    known.set(key, first ? { ...first, when: [...first.when, ...choice.when] } : choice);
  }
  return [...known.values()];
}

/** Returns a function that returns a number for each distinct object (by identity) or value. */
export function numbering(): (value: unknown) => number {
  let count = 0;
  return memoized(() => count++);
}

/** The value of a field; undefined if the field is left out and has no default. */
type Value = Json | undefined;

/** The values of a field or section: how many there are, and a function that makes them. */
interface Values {
  readonly count: number;
  readonly list: () => readonly Value[];
}

const single = (value: Value): Values => ({ count: 1, list: () => [value] });

/**
 * Returns the values of a section, one for each combination of its axes, of which the last varies
 * fastest. Where values have an equal part, it is the same object, so that `===` compares parts.
 * @param fallback the value if the section is left out
 */
function expand(node: Node | undefined, schema: Schema, fallback: Value = schema.default): Values {
  if (declaresFields(schema)) {
    if (node === undefined && fallback === undefined) return single(undefined);
    const columns = recordFields(node, schema, fallback).map(
      ([key, below, field, value]) =>
        [key, field ? expand(below, field, value) : single(sortKeys(toJson(below)))] as const,
    );
    return {
      count: columns.reduce((count, [, values]) => count * values.count, 1),
      list: () => multiply<Json>(columns.map(([key, values]) => [key, values.list()])),
    };
  }
  if (node === undefined) return single(fallback);
  if (!isAxis(node, schema)) return single(sortKeys(toJson(node)));
  return { count: node.items.length, list: () => node.items.map(toJson) };
}

/**
 * Returns the section with defaults filled in, and with axes as lists; `fallback` if it is left
 * out.
 */
export function fill(
  node: Node | undefined,
  schema: Schema,
  fallback: Value = schema.default,
): Value {
  if (!declaresFields(schema)) return node === undefined ? fallback : sortKeys(toJson(node));
  if (node === undefined && fallback === undefined) return undefined;
  const object: { [key: string]: Json } = {};
  for (const [key, below, field, value] of recordFields(node, schema, fallback)) {
    const filled = field ? fill(below, field, value) : sortKeys(toJson(below));
    if (filled !== undefined) object[key] = filled;
  }
  return object;
}

/** Whether a node is a list where the schema takes a single value. */
export const isAxis = (node: Node, schema: Schema): node is Node & { readonly kind: 'list' } =>
  node.kind === 'list' && isScalar(schema);

/**
 * A field of a mapping. `node` is undefined if the field is not written, `schema` if the mapping's
 * schema does not declare it. `fallback` is the value if the field is not written.
 */
type RecordField =
  | readonly [key: string, node: Node | undefined, schema: Schema, fallback: Value]
  | readonly [key: string, node: Node, schema: undefined, fallback: undefined];

/**
 * Returns a mapping's fields: the declared ones in the schema's order, then the others, sorted.
 * @param fallback the value of a mapping that is left out; its fields override the schema's
 *   defaults
 */
function recordFields(
  node: Node | undefined,
  schema: RecordSchema,
  fallback: Value,
): RecordField[] {
  const written: MapNode['entries'] = node?.kind === 'map' ? node.entries : new Map();
  const preset: JsonObject = node === undefined && isRecord(fallback) ? fallback : {};
  // Some fields exclude each other. If one is written, the others and their defaults are left out,
  // because a cell's name must not show a value that does not apply.
  const rivals = schema.not?.required ?? [],
    isRivalWritten = rivals.some((key) => written.has(key));
  const known = Object.entries(schema.properties)
    .filter(([key]) => !isRivalWritten || written.has(key) || !rivals.includes(key))
    .map(([key, declared]): RecordField => {
      const unless = [declared.unless ?? []].flat();
      const field = unless.some((key) => written.has(key)) ? withoutDefault(declared) : declared;
      return [key, written.get(key)?.value, field, preset[key] ?? field.default];
    });
  const open = [...written]
    .filter(([key]) => !Object.hasOwn(schema.properties, key))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return [
    ...known,
    ...open.map(([key, entry]): RecordField => [key, entry.value, undefined, undefined]),
  ];
}

function withoutDefault({ default: _default, ...schema }: Schema): Schema {
  return schema;
}

/**
 * Returns every combination of the columns' values, by key. The last column varies fastest. If a
 * value is undefined, the combination lacks its key.
 */
export function multiply<T>(
  columns: readonly (readonly [key: string, values: readonly (T | undefined)[]])[],
): { [key: string]: T }[] {
  let rows: { [key: string]: T }[] = [{}];
  for (const [key, values] of columns) {
    const [only] = values;
    if (values.length === 1) {
      if (only !== undefined) for (const row of rows) row[key] = only;
    } else
      rows = rows.flatMap((row) =>
        values.map((value) => (value === undefined ? { ...row } : { ...row, [key]: value })),
      );
  }
  return rows;
}

/** Returns the value with keys sorted at every depth, so that their order makes no difference. */
function sortKeys(value: Json): Json {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (!isRecord(value)) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sortKeys(item)]));
}
