/** Checks a spec against the composed schema and explains what it violates. */
import type { Json, JsonSchema } from '../api.ts';
import { JOINT } from '../api.ts';
import { composeFrom } from './compose.ts';
import { explain } from './explain.ts';
import type { Faults } from './faults.ts';
import { allVariants } from './fields.ts';
import type { MapNode, Node } from './node.ts';
import { child, toJson } from './node.ts';
import type { Shapes } from './schema.ts';
import { fieldsOf, shapesOf } from './schema.ts';
import { isSound } from './sound.ts';
import type { SpecRegistry } from './types.ts';
import type { Violation } from './validate.ts';

export interface Checker {
  readonly shapes: Shapes;
  /** Every field of a spec by full path, with its default, or undefined if it has none. */
  readonly fields: ReadonlyMap<string, Json | undefined>;
  /**
   * Resolves to the violations, or to a text that says what is wrong with an outside plugin's
   * schema.
   */
  readonly violationsOf: (root: MapNode) => Promise<Violation[] | string>;
}

const checkers = new WeakMap<SpecRegistry, Checker>();

/** Returns the checker of a registry, which is made once. */
export function compiled(registry: SpecRegistry): Checker {
  const known = checkers.get(registry);
  if (known) return known;
  const shapes = shapesOf(registry);
  const validators = new Map<string, (value: unknown) => Violation[]>();
  const violationsOf = async (root: MapNode): Promise<Violation[] | string> => {
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
        const reason = badSchema(shapes, used, createValidator);
        if (reason === null) throw error;
        return reason;
      }
      validators.set(key, validator);
    }
    return validator(value);
  };
  const checker = { shapes, fields: fieldsOf(shapes), violationsOf };
  checkers.set(registry, checker);
  return checker;
}

/**
 * Returns what is wrong with the parameters of the first named plugin whose schema does not
 * compile.
 */
function badSchema(
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
 * Reports what the spec violates. Returns false, after reporting it, if a plugin's schema can't be
 * used.
 */
export async function checkSpec(
  root: MapNode,
  { shapes, fields, violationsOf }: Checker,
  faults: Faults,
): Promise<boolean> {
  const violations = await violationsOf(root);
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
  const earlier = reportedNodes(root, faults);
  const context = {
    shapes,
    fields,
    report: faults.report,
    isReported: (node: Node) => earlier.has(node),
  };
  for (const violation of violations) explain(violation, root, context);
  return true;
}

function reportedNodes(root: MapNode, faults: Faults): ReadonlySet<Node> {
  const reported = new Set<Node>();
  const visit = (node: Node): void => {
    if (faults.has(node.span)) reported.add(node);
    if (node.kind === 'list') node.items.forEach(visit);
    if (node.kind === 'map') for (const { value } of node.entries.values()) visit(value);
  };
  if (faults.count > 0) visit(root);
  return reported;
}
