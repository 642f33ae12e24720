/** Explains a key that is not known in its place: a slip, or a key of another section. */
import type { ExplainContext } from './explain.ts';
import type { Node, Path } from './node.ts';
import { child, fieldName } from './node.ts';
import type { VariantSection } from './schema.ts';
import { isStepPath, isVariantSection, ownFirst, PLUGIN_OF, variantSectionOf } from './schema.ts';
import type { Schema } from './shape.ts';
import { declaredField } from './shape.ts';
import { all, didYouMean, either, nearest } from './suggest.ts';

export interface UnknownKey {
  /** The path of the mapping that holds the key. */
  readonly path: Path;
  readonly key: string;
  readonly map: Node;
  readonly schema: Schema;
}

/** The most keys that a message lists. */
const MOST_LISTED = 20;

export function explainUnknownKey(
  { path, key, map, schema }: UnknownKey,
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
    explainUnknownParameter(variant, { path, key, map, schema }, at, siblings, context);
    return;
  }
  const message = parent === '' ? `unknown key "${key}"` : `unknown key "${key}" in "${parent}"`;
  const sibling = nearest(key, siblings);
  // A slip of one letter is likelier than a field of the right name in another place.
  const elsewhere =
    sibling !== null && sibling.distance <= 1 ? [] : fieldsNamed(key, parent, context);
  const known =
    siblings.length > 0 && siblings.length <= MOST_LISTED
      ? `${parent === '' ? 'the keys of a spec' : 'its keys'} are ${all(siblings)}`
      : undefined;
  const hint =
    elsewhere.length > 0
      ? `did you mean ${either(elsewhere.map((field) => `"${field}"`))}?`
      : sibling
        ? didYouMean(sibling.word)
        : known;
  context.report('unknown-key', at, message, hint);
}

/**
 * Returns at most four fields elsewhere with this name: those below the mapping, or else all
 * others.
 */
function fieldsNamed(key: string, parent: string, { fields, shapes }: ExplainContext): string[] {
  const ends = new Set<string>();
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
  return (below.length > 0 ? below : ownFirst([...ends])).slice(0, 4);
}

function explainUnknownParameter(
  section: VariantSection,
  { path, key, map }: UnknownKey,
  at: Parameters<ExplainContext['report']>[1],
  siblings: readonly string[],
  context: ExplainContext,
): void {
  const { discriminator, defaultName, byName } = context.shapes.variants[section];
  const written = child(map, discriminator);
  const plugin =
    written?.kind === 'scalar' && typeof written.value === 'string' ? written.value : defaultName;
  const kind = PLUGIN_OF[section];
  const close = nearest(key, siblings);
  const owners = [...byName]
    .filter(([, shape]) => declaredField(shape, key) !== undefined)
    .map(([name]) => name);
  const own = Object.keys(byName.get(plugin)?.properties ?? {}).filter(
    (name) => name !== discriminator,
  );
  if (isStepPath(path)) {
    if (written === undefined) return; // the missing attack is reported already
    if (key === 'when') {
      context.report(
        'unknown-key',
        at,
        'a step takes no "when"',
        'it belongs to the variant, beside "steps"',
      );
      return;
    }
    if (key === 'steps') {
      context.report('unknown-key', at, 'a step has no steps of its own', 'write them in one list');
      return;
    }
  }
  const elsewhere = fieldsNamed(key, section, context).filter(
    (field) => !isVariantSection(field.split('.')[0]),
  );
  context.report(
    'unknown-key',
    at,
    `${kind} "${plugin}" takes no "${key}"`,
    close
      ? didYouMean(close.word)
      : owners.length > 0
        ? `"${key}" belongs to ${all(owners.map((name) => `"${name}"`))}`
        : elsewhere.length > 0
          ? `did you mean ${either(elsewhere.map((field) => `"${field}"`))}?`
          : own.length > 0
            ? `its parameters are ${all(own)}`
            : 'it takes no parameters',
  );
}
