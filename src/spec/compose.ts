/**
 * Makes the schema of a spec as it may be written. Every scalar field of a cell takes a value or a
 * list of values; a numeric one also takes {linspace}, {logspace} or {range}. The parameters of
 * each plugin are written beside its name.
 */
import type { JsonSchema } from '../api.ts';
import { defined } from '../base/defined.ts';
import { mapValues } from '../base/record.ts';
import {
  isSection,
  MOST_BASES,
  type Shapes,
  type VariantSection,
  type VariantShape,
} from './schema.ts';
import {
  declaresFields,
  fieldSchema,
  isNumeric,
  isScalar,
  openSchema,
  type Schema,
} from './shape.ts';

const numberList = (description: string, last: Schema): Schema => ({
  description,
  type: 'array',
  items: [{ type: 'number' }, { type: 'number' }, last],
  additionalItems: false,
  minItems: 3,
  maxItems: 3,
});

const count: Schema = { type: 'integer', minimum: 1 };
/** The schemas of the rules that stand for a list of values. */
const rules = {
  linspace: numberList('[from, to, n]: n values in equal steps, both ends included.', count),
  logspace: numberList('[from, to, n]: n values in equal ratios, both ends included.', count),
  range: numberList(
    '[from, to, step]: from, from + step, … up to `to`, which is included if a step falls on it.',
    { type: 'number' },
  ),
};

const grid: Schema = {
  title: 'GridAxis',
  description: 'A grid axis given by a rule.',
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  maxProperties: 1,
  properties: rules,
};
const textFromFile: Schema = {
  title: 'TextFile',
  description: 'A text file in UTF-8, relative to the spec. The line break at its end is left out.',
  type: 'object',
  additionalProperties: false,
  required: ['file'],
  properties: { file: { type: 'string' } },
};
export const gridForms: readonly string[] = Object.keys(rules);

/** Seeds as a range: `1..5`. */
export const SEED_RANGE = /^(\d+)\.\.(\d+)$/;

/** Returns a field's schema that allows each scalar to be an axis, also within a mapping. */
function withAxes(schema: Schema): Schema {
  if (declaresFields(schema)) {
    const properties = mapValues(schema.properties, withAxes);
    return { ...schema, properties, additionalProperties: schema.additionalProperties ?? false };
  }
  if (!isScalar(schema)) return schema;
  const { description, default: fallback, textFile = false, ...value } = schema;
  const items = textFile ? { anyOf: [value, textFromFile] } : value;
  return {
    ...defined({ description, default: fallback }),
    axis: true,
    anyOf: [
      value,
      { type: 'array', items, minItems: 1, uniqueItems: true },
      ...(textFile ? [textFromFile] : []),
      ...(isNumeric(schema) ? [{ $ref: '#/definitions/grid' }] : []),
    ],
  };
}

type Fields = NonNullable<Schema['properties']>;

/**
 * Returns the schema of one variant: the fields that all variants share and, behind a condition on
 * the plugin's name, the plugin's own parameters.
 */
function variantSchema(
  nameField: Schema,
  { discriminator, defaultName, byName }: VariantShape,
  shared: Fields,
  isUsed: (plugin: string) => boolean,
): Schema {
  const hasSteps = shared['steps'] !== undefined,
    sharedFields = Object.fromEntries(Object.keys(shared).map((key) => [key, {}]));
  /**
   * Returns the condition that a variant names this plugin. The condition for the default plugin is
   * also met where no plugin is named, unless there are `steps`.
   */
  const whenNamed = (plugin: string): Schema => {
    const properties = { [discriminator]: { const: plugin } };
    if (plugin !== defaultName) return { properties, required: [discriminator] };
    return hasSteps ? { properties, not: { required: ['steps'] } } : { properties };
  };
  const branches = [...byName]
    .filter(([plugin]) => isUsed(plugin))
    .map(([plugin, schema]): Schema => {
      const { properties = {}, ...rest } = withAxes(schema);
      const { [discriminator]: _name, ...own } = properties;
      return {
        if: whenNamed(plugin),
        then: { ...rest, properties: { [discriminator]: {}, ...sharedFields, ...own } },
      };
    });
  // Beside `steps` no parameters are allowed: the parameters of each attack are written in its
  // step.
  if (hasSteps)
    branches.push({
      if: { required: ['steps'], not: { required: [discriminator] } },
      then: { additionalProperties: false, properties: sharedFields },
    });
  return {
    type: 'object',
    properties: { [discriminator]: withAxes(nameField), ...shared },
    ...(branches.length > 0 ? { allOf: branches } : {}),
    ...(hasSteps ? { not: { required: [discriminator, 'steps'] } } : {}),
  };
}

export const WHEN = "The variant's cells are kept only where this matches.";

const reference = (definition: string): Schema => ({ $ref: `#/definitions/${definition}` });
/**
 * Returns a reference to a definition, with a description. The reference is in `allOf`, since draft
 * 7 ignores a description beside `$ref`.
 */
const described = (definition: string, description: string): Schema => ({
  description,
  allOf: [reference(definition)],
});

/**
 * Returns the whole schema (draft 7) of a spec in which each `${…}` has been filled in. Repeated
 * parts are defined once, which makes the schema shorter and halves the time that it takes to
 * compile.
 * @param isUsed returns false for a plugin that the spec does not name. The schema then lacks its
 *   parameters, which saves time and does not change the verdict.
 */
export function composeFrom(
  shapes: Shapes,
  isUsed: (plugin: string) => boolean = () => true,
): JsonSchema {
  const { root, section, variants } = shapes;
  const composed = composedFields(shapes);
  const properties = Object.fromEntries(
    Object.entries(root.properties ?? {}).map(([key, field]) => [
      key,
      composed[key] ?? (isSection(key) ? withAxes(field) : field),
    ]),
  );
  const when = described('pattern', WHEN);
  const overrides = described('train', fieldSchema(section.adapter, 'train').description ?? '');
  const attack = fieldSchema(section.poisoning, 'attack');
  const { default: _none, ...stepAttack } = attack; // every step must name its attack
  const steps = { ...fieldSchema(section.poisoning, 'steps'), items: reference('step') };
  return {
    ...root,
    title: 'Experiment',
    description:
      'A dosimeter experiment. A scalar field of a cell becomes a grid axis when it is given a ' +
      'list, {linspace}, {logspace} or {range}.',
    properties,
    definitions: {
      grid,
      pattern: openSchema(fieldSchema(root, 'tags')) ?? {},
      split: withAxes(fieldSchema(section.data, 'train')),
      train: withAxes(section.train),
      base: baseSchema(root),
      poisoning: variantSchema(attack, variants.poisoning, { steps, when }, isUsed),
      step: {
        ...variantSchema(stepAttack, variants.poisoning, {}, isUsed),
        required: ['attack'],
      },
      defences: variantSchema(
        fieldSchema(section.defences, 'defence'),
        variants.defences,
        { when },
        isUsed,
      ),
      adapter: variantSchema(
        fieldSchema(section.adapter, 'type'),
        variants.adapter,
        { train: overrides, when },
        isUsed,
      ),
    },
  };
}

/** Returns the schema of a section that is one variant or a list of them. */
const oneOrMany = (name: VariantSection, description: string | undefined): Schema => ({
  ...defined({ description }),
  default: {},
  anyOf: [reference(name), { type: 'array', items: reference(name), minItems: 1 }],
});

/** Returns the schemas of the fields of a spec for which `withAxes` is not enough. */
function composedFields({ root, section }: Shapes): Fields {
  const patternList = (field: string): Schema => ({
    ...fieldSchema(root, field),
    items: reference('pattern'),
  });
  const variantForms = (name: VariantSection) => oneOrMany(name, section[name].description);
  const { description, default: fallback, ...seedList } = fieldSchema(root, 'seeds');
  return {
    seeds: {
      ...defined({ description, default: fallback }),
      anyOf: [
        seedList,
        { type: 'string', title: 'a range such as 1..5', pattern: SEED_RANGE.source },
      ],
    },
    include: patternList('include'),
    exclude: patternList('exclude'),
    tags: { ...fieldSchema(root, 'tags'), additionalProperties: reference('pattern') },
    data: {
      ...section.data,
      additionalProperties: section.data.additionalProperties ?? false,
      properties: {
        ...mapValues(section.data.properties ?? {}, withAxes),
        train: reference('split'),
        validation: reference('split'),
        clean: described(
          'split',
          'The clean rows that a defender has. Default: `clean_share` of the validation rows.',
        ),
        test: described(
          'split',
          'Rows that are evaluated beside the validation rows, under names such as ' +
            '`test_accuracy`. Nothing else reads them: no training stops by them, and no ' +
            'threshold is taken from them. Default: none.',
        ),
      },
    },
    poisoning: variantForms('poisoning'),
    defences: variantForms('defences'),
    adapter: variantForms('adapter'),
    train: reference('train'),
    base: {
      ...defined({ description: fieldSchema(root, 'base').description }),
      anyOf: [
        reference('base'),
        { type: 'array', items: reference('base'), minItems: 1, maxItems: MOST_BASES },
      ],
    },
  };
}

/** Returns the schema of one training of `base`. */
function baseSchema(root: Schema): Schema {
  const { description: _description, ...base } = fieldSchema(root, 'base');
  const { data = {}, ...fields } = base.properties ?? {};
  return {
    ...base,
    properties: {
      ...fields,
      data: { ...data, properties: { train: reference('split') } },
      poisoning: oneOrMany(
        'poisoning',
        "The attack on the base's training rows, in the form of `poisoning`.",
      ),
      adapter: oneOrMany(
        'adapter',
        'What the base trains, in the form of `adapter`. Default: full fine-tuning, so that ' +
          'cells of all adapters start from the same base.',
      ),
      train: described(
        'train',
        'The fields of `train` that differ for the base. A field of `train` that is an axis ' +
          'must be given a value of its own here.',
      ),
    },
  };
}
