/** What the figures over the steps of a training share: which attacks and adapters they show. */
import type { Condition } from '../conditions.ts';
import { distinct, groupBy } from '../groups.ts';
import { blockLabel } from '../labels.ts';
import { adapterColour } from './encode.ts';
import { legendColumns, type Palette } from './theme.ts';

const MOST_PANELS = 4;
const MOST_ADAPTERS = 8;

export interface Panels {
  readonly adapters: string[];
  readonly blocks: readonly { readonly block: string; readonly conditions: readonly Condition[] }[];
  /** The number of attacks for which there was no room. */
  readonly left: number;
}

/** Returns the first attacks and adapters of these conditions. */
export function panelsOf(conditions: readonly Condition[]): Panels {
  const adapters = distinct(conditions.map(({ adapterLabel }) => adapterLabel)).slice(
    0,
    MOST_ADAPTERS,
  );
  const blocks = [...groupBy(conditions, blockLabel)];
  return {
    adapters,
    blocks: blocks.slice(0, MOST_PANELS).map(([block, of]) => ({
      block,
      conditions: of.filter(({ adapterLabel }) => adapters.includes(adapterLabel)),
    })),
    left: blocks.length - MOST_PANELS,
  };
}

/** The colour of each adapter, with a legend of those that are drawn. */
export const strokeColour = (palette: Palette, adapters: string[]) => ({
  ...adapterColour(palette),
  title: null,
  legend: {
    values: adapters,
    columns: legendColumns(adapters),
    symbolType: 'stroke' as const,
  },
});
