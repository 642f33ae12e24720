/**
 * Shows how far poisoned data move the weights (M), beside the noise floor of M and the kernel's
 * M′.
 */
import type { JSX } from 'preact';
import { type Condition, metricOf, type Quantity, seriesOf, summaryOf } from '../conditions.ts';
import { formatNumber, plural } from '../format.ts';
import { between, type DivergenceRelation, divergenceRelations } from '../relations.ts';
import { ADAPTER, ATTACK, numberColumn, OVER_SEEDS, startsBlock } from './columns.tsx';
import { type Column, type Node, Table } from './parts.tsx';

const STAGE = 'divergence';
const of = (metric: string): Quantity => metricOf(STAGE, metric);
const has = (condition: Condition, metric: string): boolean =>
  summaryOf(condition, { stage: STAGE, metric }) !== null;

/**
 * M is not evidence if it is at most this many times the noise floor. Two runs that differ by
 * rounding alone are about one floor apart, and a single repetition gives only a rough estimate of
 * the floor.
 */
const FLOOR_FACTOR = 2;

/**
 * Returns the mean ratio of M to its noise floor, for what is trained below the head or, if nothing
 * is, for the head. Null if it was not measured.
 */
const floorRatio = (condition: Condition): number | null =>
  seriesOf(condition, (cell) => of('trained.over_floor')(cell) ?? of('head.over_floor')(cell))
    .summary?.mean ?? null;
const isMeasured = (condition: Condition): boolean =>
  condition.cells.some((cell) =>
    ['trained', 'head'].some((part) => of(`floor.${part}.l2`)(cell) !== null),
  );
const isDrowned = (condition: Condition): boolean =>
  (floorRatio(condition) ?? Infinity) <= FLOOR_FACTOR;

function floorText(condition: Condition): Node {
  const ratio = floorRatio(condition);
  if (ratio === null) return isMeasured(condition) ? 'the floor is 0' : 'not measured';
  return (
    <>
      {formatNumber(ratio)}
      {isDrowned(condition) ? <span class="bad"> no more than rounding</span> : ''}
    </>
  );
}

const COLUMNS: readonly Column<Condition>[] = [
  ATTACK,
  ADAPTER,
  numberColumn('M of the weights, largest entry', of('total.largest')),
  numberColumn('L2', of('total.l2')),
  numberColumn('relative to ‖ΔW clean‖', of('total.relative')),
  numberColumn('noise floor, L2', of('floor.total.l2')),
  numberColumn('M of all trained, L2', of('trained.l2')),
  numberColumn('relative', of('trained.relative')),
  numberColumn('noise floor, L2', of('floor.trained.l2')),
  numberColumn('head, L2', of('head.l2')),
  numberColumn('relative', of('head.relative')),
  numberColumn('noise floor, L2', of('floor.head.l2')),
  { title: 'M over its floor', kind: 'nowrap', value: floorText },
  numberColumn('M′', between('raw')),
  numberColumn('M′ as a cosine', between('cosine')),
];

export function Divergence({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const rows = conditions.filter(
    (condition) => has(condition, 'trained.l2') || has(condition, 'head.l2'),
  );
  if (rows.length === 0) return null;
  return (
    <>
      <h3>How far poisoned data carry the weights</h3>
      <p>
        M compares each poisoned run with its clean twin of the same seed, start and order, on
        effective weights, ΔW = W<sub>eff</sub>(t) − W<sub>eff</sub>(0), for LoRA and full alike, as
        a mean over the kept steps and the last. M of the weights is over the linear layers that
        LoRA adapts and full fine-tuning trains, the same ones for both: it is what the two are
        compared by. M of all that is trained adds the biases, norms and embeddings that the adapter
        trains as well, each kind by itself in the second table; an adapter that trains no layer’s
        weight (BitFit, norm-tuning) has this one alone. The head, which every adapter trains in
        full, stands apart. Where a base is poisoned, 0 is where the base’s training starts. M′ is
        the kernel at the start between poisoned rows and their originals. It is blind to attacks on
        labels alone: there both texts are the same. (In a completion task each row’s output is log
        p of its own answer, so that an attack on answers is seen.)
      </p>
      <Table
        label="Divergence"
        rows={rows}
        starts={startsBlock}
        caption={OVER_SEEDS}
        columns={COLUMNS}
      />
      <FloorNote conditions={rows} />
      <Kinds conditions={rows} />
      <WithKernel relations={divergenceRelations(rows)} />
    </>
  );
}

/** Says what the noise floor is, and where M does not rise above it. */
function FloorNote({ conditions }: { readonly conditions: readonly Condition[] }): JSX.Element {
  const drowned = conditions.filter(isDrowned).length,
    unmeasured = conditions.filter((condition) => !isMeasured(condition)).length;
  return (
    <p class="muted small">
      Noise floor: the clean run trained again, alone, with each batch’s rows read in reverse order,
      and its distance from the clean run. The two differ only in the order of floating-point sums,
      so an M near the floor is not an effect of poison. The ratio is that of L2 norms over all that
      is trained below the head (over the head, where that is all).{' '}
      {drowned === 0
        ? ''
        : `M is within ${FLOOR_FACTOR} times its floor, and so not evidence, in ` +
          `${plural(drowned, 'condition')}. `}
      {unmeasured === 0
        ? ''
        : `No floor was measured for ${plural(unmeasured, 'condition')}: ` +
          'their divergence.json says why.'}
    </p>
  );
}

const KINDS = ['biases', 'norms', 'embeddings', 'other'] as const;

/** Shows the parts of M for everything that is trained besides the weights. */
function Kinds({ conditions }: { readonly conditions: readonly Condition[] }): JSX.Element | null {
  const present = KINDS.filter((kind) => conditions.some((row) => has(row, `${kind}.l2`)));
  const rows = conditions.filter((row) => present.some((kind) => has(row, `${kind}.l2`)));
  if (rows.length === 0) return null;
  return (
    <Table
      label="Divergence by kind"
      rows={rows}
      starts={startsBlock}
      caption={`M of the trained parameters that are not weights of layers, by kind. ${OVER_SEEDS}`}
      columns={[
        ATTACK,
        ADAPTER,
        ...present.flatMap((kind) => [
          numberColumn(`${kind}, L2`, of(`${kind}.l2`)),
          numberColumn('relative', of(`${kind}.relative`)),
          numberColumn('noise floor, L2', of(`floor.${kind}.l2`)),
        ]),
      ]}
    />
  );
}

/** Shows whether M correlates with M′. */
const WithKernel = ({
  relations,
}: {
  readonly relations: readonly DivergenceRelation[];
}): JSX.Element | null =>
  relations.length === 0 ? null : (
    <Table
      label="Divergence and kernel"
      rows={relations}
      caption="Spearman’s ρ over the cells (adapters and seeds) of one attack."
      columns={[
        { title: 'Attack', kind: 'nowrap', value: ({ block }) => block },
        { title: 'Cells', kind: 'number', value: ({ cells }) => cells },
        {
          title: 'M (L2) with M′',
          kind: 'number',
          value: ({ absolute }) => formatNumber(absolute, 'proportion'),
        },
        {
          title: 'M (relative) with M′ (cosine)',
          kind: 'number',
          value: ({ relative }) => formatNumber(relative, 'proportion'),
        },
        {
          title: '',
          value: ({ blind }) =>
            blind ? 'M′ can’t see this attack: its poisoned texts are the originals’' : '',
        },
      ]}
    />
  );
