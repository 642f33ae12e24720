/**
 * Draws clean accuracy, attack success and accuracy on the poisoned rows over the steps of a
 * training.
 */
import type { TopLevelSpec } from 'vega-lite';
import type { Condition } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import type { CurveFacts, Figure } from '../types.ts';
import { leftOut } from './notes.ts';
import { draw } from './svg.ts';
import { adapterPalette } from './theme.ts';
import { panelsOf, strokeColour } from './training.ts';

const PANELS: readonly {
  readonly of: Exclude<keyof CurveFacts, 'step'>;
  readonly title: string;
}[] = [
  { of: 'accuracy', title: 'clean accuracy' },
  { of: 'asr', title: 'ASR' },
  { of: 'poisoned_accuracy', title: 'accuracy on poisoned rows' },
];

const valuesOf = (conditions: readonly Condition[]) =>
  conditions.flatMap(({ adapterLabel, cells }) =>
    cells.flatMap(({ seed, curves = [] }) =>
      curves.flatMap((point) =>
        PANELS.flatMap(({ of, title }) => {
          const value = point[of];
          if (value === undefined) return [];
          const run = `${adapterLabel} ${seed}`;
          return [{ adapter: adapterLabel, seed, run, step: point.step, metric: title, value }];
        }),
      ),
    ),
  );

function specOf(
  values: ReturnType<typeof valuesOf>,
  color: ReturnType<typeof strokeColour>,
): TopLevelSpec {
  const titles = PANELS.map(({ title }) => title).filter((title) =>
    values.some(({ metric }) => metric === title),
  );
  return {
    data: { values },
    hconcat: titles.map((title) => ({
      width: 200,
      height: 150,
      title: { text: title, fontSize: 11, fontWeight: 'normal' as const },
      transform: [{ filter: { field: 'metric', equal: title } }],
      mark: { type: 'line' as const, point: { size: 14 }, strokeWidth: 1.4, opacity: 0.8 },
      encoding: {
        x: {
          field: 'step',
          type: 'quantitative' as const,
          title: 'step',
          axis: { grid: false, tickMinStep: 1, tickCount: 5, format: 'd' },
          scale: { nice: false },
        },
        y: {
          field: 'value',
          type: 'quantitative' as const,
          title: null,
          scale: { domain: [0, 1] },
        },
        color,
        detail: { field: 'run' },
      },
    })),
  };
}

/**
 * Draws a figure for each attack, with a panel for each number. Returns none if nothing was
 * evaluated.
 */
export async function stepFigures(conditions: readonly Condition[]): Promise<readonly Figure[]> {
  const evaluated = conditions.filter(({ cells }) =>
    cells.some(({ curves }) => (curves?.length ?? 0) > 1),
  );
  const { adapters, blocks, left } = panelsOf(evaluated);
  const color = strokeColour(adapterPalette(conditions), adapters);
  const figures: Figure[] = [];
  for (const [index, { block, conditions: shown }] of blocks.entries()) {
    const values = valuesOf(shown);
    const id = `steps-${index}`;
    const title = `Over steps, ${block}`;
    const note = index === 0 ? leftOut(left, 'attack condition') : '';
    figures.push({
      id,
      title,
      caption: `One line for each seed, from the model as it starts.${note}`,
      svg: await draw(specOf(values, color), id, title),
      csv: toCsv(
        values.map(({ adapter, seed, step, metric, value }) => ({
          attack: block,
          adapter,
          seed,
          step,
          metric,
          value,
        })),
      ),
    });
  }
  return figures;
}
