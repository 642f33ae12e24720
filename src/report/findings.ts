/** The findings of the first screen: sentences and tables that say no more than the data. */
import { summarise } from '../base/stats.ts';
import type { AdapterComparison, Comparison, Comparisons } from './comparisons.ts';
import {
  type Condition,
  headlineBlocks,
  labelsLeftOut,
  scoreOf,
  seriesOf,
  summaryOf,
  voidReasons,
} from './conditions.ts';
import { defenceFinding } from './defences.ts';
import { DAGGER, daggerText } from './evidence.ts';
import { checkpointName } from './fisher.ts';
import { formatDifference, formatNumber, formatSigned, list, type NumberKind } from './format.ts';
import { distinct, type NonEmpty } from './groups.ts';
import { blockLabel } from './labels.ts';
import {
  ACCURACY,
  ASR,
  ASR_BEFORE,
  ASR_CLEAN,
  ASR_UNTRIGGERED,
  DROP,
  DROP_BEFORE,
  type MetricNote,
} from './metrics.ts';
import { type PremiseRow, premiseRows } from './theory.ts';
import type { AttackFamily } from './types.ts';
import type { Verdict } from './verdict.ts';

const MOST_ADAPTERS = 4,
  MOST_BESIDE = 5;
/** Models whose mean clean accuracies are further apart than this are not equally trained. */
const UNEQUAL = 0.05;

export interface FindingRow {
  readonly label: string;
  readonly values: readonly string[];
  /** `+0.020 [−0.130, +0.170]`; null if there is no difference. */
  readonly difference: string | null;
  /** The number of pairs behind the difference; 0 if there is none. */
  readonly n: number;
  /** How many pairs are not evidence, and why: `1 excluded: LoRA predicts …`; '' for none. */
  readonly excluded: string;
  readonly verdict: Verdict | null;
}

export interface Finding {
  readonly topic: string;
  /** What the table does not say; empty if there is nothing to add. */
  readonly sentence: string;
  /** The titles of the rows' `values`. */
  readonly columns: readonly string[];
  /** What a row's difference compares; empty if there is no difference. */
  readonly comparison: string;
  /** The paper's claim, in words; null if it makes none. */
  readonly claim: string | null;
  readonly rows: readonly FindingRow[];
  /** How many more conditions and comparisons the first screen has no room for. */
  readonly more: number;
  /** Where the page says more: the id of a heading, and its text. */
  readonly see?: { readonly id: string; readonly title: string };
}

/** Returns a row's texts on a comparison; empty ones if there is no comparison. */
function comparisonFields(comparison: Comparison | undefined, kind: NumberKind) {
  if (comparison === undefined) return { difference: null, n: 0, excluded: '', verdict: null };
  const { difference: d, excluded, reasons, verdict } = comparison;
  return {
    difference: d === null ? null : formatDifference(d, kind),
    n: d?.n ?? 0,
    excluded: excluded === 0 ? '' : `${excluded} excluded: ${reasons.join('; ')}`,
    verdict,
  };
}

/** Names the conditions that lack a metric because all their seeds failed; '' without any. */
function failuresText(block: readonly Condition[], metric: MetricNote): string {
  const lost = block.filter((condition) => {
    const { summary, failed } = seriesOf(condition, scoreOf(metric));
    return summary === null && failed > 0;
  });
  if (lost.length === 0) return '';
  const names = distinct(
    lost.map(({ adapterLabel }) => (adapterLabel === 'full' ? 'full fine-tuning' : adapterLabel)),
  );
  return `Every seed failed with ${list(names.slice(0, MOST_ADAPTERS))}.`;
}

interface ScoreQuestion {
  readonly topic: string;
  readonly sentence: string;
  readonly claim: string | null;
  readonly metric: MetricNote;
  /** Metrics that are shown beside the main one if any condition has them. */
  readonly beside?: readonly MetricNote[];
}

/**
 * Shows a block's means of a metric, and how adapters differ; null if no condition has the metric.
 */
function scoreFinding(
  { topic, sentence, claim, metric, beside = [] }: ScoreQuestion,
  block: readonly Condition[],
  comparisons: readonly AdapterComparison[],
): Finding | null {
  // Writes the mean with its mark; null if no seed has the metric.
  const meanText = (condition: Condition, note: MetricNote): string | null => {
    const summary = summaryOf(condition, note);
    if (summary === null) return null;
    const mark = voidReasons(condition, note).size > 0 ? ` ${DAGGER}` : '';
    return `${formatNumber(summary.mean, note.kind)}${mark}`;
  };
  const having = block.filter((condition) => meanText(condition, metric) !== null);
  if (having.length === 0) return null;
  const columns = [metric, ...beside].filter((note) =>
    having.some((condition) => meanText(condition, note) !== null),
  );
  const compared = comparisons.filter(
    (comparison) => comparison.metric === metric && block.includes(comparison.adapter),
  );
  // With several full fine-tunings, each comparison needs a separate row.
  const isSeveralFull = distinct(compared.map(({ full }) => full)).length > 1;
  const shown = having.slice(0, MOST_ADAPTERS + 1);
  const comparisonRows = isSeveralFull ? compared.slice(0, MOST_ADAPTERS) : [];
  const comparisonOf = (condition: Condition): AdapterComparison | undefined =>
    isSeveralFull ? undefined : compared.find(({ adapter }) => adapter === condition);
  const dagger = daggerText(
    shown.flatMap((condition) =>
      columns.flatMap((note) => [...voidReasons(condition, note).values()]),
    ),
  );
  return {
    topic,
    sentence: [sentence, failuresText(block, metric), dagger && `${DAGGER} ${dagger}`]
      .filter(Boolean)
      .join(' '),
    columns: columns.map(({ label }) => label),
    comparison: compared.length === 0 ? '' : 'adapter − full',
    claim: compared.length === 0 ? null : claim,
    rows: [
      ...shown.map((condition) => ({
        label: condition.adapterLabel,
        values: columns.map((note) => meanText(condition, note) ?? '–'),
        ...comparisonFields(comparisonOf(condition), metric.kind),
      })),
      ...comparisonRows.map((comparison) => ({
        label: `${comparison.adapter.adapterLabel} − ${comparison.full.adapterLabel}`,
        values: columns.map(() => ''),
        ...comparisonFields(comparison, metric.kind),
      })),
    ],
    more:
      having.length - shown.length + (isSeveralFull ? compared.length - comparisonRows.length : 0),
  };
}

/** Returns findings; null for what was not measured. */
type FindingsOf = (
  conditions: readonly Condition[],
  comparisons: Comparisons,
) => readonly (Finding | null)[];

/** Returns a function that makes a finding of each headline block of a family. */
const forEachBlock =
  (
    family: AttackFamily,
    question: (
      block: NonEmpty<Condition>,
      comparisons: readonly AdapterComparison[],
    ) => ScoreQuestion,
  ): FindingsOf =>
  (conditions, { adapters }) => {
    const beside = labelsLeftOut(conditions, family);
    return headlineBlocks(conditions, family).map((block, i) => {
      const asked = question(block, adapters),
        sentence = `${asked.sentence} ${notShownText(beside[i])}`.trim();
      return scoreFinding({ ...asked, sentence }, block, adapters);
    });
  };

/** Says which blocks the first screen leaves out; '' if none. */
function notShownText(labels: readonly string[] = []): string {
  if (labels.length === 0) return '';
  const named = labels.slice(0, MOST_BESIDE),
    more = labels.length - named.length;
  const all = more === 0 ? named : [...named, `${more} more`];
  return `Not shown here, but in Results: ${all.join('; ')}.`; // labels contain commas
}

const cleanAccuracy = forEachBlock('none', (block, comparisons) => {
  const gaps = comparisons
    .filter(({ metric, adapter }) => metric === ACCURACY && block.includes(adapter))
    .map(({ difference }) => Math.abs(difference?.mean ?? 0));
  const gap = Math.max(0, ...gaps);
  return {
    topic: 'Clean accuracy, no attack',
    sentence:
      gap > UNEQUAL
        ? `They differ by up to ${formatNumber(gap, 'proportion')}: an adapter that has learnt ` +
          'less of its task may also have learnt less of the poison.'
        : '',
    claim: null,
    metric: ACCURACY,
  };
});

const AFTER_BASE = 'Measured after further training on clean rows.';

const untargeted = forEachBlock('untargeted', ([first]) => ({
  topic: `Untargeted: ${blockLabel(first)}`,
  sentence: first.ofBase ? AFTER_BASE : '',
  claim: first.unclaimed ? null : 'LoRA loses more accuracy',
  metric: DROP,
  beside: [ACCURACY, DROP_BEFORE],
}));

const backdoors = forEachBlock('backdoor', ([first]) => ({
  topic: `Backdoor: ${blockLabel(first)}`,
  sentence: first.ofBase ? AFTER_BASE : '',
  claim: first.unclaimed ? null : 'LoRA has the lower ASR',
  metric: ASR,
  beside: [ASR_CLEAN, ASR_UNTRIGGERED, ASR_BEFORE],
}));

/** Says whether the theorem's premise holds for these runs, and whether M_Δ ⪯ 0. */
const premise: FindingsOf = (conditions) => {
  const rows = premiseRows(conditions);
  const [first] = rows;
  if (first === undefined) return [];
  const broken = rows.filter(({ withScale }) => !withScale);
  const largest = rows.reduce((most, row) => (row.scaled > most.scaled ? row : most), first);
  const top = (row: PremiseRow): number => (row.measured ?? row.predicted).high;
  const highest = rows.reduce((most, row) => (top(row) > top(most) ? row : most), first);
  const names = distinct(
    broken.map(({ adapter, scaled }) => `${adapter} (${formatNumber(scaled)})`),
  ).slice(0, MOST_ADAPTERS);
  const holds =
    broken.length === 0
      ? `The premise s²σ²n < 1 holds for every adapter (at most ${formatNumber(largest.scaled)}).`
      : `The premise s²σ²n < 1 is broken by ${list(names)}: the theorem says nothing about ` +
        `${broken.length === rows.length ? 'these runs' : 'those'}.`;
  const source = highest.measured ? 'measured' : 'predicted';
  const eigenvalue =
    `The largest eigenvalue of M_Δ is ${formatSigned(top(highest))} ` +
    `(${source}, ${highest.adapter}), so it is ` +
    (top(highest) <= 0 ? 'negative semi-definite throughout.' : 'not negative semi-definite.');
  return [
    {
      topic: 'The theorem’s premise',
      sentence: `${holds} ${eigenvalue}`,
      columns: [],
      comparison: '',
      claim: null,
      rows: [],
      more: 0,
    },
  ];
};

/**
 * Compares quantities of LoRA's kernel with the full one at the last checkpoint, for the first
 * block that has them.
 * @param noun what the quantities are; begins the finding's sentence
 * @param ids the ids of the quantities
 */
const forKernels =
  (topic: string, noun: string, claim: string, ids: readonly string[]): FindingsOf =>
  (conditions, { kernels }) => {
    const checkpoint = kernels.at(-1)?.checkpoint; // kernels are in the order of training
    if (checkpoint === undefined) return [];
    const wanted = kernels.filter(
      (one) =>
        one.condition.adapter === 'lora' &&
        one.checkpoint === checkpoint &&
        ids.includes(one.quantity.id),
    );
    const first = conditions.find((condition) => wanted.some((one) => one.condition === condition));
    if (!first) return [];
    const of = wanted.filter(({ condition }) => blockLabel(condition) === blockLabel(first));
    const adapters = distinct(of.map(({ condition }) => condition)).slice(0, MOST_ADAPTERS);
    const shown = of.filter(({ condition }) => adapters.includes(condition));
    const mean = (values: readonly number[]): string =>
      values.length === 0 ? '–' : formatNumber(summarise(values).mean);
    const sentence =
      `${noun} ${checkpointName(checkpoint)} (${blockLabel(first)}), ` +
      'over the same layers at the same weights.';
    return [
      {
        topic,
        claim,
        columns: ['LoRA’s kernel', 'full kernel'],
        comparison: 'LoRA − full, nats',
        sentence,
        rows: shown.map((one) => ({
          label: `${one.condition.adapterLabel}, ${one.quantity.label}`,
          values: [mean(one.a), mean(one.b)],
          ...comparisonFields(one, 'plain'),
        })),
        more: wanted.length - shown.length,
      },
    ];
  };

const FINDINGS: readonly FindingsOf[] = [
  cleanAccuracy,
  untargeted,
  backdoors,
  (conditions) => [defenceFinding(conditions)],
  premise,
  forKernels(
    'Information bits',
    'Information bits of the Fisher information',
    'LoRA’s are at most those in full',
    ['information_bits', 'information_bits_normalised'],
  ),
  forKernels(
    'Rényi entropy',
    'Rényi entropy of the Fisher spectrum',
    'LoRA’s is at most that in full',
    ['renyi_raw_0.5', 'renyi_raw_2', 'renyi_normalised_0.5', 'renyi_normalised_2'],
  ),
];

/**
 * Returns the findings in the order of FINDINGS, without those that nothing was measured for.
 * @param theorem whether the findings include the theorem's premise
 */
export const findingsOf = (
  conditions: readonly Condition[],
  comparisons: Comparisons,
  theorem: boolean,
): readonly Finding[] =>
  FINDINGS.filter((find) => theorem || find !== premise)
    .flatMap((find) => find(conditions, comparisons))
    .filter((finding) => finding !== null);
