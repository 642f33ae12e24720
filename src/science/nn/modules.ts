/**
 * Which modules a name in a PEFT config means (peft.tuners.tuners_utils.check_target_module_exists and
 * peft.utils.other.get_pattern_key). A module is named as in the model that PEFT wraps: `bert.encoder.layer.0.output.dense`.
 */
import { UserFault } from '../../api.ts';
import { withinSeconds } from '../../untrusted/time.ts';

export interface TargetRule {
  /** Names or dotted ends of names; a string is a regular expression for the whole name. */
  readonly targets: string | readonly string[];
  readonly exclude?: string | readonly string[];
  /** Numbers of the layers that a list of targets is narrowed to. */
  readonly layers?: readonly number[];
  /** What stands before the number, as regular expressions; left out: anything. */
  readonly layersPattern?: readonly string[];
}

const EXPRESSION_LENGTH = 1000,
  EXPRESSION_SECONDS = 2;

/**
 * What Python's expression finds in a module's name, read as JavaScript's; in `u` mode whatever the two might read
 * differently is a fault. A name is short, and yet `(a+)+` may take for ever on it.
 */
function find(source: string, wrapped: string, module: string): RegExpExecArray | null {
  const quoted = JSON.stringify(source.slice(0, 80));
  if (source.length > EXPRESSION_LENGTH)
    throw new UserFault(
      `the regular expression ${quoted}… has ${source.length} characters; at most ${EXPRESSION_LENGTH} are read`,
    );
  let expression: RegExp;
  try {
    expression = new RegExp(wrapped, 'u');
  } catch {
    throw new UserFault(`${quoted} is no regular expression that is understood here`);
  }
  if (!/[*+?{]/.test(source)) return expression.exec(module); // nothing to go back over
  return withinSeconds(
    EXPRESSION_SECONDS,
    () =>
      `the regular expression ${quoted} takes more than ${EXPRESSION_SECONDS} s on the name "${module}"`,
    () => expression.exec(module),
  );
}

/** The module's whole name, or a dotted end of it. */
export const isNamed = (module: string, name: string): boolean =>
  module === name || module.endsWith(`.${name}`);

const isAmong = (module: string, names: string | readonly string[]): boolean =>
  typeof names === 'string'
    ? find(names, `^(?:${names})$`, module) !== null
    : names.some((name) => isNamed(module, name));

/** The first number between dots that a name (any, or one of `patterns`) stands before; null where there is none. */
export function layerNumber(module: string, patterns: readonly string[] = []): number | null {
  const matches =
    patterns.length === 0
      ? [/^.*?\.[^.]*\.(\d+)\./.exec(module)]
      : patterns.map((pattern) => find(pattern, `^(?:.*?\\.)?(?:${pattern})\\.(\\d+)\\.`, module));
  for (const match of matches) {
    if (match !== null) return Number(match[match.length - 1]);
  }
  return null;
}

/** Whether the rule means the module. Throws UserFault at an expression that can't be read. */
export function isTargeted(
  module: string,
  { targets, exclude, layers, layersPattern }: TargetRule,
): boolean {
  if (exclude !== undefined && isAmong(module, exclude)) return false;
  if (!isAmong(module, targets)) return false;
  if (layers === undefined || layers.length === 0 || typeof targets === 'string') return true;
  const number = layerNumber(module, layersPattern);
  return number !== null && layers.includes(number);
}

/** The first key that matches the module's name or a dotted end of it, each key an expression. */
export function patternKey(keys: readonly string[], module: string): string | null {
  return keys.find((key) => find(key, `^(?:.*\\.)?(?:${key})$`, module) !== null) ?? null;
}

/** The value of that key. */
export function patternValue(
  patterns: Readonly<Record<string, number>>,
  module: string,
): number | undefined {
  const key = patternKey(Object.keys(patterns), module);
  return key === null ? undefined : patterns[key];
}
