/** Names cells by fields and their values, never by positions in the grid. */
import { isDeepStrictEqual } from 'node:util';
import { basePrefix, basesOf, type Cell, type Json, type JsonObject } from '../api.ts';
import { shortNames } from '../api/cell.ts';
import { valueAt } from '../base/record.ts';
import { isRecord } from '../base/untrusted/json.ts';
import {
  baseSpecs,
  type Choices,
  isAxis,
  listTunings,
  plainSections,
  type PoisoningChoice,
  type TuningChoice,
} from './choices.ts';
import { fieldsBelow, listVariants, type WrittenField } from './fields.ts';
import { child, type MapNode } from './node.ts';
import { NO_DEFENCE, sections, type Shapes } from './schema.ts';
import { cellValue, DEFENCE } from './selection.ts';

/** `ExperimentCell.axes` and `ExperimentCell.label`. */
export interface Names {
  axes(cell: Cell): JsonObject;
  label(cell: Cell): string;
}

export function makeNames(
  root: MapNode,
  shapes: Shapes,
  choices: Choices,
  seeds: readonly number[],
): Names {
  const others = otherAxisSizes(root, shapes);
  const fieldsByPath = flattening();
  const own = trainingVariation(choices.poisoning, choices.tuning, others, '', fieldsByPath);
  // A base is a training too and is named in the same way.
  const bases = baseSpecs(root).map(({ prefix, root: spec }, i) => {
    const ofBase = choices.bases[i] ?? [];
    const inBase = new Map(
      [...otherAxisSizes(spec, shapes)].map(([path, count]) => [`${prefix}${path}`, count]),
    );
    for (const [path, count] of inBase) others.set(path, count);
    const variation = trainingVariation(
      ofBase.map(({ poisoning }) => poisoning),
      ofBase.map(({ tuning }) => tuning),
      inBase,
      prefix,
      fieldsByPath,
    );
    return { prefix, ...variation };
  });
  const defences = variation(
    choices.defence.map(({ defence }) => defence ?? { defence: NO_DEFENCE }),
    ({ defence }) => defence,
    (value) => fieldsByPath(value, 'defence'),
  );
  const varying = new Set([own, defences, ...bases].flatMap((variation) => [...variation.varying]));

  const otherPaths = [...others.keys()].map((path) => [path, path.split('.')] as const);
  const axes = (cell: Cell): JsonObject => {
    const named: { [path: string]: Json } = {};
    /** Adds fields to the name. A list is added only if it varies, since lists are long. */
    const add = (fields: JsonObject): void => {
      for (const path in fields) {
        const item = fields[path] as Json; // `path` is one of its keys
        if (!Array.isArray(item) || varying.has(path)) named[path] = item;
      }
    };
    add(fieldsByPath(cell.poisoning, 'poisoning'));
    if (cell.defence) add(fieldsByPath(cell.defence, 'defence'));
    add(fieldsByPath(cell.adapter, 'adapter'));
    for (const [i, base] of basesOf(cell).entries()) {
      const prefix = bases[i]?.prefix ?? '';
      add(fieldsByPath(base.poisoning, `${prefix}poisoning`));
      add(fieldsByPath(base.adapter, `${prefix}adapter`));
    }
    for (const [path, steps] of otherPaths) {
      const value = valueAt(cell, steps);
      if (value !== undefined) named[path] = value;
    }
    return named;
  };

  /**
   * Whether an axis of `others` varies. An axis of `train` varies if choices of one adapter plugin
   * differ on it, any other axis if it has more than one value.
   */
  const isVarying = (path: string): boolean =>
    path.startsWith('train.', basePrefix(path).length)
      ? varying.has(path)
      : (others.get(path) ?? 0) > 1;
  const paths = [
    ...own.paths,
    ...(defences.plugins.size > 1 ? [DEFENCE] : []),
    ...defences.varying,
    ...bases.flatMap((base) => base.paths),
    ...[...others.keys()].filter(isVarying),
    ...(seeds.length > 1 ? ['seed'] : []),
  ];
  const short = shortNames(paths);
  const parts = paths.map((path) => [path.split('.'), short.get(path) ?? path] as const);
  const label = (cell: Cell): string =>
    parts
      .flatMap(([steps, name]) => {
        const value = cellValue(cell, steps);
        return value === undefined ? [] : [`${name}=${labelText(value)}`];
      })
      .join(' ') ||
    // Nothing varies, or only fields that this cell lacks.
    `attack=${cell.poisoning.attack} type=${cell.adapter.type}`;
  return { axes, label };
}

/**
 * Returns how the poisonings and adapters of a training vary. `varying` is as in `Variation`.
 * `paths` has the fields that tell the choices apart, except those of `train`.
 * @param axes the training's `otherAxisSizes`, with `prefix` before each path
 * @param fieldsByPath what `flattening` returns
 */
function trainingVariation(
  poisoning: readonly PoisoningChoice[],
  tuning: readonly TuningChoice[],
  axes: ReadonlyMap<string, number>,
  prefix: string,
  fieldsByPath: ReturnType<typeof flattening>,
) {
  const trainPaths = [...axes.keys()]
    .filter((path) => path.startsWith(`${prefix}train.`))
    .map((path) => [path, path.slice(prefix.length).split('.').slice(1)] as const);
  const poisonings = variation(
    poisoning.map((choice) => choice.poisoning),
    ({ attack }) => attack,
    (value) => fieldsByPath(value, `${prefix}poisoning`),
  );
  const tunings = variation(
    tuning,
    ({ adapter }) => adapter.type,
    ({ adapter, train }) => {
      const values: { [path: string]: Json } = { ...fieldsByPath(adapter, `${prefix}adapter`) };
      for (const [path, steps] of trainPaths) {
        const value = valueAt(train, steps);
        if (value !== undefined) values[path] = value;
      }
      return values;
    },
  );
  return {
    varying: new Set([...poisonings.varying, ...tunings.varying]),
    paths: [
      ...(poisonings.plugins.size > 1 ? [`${prefix}poisoning.attack`] : []),
      ...poisonings.varying,
      ...(tunings.plugins.size > 1 ? [`${prefix}adapter.type`] : []),
      ...[...tunings.varying].filter((path) => path.startsWith(`${prefix}adapter.`)),
    ],
  };
}

/** Adds the scalars and lists in a value to `fields`, by path: `PREFIX.init.variance`. */
function addFields(value: JsonObject, prefix: string, fields: { [path: string]: Json }): void {
  for (const [key, item] of Object.entries(value)) {
    const path = `${prefix}.${key}`;
    if (isRecord(item)) addFields(item, path, fields);
    else fields[path] = item;
  }
}

/**
 * Returns a function that returns the fields that `addFields` adds, by path. It remembers them for
 * each value, which must always come with the same prefix.
 */
function flattening(): (value: JsonObject, prefix: string) => JsonObject {
  const known = new WeakMap<JsonObject, JsonObject>();
  return (value, prefix) => {
    let fields = known.get(value);
    if (fields === undefined) {
      const found = {};
      addFields(value, prefix, found);
      known.set(value, (fields = found));
    }
    return fields;
  };
}

/**
 * Returns the number of values of each axis outside `poisoning`, `defences` and `adapter`, by path
 * and in the schema's order. It also has the fields of `train` that an adapter overrides, with 1 if
 * they are no axis.
 */
function otherAxisSizes(root: MapNode, shapes: Shapes): Map<string, number> {
  const found = new Map<string, number>();
  const add = ({ path, node, schema }: WrittenField): void => {
    if (isAxis(node, schema)) found.set(path, Math.max(found.get(path) ?? 0, node.items.length));
  };
  for (const section of plainSections)
    fieldsBelow(child(root, section), shapes.section[section], section).forEach(add);
  for (const { trainNode } of listTunings(root, shapes))
    fieldsBelow(trainNode, shapes.section.train, 'train').forEach(add);
  // The fields in an adapter's own `train` differ between adapters. So do the fields that they
  // replace: `steps` replaces `epochs`, and the reverse.
  for (const { node } of listVariants(root, 'adapter', shapes)) {
    for (const { path } of fieldsBelow(child(node, 'train'), shapes.section.train, 'train'))
      found.set(path, found.get(path) ?? 1);
  }
  const [epochs, steps] = ['train.epochs', 'train.steps'] as const;
  if (found.has(epochs) || found.has(steps))
    for (const path of [epochs, steps]) found.set(path, found.get(path) ?? 1);
  const order = sections.flatMap((section) =>
    Object.keys(shapes.section[section].properties ?? {}).map((key) => `${section}.${key}`),
  );
  const position = (path: string): number => order.indexOf(path.split('.').slice(0, 2).join('.'));
  return new Map([...found].sort(([a], [b]) => position(a) - position(b)));
}

/** How the choices of a section vary. */
interface Variation {
  readonly plugins: ReadonlySet<Json | undefined>;
  /**
   * The paths on which two choices of one plugin differ. Two plugins are told apart by their names.
   */
  readonly varying: ReadonlySet<string>;
}

/**
 * Returns how choices vary.
 * @param valuesOf returns a choice's values by full path
 */
function variation<T>(
  choices: readonly T[],
  pluginOf: (choice: T) => Json | undefined,
  valuesOf: (choice: T) => JsonObject,
): Variation {
  const first = new Map<Json | undefined, JsonObject>();
  const order = new Set<string>(),
    varying = new Set<string>();
  for (const choice of choices) {
    const plugin = pluginOf(choice),
      values = valuesOf(choice);
    const reference = first.get(plugin);
    if (!reference) first.set(plugin, values);
    for (const path in values) {
      const other = reference?.[path];
      if (other === undefined) order.add(path);
      if (reference && !isDeepStrictEqual(values[path], other)) varying.add(path);
    }
    for (const path in reference) if (!(path in values)) varying.add(path);
  }
  return {
    plugins: new Set(first.keys()),
    varying: new Set([...order].filter((path) => varying.has(path))),
  };
}

/** Returns a value as labels show it; text that could be misread is in quotes. */
function labelText(value: Json): string {
  if (Array.isArray(value)) return value.map((item) => labelText(item as Json)).join(',');
  return typeof value === 'string' && /^[^\s=]+$/.test(value) ? value : JSON.stringify(value);
}
