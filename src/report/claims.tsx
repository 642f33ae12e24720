/**
 * The paper's claims (arXiv 2505.12871), and their chapter of the page: what was published for
 * each, what these runs show, and what would decide what is left undecided. The published numbers
 * are those of pipelines/paper/published.
 */
import type { JSX } from 'preact';
import { SIGNIFICANCE } from '../base/stats.ts';
import {
  type AdapterComparison,
  compareEnds,
  type Comparison,
  type Comparisons,
  type EndsQuestion,
} from './comparisons.ts';
import { type Condition, numericAxis } from './conditions.ts';
import type { DrawnEntry } from './entries.ts';
import { checkpointName } from './fisher.ts';
import { formatDifference, formatNumber, type NumberKind } from './format.ts';
import { distinct, groupBy } from './groups.ts';
import {
  type Chapter,
  type Column,
  Judged,
  numbers,
  type OfConditions,
  type PageProps,
  Table,
} from './html/parts.tsx';
import { blockLabel } from './labels.ts';
import { ASR, DROP, type MetricNote } from './metrics.ts';
import { SEEDS_NEEDED, seedsToDecide } from './verdict.ts';

interface ClaimRow extends Comparison {
  /** What is compared, and under which attack. */
  readonly label: string;
  readonly kind: NumberKind;
  /** What would decide the comparison; empty if it is decided. */
  readonly decides: string;
}

/**
 * Says what would decide a comparison, or why no number of seeds would; '' if it is decided, or if
 * it has no verdict.
 * @param tests over how many comparisons the verdict was corrected
 * @param isOfNone whether the claim is that there is no effect
 */
function whatWouldDecide(
  { verdict, difference, margin, a }: Comparison,
  tests: number,
  isOfNone: boolean,
): string {
  if (verdict === null || verdict.state !== 'undecided') return '';
  if (difference === null || difference.std === null)
    return `at least ${SEEDS_NEEDED} seeds that are evidence`;
  if (difference.std === 0) return 'seeds that differ: all have the same difference';
  const seeds = seedsToDecide(difference, margin, 1 - SIGNIFICANCE / tests, isOfNone);
  if (seeds === null)
    return 'no number of seeds with this mean, which is within the margin or at it';
  return seeds > a.length
    ? `${seeds} seeds, at this mean and spread`
    : 'more seeds, or the same of what the trigger adds to the untriggered rate';
}

interface Question<T> {
  readonly label: (comparison: T) => string;
  readonly kind?: NumberKind;
  readonly isOfNone?: boolean;
  /** Returns a key; comparisons of one key are corrected together. Default: all are. */
  readonly correctedOver?: (comparison: T) => string;
}

function claimRows<T extends Comparison>(
  comparisons: readonly T[],
  { label, kind = 'proportion', isOfNone = false, correctedOver = () => '' }: Question<T>,
): readonly ClaimRow[] {
  const judged = comparisons.filter(({ verdict }) => verdict !== null);
  const corrected = groupBy(judged, correctedOver);
  return judged.map((comparison) => ({
    ...comparison,
    kind,
    label: label(comparison),
    decides: whatWouldDecide(
      comparison,
      corrected.get(correctedOver(comparison))?.length ?? 1,
      isOfNone,
    ),
  }));
}

/** Returns σ² of A's entries in the layers with the smallest fan-in; null without LoRA. */
const readVariance = ({ cells }: Condition): number | null =>
  cells.find(({ lora }) => lora !== null)?.lora?.[0]?.variance ?? null;

interface AxisClaim extends EndsQuestion {
  readonly statement: string;
  readonly published: string;
  readonly of: string;
}

const AXES: readonly AxisClaim[] = [
  {
    statement: 'With a larger rank, LoRA loses less accuracy to untargeted poisoning.',
    published:
      'Figure 4, flips .3: accuracy rises from rank 4 to 512, on SST-2 from .70 to .91, on QNLI ' +
      'from .56 to .83, at a learning rate of 3e-6. At 3e-5, in an earlier version, it falls: ' +
      'SST-2 has .91 at rank 8 and .51 at 256.',
    of: 'rank',
    family: 'untargeted',
    metric: DROP,
    at: (condition) => numericAxis(condition, 'adapter.rank'),
    path: 'adapter.rank',
    others: ['adapter.alpha'],
    claimed: -1,
  },
  {
    statement: 'A larger rank makes LoRA less robust to backdoors.',
    published:
      'Figure 4, rate .0015: accuracy under the trigger falls from rank 4 to 256, on SST-2 from ' +
      '.93 to .51, on QNLI from .84 to .51, where .51 is what a complete backdoor leaves.',
    of: 'rank',
    family: 'backdoor',
    metric: ASR,
    at: (condition) => numericAxis(condition, 'adapter.rank'),
    path: 'adapter.rank',
    others: ['adapter.alpha'],
    claimed: 1,
  },
  {
    statement: 'The variance of A has no obvious effect under untargeted poisoning.',
    published:
      'Figure 5, flips .3: accuracy between .83 and .91 on SST-2 (one collapsed seed at .667/d) ' +
      'and between .83 and .85 on QNLI, over variances from .0001/d to 2/d.',
    of: 'σ²',
    family: 'untargeted',
    metric: DROP,
    at: readVariance,
    path: 'adapter.init.variance',
    claimed: 0,
  },
  {
    statement: 'A larger variance of A makes LoRA less robust to backdoors.',
    published:
      'Figure 5, rate .0015: accuracy under the trigger falls from .92 at .0001/d to .88 at 2/d ' +
      'on SST-2; on QNLI it lies between .71 and .81 without order.',
    of: 'σ²',
    family: 'backdoor',
    metric: ASR,
    at: readVariance,
    path: 'adapter.init.variance',
    claimed: 1,
  },
];

/**
 * Returns the claims for which these runs have a verdict, in the paper's order: each with what was
 * published for it, and the comparisons that test it. The envelopes among the `entries` add their
 * comparisons.
 */
export function claimsOf(
  conditions: readonly Condition[],
  { adapters, kernels }: Comparisons,
  entries: readonly Pick<DrawnEntry, 'name' | 'judged'>[] = [],
) {
  const scoreRows = (metric: MetricNote): readonly ClaimRow[] => {
    const rows = (compared: readonly AdapterComparison[], of: string): readonly ClaimRow[] =>
      claimRows(
        compared.filter((comparison) => comparison.metric === metric),
        {
          label: ({ adapter, full }) =>
            `${metric.label}${of}: ${adapter.adapterLabel} − ${full.adapterLabel}, ` +
            blockLabel(adapter),
        },
      );
    return [
      ...rows(adapters, ''),
      ...entries.flatMap(({ name, judged }) =>
        rows(judged, ` on test rows, each at its own choice in ${name}`),
      ),
    ];
  };
  const kernelRows = (isEntropy: boolean): readonly ClaimRow[] =>
    claimRows(
      kernels.filter(({ quantity }) => quantity.id.startsWith('renyi') === isEntropy),
      {
        label: ({ condition, quantity, checkpoint }) =>
          `${quantity.label}: ${condition.adapterLabel}, ${checkpointName(checkpoint)}, ` +
          blockLabel(condition),
        kind: 'plain',
        correctedOver: ({ quantity, checkpoint }) => `${quantity.id} ${checkpoint}`,
      },
    );
  const claims = [
    {
      statement: 'LoRA is more robust to backdoors than full fine-tuning.',
      published:
        'Figure 2: share of the other class’s rows that the trigger turns (derived from accuracy ' +
        'and recall), LoRA at 3e-5 against full fine-tuning at 3e-6. At a rate of .0015: SST-2 ' +
        '.13 and .93, QNLI .68 and .88, QQP .21 and .85, CoLA .61 and .59; at .0045 SST-2 .99 ' +
        'and .99, QNLI .98 and 1.00, QQP .90 and 1.00, CoLA .73 and .74. ' +
        'No clean model’s rate is beside them.',
      rows: scoreRows(ASR),
    },
    {
      statement: 'LoRA is less robust to untargeted poisoning than full fine-tuning.',
      published:
        'Figure 1: accuracy at flips of .3, LoRA at 3e-5 against full fine-tuning at 3e-6: SST-2 ' +
        '.908 and .913, CoLA .667 and .702, QNLI .837 and .862, QQP .758 and .819. No full ' +
        'fine-tuning at rate 0 is published, so that no drop can be formed.',
      rows: scoreRows(DROP),
    },
    ...AXES.map(({ statement, published, of, ...question }) => ({
      statement,
      published,
      rows: claimRows(compareEnds(conditions, question), {
        label: ({ metric, most, least }) =>
          `${metric.label} by ${of}: ${most.adapterLabel} − ${least.adapterLabel}, ` +
          blockLabel(most),
        isOfNone: question.claimed === 0,
      }),
    })),
    {
      statement: 'LoRA’s kernel has fewer information bits than the full one.',
      published: 'Derived for infinite width; not measured on a model.',
      rows: kernelRows(false),
    },
    {
      statement: 'LoRA’s kernel has the smaller Rényi entropy.',
      published: 'Derived for infinite width; Figure 3 draws a closed form.',
      rows: kernelRows(true),
    },
  ];
  return claims.filter(({ rows }) => rows.length > 0);
}

const COLUMNS: readonly Column<ClaimRow>[] = [
  { title: 'Compared', kind: 'words', value: ({ label }) => label },
  numbers('n', ({ a }) => a.length),
  numbers('Difference', ({ difference, kind }) =>
    difference === null ? '–' : formatDifference(difference, kind),
  ),
  numbers('Margin', ({ margin, kind }) => formatNumber(margin, kind)),
  {
    title: 'Verdict',
    kind: 'claim',
    value: ({ verdict, kind }) => (verdict ? <Judged verdict={verdict} kind={kind} /> : null),
  },
  { title: 'What would decide it', kind: 'words', value: ({ decides }) => decides || '–' },
];

const MOST_NAMED = 4;
/** Names the attacked conditions that no verdict on robustness is about, and says why. */
function WithoutClaims({ conditions }: OfConditions): JSX.Element {
  const attacked = conditions.filter(({ family }) => family !== 'none');
  return (
    <>
      {[...groupBy(attacked, ({ unclaimed }) => unclaimed ?? '')].map(([unclaimed, some]) => {
        const labels = distinct(some.map(blockLabel)),
          more = labels.length - MOST_NAMED;
        return unclaimed === '' ? null : (
          <p>
            The paper makes no claim about the robustness of {unclaimed}, so no such verdict is
            about {labels.slice(0, MOST_NAMED).join('; ')}
            {more > 0 ? ` and ${more} more` : ''}.
          </p>
        );
      })}
    </>
  );
}

function Claims({ conditions, comparisons, entries }: PageProps): JSX.Element {
  return (
    <>
      <p>
        The published numbers are of bert-large, rows of GLUE and five seeds, with adapter and
        learning rate changed together; these runs may differ in all of that. A difference is paired
        by seed, with Student’s 95% interval. Held or refuted: the interval, corrected over the rows
        of the claim (of kernels: over those of one quantity and checkpoint, where conditions that
        share a kernel count once; of an envelope: over those of its table or figure), excludes zero
        by the margin; “no effect” is held where it lies within the margin.
      </p>
      <WithoutClaims conditions={conditions} />
      {claimsOf(conditions, comparisons, entries).map(({ statement, published, rows }) => (
        <>
          <h3>{statement}</h3>
          <p class="small">Published: {published}</p>
          <Table label={statement} rows={rows} most={24} columns={COLUMNS} />
        </>
      ))}
    </>
  );
}

export const claims: Chapter = {
  id: 'claims',
  nav: 'The paper’s claims',
  title: 'The paper’s claims, one by one',
  concerns: ({ conditions, comparisons, entries }) =>
    claimsOf(conditions, comparisons, entries).length > 0,
  parts: [Claims],
};
