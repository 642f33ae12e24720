/** The tree against the composed schema. ajv finds; here its errors are boiled down to one for each mistake. */
import type { ErrorObject, Options, ValidateFunction } from 'ajv';
import { Ajv } from 'ajv';
import type { JsonSchema } from '../api.ts';
import type { Schema } from './shape.ts';
import { accepts, asSchema, jsonType } from './shape.ts';

/** One mistake: a keyword of a schema that the value at `path` does not satisfy. */
export interface Violation {
  readonly path: readonly (string | number)[];
  readonly keyword: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** The schema of the value at `path`, axis forms aside. */
  readonly schema: Schema;
  readonly value: unknown;
}

/** Compiles the schema at once: for a spec that has a fault. */
export function createValidator(schema: JsonSchema): (value: unknown) => Violation[] {
  const definitions = (schema.definitions ?? {}) as Definitions;
  const check = compile(schema, { allErrors: true, verbose: true });
  return (value) =>
    check(value) ? [] : onePerValue(boil((check.errors ?? []).map(found), definitions));
}

/** Neither ajv's optimiser nor its check of the schema pays off for one value; plugins' schemas are checked by tests. */
function compile(schema: JsonSchema, options: Options): ValidateFunction {
  const ajv = new Ajv({
    ...options,
    validateFormats: false,
    allowUnionTypes: true,
    strictTypes: false,
    strictRequired: false,
    validateSchema: false,
    inlineRefs: false,
    code: { optimize: false },
  });
  ajv.addVocabulary(['axis', 'plugin', 'unless']);
  return ajv.compile(schema);
}

type Definitions = { readonly [name: string]: Schema };

interface Found extends Violation {
  readonly instancePath: string;
  readonly schemaPath: string;
}

const found = ({
  instancePath,
  schemaPath,
  keyword,
  params,
  parentSchema,
  data,
}: ErrorObject): Found => ({
  instancePath,
  schemaPath,
  keyword,
  params,
  path: steps(instancePath),
  schema: asSchema(parentSchema ?? {}),
  value: data,
});

const steps = (pointer: string): (string | number)[] =>
  pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((step) => (/^\d+$/.test(step) ? Number(step) : step));

const isUnder = (path: string, above: string): boolean =>
  path === above || path.startsWith(`${above}/`);
const isChoice = ({ keyword }: Found): boolean => keyword === 'anyOf' || keyword === 'oneOf';

/** Where a value may take several forms, ajv reports the faults of each: keep those of the form that was meant. */
function boil(errors: readonly Found[], definitions: Definitions): Found[] {
  const plain = errors.filter(({ keyword }) => keyword !== 'if');
  const outermost = (a: Found, b: Found): number =>
    a.instancePath.length - b.instancePath.length || a.schemaPath.length - b.schemaPath.length;
  const choice = plain.filter(isChoice).sort(outermost)[0];
  if (!choice) return plain;
  const branches = choice.schema.anyOf ?? choice.schema.oneOf ?? [];
  const within = branches.map((branch, index) =>
    plain.filter((error) => error !== choice && isWithin(error, choice, branch, index)),
  );
  const dropped = new Set([choice, ...within.flat()]);
  return [
    ...meant(choice, branches, within, definitions),
    ...boil(
      plain.filter((error) => !dropped.has(error)),
      definitions,
    ),
  ];
}

/** Whether an error comes of trying one of the forms. Behind a reference, ajv counts `schemaPath` from the definition. */
function isWithin(error: Found, choice: Found, branch: Schema, index: number): boolean {
  if (!isUnder(error.instancePath, choice.instancePath)) return false;
  if (isUnder(error.schemaPath, choice.schemaPath))
    return isUnder(error.schemaPath, `${choice.schemaPath}/${index}`);
  const isBelow = error.instancePath !== choice.instancePath;
  return (
    branch.$ref !== undefined ||
    (isBelow &&
      !Array.isArray(branch.items) &&
      (branch.items as Schema | undefined)?.$ref !== undefined)
  );
}

function meant(
  choice: Found,
  branches: readonly Schema[],
  within: readonly (readonly Found[])[],
  definitions: Definitions,
): Found[] {
  const { value, schema } = choice;
  const resolved = branches.map((branch) =>
    typeof branch.$ref === 'string'
      ? (definitions[branch.$ref.replace('#/definitions/', '')] ?? branch)
      : branch,
  );
  const matching = resolved.flatMap((branch, index) => (accepts(branch, value) ? [index] : []));
  const isSingle = !['array', 'object'].includes(jsonType(value));
  // "a number or 'r'" is told as a whole; a list among the forms of a field by what is wrong in the list.
  const kept = matching.length === 1 && !(isSingle && !schema.axis) ? within[matching[0]!]! : [];
  if (kept.length > 0) return boil(kept, definitions);
  return [{ ...choice, schema: schema.axis ? resolved[0]! : { ...schema, anyOf: resolved } }];
}

const aboutKeys = new Set(['additionalProperties', 'required', 'not', 'uniqueItems']);
const firstKeywords = ['type', 'anyOf', 'oneOf', 'const', 'enum', 'pattern'];

/** A value of the wrong type is not also out of range. Faults of keys stand beside each other. */
function onePerValue(violations: readonly Found[]): Violation[] {
  const rank = ({ keyword }: Violation): number =>
    firstKeywords.includes(keyword) ? firstKeywords.indexOf(keyword) : firstKeywords.length;
  const worst = new Map<string, Found>();
  for (const one of violations) {
    if (aboutKeys.has(one.keyword)) continue;
    const other = worst.get(one.instancePath);
    if (!other || rank(one) < rank(other)) worst.set(one.instancePath, one);
  }
  return violations.filter(
    (one) => aboutKeys.has(one.keyword) || worst.get(one.instancePath) === one,
  );
}
