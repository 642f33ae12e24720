/** Validates a spec with ajv, and reduces ajv's errors to one for each mistake. */
import { Ajv, type ErrorObject } from 'ajv';
import type { Json, JsonSchema } from '../api.ts';
import {
  acceptsType,
  alternatives,
  asSchema,
  definitionName,
  itemSchema,
  jsonType,
  type Schema,
} from './shape.ts';

/** One mistake: the value at `path` does not satisfy a keyword of its schema. */
export interface Violation {
  readonly path: readonly (string | number)[];
  readonly keyword: string;
  readonly params: Readonly<Record<string, unknown>>;
  /**
   * The schema of the value at `path`. For a field that may be an axis, only one of its forms: that
   * of a single value, or that of a list.
   */
  readonly schema: Schema;
  readonly value: Json | undefined;
}

/** Compiles a schema to a function that returns the mistakes in a value. */
export function createValidator(schema: JsonSchema): (value: unknown) => Violation[] {
  const definitions = asSchema(schema).definitions ?? {};
  const ajv = new Ajv({
    allErrors: true,
    verbose: true,
    validateFormats: false,
    allowUnionTypes: true,
    strictTypes: false,
    strictRequired: false,
    // These turn off work that costs more than it saves when one value is checked. Tests check the
    // plugins' schemas.
    validateSchema: false,
    inlineRefs: false,
    code: { optimize: false },
  });
  ajv.addVocabulary(['axis', 'plugin', 'unless', 'textFile']);
  const check = ajv.compile(schema);
  return (value) =>
    check(value) ? [] : onePerValue(reduceChoices((check.errors ?? []).map(toFound), definitions));
}

type Definitions = NonNullable<Schema['definitions']>;

interface Found extends Violation {
  readonly instancePath: string;
  readonly schemaPath: string;
}

const toFound = ({
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
  path: pointerSteps(instancePath),
  schema: asSchema(parentSchema ?? {}),
  value: data as Json | undefined,
});

/** Returns the steps of a JSON pointer: `/a~1b/0` leads to 'a/b', then 0. */
const pointerSteps = (pointer: string): (string | number)[] =>
  pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((step) => (/^\d+$/.test(step) ? Number(step) : step));

/** Whether the JSON pointer `path` is `above` or leads to something below it. */
const isUnder = (path: string, above: string): boolean =>
  path === above || path.startsWith(`${above}/`);
/** Whether an error says that a value takes none of several forms, or takes too many. */
const isChoice = ({ keyword }: Found): boolean => keyword === 'anyOf' || keyword === 'oneOf';

/**
 * Returns the errors without those of forms that were not intended. ajv reports the errors of every
 * form.
 */
function reduceChoices(errors: readonly Found[], definitions: Definitions): Found[] {
  const plain = errors.filter(({ keyword }) => keyword !== 'if');
  /** Orders errors by the lengths of their paths in the value, then in the schema. */
  const outermostFirst = (a: Found, b: Found): number =>
    a.instancePath.length - b.instancePath.length || a.schemaPath.length - b.schemaPath.length;
  const choice = plain.filter(isChoice).sort(outermostFirst)[0];
  if (!choice) return plain;
  const branches = alternatives(choice.schema) ?? [];
  const byBranch = branches.map((branch, index) =>
    plain.filter((error) => error !== choice && isOfBranch(error, choice, branch, index)),
  );
  const dropped = new Set([choice, ...byBranch.flat()]);
  return [
    ...errorsOfIntendedForm(choice, branches, byBranch, definitions),
    ...reduceChoices(
      plain.filter((error) => !dropped.has(error)),
      definitions,
    ),
  ];
}

/**
 * Whether ajv found an error while it tried a form. Behind a reference, `schemaPath` starts from
 * the definition.
 */
function isOfBranch(error: Found, choice: Found, branch: Schema, index: number): boolean {
  if (!isUnder(error.instancePath, choice.instancePath)) return false;
  if (isUnder(error.schemaPath, choice.schemaPath))
    return isUnder(error.schemaPath, `${choice.schemaPath}/${index}`);
  const isBelow = error.instancePath !== choice.instancePath;
  return branch.$ref !== undefined || (isBelow && itemSchema(branch)?.$ref !== undefined);
}

/**
 * Returns the errors of the intended form: the only form that accepts the value's type. If there is
 * no such form, or if it has no errors, returns only `choice`, the error that the value has none of
 * the forms. Does the same for a value that is neither a list nor a mapping, unless the field may
 * be an axis. The returned `choice` has the schema to describe: that of one value if the field may
 * be an axis, otherwise that of all forms.
 */
function errorsOfIntendedForm(
  choice: Found,
  branches: readonly Schema[],
  byBranch: readonly (readonly Found[])[],
  definitions: Definitions,
): Found[] {
  const { value, schema } = choice;
  const resolved = branches.map((branch) =>
    branch.$ref === undefined ? branch : (definitions[definitionName(branch.$ref)] ?? branch),
  );
  const matching = byBranch.filter((_, index) => {
    const branch = resolved[index];
    return branch !== undefined && acceptsType(branch, value);
  });
  const isSingle = !['array', 'object'].includes(jsonType(value));
  // A single value that is neither "a number" nor "r" is reported as a whole. A list, which is one
  // form of a field, is reported by what is wrong within it.
  const [errors = [], another] = matching;
  const kept = another === undefined && !(isSingle && !schema.axis) ? errors : [];
  if (kept.length > 0) return reduceChoices(kept, definitions);
  const single = schema.axis ? resolved[0] : undefined;
  return [{ ...choice, schema: single ?? { ...schema, anyOf: resolved } }];
}

/** Keywords whose errors concern the keys or items of a value. */
const aboutKeys = new Set(['additionalProperties', 'required', 'not', 'uniqueItems']);
/** The keywords whose errors are the most basic, the most basic first. */
const firstKeywords = ['type', 'anyOf', 'oneOf', 'const', 'enum', 'pattern'];

/** Returns the most basic error of each value, and all errors about keys, in order. */
function onePerValue(violations: readonly Found[]): Violation[] {
  const keywordRank = ({ keyword }: Violation): number =>
    firstKeywords.includes(keyword) ? firstKeywords.indexOf(keyword) : firstKeywords.length;
  const mostBasic = new Map<string, Found>();
  for (const one of violations) {
    if (aboutKeys.has(one.keyword)) continue;
    const other = mostBasic.get(one.instancePath);
    if (!other || keywordRank(one) < keywordRank(other)) mostBasic.set(one.instancePath, one);
  }
  return violations.filter(
    (one) => aboutKeys.has(one.keyword) || mostBasic.get(one.instancePath) === one,
  );
}
