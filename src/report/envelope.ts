/**
 * Envelopes. Of conditions that differ only in the axes `over` and are within bounds, an envelope
 * chooses the one with the highest or the lowest mean of a metric. It chooses by numbers on
 * validation rows, and shows those on test rows. Pure.
 */
import type { JsonObject, StageFacts } from '../api.ts';
import { type Envelope, type FigureEntry, isNamed } from '../api/report.ts';
import { UserFault } from '../base/fault.ts';
import { EQUAL_MEANS } from '../base/rounding.ts';
import { adapterPairs } from './comparisons.ts';
import {
  byName,
  chooseConditions,
  type Condition,
  conditionsOf,
  isFull,
  metricOf,
} from './conditions.ts';
import { measuredOn, voidReason } from './evidence.ts';
import { isName, labelIn } from './figures/axis.ts';
import { formatValue, list, plural } from './format.ts';
import { contentKey, distinct, groupBy, type NonEmpty } from './groups.ts';
import { axisName, blockLabel, defenceOf } from './labels.ts';
import { noteOf } from './metric-lookup.ts';
import {
  hasTestRows,
  measuredRows,
  metricName,
  onTest,
  parseMetricName,
  ROW_COUNTS,
  taskOf,
} from './metrics.ts';
import { plainValue } from './numbers.ts';
import type { ReportCell } from './types.ts';

export interface Enveloped {
  /** The chosen conditions, without the axes that were chosen over. */
  readonly conditions: readonly Condition[];
  /** The full fine-tunings, chosen in the same way, with which the conditions are compared. */
  readonly partners: readonly Condition[];
  /**
   * The groups in which no condition can be chosen, and why. Each is given as one of its
   * conditions, without the axes that are chosen over.
   */
  readonly empty: readonly { readonly condition: Condition; readonly reason: string }[];
  /** The metric that chooses, and the metrics that have bounds. */
  readonly deciding: readonly string[];
  /** Sentences for captions: what was chosen, by which metric, and from how many conditions. */
  readonly notes: readonly string[];
  /** Returns the metric that is shown in place of one that was asked for. */
  readonly shown: (field: string) => string;
}

const decidingIn = ({ by, where = {} }: Envelope): readonly string[] => [by, ...Object.keys(where)];

const isChosenOver = ({ over }: Envelope, { ofBase }: Condition, path: string): boolean =>
  isNamed(over, path, ofBase !== null);

const axesNotChosenOver = (envelope: Envelope, condition: Condition): JsonObject =>
  Object.fromEntries(
    Object.entries(condition.axes).filter(([path]) => !isChosenOver(envelope, condition, path)),
  );

/** Writes a condition's values on the axes chosen over: `rate 0.2, learning rate 0.001`. */
function pointText(envelope: Envelope, condition: Condition): string {
  const named = envelope.over.flatMap((one) =>
    isName(one)
      ? [labelIn(condition, one)]
      : Object.entries(condition.axes)
          .filter(([path]) => isChosenOver({ ...envelope, over: [one] }, condition, path))
          .map(([path, value]) => `${axisName(path)} ${formatValue(value)}`),
  );
  return named.join(', ');
}

/** Why a condition can't be chosen, as captions say it. */
const WHY = {
  lacking: 'without a number at some seed',
  void: 'not evidence at some seed',
  beyond: 'beyond the bound',
} as const;
type Why = keyof typeof WHY;

/**
 * Matches metrics that are differences from the undefended cell (`accuracy_cost`). For a cell
 * without a defence, they count as 0.
 */
const OF_DEFENCE = /_(?:cost|removed)(?=$|\.)/;

/**
 * Judges a condition by its means over some of its cells. `value` is the mean of the metric that
 * chooses (NaN if a cell lacks it). `why` says why the condition can't be chosen; null if it can.
 * `isWithin` says whether the means are within all bounds.
 */
function judgeCondition(
  envelope: Envelope,
  cells: readonly ReportCell[],
): { readonly value: number; readonly why: Why | null; readonly isWithin: boolean } {
  const fields = decidingIn(envelope).map(parseMetricName);
  const means = fields.map(({ stage, metric }) => {
    const read = metricOf(stage, metric);
    const readValue = (cell: ReportCell): number =>
      read(cell) ?? (OF_DEFENCE.test(metric) && defenceOf(cell) === null ? 0 : NaN);
    return cells.reduce((sum, cell) => sum + readValue(cell), 0) / cells.length;
  });
  const [value = NaN, ...bounded] = means;
  if (!means.every(Number.isFinite)) return { value, why: 'lacking', isWithin: false };
  const isWithin = Object.values(envelope.where ?? {}).every(
    ({ min = -Infinity, max = Infinity }, i) => {
      const mean = bounded[i] ?? NaN;
      return mean >= min - EQUAL_MEANS && mean <= max + EQUAL_MEANS;
    },
  );
  const isVoid = cells.some((cell) =>
    fields.some((field) => field.stage === 'evaluate' && voidReason(cell, field) !== null),
  );
  return { value, why: isVoid ? 'void' : isWithin ? null : 'beyond', isWithin };
}

/**
 * Chooses the condition with the best mean, over the selection seeds if there are any; `best` is
 * null if none can be chosen. `about` says from how many it was chosen, and why others were not:
 * `of 6 points, 2 beyond the bound, the first of 2 that are equal`.
 */
function chooseFrom(envelope: Envelope, candidates: readonly Condition[]) {
  const { choose: most, selectionSeeds } = envelope;
  const sign = most === 'highest' ? 1 : -1;
  const judged = candidates.map((condition) => {
    const cells = condition.cells.filter(({ seed }) => selectionSeeds?.includes(seed) !== false),
      { value, ...why } = judgeCondition(envelope, cells);
    return { condition, ...why, value: sign * value };
  });
  const eligible = judged.filter(({ why }) => why === null);
  const top = Math.max(...eligible.map(({ value }) => value));
  const [best, ...equals] = eligible.filter(({ value }) => value >= top - EQUAL_MEANS);
  const betterButVoid = judged.filter(
    ({ why, isWithin, value }) => why === 'void' && isWithin && value > top + EQUAL_MEANS,
  );
  const named = list(betterButVoid.map(({ condition }) => pointText(envelope, condition)));
  const rejected = (Object.keys(WHY) as Why[]).flatMap((why) => {
    const count = judged.filter((one) => one.why === why).length;
    const better =
      why === 'void' && best !== undefined && named !== ''
        ? ` (${most === 'highest' ? 'higher' : 'lower'}: ${named})`
        : '';
    return count === 0 ? [] : [`${count} ${WHY[why]}${better}`];
  });
  return {
    best: best?.condition ?? null,
    about: [
      `of ${plural(candidates.length, 'point')}`,
      ...rejected,
      ...(equals.length === 0 ? [] : [`the first of ${equals.length + 1} that are equal`]),
    ].join(', '),
  };
}

/**
 * Chooses a condition of a group. Returns its shown cells and, as text, which condition it is; if
 * none can be chosen, one cell of the first condition, and why. Null if the metric that chooses
 * does not apply to the group: no cell has it, although no stage failed.
 */
function chooseInGroup(envelope: Envelope, group: NonEmpty<Condition>) {
  // A cell may be in a group under several names.
  const candidates = [...new Map(group.map((condition) => [condition.key, condition])).values()];
  const [first] = group;
  const { stage, metric } = parseMetricName(envelope.by),
    read = metricOf(stage, metric);
  // For example, a clean run has no success rate.
  const isUnmeasured = candidates.every(
    ({ cells, failedCells }) =>
      failedCells.size === 0 && cells.every((cell) => read(cell) === null),
  );
  if (isUnmeasured) return null;
  const axes = axesNotChosenOver(envelope, first),
    { best, about } = chooseFrom(envelope, candidates);
  const chosen = best === null ? '' : pointText(envelope, best);
  const shown = (best ?? first).cells.filter(
    ({ seed }) => envelope.selectionSeeds?.includes(seed) !== true,
  );
  const cells = shown.map(({ also: _also, ...cell }): ReportCell => ({ ...cell, axes, chosen }));
  return best === null
    ? { axes, cells: cells.slice(0, 1), isEmpty: true, text: about }
    : { axes, cells, isEmpty: false, text: `${chosen} (${about})` };
}

/** What captions call the rows of each kind in `measuredRows`. */
const ROW_NAMES = {
  plain: (split: string) => `${split} rows`,
  triggered: (split: string) => `triggered ${split} rows`,
  all: (split: string) => `${split} rows under the trigger`,
  partial: (split: string) => `${split} rows with part of the trigger`,
} as const;

/**
 * Returns on which rows of a split the metrics are measured: `72 triggered validation rows and 144
 * validation rows`, or `100 to 144 accepted validation rows` for scores without the rows that a
 * defence rejects. Returns '' if no metric depends on the split.
 */
function rowsText(
  cells: readonly ReportCell[],
  split: 'validation' | 'test',
  metrics: readonly string[],
): string {
  const readCounts = (name: string): readonly number[] =>
    cells.flatMap(({ metrics: own }) => own['evaluate']?.[name] ?? []);
  // Returns `100 to 144 test rows`, `1 test row`, or `the test rows` if the count is unknown.
  const countText = (counts: readonly number[], rows: string): string => {
    const [least, most] = [Math.min(...counts), Math.max(...counts)];
    if (counts.length === 0) return `the ${rows}`;
    const from = least === most ? '' : `${least.toLocaleString('en')} to `;
    return from + plural(most, rows.replace('rows', 'row'), rows);
  };
  const texts = metrics
    .map(parseMetricName)
    .filter(hasTestRows)
    .flatMap((named) => {
      const task = taskOf(named.metric, (name) => readCounts(name).length > 0);
      const own = cells.flatMap((cell) => measuredOn(cell, named) ?? []);
      if (own.some(({ isOfAccepted }) => isOfAccepted)) {
        const counts = own.map(({ rows }) => rows);
        return countText(counts, `accepted ${task ?? split} rows`);
      }
      if (task !== null) return countText(readCounts(`${task}.examples`), `${task} rows`);
      // A trigger that training never shows ends the name: `asr.trigger.NAME`.
      const [other = ''] = /\.trigger\..+$/.exec(named.metric) ?? [];
      return measuredRows(named).map((rows) =>
        countText(
          readCounts(`${split === 'test' ? 'test_' : ''}${ROW_COUNTS[rows]}${other}`),
          ROW_NAMES[rows](split),
        ),
      );
    });
  return list(distinct(texts));
}

const metricLabel = (field: string): string => noteOf(parseMetricName(field))?.label ?? field;

const MOST = 12;

/** Returns the sentence `LEAD NAME: TEXT; NAME: TEXT.` in a list, or [] without groups. */
function listGroups(lead: string, groups: readonly (readonly [name: string, text: string])[]) {
  if (groups.length === 0) return [];
  const texts = groups.slice(0, MOST).map(([name, text]) => `${name}: ${text}`);
  const more = groups.length > MOST ? `; and ${groups.length - MOST} more, in the CSV` : '';
  return [`${lead} ${texts.join('; ')}${more}.`];
}

/** Says what chooses (metric, axes, bounds, rows), and on which rows the shown `fields` are. */
function ruleText(
  envelope: Envelope,
  cells: readonly ReportCell[],
  fields: readonly string[],
): readonly string[] {
  const { over, choose: most, by, where = {}, selectionSeeds } = envelope;
  const bounds = Object.entries(where).map(([field, { min, max }]) =>
    min !== undefined && max !== undefined
      ? `${metricLabel(field)} from ${plainValue(min)} to ${plainValue(max)}`
      : `${metricLabel(field)} ${min === undefined ? `≤ ${plainValue(max ?? NaN)}` : `≥ ${plainValue(min)}`}`,
  );
  const seeds =
    selectionSeeds === undefined
      ? 'the seeds'
      : `${selectionSeeds.length === 1 ? 'seed' : 'seeds'} ${list(selectionSeeds.map(String))} alone`;
  const isOfTest = (field: string): boolean =>
    hasTestRows(parseMetricName(field)) && field.startsWith('evaluate.test_');
  const chosenOn = rowsText(cells, 'validation', decidingIn(envelope)),
    shownOn = rowsText(cells, 'test', fields.filter(isOfTest)),
    others = fields.filter((field) => !isOfTest(field));
  return [
    `The ${most} ${metricLabel(by)}${bounds.length === 0 ? '' : ` with ${list(bounds)}`} over ` +
      `${list(over.map((path) => (path.includes('.') ? axisName(path) : path)))}, chosen by the ` +
      `mean over ${seeds}${chosenOn && ` on ${chosenOn}`}` +
      `${shownOn && `; the numbers are of ${shownOn}`}.`,
    ...(others.length === 0 ? [] : [`Not of test rows: ${list(others.map(metricLabel))}.`]),
  ];
}

const SAME_SEEDS =
  'The seeds that chose are the seeds that are shown, so a lucky training still counts; ' +
  'selection_seeds takes that out.';

/**
 * Throws a UserFault if the entry would show the very numbers by which the envelope chose. With
 * selection seeds no entry does, because other seeds are shown.
 */
function checkShown(envelope: Envelope, fields: readonly string[]): void {
  const shownDecider = decidingIn(envelope).find(
    (field) =>
      !hasTestRows(parseMetricName(field)) &&
      [field, metricName(onTest(parseMetricName(field)))].some((name) => fields.includes(name)),
  );
  if (shownDecider !== undefined && envelope.selectionSeeds === undefined)
    throw new UserFault(
      `its envelope chooses by ${shownDecider}, which test rows do not measure anew, so that the ` +
        'number shown would be the one that was chosen for',
      'give selection_seeds, and the other seeds are shown',
    );
}

/**
 * Returns the full fine-tunings among which the partner of a shown condition is chosen, with which
 * it is compared. A partner is not shown itself, so it must match the patterns `cells` only on the
 * axes that are chosen over.
 */
function partnerCandidates(
  { over }: Envelope,
  conditions: readonly Condition[],
  cells: FigureEntry['cells'],
): readonly Condition[] {
  const full = byName(conditions).filter(isFull),
    ofBase = full.some((one) => one.ofBase !== null);
  const narrowed = cells?.map((pattern) =>
    Object.fromEntries(Object.entries(pattern).filter(([path]) => isNamed(over, path, ofBase))),
  );
  return chooseConditions(full, narrowed);
}

/**
 * Chooses one condition in each group of conditions that differ only in the axes `over`.
 * @param fields the metrics that the entry shows
 * @throws UserFault if `checkShown` does
 */
export function chooseByEnvelope(
  envelope: Envelope,
  fields: readonly string[],
  {
    conditions,
    stages,
  }: { readonly conditions: readonly Condition[]; stages: readonly StageFacts[] },
  { cells, against }: Pick<FigureEntry, 'cells' | 'against'>,
): Enveloped {
  checkShown(envelope, fields);
  const axesKey = ({ axes }: { readonly axes: JsonObject }): string => contentKey(axes);
  const groupsIn = (from: readonly Condition[]) =>
    [...groupBy(from, (one) => contentKey(axesNotChosenOver(envelope, one))).values()].flatMap(
      (group) => chooseInGroup(envelope, group) ?? [],
    );
  const candidates = chooseConditions(byName(conditions), cells),
    groups = groupsIn(candidates),
    ownKeys = new Set(groups.map(axesKey));
  // A partner need not match `cells`.
  const partnerGroups =
    against === 'full'
      ? groupsIn(partnerCandidates(envelope, conditions, cells)).filter(
          (group) => !group.isEmpty && !ownKeys.has(axesKey(group)),
        )
      : [];
  const byKey = new Map([...groups, ...partnerGroups].map((group) => [axesKey(group), group]));
  const all = conditionsOf(
    [...byKey.values()].flatMap((group) => group.cells),
    stages,
  );
  // `isOwn`: whether the entry asks for a condition, so that it is not only a partner. `isChosen`:
  // whether a condition could be chosen in its group.
  const isOwn = (one: Condition): boolean => ownKeys.has(axesKey(one)),
    isChosen = (one: Condition): boolean => byKey.get(axesKey(one))?.isEmpty === false;
  const chosen = all.filter(isChosen),
    shown = chosen.filter(isOwn),
    partners = distinct(adapterPairs(chosen).map(({ full }) => full)).filter((one) => !isOwn(one));
  const notChosen = all.filter((one) => !isChosen(one));
  const explain = (one: Condition): string => byKey.get(axesKey(one))?.text ?? '';
  // Returns the name of each condition, with what `explain` says of it.
  const nameAndText = (some: readonly Condition[]): (readonly [string, string])[] =>
    some.map((one) => [[one.adapterLabel, blockLabel(one)].join(', '), explain(one)]);
  const used = candidates.flatMap((condition) => condition.cells),
    measured = new Set(used.flatMap(({ metrics }) => Object.keys(metrics['evaluate'] ?? {})));
  const deciding = decidingIn(envelope);
  // Returns the metric on test rows. If no cell has it there, as with a metric of a task, returns
  // the metric as asked for, unless the envelope decides by it: numbers that chose are never shown.
  const shownAs = (field: string): string => {
    const test = onTest(parseMetricName(field)),
      isOnTest = measured.has(test.metric) || deciding.includes(field);
    return hasTestRows(test) && isOnTest ? metricName(test) : field;
  };
  return {
    conditions: shown,
    partners,
    empty: notChosen.map((condition) => ({ condition, reason: explain(condition) })),
    deciding,
    notes: [
      ...ruleText(envelope, used, fields.map(shownAs)),
      ...(envelope.selectionSeeds ? [] : [SAME_SEEDS]),
      ...listGroups('Chosen:', nameAndText([...shown, ...partners])),
      ...listGroups('No point can be chosen:', nameAndText(notChosen)),
    ],
    shown: shownAs,
  };
}
