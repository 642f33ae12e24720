/** Explains violations: what is wrong and where, what was expected, and which word was meant. */
import type { Json } from '../api.ts';
import type { Report } from './faults.ts';
import { pluginName } from './fields.ts';
import {
  child,
  descend,
  fieldName,
  type MapNode,
  type Node,
  type Path,
  type Span,
} from './node.ts';
import {
  isStepPath,
  isVariantSection,
  PLUGIN_OF,
  preferOutsideBase,
  type Shapes,
  type VariantSection,
  variantSectionOf,
} from './schema.ts';
import {
  acceptsType,
  alternatives,
  declaredField,
  describe,
  firstSentence,
  isNumeric,
  itemSchema,
  jsonType,
  type Schema,
  show,
  typesOf,
} from './shape.ts';
import { all, didYouMean, either, nearest, suggest } from './suggest.ts';
import type { Violation } from './validate.ts';

interface ExplainContext {
  readonly shapes: Shapes;
  /** Every field of a spec by full path, with its default; undefined if it has none. */
  readonly fields: ReadonlyMap<string, Json | undefined>;
  readonly report: Report;
  /** Whether an earlier phase reported the node, so that its value need not be reported again. */
  readonly isReported: (node: Node) => boolean;
}

/** Reports one violation. @param root the spec that was validated */
export function explain(violation: Violation, root: MapNode, context: ExplainContext): void {
  const { path, keyword, params, schema } = violation;
  const { report } = context;
  const { node, key } = descend(root, path);
  const name = fieldName(path);
  switch (keyword) {
    case 'additionalProperties':
      explainUnknownKey(path, String(params['additionalProperty']), node, schema, context);
      return;
    case 'required': {
      const missing = String(params['missingProperty']),
        full = fieldName([...path, missing]);
      report(
        'missing-key',
        key ?? node.span,
        `"${full}" is missing`,
        firstSentence(schema.properties?.[missing]),
      );
      return;
    }
    case 'not': {
      const rivals = schema.not?.required ?? [];
      const keys = rivals.flatMap((rival) =>
        node.kind === 'map' ? [node.entries.get(rival)?.key ?? node.span] : [],
      );
      const later = keys.sort((a, b) => b.start - a.start)[0] ?? node.span;
      const names = rivals.map((rival) => `"${fieldName([...path, rival])}"`);
      report(
        'conflicting-keys',
        later,
        `${names.join(' and ')} exclude each other`,
        keys.some(({ source }) => source !== later.source)
          ? 'keep one of the two: null takes out one that another file gives'
          : 'keep one of the two',
      );
      return;
    }
    case 'uniqueItems': {
      const later = child(node, Math.max(Number(params['i']), Number(params['j']))) ?? node;
      report(
        'duplicate-value',
        later.span,
        `"${name}" lists ${later.kind === 'scalar' ? show(later.value) : 'a value'} twice`,
        'a value may appear only once',
      );
      return;
    }
    default:
      if (!context.isReported(node)) explainValue(violation, node, name, context);
  }
}

/**
 * Reports a violation that concerns a node's value, not its keys.
 * @param name the node's field, for the message; '' for the whole spec
 */
function explainValue(
  { path, keyword, value, schema }: Violation,
  node: Node,
  name: string,
  { report, shapes }: ExplainContext,
): void {
  const subject = name === '' ? 'the spec' : `"${name}"`,
    mismatch = `${subject} must be ${describe(schema)}, not ${show(value)}`;
  const fault = (code: string, message: string, hint?: string): void =>
    report(code, node.span, message, hint);
  switch (keyword) {
    case 'enum':
    case 'const':
      if (schema.plugin !== undefined && typeof value === 'string')
        explainUnknownPlugin(schema.plugin, value, schema.enum ?? [], node.span, report);
      else fault('unknown-value', mismatch, wordHint(schema, value));
      return;
    case 'type':
    case 'anyOf':
    case 'oneOf': {
      const code =
        keyword !== 'type' && acceptsType(schema, value) ? 'unknown-value' : 'wrong-type';
      const word = variantHint(path, value, shapes) ?? wordHint(schema, value);
      fault(code, mismatch, word ?? listHint(path, value) ?? yamlHint(schema, node));
      return;
    }
    case 'minimum':
    case 'maximum':
    case 'exclusiveMinimum':
    case 'exclusiveMaximum':
      fault('out-of-range', mismatch);
      return;
    case 'pattern':
      if (schema.plugin === 'source')
        explainSource(subject, typeof value === 'string' ? value : '', schema, node.span, report);
      else {
        const hint = `it must match /${schema.pattern ?? ''}/`;
        fault('wrong-form', `${subject} has the wrong form: ${show(value)}`, hint);
      }
      return;
    case 'maxItems': {
      const most = `at most ${schema['maxItems'] as number}`;
      fault('too-long', `${subject} has ${(value as Json[]).length} entries, ${most}`);
      return;
    }
    case 'minItems':
    case 'minProperties':
    case 'minLength':
      if (Array.isArray(value) && value.length > 0)
        fault('too-short', `${subject} must be ${describe(schema)}, not ${value.length}`);
      else fault('empty-value', `${subject} must not be empty`);
      return;
    default: {
      const message = `${subject} does not satisfy the schema's "${keyword}"`;
      fault('invalid-value', message, firstSentence(schema));
    }
  }
}

/**
 * What messages call one plugin and several plugins of a kind, if they do not use the kind's name.
 */
const pluginWords: Readonly<Record<string, readonly [string, string]>> = {
  model: ['model architecture', 'model architectures'],
  dataset: ['data format', 'data formats'],
};

/**
 * Reports a name that no plugin of a kind has or, for the kind `source`, an unknown URI scheme.
 * @param names the known names
 */
function explainUnknownPlugin(
  kind: string,
  word: string,
  names: readonly Json[],
  at: Span,
  report: Report,
): void {
  const [one, many] = pluginWords[kind] ?? [kind, `${kind}s`];
  const known = names.map(String);
  report(
    'unknown-plugin',
    at,
    `there is no ${one} "${word}"`,
    suggest(word, known) ?? `the ${many} are ${all(known)}`,
  );
}

/**
 * Reports a source whose URI scheme is unknown, or that has none.
 * @param subject what the message calls the field
 */
function explainSource(
  subject: string,
  value: string,
  schema: Schema,
  at: Span,
  report: Report,
): void {
  // The pattern is `^(npm|hf|file):.+`.
  const schemes = /^\^\((.*)\):/.exec(schema.pattern ?? '')?.[1]?.split('|') ?? [];
  const written = /^([A-Za-z][A-Za-z0-9+.-]*):./.exec(value)?.[1];
  if (written !== undefined && !schemes.includes(written)) {
    explainUnknownPlugin('source', written, schemes, at, report);
    return;
  }
  const forms = either(schemes.map((scheme) => `${scheme}:…`));
  report(
    'wrong-form',
    at,
    `${subject} must say where it comes from, as ${forms}, not ${show(value)}`,
    value !== '' && !value.includes(':') && schemes.includes('file')
      ? `a file or folder here is written "file:${value}"`
      : undefined,
  );
}

/**
 * Returns a hint: the word of the schema that the value may misspell; undefined if there is none.
 */
function wordHint(schema: Schema, value: unknown): string | undefined {
  const words = (part: Schema): string[] =>
    [...(part.enum ?? []), ...(part.const === undefined ? [] : [part.const])]
      .filter((word) => typeof word === 'string')
      .concat((alternatives(part) ?? []).flatMap(words));
  return typeof value === 'string' ? suggest(value, words(schema)) : undefined;
}

/**
 * Returns a hint if the value is a plugin's name alone, as in `adapter: lora` for `{ type: lora }`;
 * otherwise undefined.
 */
function variantHint(path: Path, value: unknown, { variants }: Shapes): string | undefined {
  const section = variantSectionOf(path);
  if (section === null || typeof value !== 'string') return undefined;
  const { discriminator, byName } = variants[section];
  return byName.has(value) ? `write { ${discriminator}: ${value} }` : undefined;
}

/**
 * Returns a hint if the value is a program's command line, but is one text and not a list, as in
 * `run: python3 score.py`.
 */
function listHint(path: Path, value: unknown): string | undefined {
  const isProgram =
    (path[0] === 'commands' && path.length === 3 && path[2] === 'run') ||
    (['poisoning', 'scorer', 'scorers'].some((section) => path.includes(section)) &&
      path.at(-1) === 'command');
  if (!isProgram || typeof value !== 'string' || value.trim() === '') return undefined;
  return /^[\w./=:@+ -]+$/.test(value)
    ? `as a list of arguments: [${value.trim().split(/\s+/).join(', ')}]`
    : 'as a list of arguments, such as [python3, score.py]; no shell reads them';
}

/**
 * Returns a hint for a mistake in YAML: wrong or missing quotes, a boolean of YAML 1.1, a null, or
 * a single value in place of a list.
 */
function yamlHint(schema: Schema, node: Node): string | undefined {
  if (node.kind !== 'scalar') return undefined;
  const { value } = node;
  if (value === null) return 'leave the field out for its default';
  if (typeof value === 'string') {
    if (value.trim() !== '' && isNumeric(schema) && Number.isFinite(Number(value)))
      return `without quotes: ${value}`;
    if (typesOf(schema).has('boolean') && /^(yes|no|on|off|y|n|true|false)$/i.test(value))
      return `write ${/^(yes|on|y|true)$/i.test(value) ? 'true' : 'false'}`;
  }
  const item = [schema, ...(alternatives(schema) ?? [])].map(itemSchema).find(Boolean);
  if (typesOf(schema).has('array') && item !== undefined && acceptsType(item, value))
    return `as a list: [${String(value)}]`;
  if (jsonType(value) !== 'string' && acceptsText(schema, String(value)))
    return `in quotes: "${String(value)}"`;
  return undefined;
}

/** Whether this text, as a value, satisfies the schema. */
function acceptsText(schema: Schema, text: string): boolean {
  const branches = alternatives(schema);
  if (branches) return branches.some((branch) => acceptsText(branch, text));
  if (!typesOf(schema).has('string')) return false;
  if (schema.const !== undefined) return schema.const === text;
  if (schema.enum !== undefined) return schema.enum.includes(text);
  return schema.pattern === undefined || new RegExp(schema.pattern).test(text);
}

const MOST_LISTED = 20;

/** Reports a key that a mapping may not have. @param path the mapping's path */
function explainUnknownKey(
  path: Path,
  key: string,
  map: Node,
  schema: Schema,
  context: ExplainContext,
): void {
  const at = map.kind === 'map' ? (map.entries.get(key)?.key ?? map.span) : map.span;
  const variant = variantSectionOf(path);
  const parent = fieldName(path);
  const siblings = Object.keys(schema.properties ?? {});
  if (variant === 'poisoning' && child(map, 'steps') && !isStepPath(path)) {
    context.report(
      'unknown-key',
      at,
      `"${key}" can't be given beside "steps"`,
      "an attack's parameters belong to its step",
    );
    return;
  }
  if (variant !== null) {
    explainUnknownParameter(variant, path, key, map, at, siblings, context);
    return;
  }
  const message = parent === '' ? `unknown key "${key}"` : `unknown key "${key}" in "${parent}"`;
  const sibling = nearest(key, siblings);
  // One wrong letter is likelier than a field of the right name in another place.
  const elsewhere =
    sibling !== null && sibling.distance <= 1 ? [] : fieldsNamed(key, parent, context);
  const similar = elsewhere.length > 0 ? elsewhere : sibling ? [sibling.word] : [];
  const known =
    siblings.length > 0 && siblings.length <= MOST_LISTED
      ? `${parent === '' ? 'the keys of a spec' : 'its keys'} are ${all(siblings)}`
      : undefined;
  context.report('unknown-key', at, message, similar.length > 0 ? didYouMean(...similar) : known);
}

/**
 * Returns the paths of at most four fields of this name, the shortest first, without the field
 * directly in `parent`: fields further below `parent` or, if there are none, fields anywhere, but
 * preferably outside `base`.
 */
function fieldsNamed(key: string, parent: string, { fields, shapes }: ExplainContext): string[] {
  const ends = new Set<string>();
  /** Adds a path if it ends in `key`; fields of `env` are left out. */
  const add = (path: string): void => {
    if (path.split('.').at(-1) === key && !path.startsWith('env.')) ends.add(path);
  };
  for (const field of fields.keys()) {
    const steps = field.split('.');
    steps.forEach((_, index) => add(steps.slice(0, index + 1).join('.')));
  }
  for (const name of Object.keys(shapes.root.properties ?? {})) add(name);
  ends.delete(parent === '' ? key : `${parent}.${key}`);
  const below = [...ends].filter((path) => parent !== '' && path.startsWith(`${parent}.`));
  const depth = (path: string): number => path.split('.').length;
  return [...(below.length > 0 ? below : preferOutsideBase([...ends]))]
    .sort((a, b) => depth(a) - depth(b))
    .slice(0, 4);
}

/**
 * Reports a key that the plugin of a variant or step does not take. Reports nothing for a step
 * without an attack, since the missing attack was reported.
 * @param at the place of the key
 * @param siblings the keys that the mapping may have
 */
function explainUnknownParameter(
  section: VariantSection,
  path: Path,
  key: string,
  map: Node,
  at: Span,
  siblings: readonly string[],
  context: ExplainContext,
): void {
  const shape = context.shapes.variants[section],
    { discriminator, byName } = shape;
  const plugin = pluginName(map, shape);
  const fault = (message: string, hint: string): void =>
    context.report('unknown-key', at, message, hint);
  if (isStepPath(path)) {
    if (child(map, discriminator) === undefined) return; // the missing attack is reported already
    if (key === 'when') {
      fault('a step takes no "when"', 'it belongs to the variant, beside "steps"');
      return;
    }
    if (key === 'steps') {
      fault('a step has no steps of its own', 'write them in one list');
      return;
    }
  }
  fault(`${PLUGIN_OF[section]} "${plugin}" takes no "${key}"`, parameterHint());

  /**
   * Returns the first of these hints that applies: a similar parameter, the plugins that have this
   * one, fields of this name elsewhere, or all parameters of the plugin.
   */
  function parameterHint(): string {
    const suggestion = suggest(key, siblings);
    if (suggestion !== undefined) return suggestion;
    const owners = [...byName].filter(([, shape]) => declaredField(shape, key) !== undefined);
    if (owners.length > 0) return `"${key}" belongs to ${all(owners.map(([name]) => `"${name}"`))}`;
    const elsewhere = fieldsNamed(key, section, context).filter(
      (field) => !isVariantSection(field.split('.')[0]),
    );
    if (elsewhere.length > 0) return didYouMean(...elsewhere);
    const own = Object.keys(byName.get(plugin)?.properties ?? {}).filter(
      (name) => name !== discriminator,
    );
    return own.length > 0 ? `its parameters are ${all(own)}` : 'it takes no parameters';
  }
}
