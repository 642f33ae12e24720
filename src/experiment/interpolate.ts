/**
 * `${…}` in a value: another field of the spec (`${train.batch_size}`; in a variant, `${adapter.rank}` is its own), or an
 * environment variable that `env` declares (`${env.DATA}`). `$${` is a plain `${`.
 */
import { parseDocument } from 'yaml';
import type { Json, JsonObject } from '../api.ts';
import { fill } from './expand.ts';
import type { Report } from './faults.ts';
import type { ListNode, MapNode, Node, Scalar, ScalarNode } from './node.ts';
import { child, descend } from './node.ts';
import { fieldOf } from './pattern.ts';
import type { Shapes, VariantSection } from './schema.ts';
import { isVariantSection } from './schema.ts';
import { composed, shapeOf } from './steps.ts';
import { didYouMean, nearest } from './suggest.ts';

export interface InterpolationContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Default of each field that has one, by full path; undefined for the other fields. Those of variants depend on their plugin (`shapes`). */
  readonly fields: ReadonlyMap<string, Json | undefined>;
  readonly shapes: Shapes;
  readonly report: Report;
}

interface Filled {
  readonly value: Scalar;
  readonly folder?: string;
  readonly secret?: string;
}

interface Scope {
  readonly section: string;
  readonly node: Node;
}

const placeholder = /\$(\$)?\{([^}]*)\}/g;
const nothing = Symbol('a fault, reported'),
  differs = Symbol('several defaults');

export function interpolate(
  root: MapNode,
  { env, fields, shapes, report }: InterpolationContext,
): MapNode {
  const secrets = new Set(secretsOf(root));
  const walk = (node: Node, scope: Scope | null): Node => {
    switch (node.kind) {
      case 'scalar':
        return resolveScalar(node, scope, []);
      case 'list':
        return { ...node, items: node.items.map((item) => walk(item, scope)) } satisfies ListNode;
      case 'map':
        return {
          ...node,
          entries: new Map(
            [...node.entries].map(([key, entry]) => [
              key,
              { key: entry.key, value: walk(entry.value, scope) },
            ]),
          ),
        };
    }
  };

  const resolveScalar = (
    node: ScalarNode,
    scope: Scope | null,
    stack: readonly ScalarNode[],
  ): ScalarNode => {
    const text = node.value;
    if (typeof text !== 'string' || !text.includes('${')) return node;
    if (stack.includes(node)) {
      report('cycle', node.span, `"${text}" refers to itself`);
      return node;
    }
    if (/\$\{[^}]*$/.test(text)) {
      report(
        'bad-reference',
        node.span,
        `"\${" has no "}" in ${JSON.stringify(text)}`,
        'a plain "${" is written "$${"',
      );
      return node;
    }
    const values: Filled[] = [];
    for (const [, escaped, name] of text.matchAll(placeholder)) {
      if (escaped) {
        values.push({ value: `\${${name!}}` });
        continue;
      }
      const value = lookUp(name!.trim(), node, scope, [...stack, node]);
      if (value === nothing) return node;
      values.push(value);
    }
    const only = values.length === 1 && /^\$\{[^}]*\}$/.test(text) ? values[0] : undefined;
    if (only) return { ...node, ...only };
    const hidden = values.find(({ secret }) => secret !== undefined)?.secret;
    if (hidden !== undefined) {
      report(
        'misplaced-secret',
        node.span,
        `the secret ${hidden} is part of a longer text`,
        'hand it over alone, as the whole value: what is made of it would be a secret as well',
      );
      return node;
    }
    return {
      ...node,
      quoted: true,
      value: text.replace(placeholder, () => String(values.shift()!.value)),
    };
  };

  const lookUp = (
    name: string,
    node: ScalarNode,
    scope: Scope | null,
    stack: readonly ScalarNode[],
  ): Filled | typeof nothing => {
    const [head, ...rest] = name.split('.');
    if (head === 'env') return environment(rest.join('.'), node);
    const written: Node =
      scope !== null && scope.section === head ? scope.node : (child(root, head!) ?? root);
    const start =
      head === 'poisoning' && written.kind === 'map'
        ? (composed(written, shapes.variants.poisoning)?.node ?? written)
        : written;
    const found = start === root ? { node: root, depth: -1 } : descend(start, rest);
    if (found.depth === rest.length) {
      if (found.node.kind === 'scalar') {
        const { value, folder, secret, span } = resolveScalar(found.node, scope, stack);
        return {
          value,
          folder: folder ?? span.source.folder,
          ...(secret === undefined ? {} : { secret }),
        };
      }
      report(
        'bad-reference',
        node.span,
        `"\${${name}}" is not a single value but a ${found.node.kind === 'list' ? 'list' : 'mapping'}`,
        found.node.kind === 'list'
          ? 'refer to a field that has one value; an axis has several'
          : undefined,
      );
      return nothing;
    }
    if (found.node.kind === 'list') {
      report(
        'bad-reference',
        node.span,
        `"\${${name}}" has no single value: ${rest.length > 0 && (head === 'poisoning' || head === 'adapter') ? `"${head}" is a list of variants` : 'it lies in a list'}`,
      );
      return nothing;
    }
    const value = isVariantSection(head)
      ? variantDefault(start === root ? undefined : start, head, rest)
      : fields.get(name);
    if (value === differs) {
      report(
        'bad-reference',
        node.span,
        `"\${${name}}" has no value of its own: its default differs between the ${head === 'poisoning' ? 'attacks' : 'adapters'} of this variant`,
        'write it in the variant',
      );
      return nothing;
    }
    if (value !== undefined && (value === null || typeof value !== 'object')) return { value };
    if ([...fields.keys()].some((field) => field.startsWith(`${name}.`)))
      report('bad-reference', node.span, `"\${${name}}" is not a single value but a mapping`);
    else if (fields.has(name) || start !== written)
      report(
        'bad-reference',
        node.span,
        `"\${${name}}" has no value: it is not set, and has no default`,
      );
    else {
      const close = nearest(name, fields.keys());
      report(
        'bad-reference',
        node.span,
        `there is no field "${name}" to refer to`,
        close ? didYouMean(`\${${close.word}}`) : 'an environment variable is written ${env.NAME}',
      );
    }
    return nothing;
  };

  /** What a field that is not written comes to, in the attack or adapter that its variant names. */
  const variantDefault = (
    variant: Node | undefined,
    section: VariantSection,
    rest: readonly string[],
  ): Json | undefined | typeof differs => {
    const shape = shapes.variants[section],
      named = child(variant, shape.discriminator);
    const names = (named?.kind === 'list' ? named.items : [named]).map((item) =>
      item?.kind === 'scalar' ? String(item.value) : shape.defaultName,
    );
    const values = names.map((name) => {
      const schema = shapeOf(shape, name);
      return schema && fieldOf(fill(variant, schema, {}) as JsonObject, rest);
    });
    return values.some((value) => JSON.stringify(value) !== JSON.stringify(values[0]))
      ? differs
      : values[0];
  };

  const environment = (name: string, node: ScalarNode): Filled | typeof nothing => {
    const declared = child(root, 'env');
    const entry = child(declared, name);
    if (secrets.has(name)) return { value: `\${env.${name}}`, secret: name };
    if (CREDENTIAL.test(name) && entry !== undefined) {
      report(
        'looks-secret',
        node.span,
        `${name} looks like a credential, and its value would stand in every record of a run`,
        `list it as one: secrets: [${name}]; if it is not one, give it another name`,
      );
      return nothing;
    }
    if (entry === undefined) {
      const close = declared?.kind === 'map' ? nearest(name, declared.entries.keys()) : null;
      report(
        'undeclared-variable',
        node.span,
        `the spec does not declare the environment variable ${name}`,
        close ? didYouMean(`\${env.${close.word}}`) : `declare it: env: { ${name}: null }`,
      );
      return nothing;
    }
    const set = env[name];
    if (set !== undefined) return { value: plainScalar(set) };
    if (entry.kind === 'scalar' && entry.value !== null) return { value: entry.value };
    report(
      'unset-variable',
      node.span,
      `the environment variable ${name} is not set, and the spec gives it no default`,
    );
    return nothing;
  };

  const entries = [...root.entries].map(([key, entry]) => {
    const { value } = entry;
    if (key === 'env' || key === 'secrets') return [key, entry] as const;
    const isVariants = (key === 'poisoning' || key === 'adapter') && value.kind === 'list';
    const walked: Node = isVariants
      ? { ...value, items: value.items.map((item) => walk(item, { section: key, node: item })) }
      : walk(value, null);
    return [key, { key: entry.key, value: walked }] as const;
  });
  return { ...root, entries: new Map(entries) };
}

/** Names under `secrets`; what else stands there is validation's to report. */
export function secretsOf(root: MapNode): string[] {
  const list = child(root, 'secrets');
  return list?.kind !== 'list'
    ? []
    : list.items.flatMap((item) =>
        item.kind === 'scalar' && typeof item.value === 'string' ? [item.value] : [],
      );
}

/** Names that hold a credential by custom. A bare TOKEN is left out: with language models it is a word. */
const CREDENTIAL =
  /(?:^|_)(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIALS?|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|(?:AUTH|ACCESS|API|BEARER|REFRESH|SESSION|HF|HUGGINGFACE|GITHUB|GITLAB|GH|AWS|NPM|WANDB|OPENAI)_?TOKEN)(?:_|$)/i;

/** A variable's text as YAML would read it: `8` is a number. */
function plainScalar(text: string): Scalar {
  const document = parseDocument(text, { prettyErrors: false });
  const value: unknown = document.errors.length > 0 ? text : document.toJS();
  return typeof value === 'number' || typeof value === 'boolean' ? value : text;
}
