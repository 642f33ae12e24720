/** The first screen: what these runs showed, in sentences with their numbers. Nothing here goes beyond the data. */
import {
  checkpointName,
  compareAdapters,
  compareKernels,
  fisherOf,
  type AdapterComparison,
  type KernelComparison,
} from './compare.ts';
import {
  blockLabel,
  distinct,
  doseUnit,
  isFull,
  metricOf,
  numericAxis,
  seriesOf,
  type Condition,
} from './conditions.ts';
import {
  formatInterval,
  formatMean,
  formatNumber,
  formatSigned,
  list,
  plural,
  type NumberKind,
} from './format.ts';
import { ACCURACY, ASR, ASR_BEFORE, ASR_CLEAN, DROP, type MetricNote } from './metrics.ts';
import { premiseRows, type PremiseRow } from './premise.ts';
import { SEEDS_NEEDED, type Verdict } from './verdict.ts';

const MOST_ADAPTERS = 4;
const MOST_UNTARGETED = 2;
const MOST_BACKDOORS = 3;
/** Mean clean accuracies further apart than this are not those of equally trained models. */
const UNEQUAL = 0.05;

export interface FindingRow {
  readonly label: string;
  /** The two means that are compared, where the sentence doesn't have them. */
  readonly means: string | null;
  /** `+0.020 [−0.130, +0.170]` */
  readonly difference: string;
  readonly n: number;
  readonly verdict: Verdict | null;
}

export interface Finding {
  readonly topic: string;
  readonly sentence: string;
  /** What a row's difference is of; empty where there is none. */
  readonly comparison: string;
  /** What the slides claim of it, in words; null where they claim nothing. */
  readonly claim: string | null;
  readonly rows: readonly FindingRow[];
  /** Comparisons of this kind that the first screen has no room for. */
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

/** A family's conditions as blocks (one attack at one dose and one setting): of each attack the highest dose. */
function blocksOf(
  conditions: readonly Condition[],
  family: Condition['family'],
  most: number,
): readonly (readonly Condition[])[] {
  const having = conditions.filter((condition) => condition.family === family);
  const attacks = distinct(having.map(({ attack }) => attack)).slice(0, most);
  return attacks
    .map((attack) => {
      const of = having.filter(
        (condition) => condition.attack === attack && condition.setting === having[0]!.setting,
      );
      const dose = (condition: Condition): number =>
        Object.keys(condition.axes).reduce(
          (sum, path) => sum + (doseUnit(path) === null ? 0 : (numericAxis(condition, path) ?? 0)),
          0,
        );
      const top = of.reduce<Condition | null>(
        (best, condition) => (best === null || dose(condition) > dose(best) ? condition : best),
        null,
      );
      return top === null
        ? []
        : of.filter((condition) => blockLabel(condition) === blockLabel(top));
    })
    .filter((block) => block.length > 0);
}

const difference = (
  { difference: d }: Pick<AdapterComparison, 'difference'>,
  kind: NumberKind,
): string => `${formatMean(d!, kind)} ${formatInterval(d!, kind)}`;

/** `0.950 with full fine-tuning, 0.940 with LoRA r = 4 and 0.945 with LoRA r = 16` */
function values(block: readonly Condition[], metric: MetricNote): string {
  const said = block.flatMap((condition) => {
    const { summary } = seriesOf(condition, metricOf(metric.stage, metric.metric));
    return summary === null
      ? []
      : [`${formatNumber(summary.mean, metric.kind)} with ${spoken(condition)}`];
  });
  return list(
    said.length <= MOST_ADAPTERS + 1
      ? said
      : [...said.slice(0, MOST_ADAPTERS), `${said.length - MOST_ADAPTERS} more`],
  );
}

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
  readonly lead: string;
  readonly end: string;
  readonly claim: string | null;
  readonly metric: MetricNote;
}

function scoreFinding(
  { topic, lead, end, claim, metric }: ScoreQuestion,
  block: readonly Condition[],
  comparisons: readonly AdapterComparison[],
): Finding | null {
  const said = values(block, metric);
  if (said === '') return null;
  const of = comparisons.filter(
    (comparison) => comparison.metric === metric && block.includes(comparison.adapter),
  );
  const severalFull = distinct(of.map(({ full }) => full)).length > 1;
  return {
    topic,
    sentence: `${lead} ${said}${end}.${failures(block, metric)}`,
    comparison: of.length === 0 ? '' : `${metric.label}, adapter − full`,
    claim: of.length === 0 ? null : claim,
    rows: of.slice(0, MOST_ADAPTERS).map((comparison) => ({
      label: severalFull
        ? `${comparison.adapter.adapterLabel} − ${comparison.full.adapterLabel}`
        : comparison.adapter.adapterLabel,
      means: null,
      difference: difference(comparison, metric.kind),
      n: comparison.difference!.n,
      verdict: comparison.verdict,
    })),
    more: Math.max(0, of.length - MOST_ADAPTERS),
  };
}

/** `lower for LoRA r = 4, higher for LoRA r = 16` */
function order(of: readonly KernelComparison[]): string {
  const said = (
    [
      [-1, 'lower'],
      [1, 'higher'],
      [0, 'equal'],
    ] as const
  ).flatMap(([sign, word]) => {
    const who = of
      .filter(({ difference: d }) => Math.sign(d!.mean) === sign)
      .map(({ condition }) => condition.adapterLabel);
    return who.length === 0
      ? []
      : [
          who.length === of.length && who.length > 1
            ? `${word} for every adapter`
            : `${word} for ${list(who)}`,
        ];
  });
  return said.join(', ');
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
  const orders = ids.flatMap((id) => {
    const some = shown.filter(({ quantity }) => quantity.id === id);
    return some.length === 0 ? [] : [`${some[0]!.quantity.label} is ${order(some)}`];
  });
  const mean = (k: KernelComparison, which: 'lora' | 'full'): string =>
    formatNumber(seriesOf(k.condition, fisherOf(k.quantity, checkpoint, which)).summary?.mean);
  return {
    topic,
    claim,
    comparison: 'LoRA’s kernel against the full one, in nats',
    sentence: `${noun} ${checkpointName(checkpoint)} (${blockLabel(first)}), LoRA’s kernel against the same layers in full at the same weights. ${orders.join('; ')}.`,
    rows: shown.map((k) => ({
      label: `${k.condition.adapterLabel}, ${k.quantity.label}`,
      means: `${mean(k, 'lora')} against ${mean(k, 'full')}`,
      difference: difference(k, 'plain'),
      n: k.difference!.n,
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
  for (const block of blocksOf(conditions, 'none', 1)) {
    const gap = Math.max(
      0,
      ...adapters
        .filter(({ metric, adapter }) => metric === ACCURACY && block.includes(adapter))
        .map(({ difference: d }) => Math.abs(d!.mean)),
    );
    const end =
      gap > UNEQUAL
        ? `. They differ by up to ${formatNumber(gap, 'proportion')}: an adapter that has learnt less of its task may also have learnt less of the poison`
        : '';
    found.push(
      scoreFinding(
        {
          topic: 'Clean accuracy',
          lead: 'Without attack, clean accuracy was',
          end,
          claim: null,
          metric: ACCURACY,
        },
        block,
        adapters,
      ),
    );
  }
  for (const block of blocksOf(conditions, 'untargeted', MOST_UNTARGETED)) {
    const name = blockLabel(block[0]!);
    const ofBase = block[0]!.ofBase;
    found.push(
      scoreFinding(
        {
          topic: `Untargeted: ${name}`,
          lead: `${ofBase ? `After training on clean rows, of ${name},` : `Under ${name},`} clean accuracy fell by`,
          end: '',
          claim: ofBase ? null : 'LoRA loses more accuracy',
          metric: DROP,
        },
        block,
        adapters,
      ),
    );
  }
  for (const block of blocksOf(conditions, 'backdoor', MOST_BACKDOORS)) {
    const name = blockLabel(block[0]!),
      clean = values(block, ASR_CLEAN);
    const end =
      clean === '' ? '' : `. The trigger alone, on the paired clean models, gives ${clean}`;
    const ofBase = block[0]!.ofBase,
      before = ofBase ? values(block, ASR_BEFORE) : '';
    found.push(
      scoreFinding(
        {
          topic: `Backdoor: ${name}`,
          lead: `${ofBase ? `After training on clean rows, under the trigger of ${name},` : `Under ${name},`} the attack success rate (ASR) was`,
          end: `${before === '' ? '' : `; in the base it had been ${before}`}${end}`,
          claim: ofBase ? null : 'LoRA has the lower ASR',
          metric: ASR,
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
  readonly headline: string;
  readonly detail: string;
}

/** `LoRA has the lower ASR: refuted in 2 of 3 comparisons, undecided in 1` */
function tally(claim: string, verdicts: readonly Verdict[]): string {
  const counts = (['held', 'refuted', 'undecided'] as const)
    .map((state) => ({
      state,
      count: verdicts.filter((verdict) => verdict.state === state).length,
    }))
    .filter(({ count }) => count > 0);
  if (counts.length === 1)
    return `${claim}: ${counts[0]!.state}${verdicts.length > 1 ? ` in all ${verdicts.length} comparisons` : ''}`;
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
      headline: 'Undecided: this grid holds no LoRA and full fine-tuning side by side.',
      detail: 'It has nothing to say on which is hurt more.',
    };
  }
  const attacked = conditions.filter(({ family }) => family !== 'none');
  if (attacked.length > 0 && attacked.every(({ ofBase }) => ofBase)) {
    return {
      headline:
        'No verdict: the slides claim nothing of a poisoned base that is trained on clean rows.',
      detail: 'How much each adapter keeps of the attack is below, with intervals over seeds.',
    };
  }
  if (seeds < SEEDS_NEEDED) {
    return {
      headline: `Undecided (n = ${plural(seeds, 'seed')}; verdict needs ≥ ${SEEDS_NEEDED}).`,
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
  const said = (claims: readonly (readonly [string, readonly Verdict[]])[]): string =>
    claims
      .filter(([, verdicts]) => verdicts.length > 0)
      .map(([claim, verdicts]) => `${tally(claim, verdicts)}.`)
      .join(' ');
  return {
    headline:
      said([
        ['Backdoors, “LoRA has the lower ASR”', of(ASR)],
        ['Untargeted, “LoRA loses more accuracy”', of(DROP)],
      ]) || 'Undecided: no attack of this grid has results for both.',
    detail: said([
      ['“LoRA’s information bits and entropies are at most the full ones”, raw', kernel(true)],
      ['The same, normalised', kernel(false)],
    ]),
  };
}
