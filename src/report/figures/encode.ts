/** The parts of Vega-Lite specifications that several figures share. */
import { bothValues } from '../../base/stats/both-values.ts';
import type { Summary } from '../../base/stats/summary.ts';
import type { Parametrisation } from '../types.ts';
import { INK, type Palette } from './theme.ts';

/** Selects the rows of one kind: seeds, means and reference values share one table. */
export const onlyPart = (part: string) => [{ filter: `datum.part == '${part}'` }];

/** Where a mean's line begins and ends: at both values of two seeds, as tables show them. */
export function lineOf(summary: Summary): Pick<Summary, 'low' | 'high'> {
  const [low, high] = bothValues(summary) ?? [summary.low, summary.high];
  return { low, high };
}

/** What the captions call that line. */
export const LINE = '95% t-interval (of two seeds, from one value to the other)';

/** The colour of each adapter. */
export const adapterColour = ({ domain, range }: Palette) => ({
  field: 'adapter',
  type: 'nominal' as const,
  scale: { domain, range },
});

/** The shape of each adapter, without a legend. */
export const adapterShape = ({ domain, shapes }: Palette) => ({
  field: 'adapter',
  type: 'nominal' as const,
  scale: { domain, range: shapes },
  legend: null,
});

/** A point for each seed. */
export const seedPoint = (
  size: number,
  { strokeWidth, opacity }: { readonly strokeWidth: number; readonly opacity: number },
) => ({ type: 'point' as const, filled: true, size, stroke: INK, strokeWidth, opacity });

/** Fills points unless their number is not evidence. */
export const HOLLOW = { condition: { test: 'datum.isVoid', value: 0 }, value: 0.9 } as const;

/** One panel for each block, its name above it at the left. */
export const byBlock = (blocks: string[]) => ({
  row: {
    field: 'block',
    type: 'nominal' as const,
    title: null,
    sort: blocks,
    header: {
      labelAngle: 0,
      labelOrient: 'top' as const,
      labelAnchor: 'start' as const,
      labelPadding: 3,
    },
  },
});
export const BLOCK_SPACING = 12;

export const KERNELS: readonly { readonly of: Parametrisation; readonly name: string }[] = [
  { of: 'full', name: 'full kernel' },
  { of: 'lora', name: 'LoRA kernel' },
];
/** Dashed lines are the full kernel's, solid ones LoRA's. */
export const KERNEL_DASH = {
  field: 'kernel',
  type: 'nominal' as const,
  legend: null,
  scale: {
    domain: KERNELS.map(({ name }) => name),
    range: [
      [5, 4],
      [1, 0],
    ],
  },
};
