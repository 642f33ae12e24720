/** States what the verdict rule allows to be said about the report's question as a whole. */
import type { Comparisons } from './comparisons.ts';
import { type Condition, isFull } from './conditions.ts';
import { predictsOneClass, writesAnswers } from './evidence.ts';
import { plural } from './format.ts';
import { distinct } from './groups.ts';
import { ASR, DROP, type MetricNote } from './metrics.ts';
import { SEEDS_NEEDED, type Verdict } from './verdict.ts';

export interface Standing {
  /** A short sentence for each line. */
  readonly headline: readonly string[];
  readonly detail: string;
}

/** `LoRA has the lower ASR: refuted in 2 of 3 comparisons, undecided in 1` */
function tally(claim: string, verdicts: readonly Verdict[]): string {
  const total = verdicts.length;
  const counts = (['held', 'refuted', 'undecided'] as const)
    .map((state) => ({
      state,
      count: verdicts.filter((verdict) => verdict.state === state).length,
    }))
    .filter(({ count }) => count > 0);
  const [only, ...others] = counts;
  if (only !== undefined && others.length === 0) {
    const all = total === 2 ? 'both' : `all ${total}`;
    return `${claim}: ${only.state}${total > 1 ? ` in ${all} comparisons` : ''}`;
  }
  const parts = counts.map(({ state, count }, i) =>
    i === 0 ? `${state} in ${count} of ${total} comparisons` : `${state} in ${count}`,
  );
  return `${claim}: ${parts.join(', ')}`;
}

/** Returns why no verdict can be given, whatever was compared, or null if one can. */
function withoutVerdict(conditions: readonly Condition[]): Standing | null {
  if (!conditions.some(isFull) || conditions.every(isFull))
    return {
      headline: ['Undecided: this grid does not have LoRA and full fine-tuning side by side.'],
      detail: 'It cannot tell which is hurt more.',
    };
  const attacked = conditions.filter(({ family }) => family !== 'none');
  if (attacked.length > 0 && attacked.every(({ ofBase }) => ofBase))
    return {
      headline: [
        'No verdict: the paper makes no claim about a poisoned base that is trained on clean rows.',
      ],
      detail: 'How much of the attack each adapter keeps is below, with intervals over seeds.',
    };
  const evaluated = attacked.flatMap(({ cells }) =>
    cells.filter(({ metrics }) => metrics['evaluate'] !== undefined),
  );
  if (evaluated.length > 0 && evaluated.every(predictsOneClass))
    return {
      headline: [
        'No evidence: every attacked model ' +
          (evaluated.some(writesAnswers) ? 'writes one text only.' : 'predicts one class only.'),
      ],
      detail: 'Train longer, or at another learning rate, and look at the clean accuracy first.',
    };
  const seeds = distinct(conditions.flatMap(({ cells }) => cells.map(({ seed }) => seed))).length;
  if (seeds < SEEDS_NEEDED)
    return {
      headline: [`Undecided (n = ${plural(seeds, 'seed')}; verdict needs ≥ ${SEEDS_NEEDED}).`],
      detail: 'What follows is what these runs showed, not a general result.',
    };
  return null;
}

export function standingOf(
  conditions: readonly Condition[],
  { adapters, kernels }: Comparisons,
): Standing {
  const undecided = withoutVerdict(conditions);
  if (undecided !== null) return undecided;
  const verdictsOn = (metric: MetricNote): Verdict[] =>
    adapters.flatMap((comparison) =>
      comparison.metric === metric && comparison.verdict ? [comparison.verdict] : [],
    );
  const verdictsOnKernels = (isNormalised: boolean): Verdict[] =>
    kernels.flatMap(({ quantity, verdict }) =>
      verdict && isNormalised === quantity.id.includes('normalised') ? [verdict] : [],
    );
  const tallies = (claims: readonly (readonly [string, readonly Verdict[]])[]): string[] =>
    claims
      .filter(([, verdicts]) => verdicts.length > 0)
      .map(([claim, verdicts]) => `${tally(claim, verdicts)}.`);
  const scores = tallies([
    ['Backdoors, “LoRA has the lower ASR”', verdictsOn(ASR)],
    ['Untargeted, “LoRA loses more accuracy”', verdictsOn(DROP)],
  ]);
  return {
    headline:
      scores.length > 0 ? scores : ['Undecided: no attack of this grid has results for both.'],
    detail: tallies([
      [
        '“LoRA’s information bits and entropies are at most the full ones”, raw',
        verdictsOnKernels(false),
      ],
      ['The same, normalised', verdictsOnKernels(true)],
    ]).join(' '),
  };
}
