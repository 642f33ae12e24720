/**
 * Which modules a name in a PEFT config refers to (check_target_module_exists and get_pattern_key
 * of PEFT). A module is named as in the model that PEFT wraps: `bert.encoder.layer.0.output.dense`.
 */
import { UserFault } from '../../api.ts';
import { memoized } from '../../base/memoized.ts';
import { withinSeconds } from '../../base/untrusted/limits.ts';
import type { Architecture } from './types.ts';

/** Whether a parameter or layer is one of these modules, or belongs to one of them. */
export const within = (name: string, modules: readonly string[]): boolean =>
  modules.some((module) => name === module || name.startsWith(`${module}.`));

/** Returns the module of a layer, as it is called in the model that PEFT wraps. */
export const moduleName = (architecture: Architecture, layer: string): string =>
  architecture.externalName(`${layer}.weight`).replace(/\.weight$/, '');

export interface TargetRule {
  /** A list of names or dotted ends of names; or a regular expression for the whole name. */
  readonly targets: string | readonly string[];
  readonly exclude?: string | readonly string[] | undefined;
  /** The layer numbers that a list of targets is restricted to. Absent or empty: all. */
  readonly layers?: readonly number[];
  /** Regular expressions for the parts right before the layer number. Default: any parts. */
  readonly layersPattern?: readonly string[] | undefined;
}

const EXPRESSION_LENGTH = 1000,
  EXPRESSION_SECONDS = 2;

type Search = [source: string, wrapped: string, module: string];
const MOST_REMEMBERED = 2 ** 16;
const searchOnce = memoized(
  (asked: string) => search(...(JSON.parse(asked) as Search)),
  MOST_REMEMBERED,
);

/** `search`, computed once for the same arguments, which all trainings of a grid share. */
const cachedSearch = (...asked: Search): RegExpExecArray | null =>
  searchOnce(JSON.stringify(asked));

/**
 * Returns the match of the regular expression `wrapped` in a module's name; null if there is none.
 * `wrapped` contains `source`, which the user wrote for Python: in `u` mode JavaScript rejects what
 * the two languages might read differently. Throws UserFault if the expression is too long, cannot
 * be read or takes too long, as `(a+)+` may even on a short name.
 */
function search(...[source, wrapped, module]: Search): RegExpExecArray | null {
  const quoted = JSON.stringify(source.slice(0, 80));
  if (source.length > EXPRESSION_LENGTH)
    throw new UserFault(
      `the regular expression ${quoted}… has ${source.length} characters; ` +
        `at most ${EXPRESSION_LENGTH} are read`,
    );
  let expression: RegExp;
  try {
    expression = new RegExp(wrapped, 'u');
  } catch {
    throw new UserFault(`${quoted} is not a regular expression that is understood here`);
  }
  if (!/[*+?{]/.test(source)) return expression.exec(module); // no backtracking
  return withinSeconds(
    EXPRESSION_SECONDS,
    () =>
      `the regular expression ${quoted} takes more than ${EXPRESSION_SECONDS} s ` +
      `on the name "${module}"`,
    () => expression.exec(module),
  );
}

/** Whether `name` is the module's whole name or a dotted end of it. */
export const isNamed = (module: string, name: string): boolean =>
  module === name || module.endsWith(`.${name}`);

/**
 * Whether a list has the module's name or a dotted end of it; for a text, whether it matches the
 * whole name as a regular expression.
 */
const isAmong = (module: string, names: string | readonly string[]): boolean =>
  typeof names === 'string'
    ? cachedSearch(names, `^(?:${names})$`, module) !== null
    : names.some((name) => isNamed(module, name));

/**
 * Returns the layer number in a module's name, or null if there is none. It is the first part that
 * is a number, is not the last part, and follows at least two parts. If `patterns` are given, it
 * follows what a pattern matches; the first pattern for which there is such a number decides.
 */
export function layerNumber(module: string, patterns: readonly string[] = []): number | null {
  const matches =
    patterns.length === 0
      ? [/^.*?\.[^.]*\.(\d+)\./.exec(module)]
      : patterns.map((pattern) =>
          cachedSearch(pattern, `^(?:.*?\\.)?(?:${pattern})\\.(\\d+)\\.`, module),
        );
  const match = matches.find((found) => found !== null);
  return match ? Number(match.at(-1)) : null;
}

/**
 * Whether the rule targets the module: it is among `targets` and not among `exclude` and, if
 * `targets` is a list and `layers` has numbers, its layer number is one of these. Throws UserFault
 * where an expression cannot be read.
 */
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

/**
 * Returns the first of `keys`, regular expressions, that matches the module's name or a dotted end
 * of it; null if none does.
 */
export function patternKey(keys: readonly string[], module: string): string | null {
  return keys.find((key) => cachedSearch(key, `^(?:.*\\.)?(?:${key})$`, module) !== null) ?? null;
}

/** Returns the value under the key that `patternKey` finds; undefined where it finds none. */
export function patternValue(
  patterns: Readonly<Record<string, number>>,
  module: string,
): number | undefined {
  const key = patternKey(Object.keys(patterns), module);
  return key === null ? undefined : patterns[key];
}
