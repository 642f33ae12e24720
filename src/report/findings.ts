/** The first screen: what these runs showed, in sentences with their numbers. Nothing here goes beyond the data. */
import { summarise } from '../stats/summary.ts';
import { headlineBlocks } from './blocks.ts';
import {
  type AdapterComparison,
  checkpointName,
  compareAdapters,
  compareKernels,
  type KernelComparison,
} from './compare.ts';
import { blockLabel, type Condition, distinct, isFull, metricOf, seriesOf } from './conditions.ts';
import { predictsOneClass } from './evidence.ts';
import {
  formatInterval,
  formatMean,
  formatNumber,
  formatSigned,
  list,
  type NumberKind,
  plural,
} from './format.ts';
import {
  ACCURACY,
  ASR,
  ASR_BEFORE,
  ASR_CLEAN,
  ASR_UNTRIGGERED,
  DROP,
  type MetricNote,
} from './metrics.ts';
import { type PremiseRow, premiseRows } from './premise.ts';
import { SEEDS_NEEDED, type Verdict } from './verdict.ts';

const MOST_ADAPTERS = 4;
/** Mean clean accuracies further apart than this are not those of equally trained models. */
const UNEQUAL = 0.05;

export interface FindingRow {
  readonly label: string;
  /** One a column. */
  readonly values: readonly string[];
  /** `+0.020 [−0.130, +0.170]`; null where there is none. */
  readonly difference: string | null;
  /** Whole pairs that it is of. */
  readonly n: number;
  /** Why pairs are no evidence: `1 excluded: LoRA predicts one class only`; empty where none is. */
  readonly excluded: string;
  readonly verdict: Verdict | null;
}

export interface Finding {
  readonly topic: string;
  /** What the table does not say; empty where that is nothing. */
  readonly sentence: string;
  /** Titles of the rows' values. */
  readonly columns: readonly string[];
  /** What a row's difference is of; empty where there is none. */
  readonly comparison: string;
  /** What the paper claims of it, in words; null where it claims nothing. */
  readonly claim: string | null;
  readonly rows: readonly FindingRow[];
  /** Conditions and comparisons of this kind that the first screen has no room for. */
  readonly more: number;
}

export interface Comparisons {
  readonly adapters: readonly AdapterComparison[];
  readonly kernels: readonly KernelComparison[];
}

export const compareAll = (conditions: readonly Condition[]): Comparisons => ({
  adapters: compareAdapters(conditions),
  kernels: compareKernels(conditions),
});

const difference = (
  { difference: d }: Pick<AdapterComparison, 'difference'>,
  kind: NumberKind,
): string | null => (d === null ? null : `${formatMean(d, kind)} ${formatInterval(d, kind)}`);

const excludedText = ({
  excluded,
  reasons,
}: Pick<AdapterComparison, 'excluded' | 'reasons'>): string =>
  excluded === 0 ? '' : `${excluded} excluded: ${reasons.join('; ')}`;

/** Said of a metric that no seed of a condition has because all of them failed. */
function failures(block: readonly Condition[], metric: MetricNote): string {
  const lost = block.filter((condition) => {
    const { summary, failed } = seriesOf(condition, metricOf(metric.stage, metric.metric));
    return summary === null && failed > 0;
  });
  return lost.length === 0
    ? ''
    : ` Every seed failed with ${list(distinct(lost.map(spoken)).slice(0, MOST_ADAPTERS))}.`;
}

const spoken = (condition: Condition): string =>
  condition.adapterLabel === 'full' ? 'full fine-tuning' : condition.adapterLabel;

interface ScoreQuestion {
  readonly topic: string;
  readonly sentence: string;
  readonly claim: string | null;
  readonly metric: MetricNote;
  /** Shown beside it, where any condition has them. */
  readonly beside?: readonly MetricNote[];
}

function scoreFinding(
  { topic, sentence, claim, metric, beside = [] }: ScoreQuestion,
  block: readonly Condition[],
  comparisons: readonly AdapterComparison[],
): Finding | null {
  const mean = (condition: Condition, { stage, metric: name, kind }: MetricNote): string | null => {
    const { summary } = seriesOf(condition, metricOf(stage, name));
    return summary === null ? null : formatNumber(summary.mean, kind);
  };
  const having = block.filter((condition) => mean(condition, metric) !== null);
  if (having.length === 0) return null;
  const columns = [metric, ...beside].filter((note) =>
    having.some((condition) => mean(condition, note) !== null),
  );
  const of = comparisons.filter(
    (comparison) => comparison.metric === metric && block.includes(comparison.adapter),
  );
  const isSeveralFull = distinct(of.map(({ full }) => full)).length > 1;
  const compared = (comparison: AdapterComparison | undefined) => ({
    difference: comparison === undefined ? null : difference(comparison, metric.kind),
    n: comparison?.difference?.n ?? 0,
    excluded: comparison === undefined ? '' : excludedText(comparison),
    verdict: comparison?.verdict ?? null,
  });
  const shown = having.slice(0, MOST_ADAPTERS + 1);
  const rows = shown.map((condition): FindingRow => ({
    label: condition.adapterLabel,
    values: columns.map((note) => mean(condition, note) ?? '–'),
    ...compared(isSeveralFull ? undefined : of.find(({ adapter }) => adapter === condition)),
  }));
  const apart = isSeveralFull ? of.slice(0, MOST_ADAPTERS) : [];
  return {
    topic,
    sentence: `${sentence}${failures(block, metric)}`.trim(),
    columns: columns.map(({ label }) => label),
    comparison: of.length === 0 ? '' : 'adapter − full',
    claim: of.length === 0 ? null : claim,
    rows: [
      ...rows,
      ...apart.map((comparison): FindingRow => ({
        label: `${comparison.adapter.adapterLabel} − ${comparison.full.adapterLabel}`,
        values: columns.map(() => ''),
        ...compared(comparison),
      })),
    ],
    more: having.length - shown.length + (isSeveralFull ? of.length - apart.length : 0),
  };
}

interface KernelQuestion {
  readonly topic: string;
  readonly noun: string;
  readonly claim: string;
  readonly ids: readonly string[];
}

function kernelFinding(
  { topic, noun, claim, ids }: KernelQuestion,
  conditions: readonly Condition[],
  kernels: readonly KernelComparison[],
): Finding | null {
  const checkpoint = kernels.at(-1)?.checkpoint; // they stand in the order of training
  if (checkpoint === undefined) return null;
  const wanted = kernels.filter((k) => k.checkpoint === checkpoint && ids.includes(k.quantity.id));
  const first = conditions.find((condition) => wanted.some((k) => k.condition === condition));
  if (!first) return null;
  const of = wanted.filter(({ condition }) => blockLabel(condition) === blockLabel(first));
  const adapters = distinct(of.map(({ condition }) => condition)).slice(0, MOST_ADAPTERS);
  const shown = of.filter(({ condition }) => adapters.includes(condition));
  const mean = (values: readonly number[]): string =>
    values.length === 0 ? '–' : formatNumber(summarise(values).mean);
  return {
    topic,
    claim,
    columns: ['LoRA’s kernel', 'full kernel'],
    comparison: 'LoRA − full, nats',
    sentence: `${noun} ${checkpointName(checkpoint)} (${blockLabel(first)}), over the same layers at the same weights.`,
    rows: shown.map((k) => ({
      label: `${k.condition.adapterLabel}, ${k.quantity.label}`,
      values: [mean(k.a), mean(k.b)],
      difference: difference(k, 'plain'),
      n: k.difference?.n ?? 0,
      excluded: excludedText(k),
      verdict: k.verdict,
    })),
    more: wanted.length - shown.length,
  };
}

/** Whether the theorem speaks about these runs at all: broken premises first, so that they are seen at a glance. */
function premiseFinding(conditions: readonly Condition[]): Finding | null {
  const rows = premiseRows(conditions);
  if (rows.length === 0) return null;
  const broken = rows.filter(({ withScale }) => !withScale);
  const largest = rows.reduce((most, row) => (row.scaled > most.scaled ? row : most));
  const top = (row: PremiseRow): number => (row.measured ?? row.predicted).high;
  const highest = rows.reduce((most, row) => (top(row) > top(most) ? row : most));
  const eigenvalue = `The largest eigenvalue of M_Δ is ${formatSigned(top(highest))} (${highest.measured ? 'measured' : 'predicted'}, ${highest.adapter}), so it is ${top(highest) <= 0 ? '' : 'not '}negative semi-definite${top(highest) <= 0 ? ' throughout' : ''}.`;
  return {
    topic: 'The theorem’s premise',
    columns: [],
    comparison: '',
    claim: null,
    rows: [],
    more: 0,
    sentence: `${
      broken.length === 0
        ? `The premise s²σ²n < 1 holds for every adapter (at most ${formatNumber(largest.scaled)}).`
        : `The premise s²σ²n < 1 is broken by ${list(distinct(broken.map(({ adapter, scaled }) => `${adapter} (${formatNumber(scaled)})`)).slice(0, MOST_ADAPTERS))}: the theorem says nothing of ${broken.length === rows.length ? 'these runs' : 'those'}.`
    } ${eigenvalue}`,
  };
}

export function findingsOf(
  conditions: readonly Condition[],
  { adapters, kernels }: Comparisons,
): readonly Finding[] {
  const found: (Finding | null)[] = [];
  for (const block of headlineBlocks(conditions, 'none')) {
    const gap = Math.max(
      0,
      ...adapters
        .filter(({ metric, adapter }) => metric === ACCURACY && block.includes(adapter))
        .map(({ difference: d }) => Math.abs(d?.mean ?? 0)),
    );
    const sentence =
      gap > UNEQUAL
        ? `They differ by up to ${formatNumber(gap, 'proportion')}: an adapter that has learnt less of its task may also have learnt less of the poison.`
        : '';
    found.push(
      scoreFinding(
        { topic: 'Clean accuracy, no attack', sentence, claim: null, metric: ACCURACY },
        block,
        adapters,
      ),
    );
  }
  const afterBase = 'Measured after further training on clean rows.';
  for (const block of headlineBlocks(conditions, 'untargeted')) {
    const { ofBase } = block[0]!;
    found.push(
      scoreFinding(
        {
          topic: `Untargeted: ${blockLabel(block[0]!)}`,
          sentence: ofBase ? afterBase : '',
          claim: ofBase ? null : 'LoRA loses more accuracy',
          metric: DROP,
          beside: [ACCURACY],
        },
        block,
        adapters,
      ),
    );
  }
  for (const block of headlineBlocks(conditions, 'backdoor')) {
    const { ofBase } = block[0]!;
    found.push(
      scoreFinding(
        {
          topic: `Backdoor: ${blockLabel(block[0]!)}`,
          sentence: ofBase ? afterBase : '',
          claim: ofBase ? null : 'LoRA has the lower ASR',
          metric: ASR,
          beside: [ASR_CLEAN, ASR_UNTRIGGERED, ASR_BEFORE],
        },
        block,
        adapters,
      ),
    );
  }
  found.push(premiseFinding(conditions));
  found.push(
    kernelFinding(
      {
        topic: 'Information bits',
        noun: 'Information bits of the Fisher information',
        claim: 'LoRA’s are at most those in full',
        ids: ['information_bits', 'information_bits_normalised'],
      },
      conditions,
      kernels,
    ),
  );
  found.push(
    kernelFinding(
      {
        topic: 'Rényi entropy',
        noun: 'Rényi entropy of the Fisher spectrum',
        claim: 'LoRA’s is at most that in full',
        ids: ['renyi_raw_0.5', 'renyi_raw_2', 'renyi_normalised_0.5', 'renyi_normalised_2'],
      },
      conditions,
      kernels,
    ),
  );
  return found.filter((finding) => finding !== null);
}

export interface Standing {
  /** A few words a line. */
  readonly headline: readonly string[];
  readonly detail: string;
}

const all = (count: number): string => (count === 2 ? 'both' : `all ${count}`);

/** `LoRA has the lower ASR: refuted in 2 of 3 comparisons, undecided in 1` */
function tally(claim: string, verdicts: readonly Verdict[]): string {
  const counts = (['held', 'refuted', 'undecided'] as const)
    .map((state) => ({
      state,
      count: verdicts.filter((verdict) => verdict.state === state).length,
    }))
    .filter(({ count }) => count > 0);
  if (counts.length === 1)
    return `${claim}: ${counts[0]!.state}${verdicts.length > 1 ? ` in ${all(verdicts.length)} comparisons` : ''}`;
  return `${claim}: ${counts.map(({ state, count }, i) => `${state} in ${count}${i === 0 ? ` of ${verdicts.length} comparisons` : ''}`).join(', ')}`;
}

/** What may be said of the question as a whole, by the verdict rule. */
export function standing(
  conditions: readonly Condition[],
  { adapters, kernels }: Comparisons,
): Standing {
  const seeds = distinct(conditions.flatMap(({ cells }) => cells.map(({ seed }) => seed))).length;
  if (!conditions.some(isFull) || conditions.every(isFull)) {
    return {
      headline: ['Undecided: this grid holds no LoRA and full fine-tuning side by side.'],
      detail: 'It has nothing to say on which is hurt more.',
    };
  }
  const attacked = conditions.filter(({ family }) => family !== 'none');
  if (attacked.length > 0 && attacked.every(({ ofBase }) => ofBase)) {
    return {
      headline: [
        'No verdict: the paper claims nothing of a poisoned base that is trained on clean rows.',
      ],
      detail: 'How much each adapter keeps of the attack is below, with intervals over seeds.',
    };
  }
  const evaluated = attacked.flatMap(({ cells }) =>
    cells.filter(({ metrics }) => metrics['evaluate'] !== undefined),
  );
  if (evaluated.length > 0 && evaluated.every(predictsOneClass)) {
    return {
      headline: ['No evidence: every attacked model predicts one class only.'],
      detail: 'Train longer, or at another learning rate, and look at the clean accuracy first.',
    };
  }
  if (seeds < SEEDS_NEEDED) {
    return {
      headline: [`Undecided (n = ${plural(seeds, 'seed')}; verdict needs ≥ ${SEEDS_NEEDED}).`],
      detail: 'What follows is what these runs showed, no general result.',
    };
  }
  const of = (metric: MetricNote): Verdict[] =>
    adapters.flatMap((comparison) =>
      comparison.metric === metric && comparison.verdict ? [comparison.verdict] : [],
    );
  const kernel = (raw: boolean): Verdict[] =>
    kernels.flatMap(({ quantity, verdict }) =>
      verdict && raw === !quantity.id.includes('normalised') ? [verdict] : [],
    );
  const said = (claims: readonly (readonly [string, readonly Verdict[]])[]): string[] =>
    claims
      .filter(([, verdicts]) => verdicts.length > 0)
      .map(([claim, verdicts]) => `${tally(claim, verdicts)}.`);
  const scores = said([
    ['Backdoors, “LoRA has the lower ASR”', of(ASR)],
    ['Untargeted, “LoRA loses more accuracy”', of(DROP)],
  ]);
  return {
    headline:
      scores.length > 0 ? scores : ['Undecided: no attack of this grid has results for both.'],
    detail: said([
      ['“LoRA’s information bits and entropies are at most the full ones”, raw', kernel(true)],
      ['The same, normalised', kernel(false)],
    ]).join(' '),
  };
}
