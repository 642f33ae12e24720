import { isDeepStrictEqual } from 'node:util';
import { JOINT, type Json, type JsonSchema } from '../api.ts';
import { isRecord } from '../base/untrusted/json.ts';
import { composeFrom } from './compose.ts';
import { explain } from './explain.ts';
import type { Faults } from './faults.ts';
import { allVariants } from './fields.ts';
import { child, descendants, type MapNode, type Node, toJson } from './node.ts';
import { fieldDefaults, makeShapes, type Shapes } from './schema.ts';
import { asSchema, declaredField, definitionName, describe, type Schema } from './shape.ts';
import type { SpecRegistry } from './types.ts';
import type { Violation } from './validate.ts';

interface Checker {
  readonly shapes: Shapes;
  /** Every field of a spec by full path, with its default; undefined if it has none. */
  readonly fields: ReadonlyMap<string, Json | undefined>;
  /**
   * Resolves to the violations in a spec or, if the schema of an outside plugin does not compile,
   * to what is wrong with it.
   */
  readonly findViolations: (root: MapNode) => Promise<Violation[] | string>;
}

const checkers = new WeakMap<SpecRegistry, Checker>();

export function checkerFor(registry: SpecRegistry): Checker {
  const known = checkers.get(registry);
  if (known) return known;
  const shapes = makeShapes(registry);
  const validators = new Map<string, (value: unknown) => Violation[]>();
  /** Returns what `Checker.findViolations` does. Throws if our own schema does not compile. */
  const findViolations = async (root: MapNode): Promise<Violation[] | string> => {
    const used = new Set(allVariants(root, shapes).flatMap(({ name }) => name.split(JOINT)));
    const schema = composeFrom(shapes, (plugin) => used.has(plugin)),
      value = toJson(root);
    if (isSound(schema, value)) return [];
    const { createValidator } = await import('./validate.ts');
    const key = [...used].sort().join(' ');
    let validator = validators.get(key);
    if (!validator) {
      try {
        validator = createValidator(schema);
      } catch (error) {
        const reason = pluginSchemaFault(shapes, used, createValidator);
        if (reason === null) throw error;
        return reason;
      }
      validators.set(key, validator);
    }
    return validator(value);
  };
  const checker = { shapes, fields: fieldDefaults(shapes), findViolations };
  checkers.set(registry, checker);
  return checker;
}

/**
 * Returns what is wrong with the schema of the first used plugin whose schema does not compile;
 * null if all compile.
 * @param used the names of the plugins that the spec uses
 * @param compile throws if a schema does not compile
 */
function pluginSchemaFault(
  { variants }: Shapes,
  used: ReadonlySet<string>,
  compile: (schema: JsonSchema) => unknown,
): string | null {
  for (const [kind, { byName }] of [
    ['attack', variants.poisoning],
    ['defence', variants.defences],
    ['adapter', variants.adapter],
  ] as const) {
    for (const name of used) {
      const shape = byName.get(name);
      try {
        if (shape) compile(shape);
      } catch (error) {
        const { message } = error as Error;
        return `the parameters of the ${kind} "${name}" are not a JSON Schema: ${message}`;
      }
    }
  }
  return null;
}

/**
 * Returns what is wrong with a plugin's parameters if one has a default that its own schema
 * refuses; else null. A schema that does not compile is reported when a spec uses it.
 */
export async function defaultFault(params: JsonSchema): Promise<string | null> {
  const { properties, definitions = {} } = asSchema(params);
  for (const [name, field] of Object.entries(properties ?? {})) {
    if (!isRecord(field) || field.default === undefined) continue;
    const schema = { ...field, definitions } as JsonSchema;
    if (isSound(schema, field.default)) continue;
    const { createValidator } = await import('./validate.ts');
    try {
      if (createValidator(schema)(field.default).length === 0) continue;
    } catch {
      continue;
    }
    return (
      `the default of its parameter "${name}" is ${JSON.stringify(field.default)}, which its own ` +
      `schema refuses: it must be ${describe(field)}`
    );
  }
  return null;
}

/**
 * Reports every violation of the schema in the spec. Returns false, after reporting it, if the
 * schema of a plugin does not compile, so that nothing can be checked.
 */
export async function checkSpec(
  root: MapNode,
  { shapes, fields, findViolations }: Checker,
  faults: Faults,
): Promise<boolean> {
  const violations = await findViolations(root);
  if (typeof violations === 'string') {
    faults.report(
      'bad-plugin',
      child(root, 'plugins')?.span ?? null,
      violations,
      'its `params` must be a JSON Schema, draft 7',
    );
    return false;
  }
  // A value that an earlier phase reported, such as a reference without a value, is not reported
  // again for its type.
  const earlier = new Set([...descendants(root)].filter(({ span }) => faults.has(span)));
  const context = {
    shapes,
    fields,
    report: faults.report,
    isReported: (node: Node) => earlier.has(node),
  };
  for (const violation of violations) explain(violation, root, context);
  return true;
}

/**
 * Whether `value` satisfies one keyword of `schema`. `expected` is what the schema has under this
 * keyword. `holds` returns whether a part of the value satisfies a schema.
 */
type Rule = (
  expected: never,
  value: unknown,
  schema: Schema,
  holds: (schema: Schema, value: unknown) => boolean,
) => boolean;

/**
 * Whether the value satisfies the schema, keyword by keyword, without compiling the schema. Most
 * specs are sound and are checked once, and for them this is much faster than ajv. If the result is
 * false, the caller leaves the verdict to ajv (docs/decisions/0003), since it is false also for a
 * schema with a keyword that is not known here.
 */
export function isSound(root: JsonSchema, value: unknown): boolean {
  const definitions = asSchema(root).definitions ?? {};
  // Becomes false at an unknown keyword or reference, and stays false. The result of `isSatisfied`
  // is not enough: within a `not`, its false becomes true.
  let isKnown = true;
  /** Whether a part of the value satisfies a schema; false at an unknown keyword or reference. */
  const isSatisfied = (schema: Schema, part: unknown): boolean => {
    for (const keyword in schema) {
      const expected = schema[keyword];
      if (keyword === '$ref') {
        const target = definitions[definitionName(String(expected))];
        isKnown &&= target !== undefined;
        if (target === undefined || !isSatisfied(target, part)) return false;
        continue;
      }
      const rule = Object.hasOwn(RULES, keyword) ? RULES[keyword] : undefined;
      if (rule === undefined) {
        isKnown = false;
        return false;
      }
      if (rule !== null && !rule(expected as never, part, schema, isSatisfied)) return false;
    }
    return true;
  };
  return isSatisfied(asSchema(root), value) && isKnown;
}

/** Whether a value has a type of JSON Schema. NaN and infinities are no numbers. */
const isOfType = (type: string, value: unknown): boolean => {
  switch (type) {
    case 'null':
      return value === null;
    case 'array':
      return Array.isArray(value);
    case 'object':
      return isRecord(value);
    case 'integer':
      return Number.isInteger(value);
    case 'number':
      return Number.isFinite(value);
    default:
      return typeof value === type;
  }
};

/**
 * Returns a rule that a number satisfies if `holds` is true of it and of what the schema has under
 * the keyword. A value that is no number always satisfies the rule.
 */
const numberRule =
  (holds: (value: number, bound: number) => boolean): Rule =>
  (bound, value) =>
    typeof value !== 'number' || holds(value, bound);

/** The rule of each keyword of JSON Schema, draft 7; null for a keyword that restricts nothing. */
const RULES: { readonly [keyword: string]: Rule | null } = {
  $schema: null,
  $id: null,
  $comment: null,
  title: null,
  description: null,
  default: null,
  examples: null,
  definitions: null,
  format: null,
  axis: null,
  plugin: null,
  unless: null,
  textFile: null,
  type: (types: string | readonly string[], value) =>
    typeof types === 'string'
      ? isOfType(types, value)
      : types.some((type) => isOfType(type, value)),
  const: (expected: unknown, value) => isDeepStrictEqual(value, expected),
  enum: (values: readonly unknown[], value) => values.some((one) => isDeepStrictEqual(value, one)),
  minimum: numberRule((value, bound) => value >= bound),
  maximum: numberRule((value, bound) => value <= bound),
  exclusiveMinimum: numberRule((value, bound) => value > bound),
  exclusiveMaximum: numberRule((value, bound) => value < bound),
  pattern: (pattern: string, value) =>
    typeof value !== 'string' || new RegExp(pattern, 'u').test(value),
  minLength: (least: number, value) =>
    typeof value !== 'string' || Array.from(value).length >= least,
  minItems: (least: number, value) => !Array.isArray(value) || value.length >= least,
  maxItems: (most: number, value) => !Array.isArray(value) || value.length <= most,
  uniqueItems: (wanted: boolean, value) => !wanted || !Array.isArray(value) || isUnique(value),
  items: (forms: Schema | readonly Schema[], value, _schema, holds) =>
    !Array.isArray(value) ||
    (Array.isArray(forms)
      ? (forms as readonly Schema[]).every((form, i) => i >= value.length || holds(form, value[i]))
      : value.every((item) => holds(forms as Schema, item))),
  required: (names: readonly string[], value) =>
    !isRecord(value) || names.every((name) => value[name] !== undefined),
  properties: (fields: { readonly [name: string]: Schema }, value, _schema, holds) =>
    !isRecord(value) ||
    Object.entries(value).every(([name, item]) => {
      const field = declaredField({ properties: fields }, name);
      return field === undefined || item === undefined || holds(field, item);
    }),
  additionalProperties: (rest: boolean | Schema, value, { properties = {} }, holds) =>
    rest === true ||
    !isRecord(value) ||
    Object.keys(value).every(
      (name) => Object.hasOwn(properties, name) || (rest !== false && holds(rest, value[name])),
    ),
  minProperties: (least: number, value) => !isRecord(value) || Object.keys(value).length >= least,
  propertyNames: (names: Schema, value, _schema, holds) =>
    !isRecord(value) || Object.keys(value).every((name) => holds(names, name)),
  anyOf: (forms: readonly Schema[], value, _schema, holds) =>
    forms.some((form) => holds(form, value)),
  oneOf: (forms: readonly Schema[], value, _schema, holds) =>
    forms.filter((form) => holds(form, value)).length === 1,
  allOf: (forms: readonly Schema[], value, _schema, holds) =>
    forms.every((form) => holds(form, value)),
  not: (form: Schema, value, _schema, holds) => !holds(form, value),
  if: (condition: Schema, value, schema, holds) => {
    const branch = schema[holds(condition, value) ? 'then' : 'else'];
    return branch === undefined || holds(branch, value);
  },
  then: null,
  else: null,
};

/** Whether no two of the values are deeply equal. */
function isUnique(values: readonly unknown[]): boolean {
  const scalars = new Set<unknown>(),
    objects: unknown[] = [];
  for (const value of values) {
    if (typeof value === 'object' && value !== null) {
      if (objects.some((object) => isDeepStrictEqual(object, value))) return false;
      objects.push(value);
    } else if (scalars.has(value)) return false;
    else scalars.add(value);
  }
  return true;
}
