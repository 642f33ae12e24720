/** Completes the names of axes and metrics in the entries of `report`. */
import type { Cell } from '../api.ts';
import type { Report } from './faults.ts';
import { isText, type Node, oneOrMany, type TextNode } from './node.ts';
import { isSection } from './schema.ts';
import { pathsNamed, shortNames } from './selection.ts';
import { didYouMean, nearest, suggest } from './suggest.ts';

export interface Context {
  /** The full paths of the grid's axes. */
  readonly axes: readonly string[];
  /** The full paths of all fields of a cell. */
  readonly fields: readonly string[];
  readonly goals: readonly string[];
  readonly stages: readonly string[];
  /** The metrics that have a short name, as `STAGE.METRIC`. */
  readonly metrics: readonly string[];
  /** See `SpecRegistry.metricsInstead`. */
  readonly metricsInstead: (name: string) => readonly string[] | null;
  readonly cells: readonly Cell[];
  readonly report: Report;
  /** Reports that fields can't be given together. */
  readonly conflict: (node: Node, message: string, hint: string) => void;
  /** Reports a warning, which does not stop the run. */
  readonly warn: Report;
}

/** What a name in an entry may stand for: an axis, a metric, or either. */
export type Takes = 'axis' | 'metric' | 'any';

/**
 * Returns the full names of one name or of a list of names, without names for which `readName`
 * returns undefined.
 */
export const readNames = (
  node: Node | undefined,
  context: Context,
  takes: Takes,
  special?: readonly string[],
): readonly string[] =>
  node === undefined
    ? []
    : oneOrMany(node).flatMap((item) => readName(item, context, takes, special) ?? []);

/**
 * Returns the full name of an axis or a metric; undefined, after reporting it, if there is none or
 * more than one. A field that is no axis of this grid is returned too, after a warning. Undefined
 * for a node that is no text, which validation reports.
 * @param special further names that are accepted, and returned as they are
 */
export function readName(
  node: Node | undefined,
  context: Context,
  takes: Takes,
  special: readonly string[] = [],
): string | undefined {
  if (!isText(node)) return undefined;
  const { value: word, span } = node,
    { fields, report, warn } = context;
  if (special.includes(word)) return word;
  const axes = takes === 'metric' ? [] : axesNamed(word, context.axes),
    metrics = takes === 'axis' ? [] : metricsNamed(word, context);
  const [found] = axes.length > 0 ? axes : metrics;
  if (axes.length > 1 || (axes.length === 0 && metrics.length > 1)) {
    const several = axes.length > 1 ? axes : metrics;
    report('unknown-key', span, `"${word}" could mean several fields`, didYouMean(...several));
    return undefined;
  }
  if (axes.length === 0 && found !== undefined) return measuredMetric(found, node, context);
  if (found !== undefined) return found;
  const [field, another] = takes === 'metric' ? [] : axesNamed(word, fields);
  if (field !== undefined && another === undefined) {
    const hint = 'a list of its values makes it one';
    warn('matches-nothing', span, `"${field}" is no axis of this grid`, hint);
    return field;
  }
  reportUnknown(node, context, takes, special);
  return undefined;
}

/**
 * Returns the paths that `pathsNamed` finds. If it finds none and the word is a section's name,
 * returns the paths below that section.
 */
function axesNamed(word: string, paths: readonly string[]): readonly string[] {
  const named = pathsNamed(word, paths);
  return named.length === 0 && isSection(word)
    ? paths.filter((path) => path.startsWith(`${word}.`))
    : named;
}

const shortMetric = (name: string): string => name.slice(name.indexOf('.') + 1);

/**
 * Returns the metrics with this full or short name. If there are none, returns the word itself if
 * it is a `STAGE.METRIC` whose stage exists; otherwise nothing.
 */
function metricsNamed(word: string, { metrics, stages, fields }: Context): readonly string[] {
  const short = metrics.filter((name) => name === word || shortMetric(name) === word);
  if (short.length > 0) return short;
  const [stage = '', ...rest] = word.split('.');
  const isName = /^[^*]+$/.test(rest.join('.')) && !fields.includes(word);
  return isName && stages.includes(stage) ? [word] : [];
}

/**
 * Returns the name of a metric; undefined, after reporting it, if no stage of the experiment
 * measures it. Warns if the metric is not known to its stage.
 */
function measuredMetric(
  name: string,
  { span }: TextNode,
  { goals, cells, metricsInstead, report, warn }: Context,
) {
  const stage = name.slice(0, name.indexOf('.'));
  if (!goals.includes(stage)) {
    report(
      'unknown-value',
      span,
      `"${name}" is not measured: "${stage}" is not under "stages"`,
      `write stages: [${[...goals, stage].join(', ')}]`,
    );
    return undefined;
  }
  if (name.startsWith('evaluate.test_') && cells.every(({ data }) => !data.test)) {
    report(
      'unknown-value',
      span,
      `"${name}" is not measured: there is no "data.test"`,
      'name test rows; only evaluations run anew, no training',
    );
    return undefined;
  }
  const others = metricsInstead(name);
  if (others !== null) {
    const near = nearest(shortMetric(name), others)?.word;
    warn(
      'unknown-key',
      span,
      `"${stage}" has no metric "${shortMetric(name)}"`,
      near === undefined
        ? `its metrics are such as "${stage}.${others[0] ?? ''}"`
        : didYouMean(`${stage}.${near}`),
    );
  }
  return name;
}

/**
 * For each of `Takes`: what a message calls such names (WHAT), and how a hint says to write them
 * (HOW).
 */
const WHAT = { axis: 'axis', metric: 'metric', any: 'axis and no metric' } as const;
const HOW = {
  axis: 'an axis is named in full, such as "poisoning.rate", or by an ending that only one has',
  metric: 'a metric is named in full, STAGE.METRIC, such as "evaluate.asr"',
  any: 'an axis is named as in patterns, a metric as STAGE.METRIC, such as "evaluate.asr"',
} as const;

/**
 * Reports that a name is no axis or metric, with the names that it may misspell or, if none is
 * similar, with the way to write such a name.
 */
function reportUnknown(
  { value: word, span }: TextNode,
  { axes, metrics, report }: Context,
  takes: Takes,
  special: readonly string[],
): void {
  const known = [
    ...special,
    ...(takes === 'metric'
      ? []
      : [...shortNames.keys(), ...axes.flatMap((path) => [path.split('.').at(-1) ?? path, path])]),
    ...(takes === 'axis' ? [] : metrics.flatMap((name) => [shortMetric(name), name])),
  ];
  const message = `there is no ${WHAT[takes]} "${word}"`;
  report('unknown-key', span, message, suggest(word, new Set(known)) ?? HOW[takes]);
}
