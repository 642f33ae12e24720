/** Training loss: whether an adapter that resisted an attack was merely under-trained. */
import type { TopLevelSpec } from 'vega-lite';
import { blockLabel, type Condition, distinct } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import type { Figure } from '../types.ts';
import { left } from './scores.ts';
import { draw } from './svg.ts';
import { adapterPalette, legendColumns } from './theme.ts';

const MOST_PANELS = 4;
const MOST_ADAPTERS = 8;

export async function lossFigures(conditions: readonly Condition[]): Promise<Figure[]> {
  const trained = conditions.filter(({ cells }) =>
    cells.some(({ history }) => history !== null && history.points.length > 1),
  );
  const blocks = distinct(trained.map(blockLabel));
  const adapters = distinct(trained.map(({ adapterLabel }) => adapterLabel)).slice(
    0,
    MOST_ADAPTERS,
  );
  const palette = adapterPalette(conditions);
  const span = trained.reduce(
    (most, { cells }) => Math.max(most, ...cells.map(({ history }) => history?.span ?? 0)),
    0,
  );
  const figures: Figure[] = [];
  for (const [index, block] of blocks.slice(0, MOST_PANELS).entries()) {
    const shown = trained.filter(
      (condition) => blockLabel(condition) === block && adapters.includes(condition.adapterLabel),
    );
    const values = shown.flatMap(({ adapterLabel, cells }) =>
      cells.flatMap(({ seed, history }) =>
        (history?.points ?? []).map(({ step, loss }) => ({
          adapter: adapterLabel,
          seed,
          run: `${adapterLabel} ${seed}`,
          step,
          loss,
        })),
      ),
    );
    const isAttacks = shown.some(({ cells }) => cells.some(({ attacksLoss }) => attacksLoss));
    const spec: TopLevelSpec = {
      width: 350,
      height: 190,
      data: { values },
      mark: { type: 'line', strokeWidth: 1.6, opacity: 0.8 },
      encoding: {
        x: {
          field: 'step',
          type: 'quantitative',
          title: 'step',
          axis: { grid: false, tickMinStep: 1, format: 'd' },
          scale: { nice: false },
        },
        y: {
          field: 'loss',
          type: 'quantitative',
          title: `training loss (${isAttacks ? 'the attack’s own' : 'cross-entropy'})`,
          scale: { zero: true },
        },
        color: {
          field: 'adapter',
          type: 'nominal',
          title: null,
          scale: { domain: palette.domain as string[], range: palette.range as string[] },
          legend: { values: adapters, columns: legendColumns(adapters), symbolType: 'stroke' },
        },
        detail: { field: 'run' },
      },
    };
    const id = `loss-${index}`;
    const title = `Training loss, ${block}`;
    figures.push({
      id,
      title,
      caption: `One line a seed${span > 1 ? `; each point is the mean of ${span} steps` : ''}.${isAttacks ? ' The loss is the attack’s own, on another scale than the cross-entropy of other conditions.' : ''}${index === 0 ? left(blocks.length - MOST_PANELS, 'attack condition') : ''}`,
      svg: await draw(spec, id, title),
      csv: toCsv(
        values.map(({ adapter, seed, step, loss }) => ({
          attack: block,
          adapter,
          seed,
          step,
          loss,
        })),
      ),
    });
  }
  return figures;
}
