/**
 * Turns written forms into plain lists. `{linspace}`, `{logspace}` and `{range}` become lists of
 * values, as does `seeds: 1..5`. A variant whose plugin is an axis (`attack: [label-flip,
 * badnets]`) becomes one variant for each plugin.
 */
import { gridForms, SEED_RANGE } from './compose.ts';
import type { Report } from './faults.ts';
import { expandSteps, pluginName } from './fields.ts';
import {
  isText,
  type ListNode,
  mapChildren,
  mapEntries,
  type MapNode,
  type Node,
  oneOrMany,
  type ScalarNode,
  type Span,
  withValue,
} from './node.ts';
import {
  BASE,
  isSection,
  isVariantSection,
  type Shapes,
  type VariantSection,
  type VariantShape,
} from './schema.ts';
import {
  declaredField,
  declaresFields,
  isNumeric,
  isScalar,
  type RecordSchema,
  type Schema,
} from './shape.ts';
import { suggest } from './suggest.ts';

/** The most values of an axis. More are taken for a mistake. */
const MOST_VALUES = 100_000;

/**
 * Returns the spec with its forms expanded. A field with a faulty form is reported and removed, so
 * that it is not reported again.
 * @param prefix what the paths in diagnostics begin with: '', or `base.` within a base
 */
export function expandForms(root: MapNode, shapes: Shapes, report: Report, prefix = ''): MapNode {
  return mapEntries(root, (value, name) => {
    if (name === BASE) {
      /** Returns one training of `base` with its forms expanded; what is no mapping stays. */
      const expanded = (base: Node): Node =>
        base.kind === 'map' ? expandForms(base, shapes, report, `${BASE}.`) : base;
      return value.kind === 'list' ? mapChildren(value, expanded) : expanded(value);
    }
    if (name === 'seeds') return expandSeeds(value, report);
    if (isVariantSection(name)) return expandVariants(value, name, shapes, report, prefix);
    if (isSection(name))
      return expandField(value, shapes.section[name], `${prefix}${name}`, report);
    return value;
  });
}

/**
 * Returns the seeds of `1..5` as a list; undefined, after reporting it, if the range is faulty. Any
 * other value is left for validation.
 */
function expandSeeds(node: Node, report: Report): Node | undefined {
  const [range, from, to] = (isText(node) && SEED_RANGE.exec(node.value)) || [];
  if (range === undefined) return node;
  const values = formValues('range', [Number(from), Number(to), 1], 'seeds', node.span, report);
  return values ? makeList(values, node.span) : undefined;
}

/**
 * Returns a field with its forms expanded, and without the faulty ones, which are reported;
 * undefined if the field itself is a faulty form.
 */
function expandField(node: Node, schema: Schema, name: string, report: Report): Node | undefined {
  if (node.kind !== 'map') return node;
  // `{ file: … }` is filled in later (load.ts).
  if (schema.textFile === true && node.entries.has('file')) return node;
  if (isScalar(schema) && isNumeric(schema)) return expandForm(node, name, report);
  return declaresFields(schema) ? expandFields(node, schema, name, report) : node;
}

/** Returns a mapping with the forms of its declared fields expanded, without the faulty ones. */
function expandFields(node: MapNode, schema: RecordSchema, name: string, report: Report): MapNode {
  return mapEntries(node, (value, key) => {
    const field = declaredField(schema, key);
    return field ? expandField(value, field, `${name}.${key}`, report) : value;
  });
}

/**
 * Returns a section of variants: one for each plugin that a written variant lists, with the forms
 * in it expanded. They are in a list if they were in one, or if there is more than one. Undefined
 * if none is left.
 */
function expandVariants(
  node: Node,
  section: VariantSection,
  shapes: Shapes,
  report: Report,
  prefix: string,
): Node | undefined {
  const shape = shapes.variants[section];
  const items = oneOrMany(node);
  const written = section === 'defences' ? items.map((item) => asVariant(item, shape)) : items;
  const path = `${prefix}${section}`;
  /**
   * Returns the variant or step for each plugin that it lists, with the forms in its parameters
   * expanded.
   */
  const expandOne = (variant: MapNode, at: string): MapNode[] =>
    splitByPlugin(variant, shape.discriminator).map((one) => {
      const schema = shape.byName.get(pluginName(one, shape));
      return schema && declaresFields(schema) ? expandFields(one, schema, at, report) : one;
    });
  const withTrain = (variant: MapNode): MapNode =>
    mapEntries(variant, (value, key) =>
      key === 'train' ? expandField(value, shapes.section.train, `${path}.train`, report) : value,
    );
  const variants = written.flatMap((variant): Node[] => {
    if (variant.kind !== 'map') return [variant];
    const steps = section === 'poisoning' ? variant.entries.get('steps') : undefined;
    if (steps)
      return expandSteps(variant, steps, (step) => expandOne(step, `${path}.steps`), report);
    const expanded = expandOne(variant, path);
    return section === 'adapter' ? expanded.map(withTrain) : expanded;
  });
  if (variants.length === 0 && written.length > 0) return undefined;
  return node.kind === 'list' || variants.length > 1
    ? ({ kind: 'list', items: variants, span: node.span } satisfies ListNode)
    : variants[0];
}

/** Returns `{ DISCRIMINATOR: NAME }` for a name alone, and any other node as it is. */
function asVariant(node: Node, { discriminator }: VariantShape): Node {
  if (!isText(node)) return node;
  const entries = new Map([[discriminator, { key: node.span, value: node }]]);
  return { kind: 'map', entries, span: node.span };
}

/**
 * Returns a variant for each plugin of `attack: [a, b]`, or the variant alone. Faulty lists are
 * left to validation.
 */
function splitByPlugin(variant: MapNode, discriminator: string): MapNode[] {
  const entry = variant.entries.get(discriminator);
  if (entry?.value.kind !== 'list') return [variant];
  const { items } = entry.value;
  const names = new Set(items.map((item) => (isText(item) ? item.value : null)));
  if (items.length === 0 || names.has(null) || names.size < items.length) return [variant];
  return items.map((value) => withValue(variant, discriminator, value));
}

/**
 * Returns the values of a form such as `{linspace: …}`; undefined, after reporting it, if the form
 * is faulty.
 */
function expandForm(node: MapNode, name: string, report: Report): ListNode | undefined {
  const [[form, entry] = [undefined, undefined], extra] = [...node.entries];
  if (form === undefined || !gridForms.includes(form)) {
    const suggestion = form === undefined ? undefined : suggest(form, gridForms);
    report(
      'bad-axis',
      entry?.key ?? node.span,
      form === undefined ? `"${name}" is an empty mapping` : `"${name}" has no axis form "${form}"`,
      suggestion ??
        'an axis is a list, or one of {linspace: [from, to, n]}, {logspace: [from, to, n]}, ' +
          '{range: [from, to, step]}',
    );
    return undefined;
  }
  if (extra) {
    report(
      'bad-axis',
      extra[1].key,
      `"${name}" can't have "${form}" and "${extra[0]}" at once`,
      'an axis has one form',
    );
    return undefined;
  }
  // NaN for an item that is no number, which `formValues` reports.
  const numbers =
    entry.value.kind === 'list'
      ? entry.value.items.map((item) =>
          item.kind === 'scalar' && typeof item.value === 'number' ? item.value : NaN,
        )
      : [];
  const values = formValues(form, numbers, name, entry.value.span, report);
  return values ? makeList(values, node.span) : undefined;
}

/** Returns a list of numbers. All have the place of the form that they come from. */
const makeList = (values: readonly number[], span: Span): ListNode => ({
  kind: 'list',
  span,
  items: values.map((value): ScalarNode => ({ kind: 'scalar', value, span })),
});

/** Returns the values of a form; null, after reporting the fault, if its numbers make no sense. */
function formValues(
  form: string,
  numbers: readonly number[],
  name: string,
  span: Span,
  report: Report,
): number[] | null {
  /** Reports a fault of the form. Returns null. */
  const fault = (message: string, hint?: string): null => {
    report('bad-axis', span, `"${name}": ${message}`, hint);
    return null;
  };
  const [from, to, third] = numbers;
  if (
    from === undefined ||
    to === undefined ||
    third === undefined ||
    numbers.length !== 3 ||
    !numbers.every(Number.isFinite)
  )
    return fault(`${form} takes three numbers, [from, to, ${form === 'range' ? 'step' : 'n'}]`);
  if (form === 'range') {
    if (third === 0 || (to - from) / third < 0)
      return fault(`range never gets from ${from} to ${to} in steps of ${third}`);
    // Twelve digits hide rounding errors and are more than anybody writes.
    const count = Math.floor(Number(((to - from) / third).toPrecision(12))) + 1;
    return count > MOST_VALUES
      ? fault(`range stands for ${count} values`, `at most ${MOST_VALUES}`)
      : Array.from({ length: count }, (_, i) => toTwelveDigits(from + i * third));
  }
  if (!Number.isInteger(third) || third < 1)
    return fault(`${form} takes a whole number of values, not ${third}`);
  if (third > MOST_VALUES)
    return fault(`${form} stands for ${third} values`, `at most ${MOST_VALUES}`);
  if (form === 'logspace' && !(from > 0 && to > 0))
    return fault(
      `logspace needs both ends above 0, not ${from} and ${to}`,
      'its ends are values, not exponents: [1.0e-5, 1.0e-3, 3]',
    );
  /** Returns the value at the share `t`, from 0 to 1, of the way between both ends. */
  const valueAt = (t: number): number =>
    form === 'linspace' ? from + (to - from) * t : from * (to / from) ** t;
  return Array.from({ length: third }, (_, i) =>
    i === 0 ? from : i === third - 1 ? to : toTwelveDigits(valueAt(i / (third - 1))),
  );
}

const toTwelveDigits = (value: number): number => Number(value.toPrecision(12));
