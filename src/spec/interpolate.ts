/**
 * Fills in `${…}` in values. A reference names another field of the spec, such as
 * `${train.batch_size}`, or an environment variable that `env` declares, such as `${env.DATA}`.
 * Within a variant, `${adapter.rank}` means the variant's own field. `$${` is written for a plain
 * `${`. A secret may be given only to a program or, as its key, to a scorer; its value is kept out
 * of records.
 */
import { parseDocument } from 'yaml';
import type { Json } from '../api.ts';
import { defined } from '../base/defined.ts';
import { valueAt } from '../base/record.ts';
import { fill } from './choices.ts';
import type { Report } from './faults.ts';
import { composedVariant, pluginFields, schemaNamed } from './fields.ts';
import {
  child,
  descend,
  descendants,
  fieldsOfMap,
  isText,
  itemsOf,
  mapChildren,
  mapEntries,
  type MapNode,
  type Node,
  oneOrMany,
  type Scalar,
  type ScalarNode,
} from './node.ts';
import { isVariantSection, PLUGIN_OF, type Shapes, type VariantSection } from './schema.ts';
import { didYouMean, nearest } from './suggest.ts';

interface InterpolationContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  /**
   * The default of every field by full path; undefined if it has none. The defaults of the fields
   * of variants, which depend on the plugin, are in `shapes`.
   */
  readonly fields: ReadonlyMap<string, Json | undefined>;
  readonly shapes: Shapes;
  readonly report: Report;
}

/**
 * Returns the spec with its references filled in. Those that can't be filled in are reported, and
 * stay.
 */
export function interpolate(root: MapNode, context: InterpolationContext): MapNode {
  const filler = new Interpolation(root, context);
  return mapEntries(root, (value, key) => {
    if (key === 'env' || key === 'secrets') return value;
    // In a list of variants, a reference to a field of the section means the same variant's field.
    return isVariantSection(key) && value.kind === 'list'
      ? mapChildren(value, (item) => filler.fill(item, { section: key, node: item }))
      : filler.fill(value, null);
  });
}

/**
 * A variant whose values are filled in. There, a reference to a field of its section means the
 * variant's own field.
 */
interface Scope {
  readonly section: VariantSection;
  readonly node: Node;
}

/** What a reference stands for. `folder` and `secret` are as in `ScalarNode`. */
interface Referent {
  readonly value: Scalar;
  readonly folder?: string;
  readonly secret?: string;
}

/** How far a path leads through what the spec has written. */
interface Written {
  /**
   * The node that the path starts from: the section or variant; the root if the section is not
   * written.
   */
  readonly start: Node;
  /** The deepest written node on the path. */
  readonly node: Node;
  /** Whether all of the path is written, so that `node` is what it names. */
  readonly isWhole: boolean;
  /** Whether the path starts from a variant of `poisoning` with `steps`. */
  readonly isComposed: boolean;
}

/** `${NAME}`, or `$${NAME}` for the plain text `${NAME}`. */
const PLACEHOLDER = /\$(\$)?\{([^}]*)\}/g;
/** What stands for a default that differs between the plugins that a variant names. */
const DIFFERS = Symbol('differs');

class Interpolation {
  private readonly secrets: ReadonlySet<string>;

  constructor(
    private readonly root: MapNode,
    private readonly context: InterpolationContext,
  ) {
    this.secrets = new Set(secretNames(root));
  }

  /**
   * Returns a node with the references in its scalars filled in.
   * @param scope the variant that the node is in; null if it is in none
   */
  fill(node: Node, scope: Scope | null): Node {
    return node.kind === 'scalar'
      ? this.expand(node, scope, [])
      : mapChildren(node, (item) => this.fill(item, scope));
  }

  /**
   * Returns a scalar with its references filled in. If one of them can't be filled in, reports that
   * and returns the scalar as it is.
   * @param stack the scalars whose references led to this one
   */
  private expand(node: ScalarNode, scope: Scope | null, stack: readonly ScalarNode[]): ScalarNode {
    const text = node.value;
    if (typeof text !== 'string' || !text.includes('${')) return node;
    const fault = (code: string, message: string, hint?: string): ScalarNode => {
      this.context.report(code, node.span, message, hint);
      return node;
    };
    if (stack.includes(node)) return fault('cycle', `"${text}" refers to itself`);
    if (/\$\{[^}]*$/.test(text))
      return fault(
        'bad-reference',
        `"\${" has no "}" in ${JSON.stringify(text)}`,
        'a plain "${" is written "$${"',
      );
    const values: Referent[] = [];
    for (const [, escaped, name = ''] of text.matchAll(PLACEHOLDER)) {
      const value =
        escaped === undefined
          ? this.lookUp(name.trim(), node, scope, [...stack, node])
          : { value: `\${${name}}` };
      if (value === null) return node;
      values.push(value);
    }
    const [only] = values;
    if (only !== undefined && values.length === 1 && /^\$\{[^}]*\}$/.test(text))
      return { ...node, ...only };
    const hidden = values.find(({ secret }) => secret !== undefined)?.secret;
    if (hidden !== undefined)
      return fault(
        'misplaced-secret',
        `the secret ${hidden} is part of a longer text`,
        'pass it as the whole value: a text that contains it would be a secret as well',
      );
    let next = 0;
    const filled = text.replace(PLACEHOLDER, () => String(values[next++]?.value));
    return { ...node, value: filled };
  }

  /** Returns what a field or variable stands for; null, after reporting it, if it has no value. */
  private lookUp(
    name: string,
    node: ScalarNode,
    scope: Scope | null,
    stack: readonly ScalarNode[],
  ): Referent | null {
    const [head = '', ...rest] = name.split('.');
    if (head === 'env') return this.lookUpVariable(rest.join('.'), node);
    const found = this.findWritten(head, rest, scope);
    if (found.isWhole && found.node.kind === 'scalar') {
      const { value, folder, secret, span } = this.expand(found.node, scope, stack);
      return { value, folder: folder ?? span.source.folder, ...defined({ secret }) };
    }
    if (found.isWhole || found.node.kind === 'list') return this.reportNotSingle(name, node, found);
    const { start } = found;
    const value = isVariantSection(head)
      ? this.variantDefault(start === this.root ? undefined : start, head, rest)
      : this.context.fields.get(name);
    if (value === DIFFERS) {
      const plugins = isVariantSection(head) ? `${PLUGIN_OF[head]}s` : 'plugins';
      const message = `its default differs between the ${plugins} of this variant`;
      return this.refuse(
        node,
        'bad-reference',
        `"\${${name}}" has no value of its own: ${message}`,
        'write it in the variant',
      );
    }
    if (value !== undefined && (value === null || typeof value !== 'object')) return { value };
    return this.reportUnset(name, node, found.isComposed);
  }

  /** Reports a fault of a reference. Returns null. */
  private refuse(reference: ScalarNode, code: string, message: string, hint?: string): null {
    this.context.report(code, reference.span, message, hint);
    return null;
  }

  /** Finds what the spec, or the scope's variant, has written along the path `head.rest`. */
  private findWritten(head: string, rest: readonly string[], scope: Scope | null): Written {
    const written: Node =
      scope !== null && scope.section === head ? scope.node : (child(this.root, head) ?? this.root);
    const steps =
      head === 'poisoning' && written.kind === 'map'
        ? composedVariant(written, this.context.shapes.variants.poisoning)?.node
        : undefined;
    const start = steps ?? written,
      isComposed = steps !== undefined;
    if (start === this.root) return { start, node: start, isWhole: false, isComposed };
    const { node, depth } = descend(start, rest);
    return { start, node, isWhole: depth === rest.length, isComposed };
  }

  /** Reports a reference to a list, to a mapping, or to a field within a list. Returns null. */
  private reportNotSingle(name: string, node: ScalarNode, found: Written): null {
    const isList = found.node.kind === 'list';
    const [head, ...rest] = name.split('.');
    if (found.isWhole)
      return this.refuse(
        node,
        'bad-reference',
        `"\${${name}}" is not a single value but a ${isList ? 'list' : 'mapping'}`,
        isList ? 'refer to a field that has one value; an axis has several' : undefined,
      );
    const isListed = rest.length > 0 && isVariantSection(head);
    const reason = isListed ? `"${head}" is a list of variants` : 'it lies in a list';
    return this.refuse(node, 'bad-reference', `"\${${name}}" has no single value: ${reason}`);
  }

  /** Reports a reference to a field without a value, or to no field. Returns null. */
  private reportUnset(name: string, node: ScalarNode, isComposed: boolean): null {
    const { fields } = this.context;
    /** Reports a fault of the reference. Returns null. */
    const fault = (message: string, hint?: string): null =>
      this.refuse(node, 'bad-reference', message, hint);
    if ([...fields.keys()].some((field) => field.startsWith(`${name}.`)))
      return fault(`"\${${name}}" is not a single value but a mapping`);
    if (fields.has(name) || isComposed)
      return fault(`"\${${name}}" has no value: it is not set, and has no default`);
    const close = nearest(name, fields.keys());
    return fault(
      `there is no field "${name}" to refer to`,
      close ? didYouMean(`\${${close.word}}`) : 'an environment variable is written ${env.NAME}',
    );
  }

  /**
   * Returns the default of a variant's field under the plugins that the variant names: `DIFFERS` if
   * it is not the same under all of them, undefined if there is none.
   */
  private variantDefault(
    variant: Node | undefined,
    section: VariantSection,
    rest: readonly string[],
  ): Json | undefined | typeof DIFFERS {
    const shape = this.context.shapes.variants[section],
      named = child(variant, shape.discriminator);
    const names = (named ? oneOrMany(named) : [named]).map((item) =>
      item?.kind === 'scalar' ? String(item.value) : shape.defaultName,
    );
    const [value, ...others] = names.map((name) => {
      const schema = schemaNamed(shape, name);
      return schema && valueAt(fill(variant, schema, {}), rest);
    });
    const text = JSON.stringify(value);
    return others.some((other) => JSON.stringify(other) !== text) ? DIFFERS : value;
  }

  /**
   * Returns what `env.NAME` stands for: for a secret, the reference itself; otherwise the value
   * that is set or, if none is, the default under `env`. Null, after reporting it, if there is no
   * value.
   */
  private lookUpVariable(name: string, node: ScalarNode): Referent | null {
    const declared = child(this.root, 'env');
    const entry = child(declared, name);
    if (this.secrets.has(name)) return { value: `\${env.${name}}`, secret: name };
    if (isCredentialName(name) && entry !== undefined)
      return this.refuse(
        node,
        'looks-secret',
        `${name} looks like a credential, and every record of a run would show its value`,
        `list it as one: secrets: [${name}]; if it is not one, give it another name`,
      );
    if (entry === undefined) {
      const close = declared?.kind === 'map' ? nearest(name, declared.entries.keys()) : null;
      return this.refuse(
        node,
        'undeclared-variable',
        `the spec does not declare the environment variable ${name}`,
        close ? didYouMean(`\${env.${close.word}}`) : `declare it: env: { ${name}: null }`,
      );
    }
    const { env } = this.context,
      set = Object.hasOwn(env, name) ? env[name] : undefined;
    if (set !== undefined) return { value: plainScalar(set) };
    if (entry.kind === 'scalar' && entry.value !== null) return { value: entry.value };
    return this.refuse(
      node,
      'unset-variable',
      `the environment variable ${name} is not set, and the spec gives it no default`,
    );
  }
}

/**
 * Returns the number or boolean that YAML reads in a variable's text, such as 8; any other text as
 * it is.
 */
function plainScalar(text: string): Scalar {
  const document = parseDocument(text, { prettyErrors: false });
  const value: unknown = document.errors.length > 0 ? text : document.toJS();
  return typeof value === 'number' || typeof value === 'boolean' ? value : text;
}

/**
 * Reports each secret that is used anywhere but in `commands.NAME.env` or in a scorer's field of
 * `format: secret`. Also reports each such field of a scorer whose value is no secret, and each
 * secret for which `env` has a default.
 * @param root the spec after interpolation
 */
export function checkSecrets(root: MapNode, shapes: Shapes, report: Report): void {
  const variables = fieldsOfMap(child(root, 'commands')).flatMap(([, command]) =>
    fieldsOfMap(child(command, 'env')).map(([, value]) => value),
  );
  const credentials = pluginFields(root, shapes)
    .filter(({ schema }) => schema.format === 'secret')
    .map(({ node }) => node);
  for (const node of credentials)
    if (node.kind === 'scalar' && node.secret === undefined)
      report(
        'looks-secret',
        node.span,
        'a credential is written here, and every record of a run would show it',
        'list its environment variable, secrets: [API_KEY], and write "${env.API_KEY}" here',
      );
  for (const node of descendants(root))
    if (
      node.kind === 'scalar' &&
      node.secret !== undefined &&
      ![...variables, ...credentials].includes(node)
    )
      report(
        'misplaced-secret',
        node.span,
        `the secret ${node.secret} is used where a run would record its value`,
        'only a program may get a secret, under commands.NAME.env, or a scorer as its `key`; ' +
          'sources read their credentials (HF_TOKEN) from the environment themselves',
      );
  const env = child(root, 'env');
  for (const name of secretNames(root)) {
    const given = child(env, name);
    if (given !== undefined && !(given.kind === 'scalar' && given.value === null))
      report(
        'misplaced-secret',
        given.span,
        `the secret ${name} has a default, which everybody who reads the spec would see`,
        'write null, or leave it out of env',
      );
  }
}

/** Returns, for each variable of a command's `env` that holds a secret, the secret's name. */
export function secretVariables(command: Node): { readonly [variable: string]: string } {
  return Object.fromEntries(
    fieldsOfMap(child(command, 'env')).flatMap(([variable, value]) =>
      value.kind === 'scalar' && value.secret !== undefined ? [[variable, value.secret]] : [],
    ),
  );
}

/** Returns the names under `secrets`. Anything else there is left for validation to report. */
export const secretNames = (root: MapNode): string[] =>
  itemsOf(child(root, 'secrets'))
    .filter(isText)
    .map(({ value }) => value);

const CREDENTIAL = new RegExp(
  '(?:^|_)(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIALS?|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|' +
    '(?:AUTH|ACCESS|API|BEARER|REFRESH|SESSION|' +
    'HF|HUGGINGFACE|GITHUB|GITLAB|GH|AWS|NPM|WANDB|OPENAI)_?TOKEN)(?:_|$)',
  'i',
);

/** Whether a name customarily holds a credential. TOKEN alone does not: models have tokens too. */
const isCredentialName = (name: string): boolean => CREDENTIAL.test(name);
