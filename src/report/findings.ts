/** The first screen: what these runs showed, in sentences with their numbers. Nothing here goes beyond the data. */
import { checkpointName, compareAdapters, compareKernels, fisherOf, type AdapterComparison, type KernelComparison } from './compare.ts';
import { blockLabel, distinct, isFull, metricOf, numericAxis, seriesOf, type Condition } from './conditions.ts';
import { formatInterval, formatNumber, formatSigned, list, plural, type NumberKind } from './format.ts';
import { ACCURACY, ASR, ASR_CLEAN, DROP, type MetricNote } from './metrics.ts';
import type { Checkpoint } from './types.ts';
import { SEEDS_NEEDED, type Verdict } from './verdict.ts';

const MOST_ADAPTERS = 4;
const MOST_UNTARGETED = 2;
const MOST_BACKDOORS = 3;

export interface FindingRow {
  readonly label: string;
  /** `+0.020 [−0.130, +0.170]` */
  readonly difference: string;
  readonly n: number;
  readonly verdict: Verdict | null;
}

export interface Finding {
  readonly topic: string;
  readonly sentence: string;
  /** What a row's difference is of. */
  readonly comparison: string;
  readonly rows: readonly FindingRow[];
  /** Comparisons of this kind that the first screen has no room for. */
  readonly more: number;
}

export interface Comparisons {
  readonly adapters: readonly AdapterComparison[];
  readonly kernels: readonly KernelComparison[];
}

export const compareAll = (conditions: readonly Condition[]): Comparisons => ({ adapters: compareAdapters(conditions), kernels: compareKernels(conditions) });

/** A family's conditions as blocks (one attack at one dose and one setting): of each attack the highest dose. */
function blocksOf(conditions: readonly Condition[], family: Condition['family'], most: number): readonly (readonly Condition[])[] {
  const having = conditions.filter((condition) => condition.family === family);
  const attacks = distinct(having.map(({ attack }) => attack)).slice(0, most);
  return attacks.map((attack) => {
    const of = having.filter((condition) => condition.attack === attack && condition.setting === having[0]!.setting);
    const dose = (condition: Condition): number => numericAxis(condition, 'poisoning.rate') ?? numericAxis(condition, 'poisoning.count') ?? 0;
    const top = of.reduce<Condition | null>((best, condition) => (best === null || dose(condition) > dose(best) ? condition : best), null);
    return top === null ? [] : of.filter((condition) => blockLabel(condition) === blockLabel(top));
  }).filter((block) => block.length > 0);
}

const difference = ({ difference: d }: Pick<AdapterComparison, 'difference'>, kind: NumberKind): string =>
  `${formatSigned(d!.mean, kind)} ${formatInterval(d!, kind)}`;

/** `0.950 with full fine-tuning, 0.940 with LoRA r = 4 and 0.945 with LoRA r = 16` */
function values(block: readonly Condition[], metric: MetricNote): string {
  const said = block.flatMap((condition) => {
    const { summary, failed } = seriesOf(condition, metricOf(metric.stage, metric.metric));
    if (summary === null) return failed > 0 ? [`no result with ${spoken(condition)} (every seed failed)`] : [];
    return [`${formatNumber(summary.mean, metric.kind)} with ${spoken(condition)}`];
  });
  return list(said.length <= MOST_ADAPTERS + 1 ? said : [...said.slice(0, MOST_ADAPTERS), `${said.length - MOST_ADAPTERS} more`]);
}

const spoken = (condition: Condition): string => (condition.adapterLabel === 'full' ? 'full fine-tuning' : condition.adapterLabel);

function scoreFinding(topic: string, lead: string, end: string, block: readonly Condition[], metric: MetricNote, comparisons: readonly AdapterComparison[]): Finding | null {
  const said = values(block, metric);
  if (said === '') return null;
  const of = comparisons.filter((comparison) => comparison.metric === metric && block.includes(comparison.adapter));
  const severalFull = distinct(of.map(({ full }) => full)).length > 1;
  return {
    topic, sentence: `${lead} ${said}${end}.`, comparison: `${metric.label}, adapter − full`,
    rows: of.slice(0, MOST_ADAPTERS).map((comparison) => ({
      label: severalFull ? `${comparison.adapter.adapterLabel} − ${comparison.full.adapterLabel}` : comparison.adapter.adapterLabel,
      difference: difference(comparison, metric.kind), n: comparison.difference!.n, verdict: comparison.verdict,
    })),
    more: Math.max(0, of.length - MOST_ADAPTERS),
  };
}

function kernelFinding(topic: string, noun: string, conditions: readonly Condition[], kernels: readonly KernelComparison[], quantities: (id: string) => boolean): Finding | null {
  const checkpoint: Checkpoint | null = kernels.some((k) => k.checkpoint === 'final') ? 'final' : kernels.length > 0 ? 'init' : null;
  if (checkpoint === null) return null;
  const wanted = kernels.filter((k) => k.checkpoint === checkpoint && quantities(k.quantity.id));
  const first = conditions.find((condition) => wanted.some((k) => k.condition === condition));
  if (!first) return null;
  const block = blockLabel(first);
  const of = wanted.filter(({ condition }) => blockLabel(condition) === block);
  const adapters = distinct(of.map(({ condition }) => condition)).slice(0, MOST_ADAPTERS);
  const said = adapters.map((condition) => {
    const parts = of.filter((k) => k.condition === condition).map(({ quantity }) => {
      const mean = (which: 'lora' | 'full'): string => formatNumber(seriesOf(condition, fisherOf(quantity, checkpoint, which)).summary?.mean);
      return `${quantity.label} ${mean('lora')} against ${mean('full')}`;
    });
    return `${condition.adapterLabel}: ${parts.join(', ')}`;
  });
  return {
    topic, sentence: `${noun} ${checkpointName(checkpoint)} (${block}), LoRA’s kernel against the same layers in full at the same weights, in nats. ${said.join('; ')}.`,
    comparison: 'LoRA kernel − full kernel',
    rows: adapters.flatMap((condition) => of.filter((k) => k.condition === condition).map((k) => ({
      label: `${condition.adapterLabel}, ${k.quantity.label}`, difference: difference(k, 'plain'), n: k.difference!.n, verdict: k.verdict,
    }))),
    more: Math.max(0, wanted.length - of.length),
  };
}

export function findingsOf(conditions: readonly Condition[], { adapters, kernels }: Comparisons): readonly Finding[] {
  const found: (Finding | null)[] = [];
  for (const block of blocksOf(conditions, 'none', 1)) found.push(scoreFinding('Clean accuracy', 'Without attack, clean accuracy was', '', block, ACCURACY, adapters));
  for (const block of blocksOf(conditions, 'untargeted', MOST_UNTARGETED)) {
    found.push(scoreFinding(`Untargeted: ${blockLabel(block[0]!)}`, `Under ${blockLabel(block[0]!)}, clean accuracy fell by`, '', block, DROP, adapters));
  }
  for (const block of blocksOf(conditions, 'backdoor', MOST_BACKDOORS)) {
    const clean = values(block, ASR_CLEAN);
    found.push(scoreFinding(`Backdoor: ${blockLabel(block[0]!)}`, `Under ${blockLabel(block[0]!)}, the attack success rate was`, clean === '' ? '' : `; the trigger alone, on the paired clean models, gives ${clean}`, block, ASR, adapters));
  }
  found.push(kernelFinding('Information bits', 'Information bits of the Fisher information', conditions, kernels, (id) => id.startsWith('information_bits')));
  found.push(kernelFinding('Rényi entropy', 'Rényi entropy of the Fisher spectrum', conditions, kernels, (id) => id === 'renyi_raw_0.5' || id === 'renyi_raw_2' || id === 'renyi_normalised_2'));
  return found.filter((finding) => finding !== null);
}

export interface Standing {
  readonly headline: string;
  readonly detail: string;
}

/** What may be said of the question as a whole, by the verdict rule. */
export function standing(conditions: readonly Condition[], { adapters, kernels }: Comparisons): Standing {
  const behaviour = adapters.flatMap(({ verdict }) => (verdict ? [verdict] : []));
  const theory = kernels.flatMap(({ verdict }) => (verdict ? [verdict] : []));
  const seeds = distinct(conditions.flatMap(({ cells }) => cells.map(({ seed }) => seed))).length;
  const none = !conditions.some(isFull) || conditions.every(isFull);
  const count = (of: readonly Verdict[], state: Verdict['state']): number => of.filter((verdict) => verdict.state === state).length;
  const tally = (of: readonly Verdict[], noun: string): string =>
    of.length === 0 ? '' : `${plural(of.length, `comparison of ${noun}`, `comparisons of ${noun}`)}: ${count(of, 'held')} held, ${count(of, 'refuted')} refuted, ${count(of, 'undecided')} undecided.`;
  const detail = [tally(behaviour, 'ASR and accuracy drop'), tally(theory, 'information bits and entropies')].filter(Boolean).join(' ');
  if (none) return { headline: 'This grid holds no LoRA and full fine-tuning side by side, so it has nothing to say on which is hurt more.', detail };
  if (seeds < SEEDS_NEEDED) {
    return { headline: `Undecided (n = ${plural(seeds, 'seed')}; verdict needs ≥ ${SEEDS_NEEDED}).`, detail: `What follows is what these runs showed, no general result.${detail === '' ? '' : ` ${detail}`}` };
  }
  const decided = [...behaviour, ...theory].filter(({ state }) => state !== 'undecided').length;
  return { headline: decided === 0 ? 'Undecided: no corrected interval excludes zero by its margin.' : `${plural(decided, 'comparison')} of ${behaviour.length + theory.length} decided.`, detail };
}
