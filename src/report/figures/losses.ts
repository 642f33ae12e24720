/**
 * Draws the training loss, which shows whether an adapter that resisted an attack was merely
 * under-trained.
 */
import type { TopLevelSpec } from 'vega-lite';
import type { Condition } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import type { Figure } from '../types.ts';
import { leftOut } from './notes.ts';
import { draw } from './svg.ts';
import { adapterPalette } from './theme.ts';
import { panelsOf, strokeColour } from './training.ts';

const valuesOf = (conditions: readonly Condition[]) =>
  conditions.flatMap(({ adapterLabel, cells }) =>
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

const specOf = (
  values: ReturnType<typeof valuesOf>,
  lossName: string,
  color: ReturnType<typeof strokeColour>,
): TopLevelSpec => ({
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
      title: `training loss (${lossName})`,
      scale: { zero: true },
    },
    color,
    detail: { field: 'run' },
  },
});

/** Draws a figure for each attack. */
export async function lossFigures(conditions: readonly Condition[]): Promise<readonly Figure[]> {
  const trained = conditions.filter(({ cells }) =>
    cells.some(({ history }) => history !== null && history.points.length > 1),
  );
  const { adapters, blocks, left } = panelsOf(trained);
  const color = strokeColour(adapterPalette(conditions), adapters);
  const spans = trained.flatMap(({ cells }) => cells.map(({ history }) => history?.span ?? 0));
  const span = Math.max(0, ...spans);
  const figures: Figure[] = [];
  for (const [index, { block, conditions: shown }] of blocks.entries()) {
    const values = valuesOf(shown);
    const isAttacks = shown.some(({ cells }) => cells.some(({ attacksLoss }) => attacksLoss));
    const spec = specOf(values, isAttacks ? 'the attack’s own' : 'cross-entropy', color);
    const id = `loss-${index}`;
    const title = `Training loss, ${block}`;
    const caption = [
      `One line for each seed${span > 1 ? `; each point is the mean of ${span} steps` : ''}.`,
      isAttacks
        ? ' The loss is the attack’s own, on another scale than the cross-entropy of other ' +
          'conditions.'
        : '',
      index === 0 ? leftOut(left, 'attack condition') : '',
    ];
    figures.push({
      id,
      title,
      caption: caption.join(''),
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
